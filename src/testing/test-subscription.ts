/** A subscription in a test's hands: waiting until it is done, and what became of its messages. */
import { parseMessageId, TidingsError } from '@tidings/sdk/protocol'
import { systemClock } from '../base/clock.ts'
import { deadLetterTopic } from '../subscription/dead-letter.ts'
import type { MessageExplanation, SubscriptionExplanation } from '../subscription/explanation.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { type Duration, durationMs } from './duration.ts'
import { type DeadLetter, deadLetterOf, type TestMessage } from './test-message.ts'
import type { Testbed } from './testbed.ts'
import { ask, readTopic } from './topic-content.ts'

export interface Settlement<T> {
  acked: TestMessage<T>[]
  deadLettered: DeadLetter<T>[]
}

/** How long a handler at work is waited for, in real time: less than test runners give a test. */
const HANDLER_MS = 4000

export class TestSubscription<T = unknown> {
  readonly topic: string
  readonly name: string
  readonly #bed: Testbed

  constructor(bed: Testbed, topic: string, name: string) {
    this.#bed = bed
    this.topic = topic
    this.name = name
  }

  /** Creates the subscription (its topic too), or changes it: the settings are those of the HTTP API's PUT. */
  async put(settings: object = {}): Promise<void> {
    await ask(this.#bed, 'PUT', this.#path, settings)
  }

  /**
   * Resolves when nothing is outstanding or waits to be delivered: every message was acknowledged, dead-lettered or parked.
   * What lies with a handler is waited for, in real time for some seconds. Where only time can help (a backoff, say), the
   * clock is moved on, at most by `within`; without it that rejects, and the error says what is waited for.
   */
  async settled(options: { within?: Duration } = {}): Promise<Settlement<T>> {
    const { time } = this.#bed
    const until = time.monotonic() + durationMs(options.within ?? 0)
    for (;;) {
      await time.settle()
      const { backlog, parked, unacked, deadLettering } = this.#subscription.explain()
      if (unacked + deadLettering === 0 && backlog <= parked) {
        return { acked: await this.acked(), deadLettered: await this.deadLettered() }
      }
      // A handler that sleeps by the clock is not waited for: the clock is moved.
      if (unacked > 0 && time.sleepers === 0 && (await this.#changes())) continue
      if (await time.step(until)) continue
      if (until > time.monotonic()) await time.advance(until - time.monotonic())
      throw this.#unsettled(options.within !== undefined)
    }
  }

  /** What the subscription has acknowledged, and did not give up on, of what is still in the log. */
  async acked(): Promise<TestMessage<T>[]> {
    const dead = new Set((await this.deadLettered()).map((letter) => `${letter.originalTopic}/${letter.originalId}`))
    const subscription = this.#subscription
    const acked: TestMessage<T>[] = []
    for (const name of this.#topics(subscription)) {
      for (const message of await readTopic<T>(this.#bed, name)) {
        if (message.offset < this.#bed.starts.startOf(subscription, name, message.partition)) continue
        const isPattern = name !== this.topic
        const id = parseMessageId(isPattern ? `${name}/${message.id}` : message.id)
        const { state } = await subscription.explainMessage(id)
        if (state === 'acked' && !dead.has(`${name}/${message.id}`)) acked.push(message)
      }
    }
    return acked
  }

  /** Its dead letters, as they stand in its dead-letter topic. None where it has no such topic. */
  async deadLettered(): Promise<DeadLetter<T>[]> {
    await this.#bed.time.settle()
    const { deadLetter } = this.#subscription.settings
    const topic = deadLetter && deadLetterTopic(this.topic, this.name, deadLetter)
    if (topic === null || !this.#bed.host.topics().some(({ name }) => name === topic)) return []
    const letters = await readTopic<T>(this.#bed, topic)
    return letters.flatMap((letter) => deadLetterOf(letter, this) ?? [])
  }

  /** Why nothing is being delivered, or that it is; with a message's id, what became of that message. */
  explain(): Promise<SubscriptionExplanation>
  explain(messageId: string): Promise<MessageExplanation>
  async explain(messageId?: string): Promise<SubscriptionExplanation | MessageExplanation> {
    await this.#bed.time.settle()
    if (messageId === undefined) return this.#subscription.explain()
    return this.#subscription.explainMessage(parseMessageId(messageId))
  }

  get #path(): string {
    return `/v1/topics/${encodeURIComponent(this.topic)}/subscriptions/${encodeURIComponent(this.name)}`
  }

  get #subscription(): Subscription {
    return this.#bed.host.subscription(this.topic, this.name)
  }

  #topics(subscription: Subscription): Set<string> {
    return new Set(subscription.state().cursors.map(({ topic }) => topic ?? this.topic))
  }

  /** Whether something became of a message before it took too long. */
  #changes(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = systemClock.after(HANDLER_MS, () => resolve(false))
      void this.#bed.changed().then(() => {
        timer.cancel()
        resolve(true)
      })
    })
  }

  #unsettled(isTimed: boolean): TidingsError {
    const { verdict, backlog, unacked, redelivering } = this.#subscription.explain()
    const counts = `${backlog} not acknowledged, ${unacked} of them with a consumer, ${redelivering} to be delivered again`
    const advice = isTimed ? '' : ' Where time is missing, say how much may pass: settled({ within: "10m" }).'
    return new TidingsError('conflict', `"${this.name}" on "${this.topic}" is not done: ${counts}. ${verdict}${advice}`)
  }
}
