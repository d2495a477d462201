/**
 * A small broker in memory behind the Host seam, for tests of the HTTP edge alone: every batch holds one
 * record, everything is durable at once, subscriptions hand out round robin. It checks little: what the
 * edge must check is what the tests look at.
 */
import {
  checkName,
  encodeRecord,
  type MessageId,
  partitionOf,
  type Position,
  SUBSCRIPTION_DEFAULTS,
  type SubscriptionSettings,
  TidingsError,
  TOPIC_DEFAULTS,
  type TopicSettings,
} from '@tidings/sdk/protocol'
import type { Host } from '../../src/cluster/host.ts'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../../src/log/record-batch.ts'
import type { Partition } from '../../src/partition/partition.ts'
import type { PublishInput, PublishReceipt, Topic } from '../../src/partition/topic.ts'
import { mergeTopicSettings } from '../../src/partition/topic-settings.ts'
import { mergeSubscriptionSettings } from '../../src/subscription/subscription-settings.ts'
import type {
  Attachment,
  Confirmed,
  ConsumerPort,
  Delivery,
  Subscription,
} from '../../src/subscription/subscription.ts'

const TIME = Date.UTC(2026, 0, 1)

export function batchOf(input: Partial<PublishInput>, baseOffset: number, timestamp = TIME): RecordBatch {
  const record = encodeRecord({
    key: input.key ?? null,
    value: input.value ?? new Uint8Array(0),
    contentType: input.contentType ?? 'application/json',
    headers: input.headers ?? [],
    idempotencyKey: input.idempotencyKey ?? null,
    expiresAt: input.ttlMs === undefined || input.ttlMs === null ? null : timestamp + input.ttlMs,
    valueChecked: input.valueChecked ?? false,
  })
  const bytes = Buffer.alloc(BATCH_HEADER_BYTES + record.length)
  bytes.set(record, BATCH_HEADER_BYTES)
  stampBatch(bytes, {
    baseOffset,
    timestamp,
    durablePosition: 0,
    partitionTag: 0,
    leaderEpoch: 1,
    count: 1,
    attributes: 0,
  })
  return new RecordBatch(bytes)
}

class FakePartition {
  readonly batches: RecordBatch[] = []
  readonly listeners = new Set<() => void>()
  startOffset = 0
  readonly number: number
  readonly epoch = 1
  constructor(number: number) {
    this.number = number
  }
  get nextOffset(): number {
    return this.batches.length
  }
  get highWatermark(): number {
    return this.batches.length
  }
  get bytes(): number {
    return this.batches.reduce((sum, batch) => sum + batch.bytes.length, 0)
  }
  get segments(): object[] {
    return [{ baseOffset: 0, nextOffset: this.nextOffset, bytes: this.bytes, sealed: false }]
  }
  cached(offset: number): RecordBatch | undefined {
    return offset < this.startOffset ? undefined : this.batches[offset]
  }
  async load(): Promise<RecordBatch[]> {
    return []
  }
  async offsetAt(timestamp: number): Promise<number> {
    const index = this.batches.findIndex((batch) => batch.timestamp >= timestamp)
    return index === -1 ? this.nextOffset : index
  }
}

class FakeTopic {
  readonly id = 'id'
  readonly name: string
  settings: TopicSettings
  fakePartitions: FakePartition[] = []
  readonly subscriptions = new Map<string, FakeSubscription>()
  readonly keys = new Map<string, PublishReceipt>()
  constructor(name: string, settings: TopicSettings) {
    this.name = name
    this.settings = settings
    this.grow()
  }
  get partitions(): readonly Partition[] {
    return this.fakePartitions as unknown as Partition[]
  }
  grow(): void {
    while (this.fakePartitions.length < this.settings.partitions)
      this.fakePartitions.push(new FakePartition(this.fakePartitions.length))
  }
  check(input: PublishInput): void {
    if (input.value.length > this.settings.maxMessageBytes) throw new TidingsError('message_too_large', 'too large')
    if (input.partition !== null && input.partition >= this.fakePartitions.length) {
      throw new TidingsError('partition_not_found', 'no such partition')
    }
  }
  publish(input: PublishInput, done: (error: TidingsError | null, receipt?: PublishReceipt) => void): void {
    try {
      this.check(input)
    } catch (error) {
      return done(TidingsError.from(error))
    }
    const idempotency = input.idempotencyKey && Buffer.from(input.idempotencyKey).toString()
    const first = idempotency ? this.keys.get(idempotency) : undefined
    if (first) return done(null, { ...first, duplicate: true })
    const number = input.partition ?? (input.key ? partitionOf(input.key, this.fakePartitions.length) : 0)
    const partition = this.fakePartitions[number]!
    const offset = partition.nextOffset
    partition.batches.push(batchOf({ ...input, value: Buffer.from(input.value) }, offset))
    const receipt = { partition: number, offset, id: `${number}:${offset}`, timestamp: TIME }
    if (idempotency) this.keys.set(idempotency, receipt)
    queueMicrotask(() => {
      done(null, receipt)
      for (const subscription of this.subscriptions.values()) subscription.dispatch()
    })
  }
  publishAll(
    inputs: readonly PublishInput[],
    done: (error: TidingsError | null, receipts?: PublishReceipt[]) => void,
  ): void {
    const receipts: PublishReceipt[] = []
    for (const input of inputs) {
      this.publish(input, (error, receipt) => {
        if (error) return done(error)
        if (receipts.push(receipt!) === inputs.length) done(null, receipts)
      })
    }
  }
}

