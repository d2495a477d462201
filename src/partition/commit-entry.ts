/** A commit queue as those see it who append, and what goes through it: one append, and what that hears of its way. */
import type { TidingsError } from '@tidings/sdk/protocol'
import type { BatchProducer } from '../log/record-batch.ts'

/** Encoded records, back to back, as they will lie in a batch. */
export interface Records {
  bytes: Uint8Array
  count: number
  /** Bits of the batch header: HAS_IDEMPOTENCY_KEYS, HAS_EXPIRY. */
  attributes: number
  /** They are a frame of a producer: a batch of their own. */
  producer?: BatchProducer
}

/**
 * One append on its way to the disk. Exactly one of these happens, in order: nothing (take gave
 * null), `failed`, `written` and then `durable`, or, where leadership ends in between, `written` and then `failed`.
 * After the poison latch trips, none of them.
 */
export interface CommitEntry {
  /** Bytes this entry will add at most: what the queue's bound counts. */
  readonly size: number
  /** The records, asked for once, when the group they go into is built; null: nothing to write any more. */
  take(): Records | null
  /** In the hands of the operating system, of every replica that counts: survives kill -9, not a power cut. */
  written(baseOffset: number, timestamp: number): void
  /** On stable storage, of every replica that counts. Promise 1 of DESIGN.md hangs on this call alone. */
  durable(baseOffset: number, timestamp: number): void
  /** Not stored, unless it is `outcome_unknown`. */
  failed(error: TidingsError): void
}

/** What the entry waits for: a sync at once, only the write, or a sync within the queue's lazy interval. */
export type Urgency = 'durable' | 'written' | 'lazy'

export interface CommitQueue {
  /** Queues the entry, or throws `overloaded` (bound reached, closing) or `storage_full`. */
  submit(entry: CommitEntry, urgency: Urgency): void
  /** Throws what `submit` would throw for so many bytes now. */
  admit(size: number): void
  /** Offset after the last appended record, and after the last that counts as durable. */
  readonly nextOffset: number
  readonly durableOffset: number
  /** Everything submitted so far is durable (or failed). */
  flush(): Promise<void>
}
