/**
 * The compaction of one log: what is known of it, whether a round is worth it, and the round. A runner, owned by
 * its log; whoever looks after the log calls it, one round at a time.
 */
import type { Disk } from '../base/disk.ts'
import type { BatchCache } from './batch-cache.ts'
import { type CompactionPolicy, type CompactionState, isDue } from './compaction.ts'
import type { SealedSegments } from './sealed-segments.ts'
import { Segment } from './segment.ts'
import {
  type CompactedLog,
  type CompactionOptions,
  type CompactionReport,
  compactable,
  compactSegments,
} from './segment-compaction.ts'
import type { SegmentWriter } from './segment-writer.ts'

export interface CompactingLog extends CompactedLog {
  /** Makes the state durable. */
  checkpoint: () => Promise<void>
}

export class LogCompaction {
  state: CompactionState
  readonly #log: CompactingLog
  /** Monotonic time of the last round in this life. */
  #lastAt: number = Number.NEGATIVE_INFINITY
  #keptYoung = false

  constructor(log: CompactingLog, state: CompactionState) {
    this.#log = log
    this.state = state
  }

  /** @param now wall time @param monotonic the other */
  isDue(policy: CompactionPolicy, now: number, monotonic: number): boolean {
    const last = { sinceMs: monotonic - this.#lastAt, keptYoung: this.#keptYoung }
    return isDue(this.state, compactable(this.#log), policy, now, last)
  }

  /** Null: it was ended before its time. */
  async run(options: CompactionOptions, monotonic: number): Promise<CompactionReport | null> {
    const report = await compactSegments(this.#log, this.state, options)
    this.#lastAt = monotonic
    if (!report) return null
    this.state = report.state
    this.#keptYoung = report.keptYoung
    await this.#log.checkpoint()
    return report
  }
}

/** What holds a log's segments and whatever was read of them. */
interface ReplacingLog {
  readonly disk: Disk
  readonly directory: string
  readonly sealed: SealedSegments
  readonly cache: BatchCache
  forget: (segment: Segment) => void
}

/** Puts the finished file in the segment's place; false when the segment has gone. */
export async function replaceSegment(
  log: ReplacingLog,
  old: Segment,
  written: SegmentWriter,
  path: string,
): Promise<boolean> {
  if (!log.sealed.list.includes(old)) return false
  const release = await old.hold()
  try {
    await log.disk.rename(path, old.path)
    // The name is the new file's from here on, whether that lasts or not: nobody may read it by the old index.
    log.sealed.swap(old, Segment.written(log.disk, old.path, written))
    old.isRetired = true
    log.cache.forget(old.baseOffset, old.nextOffset)
    log.forget(old)
  } finally {
    release()
  }
  await old.close()
  await log.disk.syncDirectory(log.directory)
  return true
}
