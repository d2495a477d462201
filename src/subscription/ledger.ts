/**
 * What a lane, the settlement and the records need of a ledger: one subscription's place in one
 * partition. Types only. `ack-ledger.ts` is the ledger in runs, for whatever knows no keys;
 * `key-ledger.ts` is the one with an entry a message, where keys have an order.
 *
 * Every offset below `next` is leased, waiting (for its turn, for a delay, for its key), doomed (waiting
 * to be given up on) or parked, or else it is acknowledged. DELIVERY.md has the states and the rules.
 */
import type { Changes } from './changes.ts'
import type { LedgerState } from './ledger-state.ts'
import type { Run } from './run-list.ts'

/** Whoever holds leases; the ledger keeps the count for it, over all partitions. */
export interface LeaseHolder {
  outstanding: number
  /** With whom its messages lie once they are handed over, when that is not itself. */
  readonly heir?: LeaseHolder
  /** Whoever may settle what it holds, beside itself. */
  readonly speaker?: LeaseHolder
}

export interface LedgerPolicy {
  /** Exclusive and failover: deliveries in the order of offsets. */
  ordered: boolean
  backoff: { minMs: number; maxMs: number }
  /** A message that failed so often is given up on: doomed, or its key parked; null: tried for ever. */
  maxDeliveries: number | null
}

/** What may be delivered next: [from, to), all of it with the same attempt. */
export interface Offer {
  from: number
  to: number
  attempt: number
}

/**
 * How a delivery ended that was of no use; what the process still knows of it. Or why a parked message
 * was given up on: a person said so, or too many keys were parked.
 */
export type Failure = 'nack' | 'deadline' | 'disconnected' | 'rejected' | 'skipped' | 'parking_full'

/** Messages to give up on, delivered so often. */
export interface Doomed extends Run {
  attempts: number
  /** Of the last delivery; null: it was before a restart. */
  failure: Failure | null
}

/** Where one message stands; what a person asks when it does not arrive. */
export type Standing =
  | { state: 'not_reached' }
  | { state: 'acked' }
  /** `failure`, here and below: how the delivery before ended, where that is known. */
  | {
      state: 'outstanding'
      holder: LeaseHolder
      attempt: number
      deadline: number
      isStaged: boolean
      failure: Failure | null
    }
  /** `blockedBy`: an earlier message that must be settled first. `notBefore` 0: at once. */
  | { state: 'waiting'; attempts: number; notBefore: number; blockedBy: number | null; failure: Failure | null }
  | { state: 'doomed'; attempts: number; failure: Failure | null }
  /** `blockedBy`: the message whose failures parked the key, when this one only waits behind it. */
  | { state: 'parked'; attempts: number; blockedBy: number | null; failure: Failure | null }

export interface Ledger {
  readonly changes: Changes
  /** Set anew, it holds for what waits too: exhausted messages become doomed, those that it spares come again. */
  policy: LedgerPolicy
  /** First offset that was never delivered. */
  readonly next: number
  /** Every offset below it is acknowledged. */
  readonly floor: number
  /** Messages that `maxUnacked` bounds: delivered or to be delivered again, and not acknowledged. */
  readonly unsettled: number
  readonly leased: number
  readonly waiting: number
  /** Messages to give up on. */
  readonly doomedCount: number
  /** No delay of a failed message ends before it; Infinity: there is none. */
  readonly retryAt: number
  /** Messages at or past the floor that are acknowledged. */
  readonly ackedAhead: number
  /** When `advance` has something to do, at the earliest. */
  readonly wakeAt: number
  isAcknowledged(offset: number): boolean
  describe(offset: number): Standing
  /** Deadlines that have passed become failures, delays that have passed end. Answers how many leases expired. */
  advance(now: number): number
  /** Leases staged for `holder` in [from, to) start their time and lie with `heir`; see AckLedger. */
  handOver(holder: LeaseHolder, from: number, to: number, deadline: number, heir: LeaseHolder): readonly Run[] | null
  /** All that follow answer how many messages they concerned: those that lie with the holder in [from, to). */
  ack(holder: LeaseHolder, from: number, to: number): number
  ackUpTo(holder: LeaseHolder, to: number, waitingToo: boolean): number
  /** Gives back as failed: again after `delayMs`, or by the backoff when that is null; given up on when it was the last attempt. */
  nack(holder: LeaseHolder, from: number, to: number, now: number, delayMs: number | null): number
  /** Gives up on them at once, whatever their attempts. */
  reject(holder: LeaseHolder, from: number, to: number): number
  extend(holder: LeaseHolder, from: number, to: number, deadline: number): number
  release(holder: LeaseHolder, from: number, to: number): number
  /** The holder is gone: what was handed over counts as an attempt, what was staged does not. */
  detach(holder: LeaseHolder): number
  /** Nothing staged goes out any more: the record could not be written. */
  unstage(): void
  /** Messages to give up on at and past `from`, in the order of offsets, `count` at most. They stay until `bury`. */
  doomed(from: number, count: number): Doomed[]
  /** Their dead letters are durable: acknowledges what of [from, to) is doomed. Answers how many those were. */
  bury(from: number, to: number): number
  /** Brings acknowledged messages back, never delivered (redrive). Answers how many of them were acknowledged. */
  revive(from: number, to: number): number
  /**
   * Offsets below `start` are no longer in the log. Those that wait for a delivery are lost: answers the span
   * they lie in, or null. Leases stay, their holders have the messages; doomed ones stay, somebody had them.
   */
  skipTo(start: number): Run | null
  /** Forgets everything: offsets below are acknowledged, the others were never delivered. */
  seek(offset: number): void
  state(): LedgerState
}
