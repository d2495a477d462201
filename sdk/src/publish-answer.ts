/**
 * What became of a batch: stored, refused, or to be sent again, with what is known about whether it was stored.
 * Total: any bytes from any peer give one of the three. A codec; called by publisher.ts.
 */
import { retryAfterMs } from './backoff.ts'
import type { HttpOutcome } from './platform.ts'
import { refusalOf } from './problem.ts'
import { TidingsError } from './protocol/errors.ts'

export interface PublishReceipt {
  topic: string
  partition: number
  offset: number
  id: string
  /** RFC 3339. Absent for a scheduled message, and from brokers that do not tell it for batches. */
  timestamp?: string
  /** The idempotency key was seen before: this is where the first message lies. */
  duplicate?: true
  /** Of a message with a delay; it has no position until it is due, and partition and offset are -1. */
  scheduled?: { id: string; deliverAt: string }
}

export type BatchVerdict =
  | { kind: 'stored'; receipts: PublishReceipt[] }
  | { kind: 'refused'; error: TidingsError }
  | { kind: 'again'; error: TidingsError; isInDoubt: boolean; afterMs: number }

/** `count` entries were sent. `now` is wall time. */
export function verdictOf(outcome: HttpOutcome, topic: string, count: number, now: number): BatchVerdict {
  if (outcome.kind === 'lost') {
    const { sent, cause } = outcome
    const error = sent
      ? new TidingsError('outcome_unknown', 'the connection ended before the broker answered', { cause })
      : new TidingsError('unavailable', 'no connection to the broker', { cause })
    return { kind: 'again', error, isInDoubt: sent, afterMs: 0 }
  }
  if (outcome.status === 200) {
    const receipts = receiptsOf(outcome.body, topic, count)
    if (receipts) return { kind: 'stored', receipts }
    const error = new TidingsError('outcome_unknown', 'the answer is not one that a broker would give')
    return { kind: 'again', error, isInDoubt: true, afterMs: 0 }
  }
  const error = refusalOf(outcome.status, outcome.body)
  if (!error.retryable) return { kind: 'refused', error }
  // Of several messages some may have been stored before one of their partitions failed.
  const isInDoubt = error.code === 'outcome_unknown' || (count > 1 && error.status >= 500)
  return { kind: 'again', error, isInDoubt, afterMs: retryAfterMs(outcome.retryAfter, now) }
}

function receiptsOf(body: string, topic: string, count: number): PublishReceipt[] | null {
  let answer: { receipts?: unknown }
  try {
    answer = JSON.parse(body) as { receipts?: unknown }
  } catch {
    return null
  }
  const receipts = answer?.receipts
  if (!Array.isArray(receipts) || receipts.length !== count) return null
  for (const receipt of receipts as PublishReceipt[]) {
    if (typeof receipt !== 'object' || receipt === null) return null
    if (receipt.scheduled !== undefined) {
      receipt.partition = -1
      receipt.offset = -1
      receipt.id = receipt.scheduled.id
    } else if (typeof receipt.offset !== 'number' || typeof receipt.partition !== 'number') return null
    receipt.topic = topic
  }
  return receipts as PublishReceipt[]
}
