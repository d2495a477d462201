/**
 * Group commit: while one flush is under way, arriving appends queue up; the next flush takes them all
 * in one write and one sync. The one place where an append becomes `durable`, and so the one place
 * on which every publish answer and every confirmed acknowledgement hangs.
 *
 * Must stay true: `durable` is called only after a sync that began when the bytes had been written
 * (S-BARRIER); after the latch has tripped nothing is called at all (S-LATCH); the queue is bounded in
 * bytes. A full disk fails the group whole and leaves the log as it was.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import { isFull, isOutOfHandles } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import type { Latch } from '../base/latch.ts'
import type { SpaceGuard } from '../base/space-guard.ts'
import type { Metrics } from '../base/telemetry.ts'
import type { Log } from '../log/log.ts'
import { BATCH_HEADER_BYTES, type BatchProducer, RecordBatch, stampBatch } from '../log/record-batch.ts'

/** Encoded records, back to back, as they will lie in a batch. */
export interface Records {
  bytes: Uint8Array
  count: number
  /** Bits of the batch header: HAS_IDEMPOTENCY_KEYS, HAS_EXPIRY. */
  attributes: number
  /** They are a frame of a producer: a batch of their own. */
  producer?: BatchProducer
}

/**
 * One append on its way to the disk. Exactly one of these happens, in order: nothing (take gave
 * null), `failed`, or `written` and then `durable`. After the poison latch trips, none of them.
 */
export interface CommitEntry {
  /** Bytes this entry will add at most: what the queue's bound counts. */
  readonly size: number
  /** The records, asked for once, when the group they go into is built; null: nothing to write any more. */
  take(): Records | null
  /** In the operating system's hands: survives kill -9, not a power cut. */
  written(baseOffset: number, timestamp: number): void
  /** On stable storage: fdatasync covers it. Promise 1 of DESIGN.md hangs on this call alone. */
  durable(baseOffset: number, timestamp: number): void
  failed(error: TidingsError): void
}

/** What the entry waits for: a sync at once, only the write, or a sync within the queue's lazy interval. */
export type Urgency = 'durable' | 'written' | 'lazy'

export interface CommitQueue {
  /** Queues the entry, or throws `overloaded` (bound reached, closing) or `storage_full`. */
  submit(entry: CommitEntry, urgency: Urgency): void
  /** Throws what `submit` would throw for so many bytes now. */
  admit(size: number): void
  /** Offset after the last appended record, and after the last durable one. */
  readonly nextOffset: number
  readonly durableOffset: number
  /** Everything submitted so far is durable (or failed). */
  flush(): Promise<void>
}

export interface GroupCommitOptions {
  log: Log
  clock: Clock
  latch: Latch
  metrics: Metrics
  space: SpaceGuard
  /** May write while the disk counts as full: acknowledgements, which need little and free much. */
  usesReserve: boolean
  leaderEpoch: number
  maxQueuedBytes: number
  /** How long an append that nobody waits for may stay unsynced. */
  lazySyncMs: number
  /** Called after offsets were written or became durable, before the entries hear of it. */
  onProgress(): void
  /** Called after the entries have heard of it. */
  onSettled(): void
}

/** A group is cut off here; what is left goes into the next. */
const GROUP_BYTES = 4 * 1_048_576
/** A batch is closed here: small enough that a reader of one record does not drag in megabytes. */
const BATCH_BYTES = 262_144

/** What an entry takes in memory while it waits, beyond its records: tiny messages count for what they cost. */
const ENTRY_BYTES = 512

interface Placed {
  entry: CommitEntry
  urgency: Urgency
  offset: number
  timestamp: number
}

interface PlannedBatch {
  parts: Uint8Array[]
  bytes: number
  count: number
  attributes: number
  producer: BatchProducer | null
}

export class GroupCommit implements CommitQueue {
  readonly #options: GroupCommitOptions
  readonly #log: Log
  #queue: { entry: CommitEntry; urgency: Urgency }[] = []
  #queuedBytes = 0
  #unsynced: Placed[] = []
  #unsyncedBytes = 0
  /** Somebody in the queue waits for the write alone: it need not wait for the sync under way. */
  #writeWanted = false
  /** Somebody among the unsynced waits for a sync at once. */
  #syncWanted = false
  #writing = false
  #syncing = false
  #kicked = false
  #closed = false
  #lazyTimer: Timer | null = null
  #lazyDue = false
  #idle: (() => void)[] = []
  readonly #tasks: (() => Promise<void>)[] = []

  constructor(options: GroupCommitOptions) {
    this.#options = options
    this.#log = options.log
  }

