/**
 * The answers to "why is nothing being delivered" and "what became of this message": the shapes. Types only;
 * explain.ts finds them.
 */

/** Why messages are not delivered, or that they are. Codes are stable, details are for people. */
export interface DeliveryReason {
  code: ReasonCode
  detail: string
  /** Where it is about one partition; the topic only of a pattern. */
  topic?: string
  partition?: number
  /** The message that holds the others back. */
  id?: string
  /** RFC 3339: when it ends by itself. */
  until?: string
}

export type ReasonCode =
  | 'caught_up'
  | 'delivering'
  | 'all_outstanding'
  | 'no_consumer'
  | 'consumers_paused'
  | 'no_credit'
  | 'socket_backed_up'
  | 'max_unacked'
  | 'waiting_backoff'
  | 'blocked_by_failed'
  | 'key_blocked'
  | 'parked'
  | 'reading_disk'
  | 'storage_full'
  | 'log_unwritable'
  | 'dead_lettering'
  | 'dead_letter_failing'

export interface SubscriptionExplanation {
  subscription: string
  topic: string
  /** The first reason in one sentence. */
  verdict: string
  /** The most important one first. */
  reasons: DeliveryReason[]
  backlog: number
  unacked: number
  redelivering: number
  deadLettering: number
  parked: number
  maxUnacked: number
  consumers: { name: string; unacked: number; prefetch: number; paused: boolean; ready: boolean; active: boolean }[]
  /** Requests that wait for messages. */
  pulls: number
}

export type MessageState =
  | 'acked'
  | 'outstanding'
  | 'waiting'
  | 'parked'
  | 'filtered'
  | 'expired'
  | 'dead_lettered'
  | 'not_reached'

export interface MessageExplanation {
  id: string
  state: MessageState
  /** For people. */
  reason: string
  /** Who has it. */
  consumer?: string
  /** Deliveries so far, the present one included. */
  attempt?: number
  /** RFC 3339. */
  deadline?: string
  nextAttemptAt?: string
  /** How the delivery before ended, and what the consumer said. */
  lastFailure?: { kind: string; reason?: string }
  /** The message that must be settled first. */
  blockedBy?: string
  /** Where its dead letter is. */
  deadLetter?: { topic: string; id: string }
}
