/**
 * A subscription in a user's hands: messages go to a handler, so many at a time, or to `for await`; `drain` ends it in
 * order. Connections come and go beneath without being noticed here.
 */
import type { ConnectionState } from './connection-state.ts'
import type { Connector } from './connector.ts'
import { Consumer } from './consumer.ts'
import type { Held } from './held.ts'
import type { Message } from './message.ts'
import type { AcknowledgedThrough } from './processed-store.ts'
import type { TidingsError } from './protocol/errors.ts'
import * as LIMITS from './protocol/limits.ts'
import { checkedOptions, type SubscribeOptions } from './subscribe-options.ts'

/** Called for each message: acknowledged when it resolves, tried again when it throws. */
export type Handler<T> = (message: Message<T>) => unknown

/** Sees a message before anybody else; false: it has settled the message itself, and nobody is to see it. */
export type Inspector = (message: Message<unknown>) => boolean | Promise<boolean>

/** How `drain` ends a subscription. */
export interface DrainOptions {
  /** Handlers that take longer are not waited for: their messages are handed back. Default: 30 s. */
  timeoutMs?: number
  /**
   * In a handler, or in the body of a loop: its own message. Then the promise waits for all but that one, which is
   * waited for afterwards. A handler that calls before its first `await` need not say it.
   */
  inside?: Message<unknown>
}

const DRAIN_MS = 30_000
/** How long the broker may take to confirm what was decided last, and to close. */
const FLUSH_MS = 5000

/** Handlers that are started in one go. */
const STARTED_MAX = 32

export interface Subscribed {
  topic: string
  name: string
  options: SubscribeOptions
  /** Asks the broker how far it has everything acknowledged. */
  acknowledged: () => Promise<AcknowledgedThrough[]>
}

interface Taker<T> {
  give: (held: Held<T> | undefined) => void
  reject: (error: TidingsError) => void
}

interface Watcher {
  isDone: () => boolean
  end: () => void
}

/** Made by `topic.subscribe`. */
export class Subscription<T> implements AsyncIterable<Message<T>> {
  /** The topic, or the pattern of topics. */
  readonly topic: string
  /** The name of the subscription, which is durable at the broker. */
  readonly name: string
  /** Resolves when it has been drained; rejects with what ended it otherwise. Nobody has to listen. */
  readonly closed: Promise<void>
  readonly #connector: Connector
  readonly #acknowledged: () => Promise<AcknowledgedThrough[]>
  readonly #consumer: Consumer<T>
  readonly #handler: Handler<T> | null
  readonly #inspect: Inspector | null
  readonly #options: SubscribeOptions
  readonly #concurrency: number
  #error: TidingsError | null = null
  #isOver = false
  #isDraining = false
  #isHandling = false
  /** The handler that is being called at this moment. */
  #calling: Held<T> | null = null
  /** What the bodies of loops have. */
  readonly #bodies = new Set<Held<T>>()
  /** Of those who wait for a drain that waits for them. */
  readonly #callers = new Set<Held<unknown>>()
  #close!: (error: TidingsError | null) => void
  #drained: Promise<void> | undefined
  /** Ends the wait of a drain for handlers, while there is one. */
  #waitsForHandlers: (() => void) | null = null
  /** Iterators that wait for the next message. */
  #takers: Taker<T>[] = []
  #watchers: Watcher[] = []

