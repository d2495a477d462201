/**
 * The token that the broker is shown: fixed, or asked from the user's function when there is none, when the one
 * at hand is refused, and ahead of its end where it is a JWT that tells it. One question at a time.
 */

import { clientClosed, invalid } from './option-checks.ts'
import type { Clock } from './platform.ts'
import { TidingsError } from './protocol/errors.ts'

/** An API key or a JWT, or what gives one when it is asked; it may be asked again when the token is refused or near its end. */
export type Token = string | (() => string | Promise<string>)

/** A token is replaced so long before its end, or after half of its life when that is later. */
const AHEAD_MS = 60_000
const ANSWER_MS = 10_000
/** What a header can carry. */
const TOKEN = /^[\x21-\x7e]+$/

export class Credentials {
  readonly #clock: Clock
  readonly #source: (() => string | Promise<string>) | undefined
  #token: string | undefined
  /** Monotonic time from which on it is replaced. */
  #staleAt = Number.POSITIVE_INFINITY
  #asking: Promise<string | undefined> | undefined
  #giveUp: ((error: TidingsError) => void) | undefined

  constructor(clock: Clock, token: Token | undefined) {
    this.#clock = clock
    if (typeof token === 'function') this.#source = token
    else if (token === undefined || TOKEN.test(token)) this.#token = token
    else throw invalid('the token has characters that no token has')
  }

  /** Whether a refused token can be replaced by another. */
  get isRenewable(): boolean {
    return this.#source !== undefined
  }

  /** The token to use, where none has to be asked for; else null, and `ask` is to be called. */
  peek(): { token: string | undefined } | null {
    if (!this.#source) return { token: this.#token }
    if (this.#token === undefined || this.#clock.monotonic() >= this.#staleAt) return null
    return { token: this.#token }
  }

  /** Milliseconds until the token should be replaced, or null when it never says. */
  dueInMs(): number | null {
    return Number.isFinite(this.#staleAt) ? Math.max(0, this.#staleAt - this.#clock.monotonic()) : null
  }

  /** This token was refused: ask for another before the next use. */
  refused(token: string | undefined): void {
    if (this.#source && token === this.#token) this.#token = undefined
  }

  /** Asks for a token. Rejects with `unauthenticated` when none is given, `unavailable` when none comes in time. */
  ask(): Promise<string | undefined> {
    const source = this.#source
    if (!source) return Promise.resolve(this.#token)
    this.#asking ??= this.#inTime(source).finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  /** Nobody waits for a token any more. */
  close(): void {
    this.#giveUp?.(clientClosed())
  }

  #inTime(source: () => string | Promise<string>): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(ANSWER_MS, () => {
        reject(new TidingsError('unavailable', `the token function did not answer within ${ANSWER_MS} ms`))
      })
      this.#giveUp = (error) => {
        timer.cancel()
        reject(error)
      }
      const fail = (cause: unknown): void => {
        timer.cancel()
        reject(new TidingsError('unauthenticated', 'the token function gave no token', { cause }))
      }
      const take = (token: unknown): void => {
        if (typeof token !== 'string' || !TOKEN.test(token)) return fail(token)
        timer.cancel()
        this.#keep(token)
        resolve(token)
      }
      new Promise<string>((settle) => settle(source())).then(take, fail)
    })
  }

  #keep(token: string): void {
    this.#token = token
    const endsAt = endOf(token)
    const leftMs = endsAt === null ? Number.POSITIVE_INFINITY : endsAt - this.#clock.now()
    this.#staleAt = this.#clock.monotonic() + Math.max(leftMs - AHEAD_MS, leftMs / 2)
  }
}

/** When a JWT ends, milliseconds since the epoch; null for any other token. The broker checks it, not we. */
function endOf(token: string): number | null {
  const payload = token.split('.')[1]
  if (payload === undefined) return null
  try {
    const { exp } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/'))) as { exp?: unknown }
    return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : null
  } catch {
    return null
  }
}
