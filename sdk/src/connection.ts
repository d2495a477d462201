/**
 * One connection to the broker, kept up: opens a WebSocket, opens another when it ends, at another broker where there
 * are several, until it is told to stop or told that there is no use. Watches for silence: the broker pings
 * every 15 s, and where that cannot be seen (browsers) or is missing, a frame is sent that a living broker answers.
 * Renews the token in band. What is said on it is its user's, in that one's dialect; which state follows which is
 * connection-state.ts.
 */
import { Backoff } from './backoff.ts'
import {
  CONNECTION_TABLE,
  type ConnectionEffect,
  type ConnectionEvent,
  type ConnectionState,
} from './connection-state.ts'
import type { Connector } from './connector.ts'
import { webSocketUrl } from './endpoints.ts'
import type { Socket, SocketEnd, Timer } from './platform.ts'
import { TidingsError } from './protocol/errors.ts'
import { TokenRenewal } from './token-renewal.ts'

/** What a connection says by itself. */
export interface Dialect {
  readonly subprotocol: string
  /** A living broker answers it. */
  probe(): string | Uint8Array
  auth(token: string): string | Uint8Array
  /** Asks for no more messages; null where none come unasked. */
  pause(): string | Uint8Array | null
}

export interface ConnectionUser {
  readonly dialect: Dialect
  /** Frames go through, over a new connection. */
  opened(): void
  /** A frame came, a text or bytes. Throws what makes the connection useless. */
  received(data: string | Uint8Array): void
  /** What was delivered and not settled does not lie here any more. */
  left(): void
  /** Something went wrong that will be tried again. */
  trouble(error: TidingsError): void
  /** The end; nothing comes after it. */
  finishedForGood(error: TidingsError | null): void
}

const RETRY_MIN_MS = 100
const RETRY_MAX_MS = 3000
const OPEN_MS = 15_000
const CLOSE_MS = 3000
/** Silence after which the broker is asked for a sign of life, and after which it is given up. */
export const PROBE_MS = 20_000
export const SILENCE_MS = 30_000
/** A connection that lasted so long, or over which something came, was a good one: the next failure is the first. */
const GOOD_MS = 5000

export class Connection {
  readonly #connector: Connector
  readonly #path: string
  readonly #user: ConnectionUser
  readonly #backoff: Backoff
  readonly #renewal: TokenRenewal
  #state: ConnectionState = 'new'
  #socket: Socket | undefined
  /** Sockets before the present one may still say something: nobody listens. */
  #generation = 0
  #url = ''
  #token: string | undefined
  #error: TidingsError | null = null
  #askedMs = 0
  #openedAt = 0
  #heardAt = 0
  #hasProbed = false
  #hasRenewed = false
  /** For opening, silence and closing: only one of them is watched at a time. */
  #watchTimer: Timer | undefined
  #restTimer: Timer | undefined

  constructor(connector: Connector, path: string, user: ConnectionUser) {
    this.#connector = connector
    this.#path = path
    this.#user = user
    this.#backoff = new Backoff(connector.random, RETRY_MIN_MS, RETRY_MAX_MS)
    this.#renewal = new TokenRenewal(
      connector,
      (token) => {
        this.#token = token
        this.send(user.dialect.auth(token))
      },
      (error) => user.trouble(error),
    )
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** Whether frames reach the broker. */
  get isLive(): boolean {
    return this.#state === 'open' || this.#state === 'draining'
  }

  start(): void {
    this.#step('start')
  }

  drain(): void {
    this.#step('drain')
  }

  stop(): void {
    this.#step('stop')
  }

  /** What comes over it is of no use, or nothing comes: another one is made. */
  giveUp(why: string): void {
    if (this.isLive) this.#broke(why)
  }

  send(frame: string | Uint8Array): void {
    if (this.isLive) this.#socket?.send(frame)
  }

  #step(event: ConnectionEvent): void {
    const { to, effects } = CONNECTION_TABLE[this.#state][event]
    this.#state = to
    for (const effect of effects) this.#do(effect)
  }

