/**
 * Reading batches out of one segment, in large reads, every byte checked against its CRC. Used by the log for
 * its readers and by compaction.
 */
import { CorruptionError } from './log-recovery.ts'
import { checkBatch, RecordBatch } from './record-batch.ts'
import type { Segment } from './segment.ts'
import { SegmentContent } from './segment-content.ts'

/**
 * What one cold read takes off the disk at least, where there is as much: two of the largest batches that are built of
 * small messages (256 KiB, and what stands around them). A read that ends within such a batch is in vain.
 */
const READ_BYTES = 2 * 262_144 + 65_536

/** Consecutive batches, and the position behind the last of them. */
export interface Stretch {
  batches: RecordBatch[]
  end: number
}

/** The whole batches of one large read, at least one, and where they end. */
export async function readBatches(segment: Segment, position: number): Promise<Stretch> {
  for (let length = READ_BYTES; ; ) {
    const bytes = await segment.read(position, length)
    const batches: RecordBatch[] = []
    let check = checkBatch(bytes, 0)
    let at = 0
    while (check.kind === 'batch') {
      batches.push(check.batch)
      at += check.batch.bytes.length
      check = checkBatch(bytes, at)
    }
    if (batches.length > 0) return { batches, end: position + at }
    if (check.kind === 'invalid') throw new CorruptionError(segment.path, position, `damaged batch (${check.reason})`)
    if (check.needed <= length || position + check.needed > segment.content.end) {
      throw new CorruptionError(segment.path, position, 'the file ends inside a batch')
    }
    length = check.needed
  }
}

/** The batch that holds the offset and what follows it, in one read; `from`: where its batch begins, where that is known. */
export async function readFrom(segment: Segment, offset: number, from: number | null): Promise<Stretch> {
  let position = from ?? segment.content.index.positionOf(offset)
  if (position === null) throw new CorruptionError(segment.path, null, `the index does not reach offset ${offset}`)
  let found: RecordBatch[] = []
  while (found.length === 0 && position < segment.content.end) {
    const stretch = await readBatches(segment, position)
    found = stretch.batches.filter((batch) => batch.nextOffset > offset)
    position = stretch.end
  }
  return { batches: apart(found), end: position }
}

/** Few bytes of a large read are copied: whoever keeps them would keep all of it, and count only them. */
function apart(batches: RecordBatch[]): RecordBatch[] {
  const size = batches.reduce((sum, { bytes }) => sum + bytes.length, 0)
  if (batches.length === 0 || 2 * size >= batches[0]!.bytes.buffer.byteLength) return batches
  const copy = Buffer.allocUnsafeSlow(size)
  let at = 0
  return batches.map(({ bytes }) => {
    const slice = copy.subarray(at, (at += bytes.copy(copy, at)))
    return new RecordBatch(slice)
  })
}

/** What the segment holds of the whole batches below the offset. */
export async function contentBelow(segment: Segment, offset: number): Promise<SegmentContent> {
  const content = new SegmentContent(segment.baseOffset)
  for (let position = content.end; position < segment.content.end; ) {
    const stretch = await readBatches(segment, position)
    for (const batch of stretch.batches) {
      if (batch.nextOffset > offset) return content
      content.add(batch)
    }
    position = stretch.end
  }
  return content
}

/** The first offset at or after a time, in a segment that is not empty; its end when every message is older. */
export async function offsetAtTime(segment: Segment, timestamp: number): Promise<number> {
  const { index, end, nextOffset } = segment.content
  for (let position = index.positionAt(timestamp) ?? index.entries[0]!.position; position < end; ) {
    const stretch = await readBatches(segment, position)
    const found = stretch.batches.find((batch) => batch.timestamp >= timestamp)
    if (found) return found.baseOffset
    position = stretch.end
  }
  return nextOffset
}
