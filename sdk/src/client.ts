/**
 * What a user holds: topics to publish to and to subscribe to, over one broker or several. Owns the publishers and
 * subscriptions made through it, which `close` ends. The platform is handed in by node.ts or browser.ts.
 */
import type { Asking, AskingKit } from './asking.ts'
import { Connector, type Refused, type Surroundings } from './connector.ts'
import type { Token } from './credentials.ts'
import type { TopicDefinition } from './define-topic.ts'
import { checkKnown, clientClosed, integer, invalid } from './option-checks.ts'
import { TidingsError } from './protocol/errors.ts'
import { checkName } from './protocol/names.ts'
import type { PublishGate } from './publish-gate.ts'
import { PublishLink } from './publish-link.ts'
import { Publisher, type PublisherOptions } from './publisher.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import { type DrainOptions, type Handler, type Inspector, type Subscribed, Subscription } from './subscription.ts'
import { Topic } from './topic.ts'
import type { TopicParts } from './topic-parts.ts'

/** Of any types. */
type AnyDefinition = Pick<TopicDefinition<never, unknown>, 'name' | 'bind'>

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
  batchBytes: 262_144,
}
const KNOWN: Readonly<Record<keyof ClientOptions, 1>> = {
  url: 1,
  token: 1,
  publishTimeoutMs: 1,
  requestTimeoutMs: 1,
  bufferBytes: 1,
}
const FLUSH_MS = 30_000
/** The broker deletes an inbox that is left, too. */
const INBOX_CLOSE_MS = 2000

type LoadAsking = () => AskingKit | Promise<AskingKit>

export class Client {
  readonly #connector: Connector
  readonly #loadAsking: LoadAsking
  readonly #options: PublisherOptions
  readonly #link: PublishLink
  readonly #publishers = new Map<string, Publisher>()
  readonly #subscriptions = new Set<{ drain(options: DrainOptions): Promise<void> }>()
  /** What was made of definitions: checks are set up once for each. */
  readonly #defined = new WeakMap<AnyDefinition, TopicParts>()
  readonly #busyGates = new Set<PublishGate>()
  /** Being loaded, or there. */
  #askingSoon: Promise<Asking> | undefined
  #asking: Asking | undefined
  #closed: Promise<void> | undefined

