/**
 * A topic as this node serves it: its partitions, and the way of a publish into them. It decides
 * the partition, recognises repeated Idempotency-Keys, and answers each publish exactly once.
 *
 * Must stay true (D-IDEMP): one Idempotency-Key occupies one offset, or schedules one message, within the
 * window, also while the first publish is still under way: a repetition waits for the outcome of the first.
 */
import { encodeRecord, partitionOf, TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import { HAS_ADDRESSEE, HAS_EXPIRY, HAS_IDEMPOTENCY_KEYS } from '../log/record-batch.ts'
import {
  type BatchDone,
  BatchPublish,
  LaterPart,
  Part,
  type PublishDone,
  type PublishOutcome,
  receiptOf,
  scheduledReceiptOf,
} from './batch-publish.ts'
import type { Records } from './commit-queue.ts'
import type { FrameName, ProducedFrame, RecordRules } from './frame-routing.ts'
import type { FirstPublish } from './idempotency-window.ts'
import type { LogPartition, Partition } from './partition.ts'
import { type ProduceDone, Producers, type ProducerTarget } from './producers.ts'
import type { PublishInput } from './publish-input.ts'
import { BatchPart, type PublishKeys, SinglePublish } from './publish-listener.ts'
import type { Mark, Scheduled } from './schedule.ts'
import type { FiringTarget, Route } from './schedule-firing.ts'
import { openSchema, type TopicSchema } from './schema.ts'
import { TopicMemory } from './topic-memory.ts'
import { type TopicPorts, TopicSchedule } from './topic-schedule.ts'

export {
  isScheduled,
  type PublishDone,
  type PublishOutcome,
  type PublishReceipt,
  type ScheduledReceipt,
} from './batch-publish.ts'
export { EntryError, type ProducedFrame } from './frame-routing.ts'
export type { ProduceDone, ProducedReceipt } from './producers.ts'
export type { PublishInput } from './publish-input.ts'

export interface Topic {
  readonly id: string
  readonly name: string
  readonly settings: TopicSettings
  readonly partitions: readonly Partition[]
  /**
   * Stores one message, or schedules it, and calls `done` once: with the receipt when it is durable, or with
   * the error. May call back synchronously.
   */
  publish(input: PublishInput, done: PublishDone): void
  /**
   * Stores all of them, in order per partition. Nothing is stored when any entry is refused by `check`
   * or by a full queue; a later error says in its detail which part was stored, if any was.
   */
  publishAll(inputs: readonly PublishInput[], done: BatchDone): void
  /**
   * Stores a frame of a producer's, once however often it is repeated, each partition's part of it as a batch of its
   * own, and calls `done` once. Errors: `overloaded` also where an earlier frame must come first, `conflict` where
   * it cannot be stored any more; EntryError where one record is to blame. What is stored all the same is told
   * with the error, and the frame is to be repeated.
   */
  produce(frame: ProducedFrame, done: ProduceDone): void
  /**
   * A frame is refused before it could be handed over: none behind it is stored before that number has come again.
   * Answers whether any of it may be stored, from a time before.
   */
  turnAway(frame: FrameName): boolean
  /** Throws `message_too_large`, `partition_not_found` or `schema_violation` for an entry that publish would refuse. */
  check(input: PublishInput): void
  /** Calls the listener when the topic has gained partitions, and once when it ends. Answers how to stop it. */
  watch(listener: (change: TopicChange) => void): () => void
  /** Messages that are scheduled and still to come. */
  readonly scheduledCount: number
  /** The scheduled messages after the mark, in order of due time. */
  scheduled(after: Mark | null, limit: number): Scheduled[]
  /** Resolves when it is cancelled for good; false when it is not there, or not any more. */
  cancelScheduled(id: number): Promise<boolean>
}

/** `closing`: with the broker, which may serve the topic again after a restart. `moved`: another broker leads it now. */
export type TopicEnd = 'deleted' | 'closing' | 'moved'
export type TopicChange = 'grown' | TopicEnd

/** A keyed publish under way, and the repetitions of it that wait for its outcome. */
interface PendingKey {
  waiting: PublishDone[]
}

export class HostedTopic implements Topic, FiringTarget, PublishKeys, ProducerTarget {
  readonly id: string
  readonly name: string
  settings: TopicSettings
  readonly partitions: LogPartition[]
  readonly #clock: Clock
  readonly #memory: TopicMemory
  readonly #producers: Producers
  readonly #pending: Map<string, PendingKey> = new Map()
  readonly #watchers: Set<(change: TopicChange) => void> = new Set()
  readonly #schedule: TopicSchedule
  readonly #logger: Logger
  #schema: TopicSchema | null
  #nextSpread = 0

  constructor(
    identity: { id: string; name: string },
    settings: TopicSettings,
    partitions: LogPartition[],
    ports: TopicPorts,
  ) {
    this.id = identity.id
    this.name = identity.name
    this.settings = settings
    this.partitions = partitions
    this.#clock = ports.clock
    this.#memory = new TopicMemory(settings, { ...ports, budget: ports.environment.rememberedBudget })
    this.#producers = new Producers(this, this.#memory.producers, ports.clock)
    this.#schedule = new TopicSchedule(this, ports)
    this.#logger = ports.environment.logger
    this.#schema = openSchema(settings.schema, this.name, this.#logger)
  }

  /** Opens the logs that the partitions are not opened with. */
  openLogs(): Promise<void> {
    return this.#schedule.open()
  }

  /** Reads what was published and scheduled before, all of it committed. Scheduled messages wait until `start`. */
  async recover(): Promise<void> {
    await this.#memory.recover(this.partitions)
    await this.#schedule.recover()
  }

  start(): void {
    this.#schedule.start()
  }

  maintain(): Promise<void> {
    this.#memory.expire()
    return this.#schedule.maintain()
  }

  /** This broker does not lead it any more: as LogPartition.abandon. It is still to be closed, as are the partitions. */
  abandon(error: TidingsError): void {
    for (const partition of this.partitions) partition.abandon(error)
    this.#schedule.abandon(error)
  }

  /** Ends what happens by itself; the partitions are closed by whoever opened them, after this. */
  close(): Promise<void> {
    this.#memory.close()
    return this.#schedule.close()
  }

  configure(settings: TopicSettings): void {
    if (JSON.stringify(settings.schema) !== JSON.stringify(this.settings.schema)) {
      this.#schema = openSchema(settings.schema, this.name, this.#logger)
    }
    this.settings = settings
    this.#memory.configure(settings)
    for (const partition of this.partitions) partition.configure(settings)
  }

  watch(listener: (change: TopicChange) => void): () => void {
    this.#watchers.add(listener)
    return () => void this.#watchers.delete(listener)
  }

  /** Tells those who watch; called by the host. */
  changed(change: TopicChange): void {
    for (const watcher of this.#watchers) watcher(change)
  }

  get scheduledCount(): number {
    return this.#schedule.size
  }

  scheduled(after: Mark | null, limit: number): Scheduled[] {
    return this.#schedule.list(after, limit)
  }

  cancelScheduled(id: number): Promise<boolean> {
    return this.#schedule.cancel(id)
  }

  check(input: PublishInput): void {
    if (input.value.length > this.settings.maxMessageBytes) {
      throw new TidingsError(
        'message_too_large',
        `the value has ${input.value.length} bytes, topic ${this.name} takes at most ${this.settings.maxMessageBytes}`,
      )
    }
    if (input.partition !== null && input.partition >= this.partitions.length) {
      throw new TidingsError(
        'partition_not_found',
        `topic ${this.name} has no partition ${input.partition}: it has ${this.partitions.length}, numbered from 0`,
      )
    }
    if (this.#schema !== null) this.#schema.check(input)
  }

  produce(frame: ProducedFrame, done: ProduceDone): void {
    this.#producers.produce(frame, done)
  }

  turnAway(frame: FrameName): boolean {
    return this.#producers.turnAway(frame)
  }

  get rules(): RecordRules {
    const schema = this.#schema
    return {
      maxMessageBytes: this.settings.maxMessageBytes,
      topic: this.name,
      check: schema && ((input) => schema.check(input)),
    }
  }

  publish(input: PublishInput, done: PublishDone): void {
    try {
      this.check(input)
      const isLater = this.#isLater(input)
      if (isLater && !this.#schedule.isReady) return this.#schedule.ready(done, () => this.publish(input, done))
      const key = this.#keyOf(input, isLater)
      if (key !== null && this.#known(input, key, () => done)) return
      if (isLater) this.#publishLater(input, key, done)
      else this.#append(input, key, done)
      if (key !== null) this.#pending.set(key, { waiting: [] })
    } catch (error) {
      done(TidingsError.from(error))
    }
  }

  #append(input: PublishInput, key: string | null, done: PublishDone): void {
    if (key !== null) this.#memory.keys.admit(this.#clock.now(), this.#pending.size + 1)
    const partition = this.choose(input)
    partition.append(this.#encode(input), new SinglePublish(this, partition.number, input, key, done))
  }

  #publishLater(input: PublishInput, key: string | null, done: PublishDone): void {
    const message = this.#schedule.encode(input)
    this.#schedule.admit(1, key === null ? 0 : 1, message.bytes.length)
    this.#schedule.add([message], (error, firsts) => {
      const receipt = firsts ? scheduledReceiptOf(firsts[0]!) : null
      if (key !== null) this.settleKey(key, receipt, error)
      done(error, receipt ?? undefined)
    })
  }

  publishAll(inputs: readonly PublishInput[], done: BatchDone): void {
    try {
      for (const input of inputs) this.check(input)
      if (!this.#schedule.isReady && inputs.some((input) => this.#isLater(input))) {
        return this.#schedule.ready(done, () => this.publishAll(inputs, done))
      }
      const batch = new BatchPublish(inputs.length, done)
      const { parts, laterParts } = this.#plan(inputs, batch)
      this.#admit(parts, laterParts)
      for (const part of [...parts, ...laterParts]) {
        for (const { key } of part.keys) this.#pending.set(key, { waiting: [] })
      }
      batch.expect(parts.length + laterParts.length)
      for (const part of parts) {
        const listener = new BatchPart(this, part, batch)
        try {
          part.partition.append(part.records(), listener)
        } catch (error) {
          listener.failed(TidingsError.from(error))
        }
      }
      for (const part of laterParts) this.#scheduleAll(part, batch)
    } catch (error) {
      done(TidingsError.from(error))
    }
  }

  /** Throws when any part of a batch would find no room; nothing of it is stored then. */
  #admit(parts: readonly Part[], laterParts: readonly LaterPart[]): void {
    const keys = parts.reduce((sum, part) => sum + part.keys.length, 0)
    if (keys > 0) this.#memory.keys.admit(this.#clock.now(), this.#pending.size + keys)
    for (const part of parts) part.partition.admit(part.size)
    const total = (of: (part: LaterPart) => number): number => laterParts.reduce((sum, part) => sum + of(part), 0)
    if (laterParts.length === 0) return
    this.#schedule.admit(
      total((part) => part.indexes.length),
      total((part) => part.keys.length),
      total((part) => part.size),
    )
  }

  #scheduleAll(part: LaterPart, batch: BatchPublish): void {
    const settle = (error: TidingsError | null, receipts: PublishOutcome[]): void => {
      for (const { key, position } of part.keys) this.settleKey(key, receipts[position] ?? null, error)
      receipts.forEach((receipt, i) => batch.stored(part.indexes[i]!, receipt))
      if (error) batch.failed('scheduled messages', error)
      else batch.settled()
    }
    try {
      this.#schedule.add(part.messages, (error, firsts) => settle(error, firsts?.map(scheduledReceiptOf) ?? []))
    } catch (error) {
      settle(TidingsError.from(error), [])
    }
  }

  /** Sorts entries by partition; repetitions of a key become waiters on its first publish. */
  #plan(inputs: readonly PublishInput[], batch: BatchPublish): { parts: Part[]; laterParts: LaterPart[] } {
    const parts = new Map<number, Part>()
    const laterParts: LaterPart[] = []
    const first = new Map<string, number>()
    inputs.forEach((input, index) => {
      const isLater = this.#isLater(input)
      const key = this.#keyOf(input, isLater)
      if (key !== null) {
        const earlier = first.get(key)
        if (earlier !== undefined) return batch.repeats(index, earlier)
        if (this.#known(input, key, () => batch.receiver(index))) return
        first.set(key, index)
      }
      if (isLater) {
        if (laterParts.at(-1)?.isFull !== false) laterParts.push(new LaterPart())
        return laterParts.at(-1)!.add(index, this.#schedule.encode(input), key)
      }
      const partition = this.choose(input)
      let part = parts.get(partition.number)
      if (!part) {
        part = new Part(partition)
        parts.set(partition.number, part)
      }
      part.add(index, this.#encode(input), key === null ? null : { key, idempotencyKey: input.idempotencyKey! })
    })
    return { parts: [...parts.values()], laterParts }
  }

  #isLater({ deliverAt }: PublishInput): boolean {
    return typeof deliverAt === 'number' && deliverAt > this.#clock.now()
  }

  /** A scheduled message is known by its key for as long as it is pending, however short the window. */
  #keyOf(input: PublishInput, isLater: boolean): string | null {
    if (input.idempotencyKey === null || (this.settings.deduplicationWindowMs === 0 && !isLater)) return null
    return Buffer.from(input.idempotencyKey).toString('latin1')
  }

  /** Answers a repeated key from what is remembered, or lets it wait for the first publish. */
  #known(input: PublishInput, key: string, receiver: () => PublishDone): boolean {
    const pending = this.#pending.get(key)
    if (pending) {
      pending.waiting.push(receiver())
      return true
    }
    const first = this.#memory.keys.find(input.idempotencyKey!, this.#clock.now())
    if (first) {
      receiver()(null, receiptOf(first, true))
      return true
    }
    const scheduled = this.#schedule.known(input.idempotencyKey!)
    if (scheduled) receiver()(null, { ...scheduledReceiptOf(scheduled), duplicate: true })
    return Boolean(scheduled)
  }

  choose(input: Route): LogPartition {
    const count = this.partitions.length
    if (input.partition !== null) return this.partitions[input.partition]!
    if (count === 1) return this.partitions[0]!
    const hashed = input.key ?? input.idempotencyKey
    if (hashed) return this.partitions[partitionOf(hashed, count)]!
    this.#nextSpread = (this.#nextSpread + 1) % count
    return this.partitions[this.#nextSpread]!
  }

  #encode(input: PublishInput): Records {
    const expiresAt = input.ttlMs === null ? null : Math.floor(this.#clock.now()) + input.ttlMs
    const attributes =
      (input.idempotencyKey ? HAS_IDEMPOTENCY_KEYS : 0) |
      (expiresAt === null ? 0 : HAS_EXPIRY) |
      (input.isAddressed ? HAS_ADDRESSEE : 0)
    return { bytes: encodeRecord({ ...input, expiresAt }), count: 1, attributes }
  }

  /** A keyed publish has ended: answers those that waited for it. */
  settleKey(key: string, outcome: PublishOutcome | null, error: TidingsError | null): void {
    const pending = this.#pending.get(key)
    this.#pending.delete(key)
    for (const done of pending?.waiting ?? []) {
      if (outcome) done(null, { ...outcome, duplicate: true })
      else done(error)
    }
  }

  /** The same for one that is in the log now: its key is remembered. */
  stored(key: string, idempotencyKey: Uint8Array, first: FirstPublish): void {
    this.#memory.keys.remember(idempotencyKey, first)
    this.settleKey(key, receiptOf(first, false), null)
  }
}
