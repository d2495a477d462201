/**
 * A topic as this node serves it: its partitions, and the way of a publish into them. It decides
 * the partition, recognises repeated Idempotency-Keys, and answers each publish exactly once.
 *
 * Must stay true (D-IDEMP): one Idempotency-Key occupies one offset within the window, also while the
 * first publish is still under way: a repetition waits for the outcome of the first.
 */
import {
  encodeRecord,
  partitionOf,
  recordIdempotencyKey,
  TidingsError,
  type TopicSettings,
} from '@tidings/sdk/protocol'
import type { Clock, Random } from '../base/clock.ts'
import { HAS_EXPIRY, HAS_IDEMPOTENCY_KEYS } from '../log/record-batch.ts'
import type { AppendListener } from './append.ts'
import { type BatchDone, BatchPublish, Part, type PublishDone, receiptOf } from './batch-publish.ts'
import type { Records } from './commit-queue.ts'
import { type FirstPublish, IdempotencyWindow } from './idempotency-window.ts'
import type { LogPartition, Partition } from './partition.ts'

/** A message to publish, checked against LIMITS by whoever made it. */
export interface PublishInput {
  key: Uint8Array | null
  value: Uint8Array
  contentType: string
  headers: readonly (readonly [string, string])[]
  idempotencyKey: Uint8Array | null
  /** Explicit partition, else null: by key, else by idempotency key, else spread. */
  partition: number | null
  ttlMs: number | null
  /** The value was proven to be what its content type claims. */
  valueChecked: boolean
}

export type { PublishDone, PublishReceipt } from './batch-publish.ts'

export interface Topic {
  readonly id: string
  readonly name: string
  readonly settings: TopicSettings
  readonly partitions: readonly Partition[]
  /**
   * Stores one message and calls `done` once: with the receipt when it is durable, or with the error.
   * May call back synchronously.
   */
  publish(input: PublishInput, done: PublishDone): void
  /**
   * Stores all of them, in order per partition. Nothing is stored when any entry is refused by `check`
   * or by a full queue; a later error says in its detail which part was stored, if any was.
   */
  publishAll(inputs: readonly PublishInput[], done: BatchDone): void
  /** Throws `message_too_large` or `partition_not_found` for an entry that publish would refuse. */
  check(input: PublishInput): void
  /** Calls the listener when the topic has gained partitions, and once when it ends. Answers how to stop it. */
  watch(listener: (change: TopicChange) => void): () => void
}

/** `closing`: with the broker, which may serve the topic again after a restart. */
export type TopicChange = 'grown' | 'deleted' | 'closing'

/** Most Idempotency-Keys that one topic remembers: 64 bytes of memory each at worst. */
const IDEMPOTENCY_KEYS_LIMIT = 4_000_000

/** A keyed publish under way, and the repetitions of it that wait for its outcome. */
interface PendingKey {
  waiting: PublishDone[]
}

export class HostedTopic implements Topic {
  readonly id: string
  readonly name: string
  settings: TopicSettings
  readonly partitions: LogPartition[]
  readonly #clock: Clock
  readonly #window: IdempotencyWindow
  readonly #pending: Map<string, PendingKey> = new Map()
  readonly #watchers: Set<(change: TopicChange) => void> = new Set()
  #nextSpread = 0

  constructor(
    identity: { id: string; name: string },
    settings: TopicSettings,
    partitions: LogPartition[],
    ports: { clock: Clock; random: Random },
  ) {
    this.id = identity.id
    this.name = identity.name
    this.settings = settings
    this.partitions = partitions
    this.#clock = ports.clock
    this.#window = new IdempotencyWindow(settings.deduplicationWindowMs, IDEMPOTENCY_KEYS_LIMIT, ports.random)
  }

  /** Fills the window from the log: what was stored, answered or not, must not be stored again. */
  async recoverWindow(): Promise<void> {
    const since = this.#clock.now() - this.settings.deduplicationWindowMs
    for (const partition of this.partitions) {
      for await (const batch of partition.keyedSince(since)) {
        if (!(batch.attributes & HAS_IDEMPOTENCY_KEYS)) continue
        for (let offset = batch.baseOffset; offset < batch.nextOffset; offset++) {
          const key = recordIdempotencyKey(batch.bytes, batch.positionOf(offset))
          if (key) this.#window.remember(key, { partition: partition.number, offset, timestamp: batch.timestamp })
        }
      }
    }
  }

  configure(settings: TopicSettings): void {
    this.settings = settings
    this.#window.windowMs = settings.deduplicationWindowMs
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
  }

  publish(input: PublishInput, done: PublishDone): void {
    try {
      this.check(input)
      const key = this.#keyOf(input)
      if (key !== null) {
        const known = this.#known(input, key, () => done)
        if (known) return
        this.#window.admit(this.#clock.now(), this.#pending.size + 1)
      }
      const partition = this.#choose(input)
      const records = this.#encode(input)
      partition.append(records, new SinglePublish(this, partition.number, input, key, done))
      if (key !== null) this.#pending.set(key, { waiting: [] })
    } catch (error) {
      done(TidingsError.from(error))
    }
  }