  constructor(platform: Surroundings, options: ClientOptions, loadAsking: LoadAsking, refused?: Refused) {
    checkKnown('createClient', options, KNOWN)
    const { url, token, publishTimeoutMs, requestTimeoutMs, bufferBytes } = options
    this.#connector = new Connector(platform, url, token, refused)
    this.#loadAsking = loadAsking
    this.#options = {
      ...PUBLISHER_DEFAULTS,
      timeoutMs: integer('publishTimeoutMs', publishTimeoutMs ?? PUBLISHER_DEFAULTS.timeoutMs, 1),
      requestTimeoutMs: integer('requestTimeoutMs', requestTimeoutMs ?? PUBLISHER_DEFAULTS.requestTimeoutMs, 1),
      bufferBytes: integer('bufferBytes', bufferBytes ?? PUBLISHER_DEFAULTS.bufferBytes, 1),
    }
    this.#link = new PublishLink(this.#connector, this.#options.requestTimeoutMs)
  }

  /** `T` is what JSON gives back of the values. A pattern (`orders.*`) can be subscribed to and not published to. */
  topic<T = unknown>(name: string): Topic<T>
  /** Values are of the types that the definition's schema says, and are checked. */
  topic<In, Out, AnswerIn, AnswerOut>(
    definition: TopicDefinition<In, Out, AnswerIn, AnswerOut>,
  ): Topic<In, Out, AnswerIn, AnswerOut>
  topic(topic: string | AnyDefinition): Topic<never, unknown, never> {
    if (typeof topic !== 'string' && typeof topic?.bind !== 'function') {
      throw invalid('topic must be a name, or what defineTopic gives')
    }
    const name = typeof topic === 'string' ? topic : topic.name
    return new Topic(name, typeof topic === 'string' ? this.#plainParts(name) : this.#definedParts(topic))
  }

  /** Resolves when everything published until now has its receipt or its error. */
  async flush(): Promise<void> {
    await Promise.all([...this.#busyGates].map((gate) => gate.flush()))
    await Promise.all([this.#asking?.flush(), ...[...this.#publishers.values()].map((publisher) => publisher.flush())])
  }

  /**
   * Drains the subscriptions, waits for the publishes under way, and ends. Past `timeoutMs` (30 s) what is left of
   * either is given up: handed back, or failed with an error that says so.
   */
  close(options: DrainOptions = {}): Promise<void> {
    this.#closed ??= this.#close({ ...options, timeoutMs: options.timeoutMs ?? FLUSH_MS })
    return this.#closed
  }

  async #close(options: DrainOptions & { timeoutMs: number }): Promise<void> {
    const { timeoutMs } = options
    const { clock } = this.#connector
    const deadline = clock.monotonic() + timeoutMs
    const drains = [...this.#subscriptions].map((subscription) => subscription.drain(options))
    // Handlers may publish to the last: their publishes count too.
    await Promise.all([...drains, this.#inTime(this.flush(), timeoutMs)])
    await this.#inTime(this.flush(), Math.max(0, deadline - clock.monotonic()))
    if (this.#asking) await this.#inTime(this.#asking.close(), Math.min(timeoutMs, INBOX_CLOSE_MS))
    this.#asking?.end()
    for (const publisher of this.#publishers.values()) publisher.close()
    this.#link.close()
    this.#connector.close()
  }

  #plainParts(name: string): TopicParts {
    let publisher: Publisher | undefined
    return {
      publish: (value, options, isTry) => {
        publisher ??= this.#publisher(name)
        return isTry ? publisher.tryPublish(value, options) : publisher.publish(value, options)
      },
      subscribe: (...subscribed) => this.#subscribe(name, ...subscribed),
      asking: () => this.#loaded(),
    }
  }

  #definedParts(definition: AnyDefinition): TopicParts {
    let parts = this.#defined.get(definition)
    if (!parts) {
      const { clock, signals } = this.#connector
      parts = definition.bind(this.#plainParts(definition.name), {
        clock,
        signals,
        ask: async (question) => (await this.#loaded()).ask(question),
        timeoutMs: this.#options.timeoutMs,
        busyGates: this.#busyGates,
      })
      this.#defined.set(definition, parts)
    }
    return parts
  }

  #publisher(name: string): Publisher {
    let publisher = this.#publishers.get(name)
    if (!publisher) {
      publisher = this.#newPublisher(name)
      this.#publishers.set(name, publisher)
    }
    return publisher
  }

  #newPublisher(topic: string): Publisher {
    checkName('topic', topic)
    // While it closes, handlers may publish to the last.
    if (this.#connector.isClosed) throw clientClosed()
    return new Publisher(topic, this.#connector, this.#link, this.#options)
  }

  #loaded(): Promise<Asking> {
    this.#askingSoon ??= this.#newAsking()
    return this.#askingSoon
  }

  async #newAsking(): Promise<Asking> {
    try {
      const { Asking, http } = await this.#loadAsking()
      if (this.#connector.isClosed) throw clientClosed()
      this.#asking = new Asking({
        http,
        connector: this.#connector,
        open: (topic) => this.#newPublisher(topic),
        publish: (topic, value) => this.#publisher(topic).publish(value, {}),
        // Not among the subscriptions that are drained first: handlers may ask to the last.
        subscribe: (topic, name, options, handler) =>
          new Subscription(this.#connector, this.#subscribed(topic, name, options), handler),
      })
      return this.#asking
    } catch (cause) {
      this.#askingSoon = undefined
      if (TidingsError.is(cause)) throw cause
      throw new TidingsError('unavailable', 'a part of the client could not be loaded', { cause })
    }
  }

  #subscribe<T>(
    topic: string,
    name: string,
    options: SubscribeOptions,
    handler: Handler<T> | null,
    inspect?: Inspector,
  ): Subscription<T> {
    if (this.#closed) throw clientClosed()
    const subscription = new Subscription<T>(this.#connector, this.#subscribed(topic, name, options), handler, inspect)
    this.#subscriptions.add(subscription)
    const forget = (): void => void this.#subscriptions.delete(subscription)
    subscription.closed.then(forget, forget)
    return subscription
  }

  #subscribed(topic: string, name: string, options: SubscribeOptions): Subscribed {
    const acknowledged: Subscribed['acknowledged'] = async () => (await this.#loaded()).acknowledgedThrough(topic, name)
    return { topic, name, options, acknowledged }
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
