/**
 * One partition: an ordered log of messages, committed up to the high watermark, and beside it the
 * log of its subscriptions' acknowledgements. It owns both logs and their commit queues; who reads
 * it (subscriptions, HTTP) sees committed batches only.
 */
import type { TidingsError } from '@tidings/sdk/protocol'
import { isFull, parentOf } from '../base/disk.ts'
import { Log, type LogOptions, type SegmentInfo } from '../log/log.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Hold } from '../log/retention.ts'
import type { SealedFile } from '../log/sealed-file.ts'
import { Append, type AppendListener } from './append.ts'
import { type CommitQueue, GroupCommit, type Records } from './commit-queue.ts'
import { logName, partitionDirectory, placeOf } from './log-place.ts'
import { Maintenance } from './maintenance.ts'
import type { PartitionEnvironment, PartitionSettings } from './partition-environment.ts'
import { joinTerm, type LogName, type Quorum } from './quorum.ts'
import { type Recalled, recallBatch } from './recall.ts'
import { RememberedLog } from './remembered-log.ts'

export type { PartitionEnvironment, PartitionSettings } from './partition-environment.ts'

/** What readers and subscriptions may ask of a partition. */
export interface Partition {
  readonly topicId: string
  readonly number: number
  /** The first offset that retention left. */
  readonly startOffset: number
  /** Where whoever comes now may begin: retention may be about to remove what is below. */
  readonly keptFrom: number
  /** Offset of the next record to be appended. */
  readonly nextOffset: number
  /** Offsets below it are committed: what readers may see. */
  readonly highWatermark: number
  readonly bytes: number
  readonly segments: SegmentInfo[]
  /** The bytes of a sealed segment, all of them committed; null where there is none. Whoever asks closes it. */
  openSegment(baseOffset: number): Promise<SealedFile | null>
  readonly epoch: number
  /** False: this broker may not speak for the partition at this moment; nothing is delivered then. */
  readonly holds: boolean
  /**
   * The committed batch that holds the offset, when it is in memory (tail cache, or lately loaded).
   * The hot path: synchronous.
   */
  cached(offset: number): RecordBatch | undefined
  /**
   * Reads from the disk: the batch that holds the offset and what follows, at least 256 KiB where
   * there is as much, committed only; they are then `cached` for a while. Empty when the offset is at
   * or past the high watermark. Below the start: throws `offset_out_of_range`.
   */
  load(offset: number): Promise<RecordBatch[]>
  /** The first offset whose timestamp is at or after the time (ms); the high watermark when there is none. */
  offsetAt(timestamp: number): Promise<number>
  /** Calls the listener after the high watermark or the start has moved. Answers how to stop it. */
  onChange(listener: () => void): () => void
  /** The subscription log of this partition: group-committed like data. */
  readonly cursorQueue: CommitQueue
  /** All batches of the subscription log, oldest first: read once, when the partition opens. */
  readCursorLog(): AsyncIterable<RecordBatch>
  /**
   * Drops the subscription log's records below the offset, when absolute states at and after it say all
   * that they said. Whole segments only.
   */
  trimCursorLog(before: number): Promise<void>
  /** Bytes of the subscription log: when to write states anew. */
  readonly cursorLogBytes: number
  /** By how much the subscription log grows, at least, before it is written anew; null: as much as is sensible. */
  readonly cursorGrowthBytes: number | null
}

/** Acknowledgements that nobody waits for, and buffered publishes, are synced this late at the latest. */
const CURSOR_LAZY_SYNC_MS = 50
const BUFFERED_SYNC_MS = 1000

export class LogPartition implements Partition {
  readonly topicId: string
  readonly number: number
  readonly epoch: number
  readonly cursorQueue: CommitQueue
  readonly cursorGrowthBytes: number | null
  #settings: PartitionSettings
  readonly #environment: PartitionEnvironment
  readonly #data: Log
  readonly #cursors: Log
  readonly #remembered: RememberedLog
  readonly #quorum: Quorum
  readonly #dataQueue: GroupCommit
  readonly #cursorQueue: GroupCommit
  readonly #listeners: Set<() => void> = new Set()
  #highWatermark: number
  #notified: number
  /** Somebody had something to deliver and was not allowed to. */
  #isSilenced = false
  readonly #maintenance: Maintenance