  /** Throws `invalid_argument`. With a handler it connects at once, without one when iteration begins. */
  constructor(
    connector: Connector,
    subscribed: Subscribed,
    handler: Handler<T> | null,
    inspect: Inspector | null = null,
  ) {
    const { topic, name, options, acknowledged } = subscribed
    this.topic = topic
    this.#acknowledged = acknowledged
    this.name = name
    this.#connector = connector
    this.#handler = handler
    this.#inspect = inspect
    this.#options = options
    this.#concurrency = checkedOptions(options).concurrency
    this.closed = new Promise((resolve, reject) => {
      this.#close = (error) => (error ? reject(error) : resolve())
    })
    this.closed.catch(() => undefined)
    this.#consumer = new Consumer(
      connector,
      { topic, name, options, hasHandler: handler !== null },
      {
        progress: () => this.#progress(),
        finished: (error) => this.#finished(error),
      },
    )
    if (handler) this.#consumer.start()
  }

  /** `open` while messages can come; `connecting` and `waiting` while that is being mended. */
  get state(): ConnectionState {
    return this.#consumer.state
  }

  /**
   * Takes no more messages, lets handlers finish, tells the broker what they decided and hears that it is durable,
   * hands the rest back uncounted, and closes. Never rejects; called again it gives the same promise, and may shorten
   * the wait for handlers.
   */
  drain(options: DrainOptions = {}): Promise<void> {
    const { timeoutMs = DRAIN_MS, inside } = options
    const caller = this.#calling ?? this.#consumer.running().find(({ message }) => message === inside)
    if (this.#drained) this.#hurry(timeoutMs)
    else this.#drained = this.#drain(timeoutMs)
    if (!caller) return this.#drained
    this.#callers.add(caller)
    return this.#until(() => this.#isOver || this.#busyCount <= this.#callers.size, timeoutMs)
  }

  /** Handlers that have not ended, or messages that the body of a loop has and has not settled. */
  get #busyCount(): number {
    for (const caller of this.#callers) if (caller.isDone) this.#callers.delete(caller)
    if (this.#handler) return this.#consumer.runningCount
    let count = 0
    for (const held of this.#bodies) if (!held.isDone) count++
    return count
  }

  #hurry(timeoutMs: number): void {
    const isPast = (): boolean => this.#waitsForHandlers === null
    void this.#until(isPast, timeoutMs).then(() => this.#waitsForHandlers?.())
  }

  /** How far the broker has everything acknowledged, by topic and partition. Rejects with a TidingsError. */
  acknowledgedThrough(): Promise<AcknowledgedThrough[]> {
    return this.#acknowledged()
  }

  /** The messages one after another. Leaving the loop drains the subscription. */
  [Symbol.asyncIterator](): AsyncIterator<Message<T>, undefined> {
    if (this.#handler) throw new TypeError('this subscription gives its messages to its handler')
    this.#consumer.start()
    const leave = async (): Promise<IteratorReturnResult<undefined>> => {
      await this.drain({ timeoutMs: 0 })
      return { done: true, value: undefined }
    }
    let body: Held<T> | undefined
    const next = (): Promise<IteratorResult<Message<T>, undefined>> => {
      // Who asks for the next is done with the one before, settled or not.
      if (body && this.#bodies.delete(body)) this.#look()
      return this.#next((held) => {
        body = held
        if (!held) return { done: true, value: undefined }
        this.#bodies.add(held)
        return { done: false, value: held.message }
      })
    }
    return { next: () => (this.#inspect ? nextPassed(next, this.#inspect) : next()), return: leave, throw: leave }
  }

  #next(
    result: (held: Held<T> | undefined) => IteratorResult<Message<T>, undefined>,
  ): Promise<IteratorResult<Message<T>, undefined>> {
    const held = this.#consumer.take()
    if (held) return Promise.resolve(result(held))
    if (this.#error) return Promise.reject(this.#error)
    if (this.#isOver || this.#isDraining) return Promise.resolve(result(undefined))
    return new Promise((resolve, reject) => {
      this.#takers.push({ give: (given) => resolve(result(given)), reject })
    })
  }

  /** Something changed: gives out what can be given, and tells who waits for an end. */
  #progress(): void {
    if (this.#handler) this.#handle(this.#handler)
    while (this.#takers.length > 0) {
      const held = this.#consumer.take()
      if (!held) break
      this.#takers.shift()!.give(held)
    }
    this.#look()
  }

  #look(): void {
    for (const watcher of this.#watchers) if (watcher.isDone()) watcher.end()
  }

  #handle(handler: Handler<T>): void {
    // A handler that ends at once leads back here, where the loop goes on by itself.
    if (this.#isHandling) return
    this.#isHandling = true
    let started = 0
    while (this.#consumer.runningCount < this.#concurrency) {
      const held = this.#consumer.take()
      if (!held) break
      if (this.#run(handler, held) || ++started < STARTED_MAX) continue
      // Those that have ended meanwhile make room, in memory too, before more begin.
      queueMicrotask(() => this.#handle(handler))
      break
    }
    this.#isHandling = false
  }

  /** Whether it has ended already: a handler that ends at once costs no promise. */
  #run(handler: Handler<T>, held: Held<T>): boolean {
    let ended: unknown
    try {
      ended = this.#inspect === null ? this.#call(handler, held) : this.#inspected(this.#inspect, handler, held)
    } catch (error) {
      this.#failed(held, error)
      return true
    }
    if (!isThenable(ended)) {
      this.#consumer.finished(held, null)
      return true
    }
    Promise.resolve(ended).then(
      () => {
        this.#consumer.finished(held, null)
        this.#progress()
      },
      (error: unknown) => {
        this.#failed(held, error)
        this.#progress()
      },
    )
    return false
  }

  async #inspected(inspect: Inspector, handler: Handler<T>, held: Held<T>): Promise<void> {
    if (await inspect(held.message)) await this.#call(handler, held)
  }

  #call(handler: Handler<T>, held: Held<T>): unknown {
    this.#calling = held
    try {
      return handler(held.message)
    } finally {
      this.#calling = null
    }
  }

  #failed(held: Held<T>, error: unknown): void {
    this.#consumer.finished(held, { reason: reasonOf(error) })
    try {
      this.#options.onFailure?.(error, held.message)
    } catch {
      // There is nobody else to tell.
    }
  }

  #finished(error: TidingsError | null): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#error = error
    for (const { give, reject } of this.#takers.splice(0)) {
      if (error) reject(error)
      else give(undefined)
    }
    this.#progress()
    // A drain ends only when the handlers have, too.
    if (!this.#isDraining) this.#close(error)
  }

  async #drain(timeoutMs: number): Promise<void> {
    this.#isDraining = true
    for (const { give } of this.#takers.splice(0)) give(undefined)
    this.#consumer.drain()
    if (timeoutMs > 0) {
      let isHurried = false
      this.#waitsForHandlers = () => {
        isHurried = true
        this.#look()
      }
      await this.#until(() => isHurried || this.#busyCount === 0, timeoutMs)
    }
    this.#waitsForHandlers = null
    this.#look()
    this.#consumer.giveUp()
    await this.#until(() => this.#consumer.isClear, FLUSH_MS)
    // A broker that did not answer will not answer a goodbye either.
    if (this.#consumer.isClear) this.#consumer.stop()
    else this.#consumer.cut()
    await this.#until(() => this.#isOver, FLUSH_MS)
    this.#close(this.#error)
  }

  #until(isDone: () => boolean, timeoutMs: number): Promise<void> {
    if (isDone()) return Promise.resolve()
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel()
        this.#watchers = this.#watchers.filter((other) => other !== watcher)
        resolve()
      }
      const watcher: Watcher = { isDone, end }
      const timer = this.#connector.clock.after(timeoutMs, end)
      this.#watchers.push(watcher)
    })
  }
}

async function nextPassed<T>(
  next: () => Promise<IteratorResult<Message<T>, undefined>>,
  inspect: Inspector,
): Promise<IteratorResult<Message<T>, undefined>> {
  for (;;) {
    const result = await next()
    if (result.done || (await inspect(result.value))) return result
  }
}

/** Anything can be thrown, also what has no text. */
function reasonOf(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    return text.slice(0, LIMITS.reasonBytes / 4)
  } catch {
    return 'a handler failed with what has no text'
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