  get nextOffset(): number {
    return this.#log.nextOffset
  }

  get durableOffset(): number {
    return this.#log.durableOffset
  }

  admit(size: number): void {
    const { maxQueuedBytes, usesReserve, space } = this.#options
    if (this.#closed) throw new TidingsError('overloaded', 'the broker is shutting down: try again in a moment')
    if (this.#queuedBytes + size > maxQueuedBytes && this.#queuedBytes > 0) {
      throw new TidingsError(
        'overloaded',
        `${this.#queuedBytes} bytes wait for this partition's disk already: slow down and try again`,
      )
    }
    if (space.full && !usesReserve) throw storageFull()
  }

  submit(entry: CommitEntry, urgency: Urgency): void {
    this.admit(entry.size)
    this.#queue.push({ entry, urgency })
    this.#queuedBytes += entry.size + ENTRY_BYTES
    if (urgency === 'written') this.#writeWanted = true
    if (this.#kicked) return
    this.#kicked = true
    this.#options.clock.soon(() => {
      this.#kicked = false
      this.#kick()
    })
  }

  /** Resolves when nothing is queued or unsynced; never after the latch has tripped. */
  flush(): Promise<void> {
    this.#lazyDue = true
    return new Promise((resolve) => {
      this.#idle.push(resolve)
      this.#kick()
    })
  }

