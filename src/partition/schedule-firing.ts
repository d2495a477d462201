/**
 * Publishes one slice of scheduled messages: reads their records from the schedule log, in the order in which
 * they lie, and appends them to their partitions, in the order in which they are due. A runner without
 * memory; the scheduler says what is due and hears what became of each.
 */
import { encodeRecord, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import { CorruptionError } from '../log/log-recovery.ts'
import { HAS_EXPIRY, HAS_IDEMPOTENCY_KEYS, type RecordBatch } from '../log/record-batch.ts'
import { scheduledKey } from './broker-key.ts'
import type { LogPartition } from './partition.ts'
import type { Scheduled } from './schedule.ts'
import type { ScheduleLog } from './schedule-log.ts'
import { decodeScheduleRecord, type ScheduledRecord } from './schedule-record.ts'

/** What decides a message's partition. */
export interface Route {
  key: Uint8Array | null
  idempotencyKey: Uint8Array | null
  partition: number | null
}

export interface FiringTarget {
  choose(route: Route): LogPartition
}

export interface FiringParts {
  log: ScheduleLog
  target: FiringTarget
  clock: Clock
  logger: Logger
}

export interface FiringOutcome {
  /** As durable in their partitions as the topic promises. */
  fired: number[]
  /** Not stored: to be tried again. `error` is the first reason. */
  failed: number[]
  error: unknown
  /** The record is damaged. */
  unreadable: number[]
}

/** One append of a slice: batches stay small for those who read them. */
const APPEND_BYTES = 131_072

interface FiringAppend {
  partition: LogPartition
  ids: number[]
  bytes: Uint8Array[]
  size: number
  attributes: number
}

export async function fire(parts: FiringParts, slice: readonly Scheduled[]): Promise<FiringOutcome> {
  const outcome: FiringOutcome = { fired: [], failed: [], error: null, unreadable: [] }
  let records: Map<number, ScheduledRecord>
  try {
    records = await load(parts, slice, outcome)
  } catch (error) {
    const unreadable = new Set(outcome.unreadable)
    const failed = slice.map(({ id }) => id).filter((id) => !unreadable.has(id))
    return { ...outcome, failed, error }
  }
  await Promise.all(plan(parts, slice, records).map((one) => append(one, outcome)))
  return outcome
}

async function load(
  { log, logger }: FiringParts,
  slice: readonly Scheduled[],
  outcome: FiringOutcome,
): Promise<Map<number, ScheduledRecord>> {
  const records = new Map<number, ScheduledRecord>()
  let batches: RecordBatch[] = []
  let next = 0
  for (const { id, position } of [...slice].sort((a, b) => a.position - b.position)) {
    while (next < batches.length && batches[next]!.nextOffset <= position) next += 1
    try {
      if (!batches[next]) {
        batches = await log.read(position)
        next = 0
      }
      const batch = batches[next]
      const record = batch ? decodeScheduleRecord(batch.bytes, batch.positionOf(position)) : null
      if (record?.kind !== 'scheduled') throw new CorruptionError('schedule', null, `offset ${position} is no message`)
      records.set(id, record)
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      outcome.unreadable.push(id)
      logger.error({ err: error, id }, 'a scheduled message cannot be read: it is not published')
    }
  }
  return records
}

/** In due order within each partition, none of the appends large. */
function plan(
  { target, clock }: FiringParts,
  slice: readonly Scheduled[],
  records: ReadonlyMap<number, ScheduledRecord>,
): FiringAppend[] {
  const now = Math.floor(clock.now())
  const open = new Map<LogPartition, FiringAppend>()
  const appends: FiringAppend[] = []
  for (const { id } of slice) {
    const record = records.get(id)
    if (!record) continue
    const { message, ttlMs } = record
    const partition = target.choose({ ...message, partition: record.partition })
    const expiresAt = ttlMs === null ? null : now + ttlMs
    const bytes = encodeRecord({ ...message, idempotencyKey: scheduledKey(id), expiresAt })
    let one = open.get(partition)
    if (!one || one.size + bytes.length > APPEND_BYTES) {
      one = { partition, ids: [], bytes: [], size: 0, attributes: HAS_IDEMPOTENCY_KEYS }
      open.set(partition, one)
      appends.push(one)
    }
    one.ids.push(id)
    one.bytes.push(bytes)
    one.size += bytes.length
    if (expiresAt !== null) one.attributes |= HAS_EXPIRY
  }
  return appends
}

function append({ partition, ids, bytes, attributes }: FiringAppend, outcome: FiringOutcome): Promise<void> {
  return new Promise((resolve) => {
    const committed = (): void => {
      for (const id of ids) outcome.fired.push(id)
      resolve()
    }
    const failed = (error: TidingsError): void => {
      for (const id of ids) outcome.failed.push(id)
      outcome.error ??= error
      resolve()
    }
    try {
      partition.append({ bytes: Buffer.concat(bytes), count: ids.length, attributes }, { committed, failed })
    } catch (error) {
      failed(TidingsError.from(error))
    }
  })
}
