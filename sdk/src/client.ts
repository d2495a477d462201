/**
 * What a user holds: topics to publish to and to subscribe to, over one broker or several. Owns the publishers and
 * subscriptions made through it, which `close` ends. The platform is handed in by node.ts or browser.ts.
 */
import { Connector } from './connector.ts'
import type { Token } from './credentials.ts'
import type { Platform } from './platform.ts'
import { TidingsError } from './protocol/errors.ts'
import { checkName } from './protocol/limits.ts'
import type { PublishReceipt } from './publish-answer.ts'
import type { PublishOptions } from './publish-entry.ts'
import { Publisher, type PublisherOptions } from './publisher.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import { type DrainOptions, type Handler, Subscription } from './subscription.ts'

export interface ClientOptions {
  /** `http://…` or `https://…`; of several, the next one is used when one fails. */
  url: string | readonly string[]
  /** An API key or a JWT, or a function that gives one whenever one is needed. */
  token?: Token
  /** Longest wait for the receipt of a publish, unless it says otherwise. Default: 2 minutes. */
  publishTimeoutMs?: number
  /** Longest wait for the answer to one request; then it is sent again. Default: 15 s. */
  requestTimeoutMs?: number
  /** Bytes that wait to be published to one topic; past that `publish` waits for room. Default: 64 MiB. */
  bufferBytes?: number
}

const PUBLISHER_DEFAULTS: PublisherOptions = {
  timeoutMs: 120_000,
  requestTimeoutMs: 15_000,
  bufferBytes: 64 * 1_048_576,
  waitingCount: 100_000,
  batchCount: 10_000,
  batchBytes: 1_048_576,
}
const FLUSH_MS = 30_000

export class Client {
  readonly #connector: Connector
  readonly #options: PublisherOptions
  readonly #publishers = new Map<string, Publisher>()
  readonly #subscriptions = new Set<{ drain(options: DrainOptions): Promise<void> }>()
  #closed: Promise<void> | undefined

  constructor(platform: Platform, options: ClientOptions) {
    const { url, token, publishTimeoutMs, requestTimeoutMs, bufferBytes } = options
    this.#connector = new Connector(platform, url, token)
    this.#options = {
      ...PUBLISHER_DEFAULTS,
      timeoutMs: positive('publishTimeoutMs', publishTimeoutMs ?? PUBLISHER_DEFAULTS.timeoutMs),
      requestTimeoutMs: positive('requestTimeoutMs', requestTimeoutMs ?? PUBLISHER_DEFAULTS.requestTimeoutMs),
      bufferBytes: positive('bufferBytes', bufferBytes ?? PUBLISHER_DEFAULTS.bufferBytes),
    }
  }

  /** `T` is what JSON gives back of the values. A pattern (`orders.*`) can be subscribed to and not published to. */
  topic<T = unknown>(name: string): Topic<T> {
    return new Topic<T>(name, {
      publisher: () => this.#publisher(name),
      subscribe: (subscription, options, handler) => this.#subscribe(name, subscription, options, handler),
    })
  }

  /** Resolves when everything published until now has its receipt or its error. */
  async flush(): Promise<void> {
    await Promise.all([...this.#publishers.values()].map((publisher) => publisher.flush()))
  }

  /**
   * Drains the subscriptions, waits for the publishes under way, and ends. Past `timeoutMs` (30 s) what is left of
   * either is given up: handed back, or failed with an error that says so.
   */
  close(options: DrainOptions = {}): Promise<void> {
    this.#closed ??= this.#close(options.timeoutMs ?? FLUSH_MS)
    return this.#closed
  }

  async #close(timeoutMs: number): Promise<void> {
    const drains = [...this.#subscriptions].map((subscription) => subscription.drain({ timeoutMs }))
    // Handlers may publish to the last: their publishes count too.
    await Promise.all([...drains, this.#inTime(this.flush(), timeoutMs)])
    await this.#inTime(this.flush(), timeoutMs)
    for (const publisher of this.#publishers.values()) publisher.close()
    this.#connector.close()
  }

  #publisher(name: string): Publisher {
    let publisher = this.#publishers.get(name)
    if (!publisher) {
      checkName('topic', name)
      if (this.#closed) throw new TidingsError('aborted', 'the client is closed')
      publisher = new Publisher(name, this.#connector, this.#options)
      this.#publishers.set(name, publisher)
    }
    return publisher
  }

  #subscribe<T>(topic: string, name: string, options: SubscribeOptions, handler: Handler<T> | null): Subscription<T> {
    if (this.#closed) throw new TidingsError('aborted', 'the client is closed')
    const subscription = new Subscription<T>(this.#connector, { topic, name, options }, handler)
    this.#subscriptions.add(subscription)
    const forget = (): void => void this.#subscriptions.delete(subscription)
    subscription.closed.then(forget, forget)
    return subscription
  }

  #inTime(promise: Promise<void>, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#connector.clock.after(timeoutMs, resolve)
      void promise.then(() => {
        timer.cancel()
        resolve()
      })
    })
  }
}

interface TopicParts {
  publisher(): Publisher
  subscribe<T>(name: string, options: SubscribeOptions, handler: Handler<T> | null): Subscription<T>
}

export class Topic<T> {
  readonly name: string
  readonly #parts: TopicParts

  constructor(name: string, parts: TopicParts) {
    this.name = name
    this.#parts = parts
  }

  /**
   * Resolves when the message is durable. Rejects with a TidingsError: a PublishError where it says whether the message
   * may be stored all the same. While the buffer is full it waits for room; do not change `value` until it settles.
   */
  async publish(value: T, options: PublishOptions = {}): Promise<PublishReceipt> {
    return this.#parts.publisher().publish(value, options)
  }

  /** As `publish`, but rejects with `overloaded` at once where that would wait for room. */
  async tryPublish(value: T, options: PublishOptions = {}): Promise<PublishReceipt> {
    return this.#parts.publisher().tryPublish(value, options)
  }

  /**
   * With a handler: messages go to it, are acknowledged when it resolves and negatively acknowledged when it throws.
   * Without: iterate over the subscription, and settle each message.
   */
  subscribe(name: string, options?: SubscribeOptions): Subscription<T>
  subscribe(name: string, handler: Handler<T>): Subscription<T>
  subscribe(name: string, options: SubscribeOptions, handler: Handler<T>): Subscription<T>
  subscribe(name: string, second?: SubscribeOptions | Handler<T>, third?: Handler<T>): Subscription<T> {
    const options = typeof second === 'function' ? {} : (second ?? {})
    const handler = typeof second === 'function' ? second : (third ?? null)
    return this.#parts.subscribe(name, options, handler)
  }
}

function positive(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new TidingsError('invalid_argument', `${name} must be a whole number above 0`)
}
