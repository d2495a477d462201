/**
 * A topic over one partition without a disk, and the directory of all such topics: where dead letters go in
 * tests of what stands on a subscription. Publishes are durable in the next turn, or when the test says so.
 */
import { formatMessageId, TidingsError, TOPIC_DEFAULTS, type TopicSettings } from '@tidings/sdk/protocol'
import type { Clock } from '../../src/base/clock.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import type { BatchDone, PublishDone, PublishReceipt } from '../../src/partition/batch-publish.ts'
import type { PublishInput, Topic } from '../../src/partition/topic.ts'
import { CursorStore } from '../../src/subscription/cursor-store.ts'
import type { OpenTopic, TopicDirectory } from '../../src/subscription/topic-directory.ts'
import { MemoryPartition } from './memory-partition.ts'

export class MemoryTopic implements Topic {
  readonly id: string
  readonly name: string
  readonly settings: TopicSettings = { ...TOPIC_DEFAULTS }
  readonly partitions: MemoryPartition[]
  /** Every publish fails with it while it is set. */
  failure: TidingsError | null = null
  /** Publishes wait until `settle`. */
  isHeld = false
  publishes = 0
  readonly #clock: Clock
  readonly #keys = new Map<string, PublishReceipt>()
  readonly #held: (() => void)[] = []

  constructor(clock: Clock, name: string, partitions: MemoryPartition[] = [new MemoryPartition(clock)]) {
    this.id = name
    this.name = name
    this.partitions = partitions
    this.#clock = clock
  }

  get partition(): MemoryPartition {
    return this.partitions[0]!
  }

  readonly scheduledCount = 0
  scheduled(): [] {
    return []
  }
  cancelScheduled(): Promise<boolean> {
    return Promise.resolve(false)
  }

  produce(): never {
    throw new Error('a topic in memory has no producers')
  }
  turnAway(): never {
    throw new Error('a topic in memory has no producers')
  }

  watch(): () => void {
    return () => undefined
  }

  check(input: PublishInput): void {
    if (input.value.length > this.settings.maxMessageBytes) throw new TidingsError('message_too_large', 'too large')
  }

  publish(input: PublishInput, done: PublishDone): void {
    this.publishAll([input], (error, receipts) => done(error, receipts?.[0]))
  }

  publishAll(inputs: readonly PublishInput[], done: BatchDone): void {
    this.publishes++
    this.#held.push(() => {
      if (this.failure) return done(this.failure)
      for (const input of inputs) this.check(input)
      done(
        null,
        inputs.map((input) => this.#store(input)),
      )
    })
    if (!this.isHeld) this.#clock.soon(() => this.settle())
  }

  settle(): void {
    for (const run of this.#held.splice(0)) run()
  }

  /** The window of idempotency keys is over. */
  forgetKeys(): void {
    this.#keys.clear()
  }

  #store(input: PublishInput): PublishReceipt {
    const key = input.idempotencyKey && Buffer.from(input.idempotencyKey).toString()
    const first = key === null ? undefined : this.#keys.get(key)
    if (first) return { ...first, duplicate: true }
    const partition = this.partitions[input.partition ?? 0]!
    const offset = partition.nextOffset
    partition.append([input])
    const { number } = partition
    const receipt = { partition: number, offset, id: formatMessageId(number, offset), timestamp: this.#clock.now() }
    if (key !== null) this.#keys.set(key, receipt)
    return receipt
  }
}

export class MemoryDirectory implements TopicDirectory {
  readonly topics = new Map<string, { topic: MemoryTopic; cursors: CursorStore[] }>()
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  find(name: string): OpenTopic | null {
    return this.topics.get(name) ?? null
  }

  async open(name: string): Promise<OpenTopic> {
    return this.find(name) ?? this.add(new MemoryTopic(this.#clock, name))
  }

  async add(topic: MemoryTopic): Promise<OpenTopic> {
    const open = (partition: MemoryPartition): Promise<CursorStore> =>
      CursorStore.open(partition, this.#clock, nullLogger)
    const opened = { topic, cursors: await Promise.all(topic.partitions.map(open)) }
    this.topics.set(topic.name, opened)
    return opened
  }
}