  private constructor(
    environment: PartitionEnvironment,
    topicId: string,
    number: number,
    settings: PartitionSettings,
    data: Log,
    cursors: Log,
    remembered: RememberedLog,
  ) {
    this.topicId = topicId
    this.number = number
    const { term } = environment
    this.epoch = term.epoch
    this.#environment = environment
    this.#settings = settings
    this.#data = data
    this.#cursors = cursors
    this.#remembered = remembered
    this.#highWatermark = data.nextOffset
    this.#notified = data.nextOffset
    const { clock, latch, metrics, space, maxQueuedBytes } = environment
    const shared = { clock, latch, metrics, space, maxQueuedBytes, leaderEpoch: term.epoch }
    this.#quorum = term.quorum(logName(number, 'data'), data)
    data.committed = () => this.#quorum.durable(data.durableOffset)
    this.#dataQueue = new GroupCommit({
      ...shared,
      log: data,
      quorum: this.#quorum,
      usesReserve: false,
      lazySyncMs: BUFFERED_SYNC_MS,
      onProgress: () => this.#advance(),
      onSettled: () => this.#notify(),
    })
    const nothing = (): void => undefined
    const cursorQuorum = term.quorum(logName(number, 'cursors'), cursors)
    cursors.committed = () => cursorQuorum.durable(cursors.durableOffset)
    this.#cursorQueue = new GroupCommit({
      ...shared,
      log: cursors,
      quorum: cursorQuorum,
      usesReserve: true,
      lazySyncMs: CURSOR_LAZY_SYNC_MS,
      onProgress: nothing,
      onSettled: nothing,
    })
    this.cursorQueue = this.#cursorQueue
    this.#maintenance = new Maintenance({
      environment,
      data,
      cursors,
      remembered,
      dataQueue: this.#dataQueue,
      settings: () => this.#settings,
      startMoved: () => this.#notifyAll(),
    })
    this.cursorGrowthBytes = environment.cursorLog?.growthBytes ?? null
  }

  /** A new partition; all its names are on stable storage when it resolves, before metadata says that it exists. */
  static async create(
    environment: PartitionEnvironment,
    topicId: string,
    number: number,
    settings: PartitionSettings,
  ): Promise<LogPartition> {
    const { disk } = environment
    const directory = partitionDirectory(topicId, number)
    await disk.makeDirectory(directory)
    await disk.syncDirectory(parentOf(directory))
    const { dataOptions, cursorOptions } = optionsOf(environment, topicId, number, settings)
    const data = await Log.create(dataOptions)
    try {
      const cursors = await Log.create(cursorOptions)
      await joinTerm(environment.term, data)
      await joinTerm(environment.term, cursors)
      const remembered = RememberedLog.empty(environment, { directory, topicId, number })
      return new LogPartition(environment, topicId, number, settings, data, cursors, remembered)
    } catch (error) {
      await data.close()
      throw error
    }
  }

  /** Recovers a partition that metadata says exists. Throws CorruptionError. */
  static async open(
    environment: PartitionEnvironment,
    topicId: string,
    number: number,
    settings: PartitionSettings,
  ): Promise<LogPartition> {
    const { dataOptions, cursorOptions } = optionsOf(environment, topicId, number, settings)
    const data = await Log.open(dataOptions)
    const cursors = await Log.open(cursorOptions)
    for (const { log, report } of [data, cursors]) {
      await joinTerm(environment.term, log)
      if (report.cutBytes === 0) continue
      environment.logger.warn(
        { directory: log.directory, cutBytes: report.cutBytes, nextOffset: log.nextOffset },
        'cut a torn tail: the last write before the crash was never answered',
      )
    }
    const directory = partitionDirectory(topicId, number)
    const remembered = await RememberedLog.open(environment, { directory, topicId, number })
    return new LogPartition(environment, topicId, number, settings, data.log, cursors.log, remembered)
  }

  get startOffset(): number {
    return this.#data.startOffset
  }

  get keptFrom(): number {
    return this.#data.keptFrom
  }

  get nextOffset(): number {
    return this.#data.nextOffset
  }

  get highWatermark(): number {
    return this.#highWatermark
  }

  get holds(): boolean {
    const { holds } = this.#quorum
    if (!holds) this.#isSilenced = true
    return holds
  }

  /** The logs that it consists of at this moment, for whoever copies them; one more may come into being. */
  logs(): { name: LogName; log: Log }[] {
    const { number } = this
    const remembered = this.#remembered.log
    return [
      { name: logName(number, 'data'), log: this.#data },
      { name: logName(number, 'cursors'), log: this.#cursors },
      ...(remembered ? [{ name: logName(number, 'remembered'), log: remembered }] : []),
    ]
  }

  get bytes(): number {
    return this.#data.bytes
  }

  get segments(): SegmentInfo[] {
    return this.#data.segments()
  }

  async openSegment(baseOffset: number): Promise<SealedFile | null> {
    const file = await this.#data.openSealed(baseOffset)
    if (!file || file.nextOffset <= this.#highWatermark) return file
    await file.close()
    return null
  }

  get cursorLogBytes(): number {
    return this.#cursors.bytes
  }

  /** Takes changed settings; `durability` holds for what is published from now on. */
  configure(settings: PartitionSettings): void {
    this.#settings = settings
    this.#data.segmentBytes = settings.segmentBytes
  }

  /** Throws what `append` would throw for so many bytes now. */
  admit(size: number): void {
    this.#dataQueue.admit(size)
  }

  /** Queues messages; throws like `admit`. The listener hears once what became of them. */
  append(records: Records, listener: AppendListener): void {
    const buffered = this.#settings.durability === 'buffered'
    this.#dataQueue.submit(new Append(records, listener, buffered), buffered ? 'written' : 'durable')
  }

  cached(offset: number): RecordBatch | undefined {
    return offset < this.#highWatermark ? this.#data.cache.find(offset) : undefined
  }

  async load(offset: number): Promise<RecordBatch[]> {
    if (offset >= this.#highWatermark && offset >= this.startOffset) return []
    const { cache } = this.#data
    const { generation } = cache
    const batches = await this.#data.read(offset)
    const committed = batches.filter((batch) => batch.nextOffset <= this.#highWatermark)
    if (cache.generation === generation) cache.keep(committed)
    return committed
  }

  async offsetAt(timestamp: number): Promise<number> {
    return Math.min(await this.#data.offsetAt(timestamp), this.#highWatermark)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  readCursorLog(): AsyncIterable<RecordBatch> {
    return this.#cursors.all()
  }

  async trimCursorLog(before: number): Promise<void> {
    await this.#cursors.removeBelow(before)
  }

  /**
   * Tells of every Idempotency-Key and every frame of a producer from a time on, oldest first, perhaps of some twice,
   * also of those that retention removed. Before anything is maintained.
   */
  async recall(since: number, recalled: Partial<Recalled>): Promise<void> {
    await this.#remembered.recall(since, recalled)
    const range = { since, from: 0, to: Number.POSITIVE_INFINITY }
    for await (const batch of this.#data.known(range)) recallBatch(batch, recalled)
  }

  /**
   * Does what is due from time to time.
   * @param ackedThrough below it all that read this partition have durably acknowledged everything
   */
  maintain(ackedThrough: () => number): Promise<void> {
    return this.#maintenance.run(ackedThrough)
  }

  /** What holds the oldest segment. */
  holdOf(ackedThrough: number): Hold | null {
    return this.#data.holdOf(this.#settings.retention, ackedThrough, this.#environment.clock.now())
  }

  /** Everything that was asked so far is done. */
  async flush(): Promise<void> {
    await Promise.all([this.#dataQueue.flush(), this.#cursorQueue.flush()])
  }

  /**
   * This broker does not lead the topic any more. Who waits hears the error, or that nobody knows whether what was asked
   * is done; nothing is written once `close` has resolved.
   * @param error `no_leader`; its detail goes on after "since"
   */
  abandon(error: TidingsError): void {
    this.#maintenance.abandon()
    this.#dataQueue.abandon(error)
    this.#cursorQueue.abandon(error)
  }

  /** Finishes what was queued and closes the files; a checkpoint makes the next start trust the end. */
  async close(): Promise<void> {
    await this.#maintenance.close()
    await this.#dataQueue.close()
    await this.#cursorQueue.close()
    await this.#checkpointAtClose()
    await this.#data.close()
    await this.#cursors.close()
    await this.#remembered.close()
  }

  /** Only saves the next start some work: a full disk must not keep a topic from being closed, or deleted. */
  async #checkpointAtClose(): Promise<void> {
    try {
      await this.#data.checkpoint()
      await this.#cursors.checkpoint()
    } catch (error) {
      if (!isFull(error)) throw error
      this.#environment.logger.warn({ directory: this.#data.directory }, 'no room on the disk for a last checkpoint')
    }
  }

  #advance(): void {
    const quorum = this.#quorum
    if (!quorum.holds) return
    const { nextOffset, durableOffset } = this.#data
    const isBuffered = this.#settings.durability === 'buffered'
    const committed = isBuffered ? quorum.written(nextOffset) : quorum.durable(durableOffset)
    this.#highWatermark = Math.max(this.#highWatermark, committed)
  }

  #notify(): void {
    const isHeard = this.#isSilenced && this.#quorum.holds
    if (this.#notified === this.#highWatermark && !isHeard) return
    if (isHeard) this.#isSilenced = false
    this.#notified = this.#highWatermark
    this.#notifyAll()
  }

  #notifyAll(): void {
    for (const listener of this.#listeners) listener()
  }
}

function optionsOf(
  environment: PartitionEnvironment,
  topicId: string,
  number: number,
  { segmentBytes }: PartitionSettings,
): { dataOptions: LogOptions; cursorOptions: LogOptions } {
  const { options: dataOptions } = placeOf(environment, topicId, logName(number, 'data'), segmentBytes)
  const { options: cursorOptions } = placeOf(environment, topicId, logName(number, 'cursors'), segmentBytes)
  return { dataOptions, cursorOptions }
}
