/**
 * Idempotency-Keys and producers' frames of messages that retention removed while they could still be repeated: a
 * small log of its own beside a partition's messages, made when there first is something to keep. A runner, used by
 * its partition's maintenance, one call at a time.
 *
 * Must stay true: what goes is in here, on stable storage of the whole quorum, before the partition's start moves. What is damaged in here
 * is said, put aside and done without: it makes repetitions unknown, and must not keep the broker from its messages.
 */
import { isFull } from '../base/disk.ts'
import { Log } from '../log/log.ts'
import { CorruptionError, VersionError } from '../log/log-recovery.ts'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../log/record-batch.ts'
import { createLog, hasLog, type LogPlace, logName, placeOf, removeIfThere } from './log-place.ts'
import type { PartitionEnvironment } from './partition-environment.ts'
import { alone, joinTerm, type Quorum } from './quorum.ts'
import { type Recalled, recallBatch } from './recall.ts'
import { decodeRemembered, encodeRemembered } from './remembered-record.ts'

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
  #log: Log | null = null
  #quorum: Quorum = alone
  /** What is below it was kept, where it had to be. */
  #through = 0

  private constructor(environment: PartitionEnvironment, place: RememberedPlace) {
    this.#environment = environment
    this.#place = place
  }

  /** For a new partition: there is nothing yet. */
  static empty(environment: PartitionEnvironment, place: RememberedPlace): RememberedLog {
    return new RememberedLog(environment, place)
  }

  static async open(environment: PartitionEnvironment, place: RememberedPlace): Promise<RememberedLog> {
    const remembered = RememberedLog.empty(environment, place)
    await remembered.#open()
    return remembered
  }

  async #open(): Promise<void> {
    const { disk, logger } = this.#environment
    const place = this.#logPlace()
    if (!(await hasLog(place))) return
    const path = place.options.directory
    try {
      await this.#opened((await Log.open(place.options)).log)
    } catch (error) {
      if (!(error instanceof CorruptionError) || error instanceof VersionError) throw error
      logger.error(
        { err: error, directory: path },
        'what was kept of removed messages is damaged and put aside: repetitions of them may be stored again',
      )
      const aside = `${path}-damaged`
      await removeIfThere(disk, aside)
      await disk.rename(path, aside)
      await disk.syncDirectory(this.#place.directory)
    }
  }

  async #opened(log: Log): Promise<Log> {
    await joinTerm(this.#environment.term, log)
    const quorum = this.#environment.term.quorum(logName(this.#place.number, 'remembered'), log)
    this.#log = log
    this.#quorum = quorum
    log.committed = () => quorum.durable(log.durableOffset)
    return log
  }

  /** Null: there never was anything to keep. */
  get log(): Log | null {
    return this.#log
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

  /**
   * Keeps what the batches say; on stable storage here when it resolves. `to` is where the messages will start. Answers
   * whether the quorum has it too: only then may they go, and otherwise it is to be asked again.
   */
  async save(batches: AsyncIterable<RecordBatch>, to: number): Promise<boolean> {
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
    const log = this.#log
    return !log || (this.#quorum.holds && this.#quorum.durable(log.durableOffset) >= log.nextOffset)
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
    const log = this.#log ?? (await this.#opened(await createLog(this.#logPlace())))
    const { clock, term, space } = this.#environment
    const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...rows])
    await log.prepare(bytes.length)
    stampBatch(bytes, {
      baseOffset: log.nextOffset,
      timestamp: Math.max(Math.floor(clock.now()), log.maxTimestamp),
      durablePosition: log.durablePosition,
      partitionTag: log.tag,
      mark: log.mark,
      leaderEpoch: term.epoch,
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
    this.#quorum.appended()
  }

  #logPlace(): LogPlace {
    const { topicId, number } = this.#place
    return placeOf(this.#environment, topicId, logName(number, 'remembered'), 0)
  }
}