  #do(effect: ConnectionEffect): void {
    switch (effect) {
      case 'connect':
        return this.#connect()
      case 'terminate':
        return this.#terminate()
      case 'rest':
        return this.#rest()
      case 'cancelRest':
        return this.#restTimer?.cancel()
      case 'welcome':
        return this.#welcome()
      case 'leave':
        this.#forget()
        return this.#user.left()
      case 'pause':
        return this.#pause()
      case 'goodbye':
        this.#watch(CLOSE_MS, () => this.#broke('the broker did not answer the close'))
        return this.#socket?.close(1000, 'done')
      case 'fail':
        this.#forget()
        return this.#user.finishedForGood(this.#error)
      case 'finish':
        this.#forget()
        return this.#user.finishedForGood(null)
    }
  }

  #connect(): void {
    const generation = ++this.#generation
    this.#watch(OPEN_MS, () => this.#broke('the connection did not open in time'))
    const { credentials } = this.#connector
    const token = credentials.peek()
    if (token) return this.#open(generation, token.token)
    credentials.ask().then(
      (fetched) => this.#open(generation, fetched),
      (thrown: unknown) => {
        if (generation !== this.#generation) return
        const error = TidingsError.from(thrown)
        this.#error = error
        if (error.retryable) this.#user.trouble(error)
        this.#step(error.retryable ? 'lost' : 'refused')
      },
    )
  }

  #open(generation: number, token: string | undefined): void {
    if (generation !== this.#generation) return
    this.#url = this.#connector.endpoints.current
    this.#token = token
    const isPresent = (): boolean => generation === this.#generation
    const { subprotocol } = this.#user.dialect
    try {
      this.#socket = this.#connector.connect(webSocketUrl(this.#url) + this.#path, subprotocol, token, {
        opened: () => isPresent() && this.#step('opened'),
        text: (data) => isPresent() && this.#received(data),
        bytes: (data) => isPresent() && this.#received(data),
        alive: () => isPresent() && this.#heard(),
        ended: (end) => isPresent() && this.#ended(end),
      })
    } catch (cause) {
      this.#ended({ kind: 'lost', cause })
    }
  }

  #pause(): void {
    const frame = this.#user.dialect.pause()
    if (frame !== null) this.send(frame)
  }

  #welcome(): void {
    const { clock } = this.#connector
    this.#openedAt = clock.monotonic()
    this.#heard()
    this.#watchSilence()
    this.#renewal.start()
    this.#user.opened()
  }

  #received(data: string | Uint8Array): void {
    this.#heard()
    try {
      this.#user.received(data)
      this.#backoff.reset()
    } catch (thrown) {
      this.#broke(TidingsError.from(thrown).message)
    }
  }

  #ended(end: SocketEnd): void {
    const { credentials, endpoints } = this.#connector
    const verdict = this.#connector.verdictOf(end)
    const isUnknown = verdict.error.code === 'unauthenticated'
    if (isUnknown) credentials.refused(this.#token)
    // A token that has just been asked for is believed to be the best there is.
    this.#hasRenewed = isUnknown && credentials.isRenewable && !this.#hasRenewed
    const event = this.#hasRenewed ? 'lost' : verdict.event
    this.#error = verdict.error
    this.#askedMs = verdict.afterMs
    this.#forgetSocket()
    if (event === 'lost') {
      endpoints.failed(this.#url)
      if (this.#state !== 'closing') this.#user.trouble(verdict.error)
    }
    this.#step(event)
  }

  #broke(why: string): void {
    this.#error = new TidingsError('unavailable', why)
    this.#askedMs = 0
    this.#connector.endpoints.failed(this.#url)
    if (this.#state !== 'closing') this.#user.trouble(this.#error)
    this.#step('broken')
  }

  #rest(): void {
    const { clock } = this.#connector
    this.#forget()
    if (this.#openedAt > 0 && clock.monotonic() - this.#openedAt >= GOOD_MS) this.#backoff.reset()
    this.#openedAt = 0
    this.#restTimer = clock.after(this.#backoff.next(this.#askedMs), () => this.#step('due'))
    this.#askedMs = 0
  }

  #heard(): void {
    this.#heardAt = this.#connector.clock.monotonic()
    this.#hasProbed = false
  }

  #watchSilence(): void {
    const silentMs = this.#connector.clock.monotonic() - this.#heardAt
    if (silentMs >= SILENCE_MS) return this.#broke(`the broker was silent for ${SILENCE_MS} ms`)
    if (silentMs >= PROBE_MS && !this.#hasProbed) {
      this.#hasProbed = true
      this.send(this.#user.dialect.probe())
    }
    this.#watch((silentMs < PROBE_MS ? PROBE_MS : SILENCE_MS) - silentMs, () => this.#watchSilence())
  }

  #watch(delayMs: number, fire: () => void): void {
    this.#watchTimer?.cancel()
    this.#watchTimer = this.#connector.clock.after(delayMs, fire)
  }

  #terminate(): void {
    const socket = this.#socket
    this.#forgetSocket()
    socket?.terminate()
  }

  #forget(): void {
    this.#forgetSocket()
    this.#watchTimer?.cancel()
    this.#renewal.stop()
  }

  #forgetSocket(): void {
    this.#generation++
    this.#socket = undefined
  }
}
