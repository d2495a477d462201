/**
 * Keeps a schedule log from growing with what is over: once dead bytes outweigh living ones, what lives in
 * the oldest sealed segment is appended anew and the segment goes, one segment a step, up to where
 * the log ended when the round began. A runner; the scheduler calls it from its own loop, so that
 * nothing is fired meanwhile, while messages may be scheduled and cancelled.
 *
 * Must stay true: no record of a message comes after its `done`; a segment goes only when no entry's newest
 * record lies in it or below. A crash at any point leaves copies, which recovery folds into one.
 */
import type { Logger } from '../base/telemetry.ts'
import { CorruptionError } from '../log/log-recovery.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Schedule } from './schedule.ts'
import type { ScheduleLog } from './schedule-log.ts'
import { decodeScheduleRecord, encodeKey, encodeScheduled } from './schedule-record.ts'

export interface CompactionParts {
  log: ScheduleLog
  schedule: Schedule
  logger: Logger
  /** Whether the Idempotency-Key of a message that is done is still to be known. */
  isKeyAlive(scheduledAt: number): boolean
  /** Dead bytes that are not worth the work. */
  growthBytes: number
}

/** Copies of so many bytes are appended together. */
const GROUP_BYTES = 262_144

interface Copy {
  /** The message that it is the record of; null: a key that is still to be known. */
  id: number | null
  bytes: Uint8Array
}

export class ScheduleCompaction {
  readonly #parts: CompactionParts
  /** Where the present round ends; null between two rounds. */
  #roundEnd: number | null = null
  /** Bytes that the last round could not let go beside the living messages: keys, and the last segment. */
  #keptBytes = 0
  /** A damaged place was met: the log is left as it is. */
  #isBlocked = false

  constructor(parts: CompactionParts) {
    this.#parts = parts
  }

  isDue(): boolean {
    const { log, schedule, growthBytes } = this.#parts
    if (this.#isBlocked) return false
    if (this.#roundEnd !== null) return true
    return log.bytes > 2 * (schedule.liveBytes + this.#keptBytes) + growthBytes && log.segments.length > 1
  }

  /** One segment. Throws what appending and removing throw; the next step begins again. */
  async step(): Promise<void> {
    const { log, schedule, logger } = this.#parts
    this.#roundEnd ??= log.nextOffset
    const oldest = log.segments[0]!
    if (!oldest.sealed || oldest.nextOffset > this.#roundEnd) return this.#endRound()
    try {
      await this.#copyLiving(oldest.baseOffset, oldest.nextOffset)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      logger.error({ err: error }, 'the schedule log is damaged: it is no longer compacted')
      this.#isBlocked = true
      return
    }
    // What is being cancelled at this moment was not copied: its record stays where it is.
    const before = Math.min(oldest.nextOffset, schedule.oldestPosition())
    if (!(await log.removeBelow(before))) this.#endRound()
  }

  #endRound(): void {
    const { log, schedule } = this.#parts
    this.#roundEnd = null
    this.#keptBytes = Math.max(0, log.bytes - schedule.liveBytes)
  }

  async #copyLiving(from: number, to: number): Promise<void> {
    let copies: Copy[] = []
    let bytes = 0
    for (let offset = from; offset < to; ) {
      const batches = await this.#parts.log.read(offset)
      for (const batch of batches) {
        for (const copy of this.#copiesOf(batch)) {
          copies.push(copy)
          bytes += copy.bytes.length
        }
        if (bytes >= GROUP_BYTES) {
          await this.#append(copies)
          copies = []
          bytes = 0
        }
      }
      offset = batches.at(-1)?.nextOffset ?? to
    }
    await this.#append(copies)
  }

  #copiesOf(batch: RecordBatch): Copy[] {
    const { schedule } = this.#parts
    const copies: Copy[] = []
    for (let offset = batch.baseOffset; offset < batch.nextOffset; offset++) {
      const record = decodeScheduleRecord(batch.bytes, batch.positionOf(offset))
      if (!record || record.kind === 'done') continue
      const id = record.id ?? offset
      if (record.kind === 'scheduled' && schedule.find(id)?.position === offset) {
        copies.push({ id, bytes: encodeScheduled({ ...record, id }) })
        continue
      }
      const key = record.kind === 'key' ? record.idempotencyKey : record.message.idempotencyKey
      if (!key || schedule.has(id) || !this.#parts.isKeyAlive(record.scheduledAt)) continue
      copies.push({ id: null, bytes: encodeKey(id, record.deliverAt, record.scheduledAt, key) })
    }
    return copies
  }

  #append(copies: readonly Copy[]): Promise<void> {
    const { log, schedule } = this.#parts
    // Decided at the moment of queueing: what was cancelled since it was read has its `done` in the queue already.
    const going = copies.filter(({ id }) => id === null || schedule.isWaiting(id))
    if (going.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const records = { bytes: Buffer.concat(going.map(({ bytes }) => bytes)), count: going.length, attributes: 0 }
      log.append(records, {
        committed(baseOffset) {
          going.forEach(({ id }, i) => {
            if (id !== null) schedule.move(id, baseOffset + i)
          })
          resolve()
        },
        failed: reject,
      })
    })
  }
}
