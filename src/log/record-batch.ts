/**
 * The record batch: the unit on disk, in replication and in binary delivery. One batch is one Buffer,
 * never decoded as a whole; this class reads fields in place. FORMAT.md holds the picture and the
 * reasons. Integers are big-endian.
 *
 *    0  u32  magic "TDB1"
 *    4  u32  length            bytes of the batch, header included
 *    8  u32  header CRC        CRC-32 of bytes 12 to 80
 *   12  u32  body CRC          CRC-32 of the body: the producer's, never computed again
 *   16  u64  base offset       offset of the first record
 *   24  u64  timestamp         milliseconds since the epoch, of every record in it
 *   32  u64  durable position  bytes of this segment known to be synced when this batch was written
 *   40  u32  partition tag     CRC-32 of "<topic id>-<partition>": finds misplaced files
 *   44  u32  leader epoch
 *   48  u32  count             records in the body
 *   52  u32  offset span       next offset - base offset: the count, until a compaction removes records
 *   56  u64  producer id       0: none
 *   64  u16  producer epoch
 *   66  u16  attributes        bit 0 has idempotency keys, bit 1 some record expires, bit 2 records were removed,
 *                            bit 3 some record is for one subscription only
 *   68  u32  sequence          low 32 bits of the number of the producer's frame that the batch is, or is part of
 *   72  8 bytes: the segment's mark (format.ts); not for clients while the segment is written to
 *   80  body: the records
 *
 * Where records were removed (bit 2) and any is left, the body begins with a bitmap of the span, the lowest bit of
 * its first byte for the base offset: the records that are there, in order, are those whose bits are set.
 */
import { crc32 } from 'node:zlib'
import { getU32, getU64, putU64, recordEnd } from '@tidings/sdk/protocol'
import { MARK_BYTES } from './format.ts'

export const BATCH_MAGIC = 0x54444231
export const BATCH_HEADER_BYTES = 80
/** No batch is longer: checked before anything is allocated for it. */
export const BATCH_BYTES_MAX = 128 * 1_048_576

export const HAS_IDEMPOTENCY_KEYS = 1
export const HAS_EXPIRY = 2
export const HAS_REMOVALS = 4
export const HAS_ADDRESSEE = 8

/** A batch that is a producer's frame, or one partition's part of it; such are never joined with others. */
export interface BatchProducer {
  id: number
  sequence: number
}

/** What the broker stamps on a batch; the body and its CRC are the producer's. */
export interface BatchStamp {
  baseOffset: number
  timestamp: number
  durablePosition: number
  partitionTag: number
  /** Of the segment that the batch goes into: `markOf` its nonce. */
  mark: Buffer
  leaderEpoch: number
  count: number
  /** Whose frame it is; the sequence's low 32 bits are written. */
  producer?: BatchProducer | null
  /** Next offset - base offset; without it the count. */
  span?: number
  attributes: number
}

/** Writes the header of a batch whose body already stands behind it in `bytes`. */
export function stampBatch(bytes: Buffer, stamp: BatchStamp): void {
  bytes.writeUInt32BE(BATCH_MAGIC, 0)
  bytes.writeUInt32BE(bytes.length, 4)
  bytes.writeUInt32BE(crc32(bytes.subarray(BATCH_HEADER_BYTES)), 12)
  putU64(bytes, 16, stamp.baseOffset)
  putU64(bytes, 24, stamp.timestamp)
  putU64(bytes, 32, stamp.durablePosition)
  bytes.writeUInt32BE(stamp.partitionTag, 40)
  bytes.writeUInt32BE(stamp.leaderEpoch, 44)
  bytes.writeUInt32BE(stamp.count, 48)
  bytes.writeUInt32BE(stamp.span ?? stamp.count, 52)
  putU64(bytes, 56, stamp.producer?.id ?? 0)
  bytes.writeUInt16BE(0, 64)
  bytes.writeUInt16BE(stamp.attributes, 66)
  bytes.writeUInt32BE((stamp.producer?.sequence ?? 0) >>> 0, 68)
  stamp.mark.copy(bytes, 72, 0, MARK_BYTES)
  bytes.writeUInt32BE(crc32(bytes.subarray(12, BATCH_HEADER_BYTES)), 8)
}

