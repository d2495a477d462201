/**
 * One named subscription as others see it: what the server may ask of it, and what it asks of a
 * consumer's connection. Types only; `subscription-runner.ts` does it.
 */
import type { MessageId, Position, SubscriptionSettings } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import type { TopicEnd } from '../partition/topic.ts'
import type { MessageExplanation, SubscriptionExplanation } from './explanation.ts'
import type { ReplacedValue } from './replacement.ts'

/** Records [from, to) of a batch, lying with one consumer from now on. */
export interface Delivery {
  topic: string
  partition: number
  /** What stands before `<partition>:<offset>` in the ids: nothing, or `<topic>/` where the subscription follows a pattern. */
  idPrefix: string
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
  /** The subscription ends this consumer: it was deleted, is closing, or another broker leads it now. The attachment is dead by then. */
  ended(why: TopicEnd): void
}

/** Messages [offset, to) of a partition; without `to` the one message. */
export interface MessageSpan extends MessageId {
  to?: number
}

/**
 * Called once, after the call that it was given to, when the acknowledgement itself is durable. `acked` are those of
 * the messages that are acknowledged by then, now or before: one that came too late is not among them.
 */
export type Confirmed = (error: Error | null, acked: readonly MessageSpan[]) => void

/** What a consumer may do; messages that are not outstanding with it are passed over. Counts say how many were. */
export interface Attachment {
  ack(spans: readonly MessageSpan[], confirmed?: Confirmed): number
  /**
   * Everything in that partition up to and with the id that lies with the consumer or waits for another
   * delivery; `invalid_argument` on shared types.
   */
  ackUpTo(id: MessageId, confirmed?: Confirmed): number
  /** Without `delayMs`: the backoff. `confirmed`, here and below: what was said will outlive a restart. */
  nack(spans: readonly MessageSpan[], delayMs?: number, reason?: string, confirmed?: Confirmed): number
  extend(spans: readonly MessageSpan[], ms: number): number
  release(spans: readonly MessageSpan[], confirmed?: Confirmed): number
  /** Gives up on them: without a dead-letter topic they are acknowledged and dropped. */
  reject(spans: readonly MessageSpan[], reason?: string, confirmed?: Confirmed): number
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
  /** Messages that were given up on and whose dead letter is not durable yet. */
  deadLettering: number
  /** Keys that are parked. */
  parked: number
  consumers: {
    name: string
    unacked: number
    prefetch: number
    weight: number
    paused: boolean
    active: boolean
  }[]
  oldestUnackedAgeMs: number | null
  /** `topic` only where the subscription follows a pattern. */
  cursors: { topic?: string; partition: number; ackedThrough: number; ackedAhead: number }[]
}

export interface RedriveRequest {
  /** At most so many. */
  max: number
  /** Moves nothing, and counts. */
  dryRun: boolean
  /** Only those dead letters that this CEL expression admits; null: all. */
  filter: string | null
}

export interface RedriveAnswer {
  moved: number
  /** Of a dry run: how many would be. */
  matched?: number
}

/** A key whose messages wait for a person, since one of them was delivered in vain for the last time. */
export interface ParkedKey {
  key: string
  /** Only where the subscription follows a pattern. */
  topic?: string
  partition: number
  /** The failed message. */
  offset: number
  attempts: number
  /** Milliseconds since the epoch. */
  parkedAt: number
  /** Messages that wait behind it. */
  waiting: number
  /** How it failed last, in the consumer's words where there are any; null: nobody knows any more. */
  reason: string | null
}

export interface Parked {
  parked: ParkedKey[]
  /** How many keys are parked, listed or not. */
  count: number
  /** Keys that were parked for too long since the start, and whose failed message went to dead letters for it. */
  fellBack: number
}

/** Which one is meant, where a key is parked in several partitions; and which message of it, since another may have failed meanwhile. */
export interface ParkedPlace {
  topic?: string
  partition?: number
  offset?: number
}

export const PARKED_ACTIONS = ['resume', 'skip', 'discard', 'replace'] as const

/**
 * What a person does about a parked key. `resume`: its failed message is tried again, from the first
 * attempt; `replace`: with another value. `skip`: it goes to the dead-letter topic, `discard`: it is
 * acknowledged, and the key goes on.
 */
export type Doing = { action: 'resume' | 'skip' | 'discard' } | ({ action: 'replace' } & ReplacedValue)

export interface ParkedKeys {
  /** The longest parked first, `limit` at most. Resolves when what it tells is durable. */
  list(limit: number): Promise<Parked>
  /**
   * Resolves when it is done, durably, with what was parked. `not_found`: the key is not; `conflict`: it is in
   * several places, or another message of it has failed than the one that was meant.
   */
  act(key: string, place: ParkedPlace, doing: Doing): Promise<ParkedKey>
}

export interface Subscription {
  readonly id: string
  readonly name: string
  /** Its topic, or the pattern that it follows. */
  readonly topic: string
  readonly settings: SubscriptionSettings
  /** Joins a consumer; throws `subscription_busy` where the type admits one only. */
  attach(port: ConsumerPort): Attachment
  /**
   * Up to `max` messages, waiting up to `waitMs` for the first; none when it is aborted. Each pull is its
   * own consumer; what it got lies with `pulled` afterwards. Rejects with `subscription_busy`.
   */
  pull(max: number, waitMs: number, signal?: AbortSignal): Promise<Delivery[]>
  /** The verbs of HTTP: they reach what pulls hold. */
  readonly pulled: Attachment
  readonly parking: ParkedKeys
  /** Resolves when the new position is durable. What is outstanding is forgotten, consumers stay. */
  seek(to: Position): Promise<void>
  state(): SubscriptionState
  /** Why nothing is delivered, or that it is. */
  explain(): SubscriptionExplanation
  /** What became of a message. Rejects with `partition_not_found`, `offset_out_of_range`. */
  explainMessage(id: MessageId): Promise<MessageExplanation>
  /** Moves dead letters of this subscription back to it. Rejects with what stood in the way, and how many were moved. */
  redrive(request: RedriveRequest): Promise<RedriveAnswer>
  /** Takes changed settings (all but type and start). */
  update(settings: SubscriptionSettings): void
  /** Ends all consumers; no effect leaves afterwards. */
  close(why: TopicEnd): Promise<void>
}
