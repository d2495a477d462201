/**
 * What one segment holds, summed up batch by batch: the same sums whether the batches are being
 * appended or found by a scan. It becomes the footer when the segment is sealed.
 */
import { crc32 } from 'node:zlib'
import { type Footer, SEGMENT_HEADER_BYTES } from './format.ts'
import { HAS_IDEMPOTENCY_KEYS, type RecordBatch } from './record-batch.ts'
import { SegmentIndex } from './segment-index.ts'

export class SegmentContent {
  /** Position behind the last batch: where the next one goes. */
  end: number = SEGMENT_HEADER_BYTES
  nextOffset: number
  maxTimestamp = 0
  /** Time of the first batch; 0 while there is none. */
  minTimestamp = 0
  records = 0
  batches = 0
  digest = 0
  hasIdempotencyKeys = false
  /** Some batch is a producer's frame. */
  hasFrames = false
  leaderEpoch = 0
  /** The highest durable position that any batch carried. */
  provenDurable = 0
  readonly index: SegmentIndex

  constructor(baseOffset: number, index: SegmentIndex = new SegmentIndex()) {
    this.nextOffset = baseOffset
    this.index = index
  }

  static fromFooter(baseOffset: number, footer: Footer): SegmentContent {
    const content = new SegmentContent(baseOffset, new SegmentIndex(footer.index))
    content.end = footer.dataEnd
    content.nextOffset = footer.nextOffset
    content.maxTimestamp = footer.maxTimestamp
    content.minTimestamp = footer.index[0]?.timestamp ?? 0
    content.records = footer.records
    content.batches = footer.batches
    content.digest = footer.digest
    content.hasIdempotencyKeys = footer.hasIdempotencyKeys
    content.hasFrames = footer.hasFrames
    content.leaderEpoch = footer.leaderEpoch
    content.provenDurable = footer.dataEnd
    return content
  }

  get isEmpty(): boolean {
    return this.batches === 0
  }

  /** Adds a batch that stands at `end`. */
  add(batch: RecordBatch): void {
    this.index.add(batch.baseOffset, batch.timestamp, this.end)
    if (this.batches === 0) this.minTimestamp = batch.timestamp
    this.end += batch.bytes.length
    this.nextOffset = batch.nextOffset
    this.maxTimestamp = Math.max(this.maxTimestamp, batch.timestamp)
    this.records += batch.count
    this.batches += 1
    this.digest = crc32(batch.bytes.subarray(0, 16), this.digest)
    this.hasIdempotencyKeys ||= (batch.attributes & HAS_IDEMPOTENCY_KEYS) !== 0
    this.hasFrames ||= batch.isFrame
    this.leaderEpoch = batch.leaderEpoch
    this.provenDurable = Math.max(this.provenDurable, batch.durablePosition)
  }

  toFooter(nonce: Buffer): Footer {
    return {
      nonce,
      dataEnd: this.end,
      nextOffset: this.nextOffset,
      maxTimestamp: this.maxTimestamp,
      records: this.records,
      batches: this.batches,
      digest: this.digest,
      hasIdempotencyKeys: this.hasIdempotencyKeys,
      hasFrames: this.hasFrames,
      leaderEpoch: this.leaderEpoch,
      index: this.index.entries,
    }
  }
}
