/**
 * Idempotency-Keys and producers' frames of messages that retention removed while they could still be repeated: a
 * small log of its own beside a partition's messages, made when there first is something to keep. A runner, used by
 * its partition's maintenance, one call at a time.
 *
 * Must stay true: what goes is in here, on stable storage, before the partition's start moves. What is damaged in here
 * is said, put aside and done without: it makes repetitions unknown, and must not keep the broker from its messages.
 */
import { isFull, isMissing } from '../base/disk.ts'
import { BatchCache, CacheBudget } from '../log/batch-cache.ts'
import { partitionTag } from '../log/format.ts'
import { Log, type LogOptions } from '../log/log.ts'
import { CorruptionError, VersionError } from '../log/log-recovery.ts'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../log/record-batch.ts'
import type { PartitionEnvironment } from './partition-environment.ts'
import { type Recalled, recallBatch } from './recall.ts'
import { decodeRemembered, encodeRemembered } from './remembered-record.ts'

const SEGMENT_BYTES = 4 * 1_048_576
/** Written at a time. */
const WRITE_BYTES = 262_144

export interface RememberedPlace {
  /** Of the partition. */
  directory: string
  topicId: string
  number: number
}

export class RememberedLog {
  readonly #environment: PartitionEnvironment
  readonly #place: RememberedPlace
  #log: Log | null
  /** What is below it was kept, where it had to be. */
  #through = 0

  private constructor(environment: PartitionEnvironment, place: RememberedPlace, log: Log | null) {
    this.#environment = environment
    this.#place = place
    this.#log = log
  }

  /** For a new partition: there is nothing yet. */
  static empty(environment: PartitionEnvironment, place: RememberedPlace): RememberedLog {
    return new RememberedLog(environment, place, null)
  }

  static async open(environment: PartitionEnvironment, place: RememberedPlace): Promise<RememberedLog> {
    const remembered = RememberedLog.empty(environment, place)
    await remembered.#open()
    return remembered
  }

  async #open(): Promise<void> {
    const { disk, logger } = this.#environment
    const path = this.#path('remembered')
    try {
      await disk.list(path)
    } catch (error) {
      if (isMissing(error)) return
      throw error
    }
    try {
      this.#log = (await Log.open(this.#options(path))).log
    } catch (error) {
      if (!(error instanceof CorruptionError) || error instanceof VersionError) throw error
      logger.error(
        { err: error, directory: path },
        'what was kept of removed messages is damaged and put aside: repetitions of them may be stored again',
      )
      await this.#remove('remembered-damaged')
      await disk.rename(path, this.#path('remembered-damaged'))
      await disk.syncDirectory(this.#place.directory)
    }
  }

  /** Tells of all that is kept and not older, oldest first. Once, at start. */
  async recall(since: number, recalled: Partial<Recalled>): Promise<void> {
    const log = this.#log
    for (const { baseOffset, nextOffset } of log?.segments() ?? []) {
      try {
        for (let offset = baseOffset; offset < nextOffset; ) {
          const batches = await log!.read(offset)
          for (const batch of batches) this.#recallBatch(batch, since, recalled)
          offset = batches.at(-1)?.nextOffset ?? nextOffset
        }
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error
        this.#environment.logger.error(
          { err: error },
          'some of what was kept of removed messages is damaged: repetitions of them may be stored again',
        )
      }
    }
  }

  #recallBatch(batch: RecordBatch, since: number, recalled: Partial<Recalled>): void {
    for (const offset of batch.offsets()) {
      const record = decodeRemembered(batch.bytes, batch.positionOf(offset))
      if (record?.kind === 'through') this.#through = Math.max(this.#through, record.offset)
      else if (record?.kind === 'key' && record.timestamp >= since)
        recalled.key?.(record.key, record.offset, record.timestamp)
      else if (record?.kind === 'frame' && record.frame.timestamp >= since)
        recalled.frame?.(record.producer, record.frame)
    }
  }

  /** Below it there is nothing left to keep. */
  get through(): number {
    return this.#through
  }

  /** Keeps what the batches say; on stable storage when it resolves. `to` is where the messages will start. */
  async save(batches: AsyncIterable<RecordBatch>, to: number): Promise<void> {
    const rows: Uint8Array[] = []
    let bytes = 0
    let isAny = false
    const add = (row: Uint8Array): void => {
      rows.push(row)
      bytes += row.length
    }
    for await (const batch of batches) {
      recallBatch(batch, {
        key: (key, offset, timestamp) => add(encodeRemembered({ kind: 'key', key, offset, timestamp })),
        frame: (producer, frame) => add(encodeRemembered({ kind: 'frame', producer, frame })),
      })
      isAny ||= rows.length > 0
      if (bytes < WRITE_BYTES) continue
      await this.#write(rows.splice(0))
      bytes = 0
    }
    if (isAny) {
      add(encodeRemembered({ kind: 'through', offset: to }))
      await this.#write(rows)
      await this.#log!.sync()
      await this.#log!.checkpoint()
    }
    this.#through = Math.max(this.#through, to)
  }

  /** Lets go of what is too old to be repeated. */
  async trim(keepMs: number): Promise<void> {
    const now = this.#environment.clock.now()
    const policy = { maxAgeMs: keepMs, maxBytes: null, untilAcked: false }
    await this.#log?.rollAged(policy, now)
    await this.#log?.retain(policy, () => 0, now)
  }

  async close(): Promise<void> {
    await this.#log?.close()
  }

  async #write(rows: readonly Uint8Array[]): Promise<void> {
    const log = (this.#log ??= await this.#create())
    const { clock, leaderEpoch, space } = this.#environment
    const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...rows])
    await log.prepare(bytes.length)
    stampBatch(bytes, {
      baseOffset: log.nextOffset,
      timestamp: Math.max(Math.floor(clock.now()), log.maxTimestamp),
      durablePosition: log.durablePosition,
      partitionTag: log.tag,
      mark: log.mark,
      leaderEpoch,
      count: rows.length,
      attributes: 0,
    })
    try {
      await log.write(bytes, [new RecordBatch(bytes)])
    } catch (error) {
      if (isFull(error)) await log.rollback()
      throw error
    }
    space.wrote(bytes.length)
  }

  /** Under another name until it is whole, so that its name alone proves it. */
  async #create(): Promise<Log> {
    const { disk } = this.#environment
    const path = this.#path('remembered')
    await this.#remove('remembered-new')
    const unfinished = await Log.create(this.#options(this.#path('remembered-new')))
    await unfinished.close()
    await disk.rename(this.#path('remembered-new'), path)
    await disk.syncDirectory(this.#place.directory)
    return (await Log.open(this.#options(path))).log
  }

  async #remove(name: string): Promise<void> {
    await this.#environment.disk.removeTree(this.#path(name)).catch((error: unknown) => {
      if (!isMissing(error)) throw error
    })
  }

  #path(name: string): string {
    return `${this.#place.directory}/${name}`
  }

  #options(directory: string): LogOptions {
    const { disk, clock, random, openSegments } = this.#environment
    const { topicId, number } = this.#place
    return {
      disk,
      clock,
      random,
      directory,
      tag: partitionTag(topicId, number, 'remembered'),
      segmentBytes: SEGMENT_BYTES,
      cache: new BatchCache(new CacheBudget(0)),
      openSegments,
    }
  }
}
