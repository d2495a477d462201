/**
 * One consumer of a subscription at work: takes what the broker delivers, keeps its deadlines ahead while it waits or
 * is handled, and tells the broker what was decided, all of one turn in few frames. What lies here is holding.ts's
 * to know, what is to be told settlements.ts's; this owns the connection and the timers. subscription.ts takes
 * the messages from here and gives them to the user.
 */
import { Connection, type ConnectionUser } from './connection.ts'
import type { ConnectionState } from './connection-state.ts'
import type { Connector } from './connector.ts'
import { consumeDialect } from './consume-dialect.ts'
import { Fences } from './fences.ts'
import type { Held, HeldOwner } from './held.ts'
import { Holding } from './holding.ts'
import type { Decision } from './message.ts'
import { Parcel, type Span } from './parcel.ts'
import type { Timer } from './platform.ts'
import {
  encodeConsumeRequest,
  type MessagesEvent,
  readConsumeEvent,
  type WelcomeEvent,
} from './protocol/consume-frames.ts'
import { isErrorCode, TidingsError } from './protocol/errors.ts'
import * as LIMITS from './protocol/limits.ts'
import { Settlements } from './settlements.ts'
import type { Stretch } from './stretch.ts'
import { checkedOptions, type SubscribeOptions, streamPath } from './subscribe-options.ts'
import { ToldTopics } from './told-topics.ts'

export interface ConsumerOwner {
  /** There may be messages to take, or one less is being handled. */
  progress(): void
  finished(error: TidingsError | null): void
}

/** A broker speaks first, and at once. */
const WELCOME_MS = 15_000
const ACK: Decision = { verb: 'ack' }

export class Consumer<T> implements ConnectionUser, HeldOwner {
  readonly dialect = consumeDialect
  readonly #connector: Connector
  readonly #options: SubscribeOptions
  readonly #owner: ConsumerOwner
  readonly #hasHandler: boolean
  readonly #heldMax: number
  readonly #connection: Connection
  readonly #holding: Holding<T>
  readonly #settlements = new Settlements()
  readonly #fences = new Fences()
  /** Of the present connection. */
  #told = new ToldTopics()
  #mode: 'running' | 'draining' | 'finished' = 'running'
  #isFlushDue = false
  #extendTimer: Timer | undefined
  #welcomeTimer: Timer | undefined

  constructor(
    connector: Connector,
    subscribed: { topic: string; name: string; options: SubscribeOptions; hasHandler: boolean },
    owner: ConsumerOwner,
  ) {
    const { topic, name, options, hasHandler } = subscribed
    const { maxExtensionMs, prefetch, concurrency, ...settings } = checkedOptions(options)
    this.#connector = connector
    this.#options = options
    this.#owner = owner
    this.#hasHandler = hasHandler
    this.#heldMax = 2 * prefetch + 100
    this.#holding = new Holding(this, settings, { hasHandler, concurrency, maxExtensionMs })
    this.#connection = new Connection(connector, streamPath(topic, name, options), this)
  }

  get state(): ConnectionState {
    return this.#connection.state
  }

  /** Messages that were taken and not finished. */
  get runningCount(): number {
    return this.#holding.runningCount
  }

  /** Those messages. */
  running(): Held<T>[] {
    return this.#holding.running() as Held<T>[]
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

  /** Its handler has ended; `failure` is null where it did well. Whoever says so goes on by itself. */
  finished(held: Held<T>, failure: { reason: string } | null): void {
    if (!held.message.isSettled && this.#mode !== 'finished') {
      if (failure) held.message.nack(failure)
      else this.#decide(held, ACK, null)
    }
    this.#holding.finished(held)
  }

  /** No new messages; what waits is handed back. */
  drain(): void {
    if (this.#mode !== 'running') return
    this.#mode = 'draining'
    this.#connection.drain()
    this.#release(this.#holding.takeWaiting())
    this.#flushSoon()
  }

  /** Hands back what is still being handled, and asks whether all acknowledgements are durable. */
  giveUp(): void {
    this.#release(this.#holding.running().filter(({ isLeased }) => isLeased))
    this.#settlements.confirmLatest()
    this.#flushSoon()
  }

  stop(): void {
    this.#connection.stop()
  }

  /** The broker does not answer. */
  cut(): void {
    this.#connection.giveUp('the broker did not confirm the last acknowledgements')
  }

  // --- decisions of messages ---

  settle(held: Held<unknown>, decision: Decision, isAwaited: boolean): Promise<boolean> {
    if (this.#mode === 'finished' || (this.#hasHandler && held.isDone)) return Promise.resolve(false)
    const decided = new Promise<boolean>((resolve) => {
      this.#decide(held, decision, isAwaited ? resolve : null)
      if (!isAwaited) resolve(false)
    })
    this.#owner.progress()
    return decided
  }

  extend(held: Held<unknown>, ms: number): void {
    held.leasedAt = this.#connector.clock.monotonic()
    this.#settlements.extend(held, ms)
    this.#flushSoon()
  }

  #decide(held: Held<unknown>, decision: Decision, done: ((isAcked: boolean) => void) | null): void {
    const { isLeased, attempt } = held
    this.#holding.settled(held)
    if (decision.verb === 'ack' || decision.verb === 'reject') {
      this.#settlements.final(held, attempt, decision, done, isLeased)
    } else if (isLeased) {
      // A failure under a delivery that is gone says nothing: the message comes again anyway.
      if (decision.verb === 'release') this.#settlements.release(held)
      else this.#settlements.nack(held, decision.delayMs, decision.reason?.slice(0, LIMITS.reasonBytes))
      this.#release(this.#holding.behind(held))
      this.#raiseFence(held)
    }
    this.#flushSoon()
  }

  #raiseFence({ topic, partition, from, message }: Held<unknown>): void {
    const { type } = this.#holding.settings
    const key = type === 'key_shared' ? message.key : null
    if (type === 'shared' || (type === 'key_shared' && key === null)) return
    this.#fences.raise(topic, partition, key, from)
  }

  #release(stretches: readonly Stretch[]): void {
    for (const stretch of stretches) this.#settlements.release(stretch)
    if (stretches.length > 0) this.#flushSoon()
  }

