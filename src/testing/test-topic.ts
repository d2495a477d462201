/** A topic in a test's hands: what was published to it, what is scheduled, and its subscriptions. */
import type { TestMessage } from './test-message.ts'
import { TestSubscription } from './test-subscription.ts'
import type { Testbed } from './testbed.ts'
import { ask, readTopic } from './topic-content.ts'

export class TestTopic<T = unknown> {
  readonly name: string
  readonly #bed: Testbed

  constructor(bed: Testbed, name: string) {
    this.#bed = bed
    this.name = name
  }

  /** Creates the topic, or changes it: the settings are those of `PUT /v1/topics/{topic}`. Rejects with its errors. */
  async put(settings: object = {}): Promise<void> {
    await ask(this.#bed, 'PUT', `/v1/topics/${encodeURIComponent(this.name)}`, settings)
  }

  /**
   * Everything that stands in the topic, partition by partition, in order; with a key only what has it. Lets everything
   * happen first that can without time passing. What retention, compaction or a time to live has removed
   * is not there. None of a topic that does not exist.
   */
  async published(filter: { key?: string } = {}): Promise<TestMessage<T>[]> {
    const messages = await readTopic<T>(this.#bed, this.name)
    return filter.key === undefined ? messages : messages.filter(({ key }) => key === filter.key)
  }

  /** Messages that are scheduled and still to come, in order of their time. */
  async scheduled(): Promise<{ id: string; deliverAt: string }[]> {
    await this.#bed.time.settle()
    const answer = await ask(this.#bed, 'GET', `/v1/topics/${encodeURIComponent(this.name)}/scheduled`)
    return (answer as { scheduled: { id: string; deliverAt: string }[] }).scheduled
  }

  subscription(name: string): TestSubscription<T> {
    return new TestSubscription<T>(this.#bed, this.name, name)
  }
}
