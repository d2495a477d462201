/**
 * What can be said about a topic and a subscription over the API: their settings and defaults.
 * The names are API.md's; times are milliseconds.
 */
import { DEFAULT_ACK_DEADLINE_MS, DEFAULT_TYPE } from './defaults.ts'

/** Who of the consumers of a subscription gets what, and in which order. */
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
  deadLetter: DeadLetterSettings | null
  /** CEL; null lets everything through. */
  filter: string | null
  dispatch: DispatchPolicy
  /** Deleted after so long without a consumer or a pull. */
  expireAfterMs: number | null
}

/** `topic`: a copy goes to the dead-letter topic. `park`: the key stops, other keys go on (ordered types only). */
export type DeadLetterMode = 'topic' | 'park'
export const DEAD_LETTER_MODES: readonly DeadLetterMode[] = ['topic', 'park']

export interface DeadLetterSettings {
  mode: DeadLetterMode
  /** Null: `<topic>.<subscription>.dlq`. */
  topic: string | null
  maxDeliveries: number
  /** Keys that may be parked at once; past that the oldest one's message goes to the dead-letter topic. */
  maxParked: number
}

export const DEAD_LETTER_DEFAULTS: DeadLetterSettings = {
  mode: 'topic',
  topic: null,
  maxDeliveries: 5,
  maxParked: 1000,
}

export const SUBSCRIPTION_DEFAULTS: SubscriptionSettings = {
  type: DEFAULT_TYPE,
  start: 'latest',
  ackDeadlineMs: DEFAULT_ACK_DEADLINE_MS,
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
  /** Sealed segments keep the last value of each key only. */
  compact: boolean
  /** How long compaction keeps a key's tombstone (an empty value). */
  tombstoneMs: number
  /** A JSON Schema that every value must satisfy; null: any value. */
  schema: JsonSchema | null
  /** What a changed schema must do for what the old one let in. */
  schemaCompatibility: SchemaCompatibility
  /** When its last subscription expires, the topic goes with it. */
  expireWithSubscriptions: boolean
}

/** A JSON Schema, draft 2020-12. */
export type JsonSchema = { readonly [keyword: string]: unknown }
/** `backward`: a changed schema must admit everything that the old one admitted. */
export type SchemaCompatibility = 'backward' | 'none'
export const SCHEMA_COMPATIBILITIES: readonly SchemaCompatibility[] = ['backward', 'none']

export const TOPIC_DEFAULTS: TopicSettings = {
  partitions: 1,
  replicationFactor: 1,
  minInSyncReplicas: 1,
  retention: { maxAgeMs: null, maxBytes: null, untilAcked: false },
  durability: 'fsync',
  maxMessageBytes: 1_048_576,
  deduplicationWindowMs: 300_000,
  segmentBytes: 67_108_864,
  compact: false,
  tombstoneMs: 86_400_000,
  schema: null,
  schemaCompatibility: 'backward',
  expireWithSubscriptions: false,
}
