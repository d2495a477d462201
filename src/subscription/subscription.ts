/**
 * One named subscription: STUB, being written. The types are the agreed seam.
 */
import type { MessageId, Position, SubscriptionSettings } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'

/** Records [from, to) of a batch, lying with one consumer from now on. */
export interface Delivery {
  topic: string
  partition: number
  batch: RecordBatch
  from: number
  to: number
  attempt: number
}

/** Retention removed [from, to] (inclusive) before it was acknowledged. */
export interface Gap {
  topic: string
  partition: number
  from: number
  to: number
}

/** What a subscription needs of a connected consumer; the server's session is one. */
export interface ConsumerPort {
  /** A name for logs and stats. */
  readonly name: string
  /** Most messages unacknowledged with it at once. */
  readonly prefetch: number
  readonly weight: number
  /** Takes the records: sends or buffers them. Must not throw, must not call back into the subscription. */
  deliver(delivery: Delivery): void
  gap(gap: Gap): void
  /** Whether more may be handed over now; false while its socket is backed up. `wake` the attachment afterwards. */
  ready(): boolean
  /** The subscription ends this consumer: it was deleted, or is closing. The attachment is dead by then. */
  ended(why: 'deleted' | 'closing'): void
}

/** What a consumer may do; ids that are not outstanding with it are passed over. Counts say how many were. */
export interface Attachment {
  /** `confirmed` is called when the acknowledgement itself is durable. */
  ack(ids: readonly MessageId[], confirmed?: (error: Error | null) => void): number
  /** Everything outstanding in that partition up to and with the id; `invalid_argument` on shared types. */
  ackUpTo(id: MessageId, confirmed?: (error: Error | null) => void): number
  /** Without `delayMs`: the backoff. */
  nack(ids: readonly MessageId[], delayMs?: number, reason?: string): number
  extend(ids: readonly MessageId[], ms: number): number
  release(ids: readonly MessageId[]): number
  reject(ids: readonly MessageId[], reason?: string, confirmed?: (error: Error | null) => void): number
  pause(): void
  resume(): void
  /** The port is ready again. */
  wake(): void
  /** The connection ended: what is outstanding comes back at once, attempts one higher. Idempotent. */
  detach(): void
}

export interface SubscriptionState {
  /** Messages not acknowledged, outstanding deliveries included. */
  backlog: number
  unacked: number
  /** Messages waiting for another delivery. */
  redelivering: number
  consumers: { name: string; unacked: number; prefetch: number; paused: boolean; active: boolean }[]
  oldestUnackedAgeMs: number | null
  cursors: { partition: number; ackedThrough: number; ackedAhead: number }[]
}

export interface Subscription {
  readonly id: string
  readonly name: string
  readonly topic: string
  readonly settings: SubscriptionSettings
  /** Joins a consumer; throws `subscription_busy` where the type admits one only. */
  attach(port: ConsumerPort): Attachment
  /**
   * Up to `max` messages, waiting up to `waitMs` for the first; each pull is its own consumer, gone when
   * its leases are settled. Throws `subscription_busy`.
   */
  pull(max: number, waitMs: number, signal?: AbortSignal): Promise<Delivery[]>
  /** The verbs of HTTP: they reach what pulls hold. */
  readonly pulled: Attachment
  /** Resolves when the new position is durable. */
  seek(to: Position): Promise<void>
  state(): SubscriptionState
  /** Takes changed settings (all but type and start). */
  update(settings: SubscriptionSettings): void
  /** Ends all consumers; no effect leaves afterwards. */
  close(why: 'deleted' | 'closing'): Promise<void>
}
