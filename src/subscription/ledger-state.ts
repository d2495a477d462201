/**
 * What of a ledger outlives the process: the place where new messages begin, and the runs of messages
 * before it that are not acknowledged. Everything else below `next` is. Types only.
 */
import type { Run } from './run-list.ts'

/** Messages delivered so often and not acknowledged. */
export interface PendingRun extends Run {
  attempts: number
  failed: boolean
  /** Not to be delivered before; 0: at once. */
  notBefore: number
}

export interface LedgerState {
  next: number
  runs: PendingRun[]
}
