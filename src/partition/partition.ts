/**
 * One partition: STUB, being written. The types are the agreed seam.
 */
import type { RecordBatch } from '../log/record-batch.ts'
import type { CommitQueue } from './commit-queue.ts'

export interface SegmentInfo {
  baseOffset: number
  nextOffset: number
  bytes: number
  sealed: boolean
}

export interface Partition {
  readonly topicId: string
  readonly number: number
  /** The first offset that retention left. */
  readonly startOffset: number
  /** Offset of the next record to be appended. */
  readonly nextOffset: number
  /** Offsets below it are committed: what readers may see. */
  readonly highWatermark: number
  readonly bytes: number
  readonly segments: SegmentInfo[]
  readonly epoch: number
  /**
   * The committed batch that holds the offset, when it is in memory (tail cache, or lately loaded).
   * The hot path: synchronous.
   */
  cached(offset: number): RecordBatch | undefined
  /**
   * Reads from the disk: the batch that holds the offset and what follows, at least 256 KiB where
   * there is as much, committed only; they are then `cached` for a while. Empty when the offset is at
   * or past the high watermark. Below the start: throws `offset_out_of_range`.
   */
  load(offset: number): Promise<RecordBatch[]>
  /** The first offset whose timestamp is at or after the time (ms); the high watermark when there is none. */
  offsetAt(timestamp: number): Promise<number>
  /** Calls the listener after the high watermark or the start has moved. Answers how to stop it. */
  onChange(listener: () => void): () => void
  /** The subscription log of this partition: group-committed like data. */
  readonly cursorQueue: CommitQueue
  /** All batches of the subscription log, oldest first: read once, when the partition opens. */
  readCursorLog(): AsyncIterable<RecordBatch>
  /**
   * Drops the subscription log's records below the offset, when absolute states at and after it say all
   * that they said. Whole segments only.
   */
  trimCursorLog(before: number): Promise<void>
  /** Bytes of the subscription log: when to write states anew. */
  readonly cursorLogBytes: number
}
