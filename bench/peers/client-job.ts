/**
 * What a client process of the peers' bench is told to do, and what it says meanwhile. The two sides are
 * publish-job.ts and consume-job.ts in the client's process, and client-process.ts in the bench's.
 */
import type { PeerName } from './all.ts'
import type { ValueKind } from './payload.ts'

interface Place {
  peer: PeerName
  address: string
  topics: readonly string[]
  values: ValueKind
  bytes: number
}

export interface PublishJob extends Place {
  kind: 'publish'
  /** So many publishes under way at once, each awaited; or so many a second, whatever became of those before. */
  load: { inFlight: number } | { ratePerSecond: number }
  warmUpMs: number
  durationMs: number
  /** No more messages than this. */
  count: number
  /** Publishes wait while so many messages are not acknowledged. */
  aheadMax: number
}

export interface ConsumeJob extends Place {
  kind: 'consume'
  subscriptions: readonly string[]
  prefetch: number
  isBatchAcked: boolean
}

export type ClientJob = PublishJob | ConsumeJob

/** To the client. */
export type Order = { type: 'go' } | { type: 'acked'; count: number } | { type: 'finish' }

export interface Progress {
  received: number
  acked: number
  distinct: number
}

/** From the client: connected; consuming; the measured time begins, ends; how far it is; done. */
export type Word =
  | { type: 'ready' | 'consuming' | 'from' | 'to' }
  | ({ type: 'progress' } & Progress)
  | { type: 'done'; figures: Readonly<Record<string, number>> }
  | { type: 'failed'; text: string }