  // --- from the connection ---

  opened(): void {
    this.#told = new ToldTopics()
    this.#welcomeTimer = this.#connector.clock.after(WELCOME_MS, () => {
      this.#connection.giveUp('the broker did not begin with a welcome')
    })
    this.#extendLater()
    this.#tell(this.#options.onConnect)
  }

  received(data: string | Uint8Array): void {
    if (typeof data === 'string')
      throw new TidingsError('invalid_argument', 'the broker sent a text on a binary protocol')
    const event = readConsumeEvent(data)
    if (event === null) return
    if (event.type === 'welcome') return this.#welcome(event)
    if (!this.#told.isWelcome) throw new TidingsError('invalid_argument', 'the broker did not begin with a welcome')
    switch (event.type) {
      case 'messages':
        return this.#messages(event)
      case 'topic':
        this.#told.topic(event.topic, event.name)
        if (!this.#settlements.isClear) this.#flushSoon()
        return
      case 'acked':
        this.#fences.answered(event.request)
        this.#settlements.acked(
          event.request,
          event.ranges.map((range) => this.#told.stretchOf(range)),
        )
        if (!this.#settlements.isClear) this.#flushSoon()
        return this.#owner.progress()
      case 'error':
        this.trouble(new TidingsError(isErrorCode(event.code) ? event.code : 'internal', event.detail))
        this.#settlements.failed(event.request)
        return this.#owner.progress()
      case 'gap': {
        const { topic, partition, from, to } = this.#told.stretchOf(event)
        return this.#tell(this.#options.onGap, { topic, partition, from, to: to - 1 })
      }
    }
  }

  left(): void {
    this.#extendTimer?.cancel()
    this.#welcomeTimer?.cancel()
    this.#settlements.left(this.#connector.clock.monotonic())
    this.#fences.left()
    this.#holding.left()
    this.#owner.progress()
  }

  trouble(error: TidingsError): void {
    this.#tell(this.#options.onError, error)
  }

  finishedForGood(error: TidingsError | null): void {
    this.#mode = 'finished'
    this.#extendTimer?.cancel()
    this.#welcomeTimer?.cancel()
    this.#settlements.end()
    this.#holding.left()
    this.#owner.finished(error)
  }

  // --- within ---

  #welcome(event: WelcomeEvent): void {
    this.#told.welcome(event)
    this.#welcomeTimer?.cancel()
    const { subscriptionType: type, ackDeadlineMs } = event
    // What this user asked for counts only where it created the subscription.
    this.#holding.settings = { type, ackDeadlineMs }
    this.#extendLater()
    this.#flushSoon()
  }

  #messages(event: MessagesEvent): void {
    const now = this.#connector.clock.monotonic()
    const topic = this.#told.nameOf(event.topic)
    const parcel = new Parcel(event, topic, this.#told.idPrefixOf(topic), now)
    const { partition, baseOffset: from, count } = parcel
    if (this.#mode !== 'running') return this.#release([{ topic, partition, from, to: from + count }])
    if (this.#holding.count + count > this.#heldMax) {
      throw new TidingsError('invalid_argument', 'the broker sends far more messages than it was asked for')
    }
    let isMore = false
    for (const span of this.#settlements.fresh(parcel, now)) isMore = this.#arrive(span, now) || isMore
    if (!this.#settlements.isClear) this.#flushSoon()
    if (isMore) this.#owner.progress()
  }

  /** Answers whether there is more to be handled. */
  #arrive(span: Span, now: number): boolean {
    if (this.#fences.isEmpty) return this.#holding.arrive(span, now)
    const { free, back } = this.#fences.part(span, this.#holding.settings.type === 'key_shared')
    for (const { parcel, from, to } of back) {
      const { topic, partition, baseOffset } = parcel
      this.#release([{ topic, partition, from: baseOffset + from, to: baseOffset + to }])
    }
    let isMore = false
    for (const part of free) isMore = this.#holding.arrive(part, now) || isMore
    return isMore
  }

  #extendLater(): void {
    this.#extendTimer?.cancel()
    this.#extendTimer = this.#connector.clock.after(this.#holding.extensionIntervalMs, () => {
      const { ackDeadlineMs } = this.#holding.settings
      for (const at of this.#holding.due(this.#connector.clock.monotonic())) this.#settlements.extend(at, ackDeadlineMs)
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
      if (this.#connection.isLive && this.#told.isWelcome) this.#flush()
      this.#owner.progress()
    })
  }

  #flush(): void {
    const requests = this.#settlements.take(this.#told.numberOf)
    for (const name of this.#told.unasked(this.#settlements.topics)) requests.push({ type: 'name', request: 0, name })
    for (const request of requests) this.#connection.send(encodeConsumeRequest(request))
    // An acknowledgement of nothing is answered at once, behind all that was sent before the broker knew.
    const question = this.#fences.isEmpty ? null : this.#fences.ask()
    if (question !== null) this.#connection.send(encodeConsumeRequest({ type: 'ack', request: question, ranges: [] }))
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
