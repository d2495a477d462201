/**
 * Group commit: STUB, being written. The types are the agreed seam.
 */
import type { TidingsError } from '@tidings/sdk/protocol'

/** Encoded records, back to back, as they will lie in a batch. */
export interface Records {
  bytes: Uint8Array
  count: number
  /** Bits of the batch header: HAS_IDEMPOTENCY_KEYS, HAS_EXPIRY. */
  attributes: number
}

/**
 * One append on its way to the disk. Exactly one of these happens, in order: nothing (take gave
 * null), `failed`, or `written` and then `durable`. After the poison latch trips, none of them.
 */
export interface CommitEntry {
  /** Bytes this entry will add at most: what the queue's bound counts. */
  readonly size: number
  /** The records, asked for once, when the group they go into is built; null: nothing to write any more. */
  take(): Records | null
  /** In the operating system's hands: survives kill -9, not a power cut. */
  written(baseOffset: number, timestamp: number): void
  /** On stable storage: fdatasync covers it. Promise 1 of DESIGN.md hangs on this call alone. */
  durable(baseOffset: number, timestamp: number): void
  failed(error: TidingsError): void
}

/** What the entry waits for: a sync at once, only the write, or a sync within the queue's lazy interval. */
export type Urgency = 'durable' | 'written' | 'lazy'

export interface CommitQueue {
  /** Queues the entry, or throws `overloaded` (bound reached), `storage_full` or `no_leader` (closed). */
  submit(entry: CommitEntry, urgency: Urgency): void
  /** Offset after the last appended record, and after the last durable one. */
  readonly nextOffset: number
  readonly durableOffset: number
  /** Everything submitted so far is durable (or failed). */
  flush(): Promise<void>
}
