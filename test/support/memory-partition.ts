/**
 * A partition without a disk, for tests of what stands on one: batches in arrays, and a subscription log
 * whose writes and syncs happen when the test says so, or by themselves. A crash keeps what
 * was written (kill -9) or only what was synced (a power cut).
 */
import { encodeRecord, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../../src/base/clock.ts'
import { BATCH_HEADER_BYTES, HAS_ADDRESSEE, HAS_EXPIRY, RecordBatch, stampBatch } from '../../src/log/record-batch.ts'
import type { CommitEntry, CommitQueue, Urgency } from '../../src/partition/commit-queue.ts'
import type { Partition } from '../../src/partition/partition.ts'
import type { PublishInput } from '../../src/partition/topic.ts'

interface Placed {
  entry: CommitEntry
  urgency: Urgency
  offset: number
}

export class MemoryQueue implements CommitQueue {
  /** What `submit` throws while set. */
  refusal: TidingsError | null = null
  /** Entries are written and synced in the next turn, as their urgency asks; else `write` and `sync` do it. */
  isAutomatic = true
  readonly batches: RecordBatch[] = []
  /** Of each entry that had something to write: what it waits for. */
  readonly urgencies: Urgency[] = []
  nextOffset = 0
  durableOffset = 0
  readonly #clock: Clock
  #queued: { entry: CommitEntry; urgency: Urgency }[] = []
  #unsynced: Placed[] = []

  constructor(clock: Clock, batches: readonly RecordBatch[] = []) {
    this.#clock = clock
    this.batches.push(...batches)
    this.nextOffset = batches.at(-1)?.nextOffset ?? 0
    this.durableOffset = this.nextOffset
  }

  /** What is queued, by urgency. */
  get queued(): Urgency[] {
    return this.#queued.map(({ urgency }) => urgency)
  }

  admit(): void {
    if (this.refusal) throw this.refusal
  }

  submit(entry: CommitEntry, urgency: Urgency): void {
    this.admit()
    this.#queued.push({ entry, urgency })
    if (!this.isAutomatic || this.#queued.length > 1) return
    this.#clock.soon(() => {
      if (!this.isAutomatic) return
      this.write()
      // As the real queue does: what counts is who wrote, not who was queued.
      if (this.#unsynced.some(({ urgency }) => urgency === 'durable')) this.sync()
    })
  }

  write(): void {
    const group = this.#queued.splice(0)
    const placed: Placed[] = []
    for (const { entry, urgency } of group) {
      const records = entry.take()
      if (!records) continue
      if (records.bytes.length > entry.size) throw new Error('an entry grew beyond its size')
      this.batches.push(batchOf([records.bytes], this.nextOffset, records.count, this.#clock.now(), 0))
      placed.push({ entry, urgency, offset: this.nextOffset })
      this.urgencies.push(urgency)
      this.nextOffset += records.count
    }
    this.#unsynced.push(...placed)
    for (const { entry, offset } of placed) entry.written(offset, this.#clock.now())
  }

  sync(): void {
    this.durableOffset = this.nextOffset
    for (const { entry, offset } of this.#unsynced.splice(0)) entry.durable(offset, this.#clock.now())
  }

  /** Leadership was lost: what is not synced fails, although it may be written. */
  abandon(error: TidingsError): void {
    this.refusal = error
    const failing = [...this.#unsynced.splice(0), ...this.#queued.splice(0)]
    for (const { entry } of failing) entry.failed(error)
  }

  /** The disk is full: what is queued fails, taken before or not as a real queue may do both. */
  fail(isTaken: boolean): void {
    const error = new TidingsError('storage_full', 'the disk is full')
    const group = this.#queued.splice(0)
    const failing = isTaken ? group.filter(({ entry }) => entry.take()) : group
    for (const { entry } of failing) entry.failed(error)
  }

  flush(): Promise<void> {
    this.write()
    this.sync()
    return Promise.resolve()
  }

  trim(before: number): void {
    while (this.batches[0] && this.batches[0].nextOffset <= before) this.batches.shift()
  }
}

interface PublishOptions {
  /** Messages in one batch. */
  each?: number
  /** Wall time at which all of them expire. */
  expiresAt?: number
  timestamp?: number
  bytes?: number
  /** Keys in turn; null for a message without. */
  keys?: readonly (string | null)[]
  /** The JSON values by turn in this call, instead of `bytes`. */
  json?: (turn: number) => unknown
}

export class MemoryPartition implements Partition {
  readonly topicId = 'topic-id'
  readonly number: number
  readonly epoch = 1
  holds = true
  readonly segments = []
  readonly bytes = 0
  startOffset = 0
  /** Batches are in memory only after a `load`. */
  isCold = false
  loads: number[] = []
  loadError: Error | null = null
  cursorLogBytes = 0
  readonly cursorGrowthBytes = null
  readonly trims: number[] = []
  readonly cursorQueue: MemoryQueue
  readonly #clock: Clock
  readonly #batches: RecordBatch[] = []
  readonly #loaded: Set<RecordBatch> = new Set()
  readonly #listeners: Set<() => void> = new Set()

  constructor(clock: Clock, number = 0, queue: MemoryQueue = new MemoryQueue(clock)) {
    this.#clock = clock
    this.number = number
    this.cursorQueue = queue
  }

  get nextOffset(): number {
    return this.#batches.at(-1)?.nextOffset ?? this.startOffset
  }

  get keptFrom(): number {
    return this.startOffset
  }

  get highWatermark(): number {
    return this.nextOffset
  }

  get listeners(): number {
    return this.#listeners.size
  }

  publish(count: number, options: PublishOptions = {}): void {
    const { each = count, expiresAt, timestamp = this.#clock.now(), bytes = 4, keys = [null], json } = options
    let turn = -1
    for (let left = count; left > 0; left -= each) {
      const size = Math.min(each, left)
      const records = Array.from({ length: size }, () => {
        const key = keys[++turn % keys.length] ?? null
        return record(key, json ? json(turn) : bytes, expiresAt ?? null)
      })
      const attributes = expiresAt === undefined ? 0 : HAS_EXPIRY
      this.#batches.push(batchOf(records, this.nextOffset, size, timestamp, attributes))
    }
    this.#changed()
  }

  /** One batch of these messages. */
  append(inputs: readonly PublishInput[]): void {
    const records = inputs.map(({ ttlMs, ...input }) => {
      return encodeRecord({ ...input, expiresAt: ttlMs === null ? null : this.#clock.now() + ttlMs })
    })
    const attributes =
      (inputs.some(({ ttlMs }) => ttlMs !== null) ? HAS_EXPIRY : 0) |
      (inputs.some(({ isAddressed }) => isAddressed) ? HAS_ADDRESSEE : 0)
    this.#batches.push(batchOf(records, this.nextOffset, inputs.length, this.#clock.now(), attributes))
    this.#changed()
  }

  /** The broker may speak for it, or not. */
  hold(holds: boolean): void {
    this.holds = holds
    this.#changed()
  }

  /** Retention removes what is below. */
  retain(startOffset: number): void {
    this.startOffset = startOffset
    this.#changed()
  }

  /** The same partition after the process has died: with what was written, or only with what was synced. */
  crashed(clock: Clock, how: 'kill' | 'power'): MemoryPartition {
    const { batches, durableOffset } = this.cursorQueue
    const kept = how === 'kill' ? batches : batches.filter(({ nextOffset }) => nextOffset <= durableOffset)
    const next = new MemoryPartition(clock, this.number, new MemoryQueue(clock, kept))
    next.#batches.push(...this.#batches)
    next.startOffset = this.startOffset
    return next
  }

  /** The last messages are gone too, as after a power cut without syncs. */
  cutTo(nextOffset: number): void {
    while (this.nextOffset > nextOffset) this.#batches.pop()
  }

  cached(offset: number): RecordBatch | undefined {
    const batch = this.#find(offset)
    return batch && (!this.isCold || this.#loaded.has(batch)) ? batch : undefined
  }

  async load(offset: number): Promise<RecordBatch[]> {
    this.loads.push(offset)
    await Promise.resolve()
    if (this.loadError) throw this.loadError
    const batch = this.#find(offset)
    return batch ? [batch] : []
  }

  openSegment(): Promise<null> {
    return Promise.resolve(null)
  }

  offsetAt(timestamp: number): Promise<number> {
    const batch = this.#batches.find((one) => one.timestamp >= timestamp)
    return Promise.resolve(batch ? Math.max(batch.baseOffset, this.startOffset) : this.highWatermark)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async *readCursorLog(): AsyncGenerator<RecordBatch> {
    yield* this.cursorQueue.batches
  }

  trimCursorLog(before: number): Promise<void> {
    this.trims.push(before)
    this.cursorQueue.trim(before)
    return Promise.resolve()
  }

  #find(offset: number): RecordBatch | undefined {
    if (offset < this.startOffset) return undefined
    let low = 0
    let high = this.#batches.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#batches[middle]!.nextOffset <= offset) low = middle + 1
      else high = middle
    }
    return this.#batches[low]
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}

/** Of so many bytes, or with this JSON value. */
function record(key: string | null, value: unknown, expiresAt: number | null): Uint8Array {
  const isBytes = typeof value === 'number'
  return encodeRecord({
    key: key === null ? null : Buffer.from(key),
    value: isBytes ? new Uint8Array(value) : Buffer.from(JSON.stringify(value)),
    contentType: isBytes ? 'application/octet-stream' : 'application/json',
    headers: [],
    idempotencyKey: null,
    expiresAt,
    valueChecked: false,
  })
}

function batchOf(
  records: readonly Uint8Array[],
  baseOffset: number,
  count: number,
  timestamp: number,
  attributes: number,
): RecordBatch {
  const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...records])
  const mark = Buffer.alloc(8)
  const stamp = { baseOffset, timestamp, durablePosition: 0, partitionTag: 0, mark, leaderEpoch: 1, count, attributes }
  stampBatch(bytes, stamp)
  return new RecordBatch(bytes)
}
