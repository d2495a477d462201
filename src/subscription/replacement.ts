/**
 * A record that is delivered instead of one in the log: what a person gave for a message that parked its
 * key. Made from the original, whose key, headers, time and place it keeps. Pure.
 */
import { encodeRecord, recordHeaders, recordKey } from '@tidings/sdk/protocol'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../log/record-batch.ts'

/** A value, and what it is. */
export interface ReplacedValue {
  value: Uint8Array
  contentType: string
  /** The value was proved to be what its content type claims. */
  valueChecked: boolean
}

/** The record. It never expires: a person wants it delivered. */
export function replacementRecord(original: RecordBatch, offset: number, replaced: ReplacedValue): Uint8Array {
  const at = original.positionOf(offset)
  return encodeRecord({
    ...replaced,
    key: recordKey(original.bytes, at),
    headers: recordHeaders(original.bytes, at).headers,
    idempotencyKey: null,
    expiresAt: null,
  })
}

/** The record as a batch of its own, in the place of the original. */
export function replacedBatch(original: RecordBatch, offset: number, record: Uint8Array): RecordBatch {
  const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), record])
  const { timestamp, partitionTag, leaderEpoch } = original
  // The original's, which ties it to its segment.
  const mark = original.bytes.subarray(72, BATCH_HEADER_BYTES)
  stampBatch(bytes, {
    baseOffset: offset,
    timestamp,
    durablePosition: 0,
    partitionTag,
    leaderEpoch,
    count: 1,
    attributes: 0,
    mark,
  })
  return new RecordBatch(bytes)
}
