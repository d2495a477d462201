/**
 * The ordered segments of one log: append to the active one, roll, read anywhere, let go of old ones.
 * Bytes only; what they mean (data of a partition, acknowledgements) is the business of those above.
 *
 * Single writer: `prepare`, `write`, `rollback` come one after the other from one commit queue; `sync`
 * may overlap a write. Readers may come at any time. An error that leaves a file's state unknown
 * is for the caller to trip the latch on; `isFull` errors leave the log as it was.
 */
import type { Clock, Random } from '../base/clock.ts'
import { type Disk, parentOf } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import { Serial } from '../base/serial.ts'
import type { BatchCache } from './batch-cache.ts'
import { CheckpointFile } from './checkpoint-file.ts'
import type { EpochHistory } from './epoch-history.ts'
import { markOf } from './format.ts'
import { type KnownRange, knownBatches } from './known-batches.ts'
import { LogCompaction, replaceSegment } from './log-compaction.ts'
import { copyBatches } from './log-copy.ts'
import { type LogEnds, type LogStart, removeBelow, restartLog, truncateLog } from './log-ends.ts'
import { LogEpochs } from './log-epochs.ts'
import type { LogOptions } from './log-options.ts'
import { LogReader } from './log-reader.ts'
import { type CorruptionError, type RecoveredLog, type RecoveryReport, recoverLog } from './log-recovery.ts'
import { restartAt } from './log-restart.ts'
import type { OpenSegments } from './open-segments.ts'
import type { RecordBatch } from './record-batch.ts'
import { type Hold, holdOf, type Retained, type RetentionPolicy, startAfterRetention } from './retention.ts'
import { SealedFile } from './sealed-file.ts'
import { SealedSegments } from './sealed-segments.ts'
import { newHeader, Segment, type SegmentInfo } from './segment.ts'
import type { SegmentWriter } from './segment-writer.ts'

/** Larger groups gain nothing from space written ahead: they would only be written twice. */
const RUNWAY_GROUP_BYTES = 65_536

export type { LogOptions } from './log-options.ts'
export type { SegmentInfo } from './segment.ts'

export class Log {
  readonly directory: string
  readonly tag: number
  readonly cache: BatchCache
  readonly compaction: LogCompaction
  /** A segment is rolled when the next group would take it past this; an oversized group goes alone. */
  segmentBytes: number
  /** Offset after the last record on stable storage. */
  durableOffset: number
  /** Only what is below it goes, or is compacted. Set by whoever has the log copied to other brokers. */
  committed: () => number = () => Number.POSITIVE_INFINITY
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #random: Random
  readonly #openSegments: OpenSegments
  readonly #sealed: SealedSegments
  #active: Segment
  readonly #start: LogStart
  #syncing: Promise<void> | null = null
  readonly #reader: LogReader
  readonly #checkpoint: CheckpointFile
  /** Null: nobody asked for them yet. */
  #epochs: LogEpochs | null = null
  readonly #ends: LogEnds
  /** What takes segments out of the list comes one after the other. */
  readonly #changes = new Serial()

