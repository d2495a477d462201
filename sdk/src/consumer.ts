/**
 * One consumer of a subscription at work: takes what the broker delivers, keeps its deadlines ahead while it waits or
 * is handled, and tells the broker what was decided, all of one turn in few frames. What lies here is holding.ts's
 * to know, what is to be told settlements.ts's; this owns the connection and the timers. subscription.ts takes
 * the messages from here and gives them to the user.
 */
import { Connection, type ConnectionUser } from './connection.ts'
import type { ConnectionState } from './connection-state.ts'
import type { Connector } from './connector.ts'
import { type Held, Holding, type HoldingSettings } from './holding.ts'
import { jsonDialect } from './json-dialect.ts'
import { type Decided, type Decision, Message } from './message.ts'
import type { Timer } from './platform.ts'
import { isErrorCode } from './problem.ts'
import { TidingsError } from './protocol/errors.ts'
import { readServerFrame } from './server-frame.ts'
import { Settlements } from './settlements.ts'
import { checkedOptions, type SubscribeOptions, streamPath, subscriptionPath } from './subscribe-options.ts'
import { askSettings } from './told-settings.ts'

export interface ConsumerOwner {
  /** There may be messages to take, or one less is being handled. */
  progress(): void
  finished(error: TidingsError | null): void
}

/** Acknowledgements that are told again at the end, so that their answer proves them durable. */
const CONFIRMED_LAST = 1000

export class Consumer<T> implements ConnectionUser, Decided {
  readonly dialect = jsonDialect
  readonly #connector: Connector
  readonly #options: SubscribeOptions
  readonly #owner: ConsumerOwner
  readonly #hasHandler: boolean
  readonly #settingsPath: string
  readonly #heldMax: number
  readonly #connection: Connection
  readonly #holding: Holding<T>
  readonly #settlements = new Settlements()
  /** Came before the broker told the subscription's settings, on which order and deadlines depend. */
  #early: Message<T>[] | null = null
  #openings = 0
  #mode: 'running' | 'draining' | 'finished' = 'running'
  #isFlushDue = false
  #extendTimer: Timer | undefined

  constructor(
    connector: Connector,
    subscribed: { topic: string; name: string; options: SubscribeOptions; hasHandler: boolean },
    owner: ConsumerOwner,
  ) {
    const { topic, name, options, hasHandler } = subscribed
    const { maxExtensionMs, prefetch, ...settings } = checkedOptions(options)
    this.#connector = connector
    this.#options = options
    this.#owner = owner
    this.#hasHandler = hasHandler
    this.#settingsPath = subscriptionPath(topic, name)
    this.#heldMax = 2 * prefetch + 100
    this.#holding = new Holding(settings, hasHandler, maxExtensionMs)
    this.#connection = new Connection(connector, streamPath(topic, name, options), this)
  }

  get state(): ConnectionState {
    return this.#connection.state
  }

  /** Messages that were taken and not finished. */
  get runningCount(): number {
    return this.#holding.runningCount
  }

  /** Nothing is left to tell the broker, or nobody to tell it to. */
  get isClear(): boolean {
    return !this.#connection.isLive || (this.#settlements.isClear && !this.#isFlushDue)
  }

  start(): void {
    this.#connection.start()
  }

  /** The next message to be handled, while there is one. */
  take(): Held<T> | undefined {
    return this.#mode === 'running' ? this.#holding.next() : undefined
  }

  /** Its handler has ended; `failure` is null where it did well. */
  finished(held: Held<T>, failure: { reason: string } | null): void {
    const { message } = held
    if (!message.isSettled && this.#mode !== 'finished') {
      if (failure) message.nack(failure)
      else this.#decide(held, message, { verb: 'ack' }, null)
    }
    this.#holding.finished(held)
  }