/** Stamps a whole batch for its place in another segment. */
export function stampHeader(
  bytes: Buffer,
  { durablePosition, partitionTag, mark }: Pick<BatchStamp, 'durablePosition' | 'partitionTag' | 'mark'>,
): void {
  putU64(bytes, 32, durablePosition)
  bytes.writeUInt32BE(partitionTag, 40)
  mark.copy(bytes, 72, 0, MARK_BYTES)
  bytes.writeUInt32BE(crc32(bytes.subarray(12, BATCH_HEADER_BYTES)), 8)
}

export class RecordBatch {
  /** The whole batch, header included. Never written to. */
  readonly bytes: Buffer
  readonly baseOffset: number
  readonly count: number
  /** The offset after the last record. */
  readonly nextOffset: number
  /** Milliseconds since the epoch, of every record. */
  readonly timestamp: number
  #positions: Int32Array | undefined
  /** One JSON form of each record, made by whoever needs it first, shared by all who read it. */
  readonly json: (string | undefined)[] = []

  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.baseOffset = getU64(bytes, 16)
    this.count = bytes.readUInt32BE(48)
    this.nextOffset = this.baseOffset + bytes.readUInt32BE(52)
    this.timestamp = getU64(bytes, 24)
  }

  get attributes(): number {
    return this.bytes.readUInt16BE(66)
  }

  /** Whether it is a producer's frame, or part of one. */
  get isFrame(): boolean {
    return getU64(this.bytes, 56) !== 0
  }

  /** Null: the records are no producer's frame. */
  get producer(): BatchProducer | null {
    const id = getU64(this.bytes, 56)
    return id === 0 ? null : { id, sequence: this.bytes.readUInt32BE(68) }
  }

  get leaderEpoch(): number {
    return this.bytes.readUInt32BE(44)
  }

  get partitionTag(): number {
    return this.bytes.readUInt32BE(40)
  }

  /** Whose batch it is: of this partition and, where that is known, of the segment with this mark. */
  belongsTo(tag: number, mark: Buffer | null): boolean {
    return belongsTo(this.bytes, 0, tag, mark)
  }

  get durablePosition(): number {
    return getU64(this.bytes, 32)
  }

  /** Whether compaction took records out of it. */
  get hasRemovals(): boolean {
    return (this.attributes & HAS_REMOVALS) !== 0
  }

  /** Whether the record of an offset in this batch is still there: compaction may have removed it. */
  has(offset: number): boolean {
    if (!this.hasRemovals) return true
    return this.count > 0 && isSet(this.bytes, BATCH_HEADER_BYTES, offset - this.baseOffset)
  }

  /** Where the first record begins in `bytes`. */
  get recordsAt(): number {
    return recordsAt(this.bytes, 0)
  }

  /** Where the record of an offset begins in `bytes`; the offset must be in this batch, and its record there. */
  positionOf(offset: number): number {
    this.#positions ??= this.#indexRecords()
    return this.#positions[offset - this.baseOffset]!
  }

  /** Offsets of the records that are there, in order. */
  *offsets(): Generator<number> {
    if (this.count === 0) return
    for (let offset = this.baseOffset; offset < this.nextOffset; offset++) if (this.has(offset)) yield offset
  }

  #indexRecords(): Int32Array {
    const { bytes, hasRemovals } = this
    const positions = new Int32Array(this.nextOffset - this.baseOffset)
    let at = recordsAt(bytes, 0)
    for (let i = 0; i < positions.length; i++) {
      if (hasRemovals && !this.has(this.baseOffset + i)) continue
      positions[i] = at
      at += 4 + getU32(bytes, at)
    }
    return positions
  }
}

function isSet(bytes: Buffer, bitmapAt: number, bit: number): boolean {
  return ((bytes[bitmapAt + (bit >> 3)]! >> (bit & 7)) & 1) === 1
}

/** Where the first record stands in the batch at `at`. */
function recordsAt(bytes: Buffer, at: number): number {
  const hasBitmap = bytes.readUInt16BE(at + 66) & HAS_REMOVALS && bytes.readUInt32BE(at + 48) > 0
  return at + BATCH_HEADER_BYTES + (hasBitmap ? Math.ceil(bytes.readUInt32BE(at + 52) / 8) : 0)
}

