/**
 * What of a ledger outlives the process: the place where new messages begin, and the runs of messages
 * before it that are not acknowledged. Everything else below `next` is. Types only.
 */
import type { Run } from './run-list.ts'

/** Messages delivered so often and not acknowledged. */
export interface PendingRun extends Run {
  attempts: number
  failed: boolean
  /** Not to be delivered before; 0: at once. Of a message whose attempts are used up: since when it is parked. */
  notBefore: number
}

/** A record that is delivered instead of the one in the log. */
export interface Replacement {
  offset: number
  record: Uint8Array
}

export interface LedgerState {
  next: number
  runs: PendingRun[]
  /** Of pending messages; mostly there are none. */
  replaced?: Replacement[]
}