  publishAll(inputs: readonly PublishInput[], done: BatchDone): void {
    try {
      for (const input of inputs) this.check(input)
      const batch = new BatchPublish(inputs.length, done)
      const parts = this.#plan(inputs, batch)
      const keys = parts.reduce((sum, part) => sum + part.keys.length, 0)
      if (keys > 0) this.#window.admit(this.#clock.now(), this.#pending.size + keys)
      for (const part of parts) part.partition.admit(part.size)
      for (const part of parts) for (const { key } of part.keys) this.#pending.set(key, { waiting: [] })
      batch.expect(parts.length)
      for (const part of parts) {
        try {
          part.partition.append(part.records(), new BatchPart(this, part, batch))
        } catch (error) {
          this.settleKeys(part, null, TidingsError.from(error))
          batch.failed(part, TidingsError.from(error))
        }
      }
    } catch (error) {
      done(TidingsError.from(error))
    }
  }

  /** Sorts entries by partition; repetitions of a key become waiters on its first publish. */
  #plan(inputs: readonly PublishInput[], batch: BatchPublish): Part[] {
    const parts = new Map<number, Part>()
    const first = new Map<string, number>()
    inputs.forEach((input, index) => {
      const key = this.#keyOf(input)
      if (key !== null) {
        const earlier = first.get(key)
        if (earlier !== undefined) return batch.repeats(index, earlier)
        if (this.#known(input, key, () => batch.receiver(index))) return
        first.set(key, index)
      }
      const partition = this.#choose(input)
      let part = parts.get(partition.number)
      if (!part) {
        part = new Part(partition)
        parts.set(partition.number, part)
      }
      part.add(index, this.#encode(input), key === null ? null : { key, idempotencyKey: input.idempotencyKey! })
    })
    return [...parts.values()]
  }

  #keyOf(input: PublishInput): string | null {
    if (input.idempotencyKey === null || this.settings.deduplicationWindowMs === 0) return null
    return Buffer.from(input.idempotencyKey).toString('latin1')
  }

  /** Answers a repeated key from the window, or lets it wait for the first publish. */
  #known(input: PublishInput, key: string, receiver: () => PublishDone): boolean {
    const pending = this.#pending.get(key)
    if (pending) {
      pending.waiting.push(receiver())
      return true
    }
    const first = this.#window.find(input.idempotencyKey!, this.#clock.now())
    if (first) receiver()(null, receiptOf(first, true))
    return first !== null
  }

  #choose(input: PublishInput): LogPartition {
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
    const attributes = (input.idempotencyKey ? HAS_IDEMPOTENCY_KEYS : 0) | (expiresAt === null ? 0 : HAS_EXPIRY)
    return { bytes: encodeRecord({ ...input, expiresAt }), count: 1, attributes }
  }

  /** A keyed publish has ended: remembers the key, or forgets it, and answers those that waited. */
  settleKey(key: string, idempotencyKey: Uint8Array, first: FirstPublish | null, error: TidingsError | null): void {
    const pending = this.#pending.get(key)
    this.#pending.delete(key)
    if (first) this.#window.remember(idempotencyKey, first)
    for (const done of pending?.waiting ?? []) {
      if (first) done(null, receiptOf(first, true))
      else done(error)
    }
  }

  settleKeys(part: Part, at: { baseOffset: number; timestamp: number } | null, error: TidingsError | null): void {
    for (const { key, idempotencyKey, position } of part.keys) {
      const first = at && {
        partition: part.partition.number,
        offset: at.baseOffset + position,
        timestamp: at.timestamp,
      }
      this.settleKey(key, idempotencyKey, first, error)
    }
  }
}

/** One message under way. */
class SinglePublish implements AppendListener {
  readonly #topic: HostedTopic
  readonly #partition: number
  readonly #idempotencyKey: Uint8Array | null
  readonly #key: string | null
  readonly #done: PublishDone

  constructor(topic: HostedTopic, partition: number, input: PublishInput, key: string | null, done: PublishDone) {
    this.#topic = topic
    this.#partition = partition
    this.#idempotencyKey = input.idempotencyKey
    this.#key = key
    this.#done = done
  }

  committed(offset: number, timestamp: number): void {
    const first = { partition: this.#partition, offset, timestamp }
    if (this.#key !== null) this.#topic.settleKey(this.#key, this.#idempotencyKey!, first, null)
    this.#done(null, receiptOf(first, false))
  }

  failed(error: TidingsError): void {
    if (this.#key !== null) this.#topic.settleKey(this.#key, this.#idempotencyKey!, null, error)
    this.#done(error)
  }
}

class BatchPart implements AppendListener {
  readonly #topic: HostedTopic
  readonly #part: Part
  readonly #batch: BatchPublish

  constructor(topic: HostedTopic, part: Part, batch: BatchPublish) {
    this.#topic = topic
    this.#part = part
    this.#batch = batch
  }

  committed(baseOffset: number, timestamp: number): void {
    this.#topic.settleKeys(this.#part, { baseOffset, timestamp }, null)
    const { number } = this.#part.partition
    this.#part.indexes.forEach((index, i) => {
      this.#batch.stored(index, receiptOf({ partition: number, offset: baseOffset + i, timestamp }, false))
    })
    this.#batch.settled()
  }

  failed(error: TidingsError): void {
    this.#topic.settleKeys(this.#part, null, error)
    this.#batch.failed(this.#part, error)
  }
}