interface FakeConsumer extends Attachment {
  port: ConsumerPort
  held: Set<string>
}

class FakeSubscription {
  readonly id = 'id'
  readonly topic: string
  readonly name: string
  settings: SubscriptionSettings
  readonly #topic: FakeTopic
  #waiting: { partition: number; offset: number; attempt: number }[] = []
  readonly #attempts = new Map<string, number>()
  readonly #seen: number[] = []
  #consumers: FakeConsumer[] = []
  readonly pulled: Attachment
  readonly #puller: FakeConsumer

  constructor(topic: FakeTopic, name: string, settings: SubscriptionSettings) {
    this.#topic = topic
    this.topic = topic.name
    this.name = name
    this.settings = settings
    this.#start(settings.start)
    this.#puller = this.#consumer({ name: 'pull', prefetch: 1e9, weight: 1 } as ConsumerPort)
    this.pulled = this.#puller
  }
  #start(position: Position): void {
    this.#waiting = []
    this.#topic.fakePartitions.forEach((partition, i) => {
      this.#seen[i] = position === 'earliest' ? 0 : partition.nextOffset
    })
  }
  #fill(): void {
    this.#topic.fakePartitions.forEach((partition, i) => {
      for (this.#seen[i] ??= 0; this.#seen[i]! < partition.nextOffset; this.#seen[i]!++) {
        this.#waiting.push({ partition: i, offset: this.#seen[i]!, attempt: 1 })
      }
    })
  }
  dispatch(): void {
    this.#fill()
    for (const consumer of this.#consumers) {
      while (this.#waiting.length > 0 && consumer.port.ready() && consumer.held.size < consumer.port.prefetch) {
        consumer.port.deliver(this.#lease(consumer))
      }
    }
  }
  #lease(consumer: FakeConsumer): Delivery {
    const { partition, offset, attempt } = this.#waiting.shift()!
    consumer.held.add(`${partition}:${offset}`)
    this.#attempts.set(`${partition}:${offset}`, attempt)
    const batch = this.#topic.fakePartitions[partition]!.batches[offset]!
    return { topic: this.topic, partition, batch, from: offset, to: offset + 1, attempt }
  }
  attach(port: ConsumerPort): Attachment {
    if (this.settings.type === 'exclusive' && this.#consumers.length > 0) {
      throw new TidingsError('subscription_busy', 'it has a consumer')
    }
    const consumer = this.#consumer(port)
    this.#consumers.push(consumer)
    queueMicrotask(() => this.dispatch())
    return consumer
  }
  #consumer(port: ConsumerPort): FakeConsumer {
    const held = new Set<string>()
    const settle = (ids: readonly MessageId[], raise?: number): number => {
      let count = 0
      for (const { partition, offset } of ids) {
        const id = `${partition}:${offset}`
        if (!held.delete(id)) continue
        count++
        if (raise !== undefined) this.#waiting.unshift({ partition, offset, attempt: this.#attempts.get(id)! + raise })
      }
      queueMicrotask(() => this.dispatch())
      return count
    }
    const confirm = (count: number, acked: readonly MessageId[], done?: Confirmed): number => {
      if (done) queueMicrotask(() => done(null, acked))
      return count
    }
    const parse = (id: string): MessageId => {
      const [partition, offset] = id.split(':').map(Number) as [number, number]
      return { partition, offset }
    }
    const consumer: FakeConsumer = {
      port,
      held,
      ack: (ids, done) => confirm(settle(ids), ids, done),
      ackUpTo: (upTo, done) => {
        if (this.settings.type === 'shared') throw new TidingsError('invalid_argument', 'not on shared')
        const ids = [...held].map(parse).filter((id) => id.partition === upTo.partition && id.offset <= upTo.offset)
        return confirm(settle(ids), ids, done)
      },
      nack: (ids) => settle(ids, 1),
      extend: (ids) => ids.filter(({ partition, offset }) => held.has(`${partition}:${offset}`)).length,
      release: (ids) => settle(ids, 0),
      reject: (ids, _reason, done) => confirm(settle(ids), ids, done),
      pause: () => undefined,
      resume: () => undefined,
      wake: () => this.dispatch(),
      detach: () => {
        this.#consumers = this.#consumers.filter((other) => other !== consumer)
        settle([...held].map(parse), 1)
      },
    }
    return consumer
  }
  async pull(max: number): Promise<Delivery[]> {
    if (this.settings.type !== 'shared' && this.#consumers.length > 0) {
      throw new TidingsError('subscription_busy', 'it has a consumer')
    }
    this.#fill()
    const deliveries: Delivery[] = []
    while (deliveries.length < max && this.#waiting.length > 0) deliveries.push(this.#lease(this.#puller))
    return deliveries
  }
  async seek(to: Position): Promise<void> {
    this.#start(to)
    this.dispatch()
  }
  state(): object {
    this.#fill()
    const held = [...this.#consumers, this.#puller].reduce((sum, consumer) => sum + consumer.held.size, 0)
    return {
      backlog: held + this.#waiting.length,
      unacked: held,
      redelivering: 0,
      consumers: this.#consumers.map(({ port }) => ({ name: port.name })),
      oldestUnackedAgeMs: null,
      cursors: [],
    }
  }
  async close(why: 'deleted' | 'closing'): Promise<void> {
    for (const consumer of this.#consumers) consumer.port.ended(why)
    this.#consumers = []
  }
}

export class FakeHost {
  readonly #topics = new Map<string, FakeTopic>()
  autoCreate = true
  notReadyReason: string | null = null

  get asHost(): Host {
    return this as unknown as Host
  }
  topics(): Topic[] {
    return [...this.#topics.values()] as unknown as Topic[]
  }
  topic(name: string): FakeTopic {
    const topic = this.#topics.get(checkName('topic', name))
    if (!topic) throw new TidingsError('topic_not_found', `topic ${name}`)
    return topic
  }
  async ensureTopic(name: string): Promise<FakeTopic> {
    if (!this.#topics.has(name) && this.autoCreate) this.#topics.set(name, new FakeTopic(name, TOPIC_DEFAULTS))
    return this.topic(name)
  }
  async putTopic(name: string, patch: unknown): Promise<object> {
    const known = this.#topics.get(name)
    const settings = mergeTopicSettings(known?.settings ?? null, patch)
    if (!known) this.#topics.set(name, new FakeTopic(name, settings))
    const topic = this.topic(name)
    topic.settings = settings
    topic.grow()
    return { topic, created: !known }
  }
  async deleteTopic(name: string): Promise<void> {
    for (const subscription of this.topic(name).subscriptions.values()) await subscription.close('deleted')
    this.#topics.delete(name)
  }
  subscriptions(topic: string): Subscription[] {
    return [...this.topic(topic).subscriptions.values()] as unknown as Subscription[]
  }
  subscription(topic: string, name: string): FakeSubscription {
    const subscription = this.topic(topic).subscriptions.get(name)
    if (!subscription) throw new TidingsError('subscription_not_found', name)
    return subscription
  }
  async putSubscription(topicName: string, name: string, patch: unknown): Promise<object> {
    const topic = await this.ensureTopic(topicName)
    const known = topic.subscriptions.get(name)
    const settings = mergeSubscriptionSettings(known?.settings ?? null, patch)
    if (known) known.settings = settings
    else topic.subscriptions.set(name, new FakeSubscription(topic, name, settings))
    return { subscription: topic.subscriptions.get(name)!, created: !known }
  }
  async ensureSubscription(topicName: string, name: string, patch: object): Promise<FakeSubscription> {
    const topic = await this.ensureTopic(topicName)
    if (!topic.subscriptions.has(name)) {
      topic.subscriptions.set(name, new FakeSubscription(topic, name, { ...SUBSCRIPTION_DEFAULTS, ...patch }))
    }
    return topic.subscriptions.get(name)!
  }
  async deleteSubscription(topic: string, name: string): Promise<void> {
    await this.subscription(topic, name).close('deleted')
    this.topic(topic).subscriptions.delete(name)
  }
  notReady(): string | null {
    return this.notReadyReason
  }
  node(): object {
    return { id: 'node-1', epoch: 1, startedAt: TIME }
  }
}
