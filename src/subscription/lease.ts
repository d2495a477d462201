/**
 * A run of messages that lie with one consumer, as ack-ledger.ts keeps it. A lease is staged (no deadline
 * yet) from the moment that its record is asked for until it is written and the messages are handed over.
 */
import type { Failure, LeaseHolder } from './ledger.ts'
import type { Run } from './run-list.ts'

export interface Lease extends Run {
  holder: LeaseHolder
  attempt: number
  /** Was nacked or ran out of time before: in order, nothing later goes out before it is settled. */
  failed: boolean
  /** How the delivery before this one ended. */
  failure: Failure | null
  deadline: number
}

/** The deadline of a staged lease. */
export const STAGED = Number.POSITIVE_INFINITY

/** `count` messages of the lease are the heir's from now on: all that it holds. */
export function inherit(lease: Lease, heir: LeaseHolder, count: number): void {
  lease.holder.outstanding -= count
  heir.outstanding += count
  lease.holder = heir
}
