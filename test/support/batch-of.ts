/** A record batch of one message, as a reader gets it from the log. */
import { encodeRecord } from '@tidings/sdk/protocol'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../../src/log/record-batch.ts'
import type { PublishInput } from '../../src/partition/topic.ts'

export function batchOf(input: Partial<PublishInput>, baseOffset: number): RecordBatch {
  const record = encodeRecord({
    key: input.key ?? null,
    value: input.value ?? new Uint8Array(0),
    contentType: input.contentType ?? 'application/json',
    headers: input.headers ?? [],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: input.valueChecked ?? false,
  })
  const bytes = Buffer.alloc(BATCH_HEADER_BYTES + record.length)
  bytes.set(record, BATCH_HEADER_BYTES)
  stampBatch(bytes, {
    baseOffset,
    timestamp: Date.UTC(2026, 0, 1),
    durablePosition: 0,
    partitionTag: 0,
    mark: Buffer.alloc(8),
    leaderEpoch: 1,
    count: 1,
    attributes: 0,
  })
  return new RecordBatch(bytes)
}