  /** Runs a task of the log's one writer (a roll) while no group is being written. */
  exclusively(task: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tasks.push(() => task().then(resolve, reject))
      this.#kick()
    })
  }

  /** Finishes what was submitted, then refuses more. */
  async close(): Promise<void> {
    this.#closed = true
    await this.flush()
    this.#lazyTimer?.cancel()
  }

  /** Starts whatever may start now: the next write, the next sync. */
  #kick(): void {
    if (this.#options.latch.tripped) return
    if (!this.#writing && this.#tasks.length > 0) this.#run(this.#runTask(this.#tasks.shift()!))
    const mayWrite = !this.#syncing || (this.#writeWanted && this.#unsyncedBytes < this.#options.maxQueuedBytes)
    if (!this.#writing && this.#queue.length > 0 && mayWrite) {
      this.#run(this.#writeGroup())
    }
    if (!this.#writing && !this.#syncing && (this.#syncWanted || this.#lazyDue) && this.#unsynced.length > 0) {
      this.#run(this.#syncWritten())
    }
    if (this.#isIdle()) for (const resolve of this.#idle.splice(0)) resolve()
  }

  #run(step: Promise<void>): void {
    step.then(
      () => this.#kick(),
      (error: unknown) => this.#options.latch.trip(error),
    )
  }

  async #runTask(task: () => Promise<void>): Promise<void> {
    this.#writing = true
    await task()
    this.#writing = false
  }

  #isIdle(): boolean {
    return !this.#writing && !this.#syncing && this.#queue.length === 0 && this.#unsynced.length === 0
  }

  async #writeGroup(): Promise<void> {
    this.#writing = true
    const { latch, space, metrics } = this.#options
    const group = await this.#takeGroup()
    if (group === null) {
      this.#writing = false
      return
    }
    const { placed, bytes, batches } = group
    try {
      if (bytes.length > 0) await this.#log.write(bytes, batches)
    } catch (error) {
      if (!isFull(error)) throw error
      await this.#log.rollback()
      space.ranOut()
      this.#writing = false
      for (const { entry } of placed) entry.failed(storageFull())
      return
    }
    space.wrote(bytes.length)
    this.#writing = false
    if (latch.tripped || placed.length === 0) return
    for (const one of placed) this.#unsynced.push(one)
    this.#unsyncedBytes += bytes.length
    // What nobody waits for is synced before its time when too much of it has come: it is held in memory till then.
    const isMuch = this.#unsyncedBytes >= this.#options.maxQueuedBytes
    this.#syncWanted ||= isMuch || placed.some(({ urgency }) => urgency === 'durable')
    metrics.appended(
      batches.reduce((sum, batch) => sum + batch.count, 0),
      bytes.length,
    )
    this.#options.onProgress()
    for (const { entry, offset, timestamp } of placed) entry.written(offset, timestamp)
    this.#options.onSettled()
    this.#armLazySync()
  }

  /** Takes what fits into the active segment off the queue, and builds the batches of it. */
  async #takeGroup(): Promise<{ placed: Placed[]; bytes: Buffer; batches: RecordBatch[] } | null> {
    const first = this.#queue[0]!
    try {
      await this.#log.prepare(first.entry.size + BATCH_HEADER_BYTES)
    } catch (error) {
      if (!isFull(error) && !isOutOfHandles(error)) throw error
      if (isFull(error)) this.#options.space.ranOut()
      const failure = isFull(error) ? storageFull() : outOfHandles()
      const failing = this.#queue.splice(0)
      this.#queuedBytes = 0
      this.#writeWanted = false
      for (const { entry } of failing) entry.failed(failure)
      return null
    }
    const limit = Math.min(this.#log.room, GROUP_BYTES)
    let taken = 0
    let bytes = 0
    while (taken < this.#queue.length) {
      const size = this.#queue[taken]!.entry.size + BATCH_HEADER_BYTES
      if (taken > 0 && bytes + size > limit) break
      bytes += size
      taken += 1
    }
    const entries = taken === this.#queue.length ? this.#queue : this.#queue.slice(0, taken)
    this.#queue = taken === this.#queue.length ? [] : this.#queue.slice(taken)
    if (this.#queue.length === 0) this.#writeWanted = false
    for (const { entry } of entries) this.#queuedBytes -= entry.size + ENTRY_BYTES
    return this.#build(entries)
  }

  #build(entries: readonly { entry: CommitEntry; urgency: Urgency }[]): {
    placed: Placed[]
    bytes: Buffer
    batches: RecordBatch[]
  } {
    const log = this.#log
    const timestamp = Math.max(Math.floor(this.#options.clock.now()), log.maxTimestamp)
    const placed: Placed[] = []
    const plan: PlannedBatch[] = []
    let offset = log.nextOffset
    let total = 0
    for (const { entry, urgency } of entries) {
      const records = entry.take()
      if (!records) continue
      assert(records.bytes.length <= entry.size, 'an entry grew beyond the size it was admitted with')
      let open = plan.at(-1)
      const producer = records.producer ?? null
      if (!open || open.bytes + records.bytes.length > BATCH_BYTES || producer || open.producer) {
        open = { parts: [], bytes: BATCH_HEADER_BYTES, count: 0, attributes: 0, producer }
        plan.push(open)
        total += BATCH_HEADER_BYTES
      }
      open.parts.push(records.bytes)
      open.bytes += records.bytes.length
      open.count += records.count
      open.attributes |= records.attributes
      total += records.bytes.length
      placed.push({ entry, urgency, offset, timestamp })
      offset += records.count
    }
    const bytes = Buffer.allocUnsafeSlow(total)
    const batches: RecordBatch[] = []
    let at = 0
    let baseOffset = log.nextOffset
    for (const batch of plan) {
      const slice = bytes.subarray(at, at + batch.bytes)
      let position = BATCH_HEADER_BYTES
      for (const part of batch.parts) {
        slice.set(part, position)
        position += part.length
      }
      stampBatch(slice, {
        baseOffset,
        timestamp,
        durablePosition: log.durablePosition,
        partitionTag: log.tag,
        mark: log.mark,
        leaderEpoch: this.#options.leaderEpoch,
        count: batch.count,
        producer: batch.producer,
        attributes: batch.attributes,
      })
      batches.push(new RecordBatch(slice))
      baseOffset += batch.count
      at += batch.bytes
    }
    return { placed, bytes, batches }
  }

  async #syncWritten(): Promise<void> {
    this.#syncing = true
    this.#lazyDue = false
    this.#lazyTimer?.cancel()
    this.#lazyTimer = null
    const covered = this.#unsynced
    const coveredBytes = this.#unsyncedBytes
    this.#unsynced = []
    this.#unsyncedBytes = 0
    this.#syncWanted = false
    const { clock, latch, metrics } = this.#options
    const startedAt = clock.monotonic()
    await this.#log.sync()
    this.#syncing = false
    if (latch.tripped) return
    metrics.synced(clock.monotonic() - startedAt, coveredBytes)
    this.#options.onProgress()
    for (const { entry, offset, timestamp } of covered) entry.durable(offset, timestamp)
    this.#options.onSettled()
  }

  #armLazySync(): void {
    if (this.#lazyTimer || this.#unsynced.length === 0) return
    this.#lazyTimer = this.#options.clock.after(this.#options.lazySyncMs, () => {
      this.#lazyTimer = null
      this.#lazyDue = true
      this.#kick()
    })
  }
}

function storageFull(): TidingsError {
  return new TidingsError('storage_full', 'the disk is full: free some space or shorten retention, then try again')
}

function outOfHandles(): TidingsError {
  return new TidingsError(
    'overloaded',
    'the broker has no file handle left: close connections or raise the limit (ulimit -n)',
  )
}
