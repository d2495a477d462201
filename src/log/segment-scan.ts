/**
 * Reads one segment from front to back, checking every byte, and reports what it found: the facts
 * that recovery decides on and that `tidings verify` prints. It changes nothing.
 */
import type { DiskFile } from '../base/disk.ts'
import {
  checkSegmentHeader,
  decodeFooter,
  FOOTER_PROBE_BYTES,
  type Footer,
  footerLength,
  type HeaderCheck,
  markOf,
  nonceOf,
  SEGMENT_HEADER_BYTES,
} from './format.ts'
import { BATCH_HEADER_BYTES, BATCH_MAGIC, checkBatch, checkBatchHeader, type RecordBatch } from './record-batch.ts'
import { SegmentContent } from './segment-content.ts'

const CHUNK_BYTES = 1_048_576
const ZEROS = Buffer.alloc(CHUNK_BYTES + BATCH_HEADER_BYTES)

export interface SegmentScan {
  header: HeaderCheck
  /** Out of the header; null where that cannot be trusted. */
  nonce: Buffer | null
  content: SegmentContent
  /** Why the bytes at `content.end` are no batch. */
  stoppedBy: string
  rest: 'nothing' | 'zeros' | 'garbage'
  /** The highest durable position found in any valid batch header, before or behind the stop. */
  provenDurable: number
  /** The first position behind the stop at which a valid batch header stands, if any. */
  resumesAt: number | null
}

export interface ReadHeader {
  header: HeaderCheck
  nonce: Buffer | null
}

export async function readSegmentHeader(file: DiskFile, baseOffset: number, tag: number): Promise<ReadHeader> {
  const bytes = await file.read(0, SEGMENT_HEADER_BYTES)
  const header = checkSegmentHeader(bytes, baseOffset, tag)
  return { header, nonce: header === 'ok' ? nonceOf(bytes) : null }
}

/**
 * The footer at the end of a sealed segment's file, or null where there is no valid one. What looks like a
 * footer and does not have the segment's nonce was put there by a publisher. Without a nonce (the header
 * is damaged) it is only asked whether the segment was ever sealed.
 */
export async function readFooter(file: DiskFile, nonce: Buffer | null): Promise<Footer | null> {
  const size = await file.size()
  if (size < SEGMENT_HEADER_BYTES + FOOTER_PROBE_BYTES) return null
  const length = footerLength(await file.read(size - FOOTER_PROBE_BYTES, FOOTER_PROBE_BYTES), size)
  const footer = length === null ? null : decodeFooter(await file.read(size - length, length), size)
  return footer && (nonce === null || footer.nonce.equals(nonce)) ? footer : null
}

/** The footer stands where a scan of the whole file found the batches to end, so it is none of their bytes. */
export function closes(footer: Footer, { content }: SegmentScan): boolean {
  return footer.dataEnd === content.end && footer.nextOffset === content.nextOffset
}

/**
 * Scans the batches from the header on, up to `limit` (the file's end, or where its footer begins).
 * `onBatch` sees every valid batch in order with its position.
 */
export async function scanSegment(
  file: DiskFile,
  baseOffset: number,
  tag: number,
  options: { limit?: number; onBatch?: (batch: RecordBatch, position: number) => void } = {},
): Promise<SegmentScan> {
  const { header, nonce } = await readSegmentHeader(file, baseOffset, tag)
  const mark = nonce && markOf(nonce)
  const limit = options.limit ?? (await file.size())
  const content = new SegmentContent(baseOffset)
  const reader = new ChunkReader(file, limit)
  let stoppedBy = 'end of file'
  while (content.end < limit) {
    const found = await nextBatch(reader, content, limit, tag, mark)
    if (typeof found === 'string') {
      stoppedBy = found
      break
    }
    options.onBatch?.(found, content.end)
    content.add(found)
  }
  const behind = await scanBehind(reader, content.end, limit, tag, mark)
  return {
    header,
    nonce,
    content,
    stoppedBy: stoppedBy === 'magic' && behind.rest === 'zeros' ? 'unwritten space' : stoppedBy,
    rest: behind.rest,
    provenDurable: Math.max(content.provenDurable, behind.provenDurable),
    resumesAt: behind.resumesAt,
  }
}

