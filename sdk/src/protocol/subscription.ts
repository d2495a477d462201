/**
 * What can be said about a topic and a subscription over the API: their settings and defaults.
 * The names are API.md's; times are milliseconds.
 */

export type SubscriptionType = 'shared' | 'exclusive' | 'failover' | 'key_shared'
export const SUBSCRIPTION_TYPES: readonly SubscriptionType[] = ['shared', 'exclusive', 'failover', 'key_shared']

export type DispatchPolicy = 'least_outstanding' | 'round_robin' | 'weighted'
export const DISPATCH_POLICIES: readonly DispatchPolicy[] = ['least_outstanding', 'round_robin', 'weighted']

export type Position = 'latest' | 'earliest' | { timestamp: string } | { offsets: Record<string, number> }

export interface SubscriptionSettings {
  type: SubscriptionType
  start: Position
  ackDeadlineMs: number
  maxUnacked: number
  backoff: { minMs: number; maxMs: number }
  deadLetter: { topic: string; maxDeliveries: number } | null
  filter: string | null
  dispatch: DispatchPolicy
  expireAfterMs: number | null
}

export const SUBSCRIPTION_DEFAULTS: SubscriptionSettings = {
  type: 'shared',
  start: 'latest',
  ackDeadlineMs: 30_000,
  maxUnacked: 10_000,
  backoff: { minMs: 500, maxMs: 60_000 },
  deadLetter: null,
  filter: null,
  dispatch: 'least_outstanding',
  expireAfterMs: null,
}

export interface TopicSettings {
  partitions: number
  replicationFactor: number
  minInSyncReplicas: number
  retention: { maxAgeMs: number | null; maxBytes: number | null; untilAcked: boolean }
  durability: 'fsync' | 'buffered'
  maxMessageBytes: number
  deduplicationWindowMs: number
  segmentBytes: number
}

export const TOPIC_DEFAULTS: TopicSettings = {
  partitions: 1,
  replicationFactor: 1,
  minInSyncReplicas: 1,
  retention: { maxAgeMs: null, maxBytes: null, untilAcked: false },
  durability: 'fsync',
  maxMessageBytes: 1_048_576,
  deduplicationWindowMs: 300_000,
  segmentBytes: 67_108_864,
}
