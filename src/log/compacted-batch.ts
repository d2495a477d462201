/**
 * What is left of a batch when records are taken out: the others at their offsets, behind a bitmap that says which
 * they are; of one with nothing left, an empty batch, which may stand for several. record-batch.ts has the
 * picture. A codec.
 */
import { recordEnd } from '@tidings/sdk/protocol'
import {
  BATCH_HEADER_BYTES,
  type BatchProducer,
  HAS_REMOVALS,
  RecordBatch,
  stampBatch,
  stampHeader,
} from './record-batch.ts'

/** An empty batch stands for so many offsets at most: readers pass over them in one go. */
export const EMPTY_SPAN_MAX = 65_536

/** Where the batches go: a new segment. */
export interface NewPlace {
  position: number
  partitionTag: number
  mark: Buffer
}

/** Offsets without messages. */
export interface EmptyStretch {
  baseOffset: number
  nextOffset: number
  /** Of the newest of the messages that were there. */
  timestamp: number
  leaderEpoch: number
}

/** The batch with only those records that are wanted; null: none is. */
export function withoutRecords(
  batch: RecordBatch,
  isWanted: (offset: number) => boolean,
  place: NewPlace,
): RecordBatch | null {
  const wanted: number[] = []
  for (const offset of batch.offsets()) if (isWanted(offset)) wanted.push(offset)
  if (wanted.length === 0) return null
  if (wanted.length === batch.count) return moved(batch, place)
  const span = batch.nextOffset - batch.baseOffset
  const bitmap = Buffer.alloc(Math.ceil(span / 8))
  const records: Buffer[] = []
  for (const offset of wanted) {
    const bit = offset - batch.baseOffset
    bitmap[bit >> 3]! |= 1 << (bit & 7)
    const at = batch.positionOf(offset)
    records.push(batch.bytes.subarray(at, recordEnd(batch.bytes, at, batch.bytes.length)))
  }
  const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), bitmap, ...records])
  stampBatch(bytes, {
    ...place,
    durablePosition: place.position,
    baseOffset: batch.baseOffset,
    timestamp: batch.timestamp,
    leaderEpoch: batch.leaderEpoch,
    count: wanted.length,
    producer: batch.producer,
    span,
    attributes: batch.attributes | HAS_REMOVALS,
  })
  return new RecordBatch(bytes)
}

/** The same batch in another segment: its body and the body's CRC stay what they were. */
function moved(batch: RecordBatch, place: NewPlace): RecordBatch {
  const bytes = Buffer.from(batch.bytes)
  stampHeader(bytes, { ...place, durablePosition: place.position })
  return new RecordBatch(bytes)
}

/** @param producer whose frame it was, alone, where that is still to be known */
export function emptyBatch(stretch: EmptyStretch, place: NewPlace, producer: BatchProducer | null = null): RecordBatch {
  const bytes = Buffer.alloc(BATCH_HEADER_BYTES)
  stampBatch(bytes, {
    ...stretch,
    ...place,
    durablePosition: place.position,
    count: 0,
    producer,
    span: stretch.nextOffset - stretch.baseOffset,
    attributes: HAS_REMOVALS,
  })
  return new RecordBatch(bytes)
}

export function stretchOf({ baseOffset, nextOffset, timestamp, leaderEpoch }: RecordBatch): EmptyStretch {
  return { baseOffset, nextOffset, timestamp, leaderEpoch }
}

/** The stretch grown by a batch that follows it, or null where that one must begin its own. */
export function joined(stretch: EmptyStretch | null, batch: RecordBatch): EmptyStretch | null {
  const { nextOffset, timestamp, leaderEpoch } = batch
  if (!stretch) return stretchOf(batch)
  const fits = nextOffset - stretch.baseOffset <= EMPTY_SPAN_MAX && leaderEpoch === stretch.leaderEpoch
  return fits ? { ...stretch, nextOffset, timestamp: Math.max(timestamp, stretch.timestamp) } : null
}
