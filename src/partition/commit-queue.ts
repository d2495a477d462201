/**
 * Group commit: while one flush is under way, arriving appends queue up; the next flush takes them all in one write and
 * one sync, which are one operation where nobody waits for the write alone. The one place where an append becomes
 * `durable`, and so the one place on which every publish answer and every confirmed acknowledgement hangs.
 *
 * Must stay true: `durable` is called only after a sync that began when the bytes had been written
 * (S-BARRIER), and, of a log that is copied, when its quorum has them on stable storage too; after the latch has
 * tripped nothing is called at all (S-LATCH), nor while this broker may not speak for the log; the queue is
 * bounded in bytes. A full disk fails the group whole and leaves the log as it was.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import { isFull, isOutOfHandles } from '../base/disk.ts'
import type { Latch } from '../base/latch.ts'
import type { SpaceGuard } from '../base/space-guard.ts'
import type { Metrics } from '../base/telemetry.ts'
import type { Log } from '../log/log.ts'
import { BATCH_HEADER_BYTES } from '../log/record-batch.ts'
import type { CommitEntry, CommitQueue, Urgency } from './commit-entry.ts'
import { buildGroup, type CommitGroup, type Submitted } from './commit-group.ts'
import { ENTRY_BYTES, type Placed, PlacedEntries } from './placed-entries.ts'
import { alone, type Quorum } from './quorum.ts'

export type { CommitEntry, CommitQueue, Records, Urgency } from './commit-entry.ts'

export interface GroupCommitOptions {
  log: Log
  quorum: Quorum
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

export class GroupCommit implements CommitQueue {
  readonly #options: GroupCommitOptions
  readonly #log: Log
  #queue: Submitted[] = []
  #queuedBytes = 0
  readonly #placed: PlacedEntries
  /** Bytes of the log that no sync has begun to cover. */
  #unsyncedBytes = 0
  /** Somebody in the queue waits for the write alone: it need not wait for the sync under way. */
  #writeWanted = false
  /** Others copy what is written, or somebody once waited for the write alone: from then on it does not wait for the disk. */
  #writesApart: boolean
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
  readonly #unlisten: () => void
  /** Leadership was lost: what everybody is told from then on. */
  #abandoned: TidingsError | null = null

  constructor(options: GroupCommitOptions) {
    this.#options = options
    this.#log = options.log
    this.#writesApart = options.quorum !== alone
    this.#placed = new PlacedEntries(options.quorum)
    this.#unlisten = options.quorum.onMove(() => this.#moved())
  }

  get nextOffset(): number {
    return this.#log.nextOffset
  }

  get durableOffset(): number {
    return this.#options.quorum.durable(this.#log.durableOffset)
  }

  admit(size: number): void {
    const { maxQueuedBytes, usesReserve, space, quorum } = this.#options
    if (this.#abandoned) throw this.#abandoned
    quorum.admit()
    if (this.#closed) throw new TidingsError('overloaded', 'the broker is shutting down: try again in a moment')
    const waiting = this.#queuedBytes + this.#placed.waitingBytes
    if (waiting + size > maxQueuedBytes && waiting > 0) {
      const what = this.#placed.waitingBytes > this.#queuedBytes ? "'s replicas" : "'s disk"
      throw new TidingsError(
        'overloaded',
        `${waiting} bytes wait for this partition${what} already: slow down and try again`,
      )
    }
    if (space.full && !usesReserve) throw storageFull()
  }

  submit(entry: CommitEntry, urgency: Urgency): void {
    this.admit(entry.size)
    this.#queue.push({ entry, urgency })
    this.#queuedBytes += entry.size + ENTRY_BYTES
    if (urgency === 'written') this.#writeWanted = this.#writesApart = true
    if (this.#kicked) return
    this.#kicked = true
    this.#options.clock.soon(() => {
      this.#kicked = false
      this.#kick()
    })
  }

  /** Resolves when nothing is queued or waits for a sync or for replicas; never after the latch has tripped. */
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
      this.#tasks.push(() => (this.#abandoned ? Promise.resolve() : task()).then(resolve, reject))
      this.#kick()
    })
  }

  /**
   * This broker does not lead any more. Who was not written yet hears the error; who was, and did not hear `durable`, may
   * be stored with whoever leads next or not, and hears that (`outcome_unknown`). Nothing is written any more but for a
   * write that is under way, which `close` awaits.
   */
  abandon(error: TidingsError): void {
    if (this.#abandoned || this.#options.latch.tripped) return
    this.#abandoned = error
    const queue = this.#queue.splice(0)
    this.#queuedBytes = 0
    this.#unsyncedBytes = 0
    this.#writeWanted = false
    this.#placed.fail(inDoubt(error))
    for (const { entry } of queue) entry.failed(error)
    this.#kick()
  }

  /** Finishes what was submitted, then refuses more. Who cannot wait for replicas abandons it first. */
  async close(): Promise<void> {
    this.#closed = true
    await this.flush()
    this.#lazyTimer?.cancel()
    this.#unlisten()
  }

  /** Starts whatever may start now: the next write, the next sync. */
  #kick(): void {
    if (this.#options.latch.tripped) return
    if (!this.#writing && this.#tasks.length > 0) this.#run(this.#runTask(this.#tasks.shift()!))
    const mayWrite = !this.#syncing || (this.#writeWanted && this.#unsyncedBytes < this.#options.maxQueuedBytes)
    if (!this.#writing && this.#queue.length > 0 && mayWrite) {
      this.#run(this.#writeGroup())
    }
    if (!this.#writing && !this.#syncing && (this.#syncWanted || this.#lazyDue) && this.#unsyncedBytes > 0) {
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
    const isAtWork = this.#writing || this.#syncing || this.#queue.length > 0 || this.#unsyncedBytes > 0
    return !isAtWork && this.#placed.isEmpty
  }

  async #writeGroup(): Promise<void> {
    this.#writing = true
    const { clock, latch, space, metrics, quorum } = this.#options
    const group = await this.#takeGroup()
    if (group === null) {
      this.#writing = false
      return
    }
    const { placed, bytes, batches } = group
    const durably = this.#mayWriteDurably(placed)
    const startedAt = clock.monotonic()
    try {
      if (bytes.length > 0) await this.#log.write(bytes, batches, durably)
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
    if (this.#abandoned) {
      for (const { entry } of placed) entry.failed(inDoubt(this.#abandoned))
      return
    }
    quorum.appended()
    this.#placed.push(placed)
    if (durably) metrics.synced(clock.monotonic() - startedAt, bytes.length)
    else this.#leaveUnsynced(placed, bytes.length)
    metrics.appended(
      batches.reduce((sum, batch) => sum + batch.count, 0),
      bytes.length,
    )
    this.#options.onProgress()
    const { nextOffset, durableOffset } = this.#log
    this.#placed.written(quorum.written(nextOffset))
    if (durably) this.#placed.durable(quorum.durable(durableOffset), durableOffset)
    this.#options.onSettled()
    this.#armLazySync()
  }

  /** The sync of one write covers nothing else. */
  #mayWriteDurably(placed: readonly Placed[]): boolean {
    const { nextOffset, durableOffset } = this.#log
    const allBefore = !this.#syncing && this.#unsyncedBytes === 0 && durableOffset === nextOffset
    return allBefore && !this.#writesApart && placed.some(({ urgency }) => urgency === 'durable')
  }

  #leaveUnsynced(placed: readonly Placed[], bytes: number): void {
    this.#unsyncedBytes += bytes
    // What nobody waits for is synced before its time when too much of it has come: it is held in memory till then.
    const isMuch = this.#unsyncedBytes >= this.#options.maxQueuedBytes
    this.#syncWanted ||= isMuch || placed.some(({ urgency }) => urgency === 'durable')
  }

  /** Takes what fits into the active segment off the queue, and builds the batches of it. */
  async #takeGroup(): Promise<CommitGroup | null> {
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
    return buildGroup(entries, this.#log, this.#options)
  }

  async #syncWritten(): Promise<void> {
    this.#syncing = true
    this.#lazyDue = false
    this.#lazyTimer?.cancel()
    this.#lazyTimer = null
    const coveredBytes = this.#unsyncedBytes
    this.#unsyncedBytes = 0
    this.#syncWanted = false
    const { clock, latch, metrics, quorum } = this.#options
    const startedAt = clock.monotonic()
    await this.#log.sync()
    this.#syncing = false
    if (latch.tripped || this.#abandoned) return
    metrics.synced(clock.monotonic() - startedAt, coveredBytes)
    const { durableOffset } = this.#log
    this.#options.onProgress()
    this.#placed.durable(quorum.durable(durableOffset), durableOffset)
    this.#options.onSettled()
  }

  /** The quorum has more than before. */
  #moved(): void {
    const { latch, quorum } = this.#options
    if (latch.tripped || this.#abandoned) return
    const { nextOffset, durableOffset } = this.#log
    try {
      this.#options.onProgress()
      this.#placed.written(quorum.written(nextOffset))
      this.#placed.durable(quorum.durable(durableOffset), durableOffset)
      this.#options.onSettled()
      this.#kick()
    } catch (error) {
      latch.trip(error)
    }
  }

  #armLazySync(): void {
    if (this.#lazyTimer || this.#unsyncedBytes === 0) return
    this.#lazyTimer = this.#options.clock.after(this.#options.lazySyncMs, () => {
      this.#lazyTimer = null
      this.#lazyDue = true
      this.#kick()
    })
  }
}

function inDoubt(error: TidingsError): TidingsError {
  const detail = `nobody knows whether it was stored, since ${error.message}: ask for it, or repeat it with the same key`
  return new TidingsError('outcome_unknown', detail, { cause: error })
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
