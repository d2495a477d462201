/**
 * A topic in a user's hands: to publish to, to subscribe to, to ask and to answer over. What stands behind it is handed
 * in by client.ts: for a topic that was defined with a schema, parts that check what passes (define-topic.ts).
 */
import type { RequestOptions } from './inbox.ts'
import type { Message } from './message.ts'
import { checkKnown, invalid } from './option-checks.ts'
import type { PublishReceipt } from './publish-answer.ts'
import { PUBLISH_KNOWN, type PublishOptions } from './publish-entry.ts'
import { checkWait } from './signals.ts'
import { SUBSCRIBE_KNOWN, type SubscribeOptions } from './subscribe-options.ts'
import type { Handler, Subscription } from './subscription.ts'
import type { TopicParts } from './topic-parts.ts'

const NO_OPTIONS: PublishOptions = {}

/** `In` is what is published, `Out` what subscribers get; they differ only where a schema changes values. */
export class Topic<In, Out = In, AnswerIn = unknown, AnswerOut = unknown> {
  /** The name, or a pattern to subscribe to. */
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
  publish(value: In, options: PublishOptions = NO_OPTIONS): Promise<PublishReceipt> {
    return this.#publish(value, options, false)
  }

  /** As `publish`, but rejects with `overloaded` at once where that would wait for room. */
  tryPublish(value: In, options: PublishOptions = NO_OPTIONS): Promise<PublishReceipt> {
    return this.#publish(value, options, true)
  }

  /** Not async: one promise for each publish is enough. */
  #publish(value: In, options: PublishOptions, isTry: boolean): Promise<PublishReceipt> {
    try {
      if (options !== NO_OPTIONS) checkKnown('publish', options, PUBLISH_KNOWN)
      checkWait(options)
      return this.#parts.publish(value, options, isTry)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * With a handler: messages go to it, are acknowledged when it resolves and negatively acknowledged when it throws.
   * Without: iterate over the subscription, and settle each message.
   */
  subscribe(name: string, options?: SubscribeOptions): Subscription<Out>
  subscribe(name: string, handler: Handler<Out>): Subscription<Out>
  subscribe(name: string, options: SubscribeOptions, handler: Handler<Out>): Subscription<Out>
  subscribe(name: string, second?: SubscribeOptions | Handler<Out>, third?: Handler<Out>): Subscription<Out> {
    const options = typeof second === 'function' ? {} : (second ?? {})
    const handler = typeof second === 'function' ? second : (third ?? null)
    if (handler !== null && typeof handler !== 'function') {
      throw invalid('the handler must be a function')
    }
    checkKnown('subscribe', options, SUBSCRIBE_KNOWN)
    return this.#parts.subscribe(name, options, handler)
  }

  /**
   * Publishes a request and resolves with the first answer to it. Rejects with `reply_timeout` when none comes in time
   * (whether the request was, or will yet be, carried out is not known then), and with what the replier threw: a
   * ReplyError, or a TidingsError with its code.
   */
  async request<Answer = AnswerOut>(value: In, options: RequestOptions = {}): Promise<Answer> {
    checkKnown('request', options, PUBLISH_KNOWN)
    const { timeoutMs, ...publishing } = options
    const asking = await this.#parts.asking()
    const send = (more: PublishOptions): Promise<PublishReceipt> => {
      const headers = { ...publishing.headers, ...more.headers }
      return this.#parts.publish(value, { ...more, ...publishing, headers }, false)
    }
    const answer = await asking.request(send, timeoutMs, options.signal)
    const { checks } = this.#parts
    return (checks ? await checks.received(answer) : answer) as Answer
  }

  /**
   * Subscribes, and sends what the handler gives back to whoever asked; what it throws travels as an error. A message
   * that asks for no answer is handled as by `subscribe`.
   */
  reply(name: string, handler: (message: Message<Out>) => AnswerIn | Promise<AnswerIn>): Subscription<Out>
  reply(
    name: string,
    options: SubscribeOptions,
    handler: (message: Message<Out>) => AnswerIn | Promise<AnswerIn>,
  ): Subscription<Out>
  reply(name: string, second: SubscribeOptions | Handler<Out>, third?: Handler<Out>): Subscription<Out> {
    const options = typeof second === 'function' ? {} : second
    const handler = typeof second === 'function' ? second : third
    if (!handler) throw invalid('reply needs a handler, which makes the answers')
    checkKnown('reply', options, SUBSCRIBE_KNOWN)
    const replying = { name, handler, checks: this.#parts.checks }
    return this.#parts.subscribe<Out>(name, options, async (message) =>
      (await this.#parts.asking()).reply(message, replying),
    )
  }

  /**
   * Gives the broker the JSON Schema of this topic's definition. Rejects with `conflict` when it does not admit all that
   * the present one admits, with `invalid_argument` when there is none to give or the broker cannot check by it.
   */
  async register(): Promise<void> {
    if (this.#parts.register) return this.#parts.register()
    throw invalid(`topic ${this.name} was not defined with a schema: see defineTopic`)
  }
}
