/**
 * What the log says of messages that must not be stored twice: Idempotency-Keys, and frames of producers. Whoever
 * remembers them (the topic, its scheduled messages) is told of each when the log is opened.
 */
import { recordIdempotencyKey } from '@tidings/sdk/protocol'
import { type BatchProducer, HAS_IDEMPOTENCY_KEYS, type RecordBatch } from '../log/record-batch.ts'
import type { StoredFrame } from './producer-window.ts'

export interface Recalled {
  /** `key` stands in memory that is used again: to be copied by whoever keeps it. */
  key(key: Uint8Array, offset: number, timestamp: number): void
  frame(producer: BatchProducer, frame: StoredFrame): void
}

/** Tells of the batch; of its records only where it says that some have keys. */
export function recallBatch(batch: RecordBatch, recalled: Partial<Recalled>): void {
  const { producer, baseOffset, nextOffset, timestamp } = batch
  // Compaction may have taken records out: the span is the count that the frame had.
  if (producer) recalled.frame?.(producer, { baseOffset, count: nextOffset - baseOffset, timestamp })
  if (!recalled.key || !(batch.attributes & HAS_IDEMPOTENCY_KEYS)) return
  for (const offset of batch.offsets()) {
    const key = recordIdempotencyKey(batch.bytes, batch.positionOf(offset))
    if (key) recalled.key(key, offset, timestamp)
  }
}
