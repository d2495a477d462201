/**
 * The files of a topic's scheduled messages: one log with a commit queue of its own, beside the topic's
 * partitions. It is made when the first message is scheduled, under another name until it is whole,
 * so that its name alone proves it; it goes with the topic's other directories.
 * What the records mean is for schedule-record.ts and scheduler.ts.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { isFull, isOutOfHandles } from '../base/disk.ts'
import { nullMetrics } from '../base/telemetry.ts'
import { Log, type SegmentInfo } from '../log/log.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import { Append, type AppendListener } from './append.ts'
import { GroupCommit, type Records } from './commit-queue.ts'
import { createLog, hasLog, placeOf, SCHEDULE_LOG } from './log-place.ts'
import type { PartitionEnvironment } from './partition-environment.ts'
import { joinTerm } from './quorum.ts'

const LAZY_SYNC_MS = 50
const IDLE_MS = 5000

export class ScheduleLog {
  readonly #environment: PartitionEnvironment
  readonly #log: Log
  readonly #queue: GroupCommit
  #idleSince: { nextOffset: number; at: number } | null = null

  private constructor(environment: PartitionEnvironment, log: Log) {
    const { clock, latch, metrics, space, maxQueuedBytes, term } = environment
    const quorum = term.quorum(SCHEDULE_LOG, log)
    log.committed = () => quorum.durable(log.durableOffset)
    this.#environment = environment
    this.#log = log
    const nothing = (): void => undefined
    this.#queue = new GroupCommit({
      log,
      quorum,
      clock,
      latch,
      // A scheduled message counts as appended when it enters the log of its partition.
      metrics: { ...nullMetrics, synced: (ms, bytes) => metrics.synced(ms, bytes) },
      space,
      // What is fired or cancelled frees room; new messages ask `admit`, which does not use it.
      usesReserve: true,
      leaderEpoch: term.epoch,
      maxQueuedBytes,
      lazySyncMs: LAZY_SYNC_MS,
      onProgress: nothing,
      onSettled: nothing,
    })
  }

  /** The log that is there, or null. Throws CorruptionError. */
  static async open(environment: PartitionEnvironment, topicId: string): Promise<ScheduleLog | null> {
    const place = placeOf(environment, topicId, SCHEDULE_LOG, 0)
    if (!(await hasLog(place))) return null
    const { log, report } = await Log.open(place.options)
    if (report.cutBytes > 0) {
      environment.logger.warn(
        { directory: log.directory, cutBytes: report.cutBytes, nextOffset: log.nextOffset },
        'cut a torn tail: the last write before the crash was never answered',
      )
    }
    await joinTerm(environment.term, log)
    return new ScheduleLog(environment, log)
  }

  /** A new, empty one, durable with its name when it resolves. */
  static async create(environment: PartitionEnvironment, topicId: string): Promise<ScheduleLog> {
    if (environment.space.full) throw storageFull()
    try {
      const log = await createLog(placeOf(environment, topicId, SCHEDULE_LOG, 0))
      await joinTerm(environment.term, log)
      return new ScheduleLog(environment, log)
    } catch (error) {
      if (isFull(error)) throw storageFull()
      if (isOutOfHandles(error)) throw new TidingsError('overloaded', 'the broker has no file handle left: try again')
      throw error
    }
  }

  get bytes(): number {
    return this.#log.bytes
  }

  get nextOffset(): number {
    return this.#log.nextOffset
  }

  get segments(): SegmentInfo[] {
    return this.#log.segments()
  }

  /** Throws `overloaded` or `storage_full` when no more messages can be scheduled now. */
  admit(size: number): void {
    if (this.#environment.space.full) throw storageFull()
    this.#queue.admit(size)
  }

  /** Queues records; the listener hears when they are on stable storage. Throws like `admit`, but for the reserve. */
  append(records: Records, listener: AppendListener): void {
    this.#queue.submit(new Append(records, listener, false), 'durable')
  }

  /** All batches, oldest first: read once, at start. */
  all(): AsyncIterable<RecordBatch> {
    return this.#log.all()
  }

  /** The batch that holds the offset and what follows, as Log.read. */
  read(offset: number): Promise<RecordBatch[]> {
    return this.#log.read(offset)
  }

  /** Lets the sealed segments below the offset go. */
  async removeBelow(offset: number): Promise<boolean> {
    return this.#log.removeBelow(offset)
  }

  /** Once it has been idle, records how far it is durable. An error that leaves files in doubt trips the latch. */
  async maintain(): Promise<void> {
    const { clock, latch, logger } = this.#environment
    const { nextOffset } = this.#log
    const at = clock.monotonic()
    if (this.#idleSince?.nextOffset !== nextOffset) {
      this.#idleSince = { nextOffset, at }
      return
    }
    if (at - this.#idleSince.at < IDLE_MS) return
    try {
      await this.#log.checkpoint()
    } catch (error) {
      if (!isFull(error) && !isOutOfHandles(error)) return latch.trip(error)
      logger.warn({ directory: this.#log.directory }, 'no room on the disk, or no handle, for a checkpoint')
    }
  }

  /** As LogPartition.abandon. */
  abandon(error: TidingsError): void {
    this.#queue.abandon(error)
  }

  async close(): Promise<void> {
    await this.#queue.close()
    try {
      await this.#log.checkpoint()
    } catch (error) {
      if (!isFull(error)) throw error
      this.#environment.logger.warn({ directory: this.#log.directory }, 'no room on the disk for a last checkpoint')
    }
    await this.#log.close()
  }
}

function storageFull(): TidingsError {
  return new TidingsError('storage_full', 'the disk is full: free some space or shorten retention, then try again')
}