async function nextBatch(
  reader: ChunkReader,
  content: SegmentContent,
  limit: number,
  tag: number,
  mark: Buffer | null,
): Promise<RecordBatch | string> {
  let want = BATCH_HEADER_BYTES
  for (;;) {
    const { bytes, at } = await reader.from(content.end, want)
    const check = checkBatch(bytes, at)
    if (check.kind === 'invalid') return check.reason
    if (check.kind === 'short') {
      if (content.end + check.needed > limit) return 'end of file inside a batch'
      want = check.needed
      continue
    }
    if (!check.batch.belongsTo(tag, mark)) return 'a batch of another partition or segment'
    if (check.batch.baseOffset !== content.nextOffset) return `offset ${check.batch.baseOffset} out of order`
    return check.batch
  }
}

/**
 * Looks at everything behind the last valid batch: is it unwritten, and does a valid batch header
 * stand anywhere in it? That is what tells a torn tail from damage in the middle.
 */
async function scanBehind(
  reader: ChunkReader,
  from: number,
  limit: number,
  tag: number,
  mark: Buffer | null,
): Promise<{ rest: SegmentScan['rest']; provenDurable: number; resumesAt: number | null }> {
  let rest: SegmentScan['rest'] = from >= limit ? 'nothing' : 'zeros'
  let provenDurable = 0
  let resumesAt: number | null = null
  const magic = Buffer.alloc(4)
  magic.writeUInt32BE(BATCH_MAGIC, 0)
  const trusted = from + (await claimedLength(reader, from, limit, tag, mark))
  for (let position = from; position < limit; position += CHUNK_BYTES) {
    const { bytes, at } = await reader.from(position, Math.min(CHUNK_BYTES + BATCH_HEADER_BYTES, limit - position))
    const chunk = bytes.subarray(at, at + CHUNK_BYTES + BATCH_HEADER_BYTES)
    if (rest === 'zeros' && !chunk.equals(ZEROS.subarray(0, chunk.length))) rest = 'garbage'
    if (rest === 'zeros') continue
    for (let hit = chunk.indexOf(magic); hit !== -1; hit = chunk.indexOf(magic, hit + 1)) {
      const durable = position + hit < trusted ? null : checkBatchHeader(chunk, hit, tag, mark)
      if (durable === null || durable > position + hit) continue
      provenDurable = Math.max(provenDurable, durable)
      resumesAt ??= position + hit
    }
  }
  return { rest, provenDurable, resumesAt }
}

/**
 * Bytes that the batch at a bad place claims, when at least its header is whole: what lies within is
 * its body, where a message that looks like a batch header proves nothing.
 */
async function claimedLength(
  reader: ChunkReader,
  from: number,
  limit: number,
  tag: number,
  mark: Buffer | null,
): Promise<number> {
  if (from + BATCH_HEADER_BYTES > limit) return 0
  const { bytes, at } = await reader.from(from, BATCH_HEADER_BYTES)
  return checkBatchHeader(bytes, at, tag, mark) === null ? 0 : bytes.readUInt32BE(at + 4)
}

/** Serves bytes from any position out of large sequential reads. */
class ChunkReader {
  readonly #file: DiskFile
  readonly #limit: number
  #bytes: Buffer = Buffer.alloc(0)
  #start = 0

  constructor(file: DiskFile, limit: number) {
    this.#file = file
    this.#limit = limit
  }

  /** At least `length` bytes from `position` where the segment has as many: in `bytes`, from `at`. */
  async from(position: number, length: number): Promise<{ bytes: Buffer; at: number }> {
    const at = position - this.#start
    if (at < 0 || at + length > this.#bytes.length) {
      const want = Math.min(Math.max(length, CHUNK_BYTES), this.#limit - position)
      this.#bytes = await this.#file.read(position, Math.max(want, 0))
      this.#start = position
      return { bytes: this.#bytes, at: 0 }
    }
    return { bytes: this.#bytes, at }
  }
}
