/**
 * The compaction of one log: what is known of it, whether a round is worth it, and the round. A runner, owned by
 * its log; whoever looks after the log calls it, one round at a time.
 */
import { type CompactionPolicy, type CompactionState, isDue } from './compaction.ts'
import {
  type CompactedLog,
  type CompactionOptions,
  type CompactionReport,
  compactable,
  compactSegments,
} from './segment-compaction.ts'

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