/** The span fits the count, by the bitmap where records were removed. */
function isSpanRight(batch: RecordBatch): boolean {
  const span = batch.nextOffset - batch.baseOffset
  if (!batch.hasRemovals) return span === batch.count
  if (recordsAt(batch.bytes, 0) > batch.bytes.length) return false
  let count = 0
  for (let bit = 0; bit < span && batch.count > 0; bit++) if (isSet(batch.bytes, BATCH_HEADER_BYTES, bit)) count++
  return span > 0 && count === batch.count
}

/** Why bytes are no batch, or the batch. `short`: more bytes are needed, `needed` from `at`. */
export type BatchCheck =
  | { kind: 'batch'; batch: RecordBatch }
  | { kind: 'short'; needed: number }
  | { kind: 'invalid'; reason: 'magic' | 'length' | 'header crc' | 'body crc' | 'records' }

/** Checks the bytes from `at` as a whole batch: lengths first, then both CRCs, then every record. */
export function checkBatch(bytes: Buffer, at: number): BatchCheck {
  if (bytes.length - at < BATCH_HEADER_BYTES) return { kind: 'short', needed: BATCH_HEADER_BYTES }
  if (bytes.readUInt32BE(at) !== BATCH_MAGIC) return { kind: 'invalid', reason: 'magic' }
  const length = bytes.readUInt32BE(at + 4)
  if (length < BATCH_HEADER_BYTES || length > BATCH_BYTES_MAX) return { kind: 'invalid', reason: 'length' }
  const headerEnd = at + BATCH_HEADER_BYTES
  if (crc32(bytes.subarray(at + 12, headerEnd)) !== bytes.readUInt32BE(at + 8)) {
    return { kind: 'invalid', reason: 'header crc' }
  }
  if (bytes.length - at < length) return { kind: 'short', needed: length }
  const batch = new RecordBatch(bytes.subarray(at, at + length))
  if (crc32(bytes.subarray(headerEnd, at + length)) !== bytes.readUInt32BE(at + 12)) {
    return { kind: 'invalid', reason: 'body crc' }
  }
  if (!isSpanRight(batch)) return { kind: 'invalid', reason: 'records' }
  let position = recordsAt(batch.bytes, 0)
  for (let i = 0; i < batch.count; i++) {
    position = recordEnd(batch.bytes, position, length)
    if (position === -1) return { kind: 'invalid', reason: 'records' }
  }
  return position === length ? { kind: 'batch', batch } : { kind: 'invalid', reason: 'records' }
}

/** A batch of which only the header is there, for whoever asks for no more; null where none stands at `at`. */
export function headerAt(bytes: Buffer, at: number): RecordBatch | null {
  const header = bytes.subarray(at, at + BATCH_HEADER_BYTES)
  if (header.length < BATCH_HEADER_BYTES || header.readUInt32BE(0) !== BATCH_MAGIC) return null
  const isWhole = crc32(header.subarray(12)) === header.readUInt32BE(8)
  return isWhole && header.readUInt32BE(4) >= BATCH_HEADER_BYTES ? new RecordBatch(header) : null
}

/**
 * The durable position in a batch header that stands at `at`, or null when none does: used behind a
 * damaged place, where the body may be gone but the header still proves what was synced before it.
 */
export function checkBatchHeader(bytes: Buffer, at: number, tag: number, mark: Buffer | null): number | null {
  if (bytes.length - at < BATCH_HEADER_BYTES || !belongsTo(bytes, at, tag, mark)) return null
  if (crc32(bytes.subarray(at + 12, at + BATCH_HEADER_BYTES)) !== bytes.readUInt32BE(at + 8)) return null
  return getU64(bytes, at + 32)
}

function belongsTo(bytes: Buffer, at: number, tag: number, mark: Buffer | null): boolean {
  if (bytes.readUInt32BE(at + 40) !== tag) return false
  return mark === null || mark.compare(bytes, at + 72, at + 72 + MARK_BYTES) === 0
}
