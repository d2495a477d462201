/**
 * The records of a topic's schedule log: a codec. Each is the value of an ordinary record, so that the
 * log is checked and recovered like any other. Integers are big-endian.
 *
 *   scheduled   u8 1 · u64 id + 1, or 0: the record's own offset · u64 deliver at · u64 scheduled at
 *               u32 explicit partition + 1, or 0 · u64 time to live in ms, or 0 · the message as a record
 *   done        u8 2 · u8 1 fired, 2 cancelled · u64 id
 *   key         u8 3 · u64 id · u64 deliver at · u64 scheduled at · the Idempotency-Key
 *
 * `key` keeps what is left of a scheduled message that is done while its key is still to be known.
 * The offset of the first record of a message is its id for ever: offsets are never given twice.
 */
import {
  encodeRecord,
  getU32,
  getU64,
  putU32,
  putU64,
  type RecordInput,
  recordEnd,
  recordHeaders,
  recordIdempotencyKey,
  recordKey,
  recordValueAt,
  recordValueChecked,
} from '@tidings/sdk/protocol'

const SCHEDULED = 1
const DONE = 2
const KEY = 3
const SCHEDULED_BYTES = 37
const DONE_BYTES = 10
const KEY_BYTES = 25

export type DoneOutcome = 'fired' | 'cancelled'

/** A message on its way into the schedule log. `message` carries the client's Idempotency-Key, and no expiry. */
export interface ScheduledRecord {
  /** Null: the offset that the record gets. */
  id: number | null
  deliverAt: number
  scheduledAt: number
  partition: number | null
  ttlMs: number | null
  message: Omit<RecordInput, 'expiresAt'>
}

export type ScheduleRecord =
  | ({ kind: 'scheduled' } & ScheduledRecord)
  | { kind: 'done'; outcome: DoneOutcome; id: number }
  | { kind: 'key'; id: number; deliverAt: number; scheduledAt: number; idempotencyKey: Uint8Array }

export function encodeScheduled(record: ScheduledRecord): Uint8Array {
  const message = encodeRecord({ ...record.message, expiresAt: null })
  const value = new Uint8Array(SCHEDULED_BYTES + message.length)
  value[0] = SCHEDULED
  putU64(value, 1, record.id === null ? 0 : record.id + 1)
  putU64(value, 9, record.deliverAt)
  putU64(value, 17, record.scheduledAt)
  putU32(value, 25, record.partition === null ? 0 : record.partition + 1)
  putU64(value, 29, record.ttlMs ?? 0)
  value.set(message, SCHEDULED_BYTES)
  return wrap(value)
}

export function encodeDone(id: number, outcome: DoneOutcome): Uint8Array {
  const value = new Uint8Array(DONE_BYTES)
  value[0] = DONE
  value[1] = outcome === 'fired' ? 1 : 2
  putU64(value, 2, id)
  return wrap(value)
}

export function encodeKey(id: number, deliverAt: number, scheduledAt: number, key: Uint8Array): Uint8Array {
  const value = new Uint8Array(KEY_BYTES + key.length)
  value[0] = KEY
  putU64(value, 1, id)
  putU64(value, 9, deliverAt)
  putU64(value, 17, scheduledAt)
  value.set(key, KEY_BYTES)
  return wrap(value)
}

/** The record at a position of a batch; null when its value is none of these, which only damage could bring about. */
export function decodeScheduleRecord(bytes: Uint8Array, at: number): ScheduleRecord | null {
  const value = bytes.subarray(recordValueAt(bytes, at), recordEnd(bytes, at, bytes.length))
  switch (value[0]) {
    case SCHEDULED:
      return decodeScheduled(value)
    case DONE:
      if (value.length !== DONE_BYTES) return null
      return { kind: 'done', outcome: value[1] === 1 ? 'fired' : 'cancelled', id: getU64(value, 2) }
    case KEY:
      if (value.length <= KEY_BYTES) return null
      return {
        kind: 'key',
        id: getU64(value, 1),
        deliverAt: getU64(value, 9),
        scheduledAt: getU64(value, 17),
        idempotencyKey: value.subarray(KEY_BYTES),
      }
    default:
      return null
  }
}

function decodeScheduled(value: Uint8Array): ScheduleRecord | null {
  if (recordEnd(value, SCHEDULED_BYTES, value.length) !== value.length) return null
  const idAndOne = getU64(value, 1)
  const partitionAndOne = getU32(value, 25)
  const ttlMs = getU64(value, 29)
  const { contentType, headers } = recordHeaders(value, SCHEDULED_BYTES)
  return {
    kind: 'scheduled',
    id: idAndOne === 0 ? null : idAndOne - 1,
    deliverAt: getU64(value, 9),
    scheduledAt: getU64(value, 17),
    partition: partitionAndOne === 0 ? null : partitionAndOne - 1,
    ttlMs: ttlMs === 0 ? null : ttlMs,
    message: {
      key: recordKey(value, SCHEDULED_BYTES),
      value: value.subarray(recordValueAt(value, SCHEDULED_BYTES)),
      contentType,
      headers,
      idempotencyKey: recordIdempotencyKey(value, SCHEDULED_BYTES),
      valueChecked: recordValueChecked(value, SCHEDULED_BYTES),
    },
  }
}

/** The value as a record of the log; nothing else about it means anything. */
function wrap(value: Uint8Array): Uint8Array {
  return encodeRecord({
    key: null,
    value,
    contentType: 'application/octet-stream',
    headers: [],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: false,
  })
}