  /** No new messages; what waits is handed back. */
  drain(): void {
    if (this.#mode !== 'running') return
    this.#mode = 'draining'
    this.#connection.drain()
    this.#release(this.#holding.takeWaiting())
    for (const { id, attempt } of this.#early?.splice(0) ?? []) {
      this.#settlements.add(id, attempt, { verb: 'release' }, null)
    }
    this.#flushSoon()
  }

  /** Hands back what is still being handled, and asks whether all acknowledgements are durable. */
  giveUp(): void {
    this.#release(this.#holding.running())
    this.#settlements.confirmLatest(CONFIRMED_LAST)
    this.#flushSoon()
  }

  stop(): void {
    this.#connection.stop()
  }

  // --- decisions of messages ---

  settle(message: Message<unknown>, decision: Decision, isAwaited: boolean): Promise<boolean> {
    const held = this.#holding.find(message)
    if (this.#mode === 'finished' || (this.#hasHandler && !held)) return Promise.resolve(false)
    if (!isAwaited) {
      this.#decide(held, message, decision, null)
      return Promise.resolve(false)
    }
    return new Promise((resolve) => this.#decide(held, message, decision, resolve))
  }

  extend(message: Message<unknown>, ms: number): void {
    const held = this.#holding.find(message)
    if (held) held.leasedAt = this.#connector.clock.monotonic()
    this.#settlements.extend([message.id], ms)
    this.#flushSoon()
  }

  #decide(
    held: Held<T> | undefined,
    message: Message<unknown>,
    decision: Decision,
    done: ((isAcked: boolean) => void) | null,
  ): void {
    const isFinal = decision.verb === 'ack' || decision.verb === 'reject'
    const isLeased = held?.isLeased ?? true
    if (held) this.#holding.settled(held)
    // A failure under a delivery that is gone says nothing: the message comes again anyway.
    if (isFinal || isLeased) this.#settlements.add(message.id, held?.attempt ?? message.attempt, decision, done)
    if (!isFinal && isLeased) this.#release(this.#holding.behind(message))
    this.#flushSoon()
    this.#owner.progress()
  }

  #release(all: readonly Held<T>[]): void {
    for (const { message, attempt, isLeased } of all) {
      if (isLeased) this.#settlements.add(message.id, attempt, { verb: 'release' }, null)
    }
    if (all.length > 0) this.#flushSoon()
  }

  // --- from the connection ---

  opened(): void {
    const opening = ++this.#openings
    this.#early = []
    askSettings(this.#connector, this.#settingsPath, (told) => {
      if (opening === this.#openings) this.#learned(told)
    })
    this.#extendLater()
    this.#flushSoon()
    this.#tell(this.#options.onConnect)
  }

  received(data: string | Uint8Array): void {
    if (typeof data !== 'string') throw new TidingsError('invalid_argument', 'the broker sent a frame that is no text')
    const frame = readServerFrame(data)
    switch (frame?.type) {
      case 'message':
        return this.#message(new Message<T>(frame, this))
      case 'acked':
        this.#settlements.acked(frame.request, frame.ids ?? [])
        if (!this.#settlements.isClear) this.#flushSoon()
        return this.#owner.progress()
      case 'error':
        this.trouble(new TidingsError(isErrorCode(frame.code) ? frame.code : 'internal', String(frame.detail)))
        this.#settlements.failed(frame.request)
        return this.#owner.progress()
      case 'gap': {
        const { topic, partition, from, to } = frame
        return this.#tell(this.#options.onGap, { topic, partition, from, to })
      }
      case undefined:
    }
  }

  left(): void {
    this.#openings++
    this.#early = null
    this.#extendTimer?.cancel()
    this.#settlements.left(this.#connector.clock.monotonic())
    this.#holding.left()
    this.#owner.progress()
  }

  trouble(error: TidingsError): void {
    this.#tell(this.#options.onError, error)
  }

  finishedForGood(error: TidingsError | null): void {
    this.#mode = 'finished'
    this.#extendTimer?.cancel()
    this.#settlements.end()
    this.#holding.left()
    this.#owner.finished(error)
  }

  // --- within ---

  #message(message: Message<T>): void {
    const now = this.#connector.clock.monotonic()
    if (this.#mode !== 'running') {
      this.#settlements.add(message.id, message.attempt, { verb: 'release' }, null)
      return this.#flushSoon()
    }
    if (this.#settlements.isRepeated(message.id, message.attempt, now)) return this.#flushSoon()
    if (this.#holding.count + (this.#early?.length ?? 0) >= this.#heldMax) {
      throw new TidingsError('invalid_argument', 'the broker sends far more messages than it was asked for')
    }
    if (this.#early) this.#early.push(message)
    else if (this.#holding.arrive(message, now)) this.#owner.progress()
  }

  #learned(told: HoldingSettings | null): void {
    if (told) this.#holding.settings = told
    const now = this.#connector.clock.monotonic()
    const early = this.#early ?? []
    this.#early = null
    for (const message of early) this.#holding.arrive(message, now)
    this.#extendLater()
    this.#owner.progress()
  }

  #extendLater(): void {
    this.#extendTimer?.cancel()
    this.#extendTimer = this.#connector.clock.after(this.#holding.extensionIntervalMs, () => {
      const ids = this.#holding.due(this.#connector.clock.monotonic())
      this.#settlements.extend(ids, this.#holding.settings.ackDeadlineMs)
      this.#flushSoon()
      this.#extendLater()
    })
  }

  /** What is decided in one turn of the event loop leaves together. */
  #flushSoon(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#connector.clock.soon(() => {
      this.#isFlushDue = false
      if (this.#connection.isLive)
        for (const frame of this.#settlements.take()) this.#connection.send(JSON.stringify(frame))
      this.#owner.progress()
    })
  }

  /** A callback of the user's must not break what called it. */
  #tell<A extends unknown[]>(callback: ((...args: A) => void) | undefined, ...args: A): void {
    try {
      callback?.(...args)
    } catch {
      // There is nobody else to tell.
    }
  }
}
