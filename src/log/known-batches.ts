/**
 * Finds in a log's segments what must be known of stored messages so that none is stored twice: the batches with
 * Idempotency-Keys, and the headers of producers' frames. Read when a topic opens, and before segments go.
 * Segments without either are not read; of one that only has frames, only the headers are.
 */
import { CorruptionError } from './log-recovery.ts'
import { BATCH_HEADER_BYTES, headerAt, type RecordBatch } from './record-batch.ts'
import type { Segment } from './segment.ts'
import { readBatches } from './segment-read.ts'

export interface KnownRange {
  /** Older batches may be left out, milliseconds since the epoch. */
  since: number
  /** Offsets in [from, to) are of interest. */
  from: number
  to: number
}

/** Headers are found in reads of so much: of large batches little more than the header is read. */
const HEADERS_BYTES = 16_384

/**
 * Batches oldest first; those of a segment without keys have no body.
 * @param damaged told of a segment that cannot be read, of which the rest is left out; without it that is thrown
 */
export async function* knownBatches(
  segments: readonly Segment[],
  opened: (segment: Segment) => void,
  { since, from, to }: KnownRange,
  damaged?: (error: CorruptionError) => void,
): AsyncGenerator<RecordBatch> {
  for (const segment of segments) {
    const { content } = segment
    if (content.isEmpty || content.maxTimestamp < since || segment.nextOffset <= from || segment.baseOffset >= to)
      continue
    if (!content.hasIdempotencyKeys && !content.hasFrames) continue
    opened(segment)
    try {
      const position = firstPosition(segment, since)
      const found = content.hasIdempotencyKeys ? wholeBatches(segment, position) : batchHeaders(segment, position)
      for await (const batch of found) {
        if (batch.nextOffset > from && batch.baseOffset < to) yield batch
      }
    } catch (error) {
      if (!damaged || !(error instanceof CorruptionError)) throw error
      damaged(error)
    }
  }
}

function firstPosition({ content }: Segment, since: number): number {
  return content.index.positionAt(since) ?? content.index.entries[0]?.position ?? content.end
}

async function* wholeBatches(segment: Segment, from: number): AsyncGenerator<RecordBatch> {
  for (let position = from; position < segment.content.end; ) {
    const { batches, end } = await readBatches(segment, position)
    yield* batches
    position = end
  }
}

/** The batches from a position on, which is one's beginning, without their bodies. */
export async function* batchHeaders(segment: Segment, from: number): AsyncGenerator<RecordBatch> {
  const { end } = segment.content
  for (let position = from; position < end; ) {
    const bytes = await segment.read(position, HEADERS_BYTES)
    let at = 0
    while (at + BATCH_HEADER_BYTES <= bytes.length) {
      const header = headerAt(bytes, at)
      if (!header) throw new CorruptionError(segment.path, position + at, 'damaged header of a batch')
      yield header
      at += bytes.readUInt32BE(at + 4)
    }
    if (at === 0) throw new CorruptionError(segment.path, position, 'the file ends inside a batch')
    position += at
    // The length in a header is not covered by the header's own CRC: past the end it would hide what follows.
    if (position > end) throw new CorruptionError(segment.path, end, 'the last batch ends behind the messages')
  }
}