  private constructor(options: LogOptions, { sealed, active, startOffset, compaction }: Omit<RecoveredLog, 'report'>) {
    this.#disk = options.disk
    this.#clock = options.clock
    this.#random = options.random
    this.directory = options.directory
    this.tag = options.tag
    this.segmentBytes = options.segmentBytes
    this.cache = options.cache
    this.#openSegments = options.openSegments
    this.#sealed = new SealedSegments(sealed)
    this.#active = active
    this.#start = { offset: startOffset, next: startOffset, keptFrom: startOffset }
    this.#checkpoint = new CheckpointFile(options.disk, options.directory)
    const { disk, directory, cache } = options
    const parts = {
      disk,
      directory,
      cache,
      sealed: this.#sealed,
      start: this.#start,
      active: () => this.#active,
      committed: () => this.committed(),
      newHeader: (baseOffset: number) => newHeader(options, baseOffset),
      opened: (segment: Segment) => this.#openSegments.opened(segment),
      forget: (segment: Segment) => this.#openSegments.forget(segment),
      // Not while a segment is on its way out: what is removed must not come back under the same name.
      replace: (old: Segment, written: SegmentWriter, path: string) =>
        this.#changes.run('', () => replaceSegment(parts, old, written, path)),
      checkpoint: () => this.checkpoint(),
    }
    this.compaction = new LogCompaction(parts, compaction)
    this.#reader = new LogReader(parts)
    this.#ends = {
      ...parts,
      compaction: this.compaction,
      reader: this.#reader,
      epochs: () => this.#epochs,
      durableOffset: () => this.durableOffset,
      goOn: (segment, durableOffset) => {
        this.#active = segment
        this.durableOffset = durableOffset
      },
    }
    this.durableOffset = active.nextOffset
  }

  /** A new, empty log in a new directory whose parent exists; its names are durable when it resolves. */
  static async create(options: LogOptions): Promise<Log> {
    const { disk, directory } = options
    await disk.makeDirectory(directory)
    await disk.syncDirectory(parentOf(directory))
    const startOffset = options.baseOffset ?? 0
    const active = await Segment.create(disk, directory, newHeader(options, startOffset))
    const compaction = { through: 0, oldestTombstone: 0 }
    const log = new Log(options, { sealed: [], active, startOffset, compaction })
    try {
      await log.checkpoint()
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  /** Recovers an existing log; throws CorruptionError when durable bytes are damaged or gone. */
  static async open(options: LogOptions): Promise<{ log: Log; report: RecoveryReport }> {
    const { report, ...recovered } = await recoverLog({
      ...options,
      newHeader: (baseOffset) => newHeader(options, baseOffset),
    })
    return { log: new Log(options, recovered), report }
  }

  get startOffset(): number {
    return this.#start.offset
  }

  /** Where whoever comes now may begin: what is below is there no more, or on its way out. */
  get keptFrom(): number {
    return this.#start.keptFrom
  }

  /** Of the next record to be written. */
  get nextOffset(): number {
    return this.#active.nextOffset
  }

  /** Bytes of the active segment on stable storage: every batch is stamped with it. */
  get durablePosition(): number {
    return this.#active.durablePosition
  }

  /** Of the active segment: every batch is stamped with it. */
  get mark(): Buffer {
    return markOf(this.#active.nonce)
  }

  get bytes(): number {
    return this.#sealed.bytes + this.#active.content.end
  }

  /** Time of the newest message, 0 in an empty log: the next one is not older. */
  get maxTimestamp(): number {
    return this.#newest?.content.maxTimestamp ?? 0
  }

  get leaderEpoch(): number {
    return this.#newest?.content.leaderEpoch ?? 0
  }

  get #newest(): Segment | undefined {
    return this.#active.content.isEmpty ? this.#sealed.newest : this.#active
  }

  segments(): SegmentInfo[] {
    return this.#segments.map((segment) => segment.info)
  }

  get #segments(): Segment[] {
    return [...this.#sealed.list, this.#active]
  }

  /** Bytes that still fit into the active segment; an empty one takes one larger group all the same. */
  get room(): number {
    return this.segmentBytes - this.#active.content.end
  }

  /** Makes the active segment ready for a group of so many bytes: rolls where it would not fit. */
  async prepare(bytes: number): Promise<void> {
    if (bytes > this.room && !this.#active.content.isEmpty) await this.roll()
  }

  /** Seals the active segment and begins the next, whose mere existence proves that the old one is whole on stable storage. */
  async roll(): Promise<void> {
    await this.#syncing
    const old = this.#active
    if (old.content.isEmpty) return
    if (this.durableOffset < old.nextOffset) await this.sync()
    const header = newHeader({ tag: this.tag, clock: this.#clock, random: this.#random }, old.nextOffset)
    const next = await Segment.create(this.#disk, this.directory, header)
    await old.seal()
    this.#sealed.add(old)
    this.#active = next
    this.#openSegments.opened(old)
  }

  /** Writes stamped batches to the end of the active segment, which `prepare` made ready; `durably`: and syncs them. */
  async write(bytes: Buffer, batches: readonly RecordBatch[], durably = false): Promise<void> {
    if (durably) await this.#active.writeDurably(bytes, batches)
    else await this.#active.write(bytes, batches)
    if (durably) this.durableOffset = this.nextOffset
    for (const batch of batches) {
      this.cache.append(batch)
      this.#epochs?.history.appended(batch.leaderEpoch, batch.baseOffset)
    }
    if (bytes.length <= RUNWAY_GROUP_BYTES) this.#active.extendRunway(bytes.length, this.segmentBytes)
  }

  /** After `write` failed on a full disk: nothing of the group stays. */
  async rollback(): Promise<void> {
    await this.#active.rollback()
  }

  /** Everything written before the call is on stable storage when it resolves. One at a time. */
  async sync(): Promise<void> {
    const nextOffset = this.nextOffset
    this.#syncing = this.#active.sync()
    try {
      await this.#syncing
      this.durableOffset = Math.max(this.durableOffset, nextOffset)
    } finally {
      this.#syncing = null
    }
  }

  /** Space written ahead of the messages goes back to the disk. For the one writer, as `prepare` is. */
  giveBackRunway(): Promise<void> {
    return this.#active.giveBackRunway()
  }

  /**
   * The batch that holds the offset and what follows it in the same segment, `READ_BYTES` or more
   * where there are as many; empty at the end. Every byte was checked against its CRC.
   */
  read(offset: number): Promise<RecordBatch[]> {
    return this.#reader.read(offset)
  }

  /**
   * The sealed segment that begins at the offset, opened for somebody who wants its bytes; null where there is none.
   * Not while a segment is on its way out, so that the file is the one that the list tells of.
   */
  openSealed(baseOffset: number): Promise<SealedFile | null> {
    return this.#changes.run('', async () => {
      const segment = this.#sealed.list.find((one) => one.baseOffset === baseOffset)
      return segment?.sealed ? new SealedFile(segment, await this.#disk.open(segment.path, 'read')) : null
    })
  }

  /** The first offset at or after a time, `nextOffset` when every message is older. */
  offsetAt(timestamp: number): Promise<number> {
    return this.#reader.offsetAt(timestamp)
  }

  /** As known-batches.ts says; for whoever knows that no segment goes meanwhile. */
  known(range: KnownRange, damaged?: (error: CorruptionError) => void): AsyncGenerator<RecordBatch> {
    return knownBatches(this.#segments, (segment) => this.#openSegments.opened(segment), range, damaged)
  }

  /** All batches, oldest first. */
  all(): AsyncGenerator<RecordBatch> {
    return this.#reader.all()
  }

  /** Seals an active segment whose messages are all past their age, so that retention can let it go. */
  async rollAged(policy: RetentionPolicy, now: number): Promise<void> {
    const { isEmpty, maxTimestamp } = this.#active.content
    if (policy.maxAgeMs !== null && !isEmpty && now - maxTimestamp > policy.maxAgeMs) await this.roll()
  }

  /**
   * Removes the sealed segments that the policy lets go. Answers whether the start has moved. `ackedThrough` is
   * asked in the moment in which `keptFrom` moves, so that whoever comes later begins after what goes.
   * @param save makes durable what must be before anything below the offset goes; false: not yet, and nothing goes
   */
  retain(
    policy: RetentionPolicy,
    ackedThrough: () => number,
    now: number,
    save?: (to: number) => Promise<boolean>,
  ): Promise<boolean> {
    return this.#changes.run('', async () => {
      const start = startAfterRetention(policy, this.#retained(), ackedThrough(), now)
      return start !== null && removeBelow(this.#ends, start, save)
    })
  }

  holdOf(policy: RetentionPolicy, ackedThrough: number, now: number): Hold | null {
    return holdOf(policy, this.#retained(), ackedThrough, now)
  }

  #retained(): Retained {
    return { sealed: this.#sealed.measured(this.committed()), totalBytes: this.bytes, nextOffset: this.nextOffset }
  }

  /** Removes the sealed segments that end at or before the offset. */
  removeBelow(offset: number): Promise<boolean> {
    return this.#changes.run('', () => removeBelow(this.#ends, offset))
  }

  /**
   * Records what is proven about this log. Written when the start moves, on a clean close and when the
   * log has been idle: only then is there no later batch whose header would prove the last one.
   */
  checkpoint(): Promise<void> {
    return this.#checkpoint.write(() => {
      if (this.#start.isAnew) return restartAt(this.#start.next)
      return {
        startOffset: this.#start.next,
        segmentBase: this.#active.baseOffset,
        durablePosition: this.#active.durablePosition,
        compactedThrough: this.compaction.state.through,
        oldestTombstone: this.compaction.state.oldestTombstone,
        beginsAnew: false,
      }
    })
  }

  /**
   * Ends the log at the offset, or before the batch that holds it; on stable storage when it resolves. For the one
   * writer of a copy. After a crash on the way more of what was to go may be there, and is to be cut again.
   */
  truncate(nextOffset: number): Promise<void> {
    return this.#unwritten(() => truncateLog(this.#ends, nextOffset))
  }

  /** Everything goes, and the log begins at the offset; on stable storage when it resolves. For the one writer of a copy. */
  restart(baseOffset: number): Promise<void> {
    return this.#unwritten(() => restartLog(this.#ends, baseOffset))
  }

  #unwritten(task: () => Promise<void>): Promise<void> {
    return this.#changes.run('', async () => {
      await this.#syncing
      await task()
    })
  }

  /**
   * Writes batches as another broker stamped them, which must follow what is there; then `sync`, as always. Throws
   * CopyError where one does not fit, and nothing was written.
   */
  copy(batches: readonly RecordBatch[]): Promise<void> {
    return copyBatches(this, batches)
  }

  /** Reads which epochs wrote the log, once: what copies it calls this first. */
  async loadEpochs(): Promise<EpochHistory> {
    const opened = (segment: Segment): void => this.#openSegments.opened(segment)
    this.#epochs ??= await LogEpochs.load(this.#disk, this.directory, this.#segments, opened)
    return this.#epochs.history
  }

  get epochs(): EpochHistory {
    assert(this.#epochs, 'epochs are loaded before they are looked at')
    return this.#epochs.history
  }

  /** The highest epoch that this log was ever part of. */
  get seenEpoch(): number {
    assert(this.#epochs, 'epochs are loaded before they are looked at')
    return this.#epochs.seen
  }

  /** The log is part of the epoch, on stable storage when it resolves; a lower one than it was part of is a fault. */
  async beginEpoch(epoch: number): Promise<void> {
    await this.loadEpochs()
    await this.#changes.run('', async () => this.#epochs?.begin(epoch, this.durableOffset))
  }

  async close(): Promise<void> {
    for (const segment of this.#segments) {
      this.#openSegments.forget(segment)
      await segment.close()
    }
  }
}
