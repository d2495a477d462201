/**
 * What is kept of messages that retention removed (remembered-log.ts), as the values of records:
 *
 *   u8 1, u64 offset, u64 timestamp                                  a message with the record's idempotency key
 *   u8 2, u64 producer id, u32 sequence, u64 offset, u32 count, u64 timestamp      a producer's frame
 *   u8 3, u64 offset                                                 all below this offset has been written here
 *
 * Offsets are of the partition's messages, times in milliseconds since the epoch. A codec.
 */
import { encodeRecord, getU64, putU64, recordEnd, recordIdempotencyKey, recordValueAt } from '@tidings/sdk/protocol'
import type { BatchProducer } from '../log/record-batch.ts'
import type { StoredFrame } from './producer-window.ts'

export type RememberedRecord =
  | { kind: 'key'; key: Uint8Array; offset: number; timestamp: number }
  | { kind: 'frame'; producer: BatchProducer; frame: StoredFrame }
  | { kind: 'through'; offset: number }

const KEY = 1
const FRAME = 2
const THROUGH = 3
const KEY_BYTES = 17
const FRAME_BYTES = 33
const THROUGH_BYTES = 9

export function encodeRemembered(record: RememberedRecord): Uint8Array {
  return encodeRecord({
    key: null,
    value: valueOf(record),
    contentType: 'application/octet-stream',
    headers: [],
    idempotencyKey: record.kind === 'key' ? record.key : null,
    expiresAt: null,
    valueChecked: true,
  })
}

function valueOf(record: RememberedRecord): Buffer {
  if (record.kind === 'key') {
    const value = Buffer.alloc(KEY_BYTES)
    value[0] = KEY
    putU64(value, 1, record.offset)
    putU64(value, 9, record.timestamp)
    return value
  }
  if (record.kind === 'through') {
    const value = Buffer.alloc(THROUGH_BYTES)
    value[0] = THROUGH
    putU64(value, 1, record.offset)
    return value
  }
  const { producer, frame } = record
  const value = Buffer.alloc(FRAME_BYTES)
  value[0] = FRAME
  putU64(value, 1, producer.id)
  value.writeUInt32BE(producer.sequence >>> 0, 9)
  putU64(value, 13, frame.baseOffset)
  value.writeUInt32BE(frame.count, 21)
  putU64(value, 25, frame.timestamp)
  return value
}

/** Null: it says nothing that this release knows. */
export function decodeRemembered(bytes: Buffer, at: number): RememberedRecord | null {
  const value = bytes.subarray(recordValueAt(bytes, at), recordEnd(bytes, at, bytes.length))
  const key = recordIdempotencyKey(bytes, at)
  if (value[0] === KEY && value.length === KEY_BYTES && key) {
    return { kind: 'key', key, offset: getU64(value, 1), timestamp: getU64(value, 9) }
  }
  if (value[0] === THROUGH && value.length === THROUGH_BYTES) return { kind: 'through', offset: getU64(value, 1) }
  if (value[0] !== FRAME || value.length !== FRAME_BYTES) return null
  return {
    kind: 'frame',
    producer: { id: getU64(value, 1), sequence: value.readUInt32BE(9) },
    frame: { baseOffset: getU64(value, 13), count: value.readUInt32BE(21), timestamp: getU64(value, 25) },
  }
}
