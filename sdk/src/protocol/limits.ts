/**
 * Every bound that both sides share, and the grammar of names. A bound on something that grows from
 * outside belongs here or in the broker's configuration, never inline.
 */
import { TidingsError } from './errors.ts'

export const LIMITS = {
  /** UTF-8 bytes of a message key. */
  keyBytes: 1024,
  /** UTF-8 bytes of an Idempotency-Key. */
  idempotencyKeyBytes: 255,
  /** Headers a message may carry, and their bytes (names and values) together. */
  headerCount: 64,
  headersBytes: 16_384,
  contentTypeBytes: 255,
  /** Default of a topic's `maxMessageBytes`; the configurable ceiling is the broker's. */
  messageBytes: 1_048_576,
  messageBytesCeiling: 64 * 1_048_576,
  partitions: 1024,
  segmentBytesFloor: 4096,
  segmentBytesCeiling: 1024 * 1_048_576,
  /** Replicas of a partition that a topic may ask for. */
  replicationFactor: 15,
  /** Entries of one batch request, and bytes of its body. */
  batchCount: 100_000,
  batchBytes: 64 * 1_048_576,
  /** Most messages of one pull or read. */
  pullCount: 10_000,
  pullWaitMs: 60_000,
  readCount: 10_000,
  /** Bytes of one frame from a client, and ids in it. */
  frameBytes: 1_048_576,
  idsPerFrame: 10_000,
  /** Ranges in one binary frame, and messages that the ranges of one request may name together. */
  rangesPerFrame: 10_000,
  offsetsPerFrame: 100_000,
  /** Topics that one connection of a pattern may be told of before it has to be made anew. */
  topicsPerConnection: 100_000,
  /** Messages of one publish frame, publish frames of one topic that may be unanswered, topics of one connection. */
  frameCount: 65_536,
  /** Bytes of a publish frame of more than one message. */
  publishFrameBytes: 4 * 1_048_576,
  publishWindow: 8,
  handles: 65_536,
  prefetch: 100_000,
  maxUnacked: 1_000_000,
  maxDeliveries: 10_000,
  maxParked: 100_000,
  /** UTF-8 bytes of a filter, and of a topic's JSON Schema. */
  filterBytes: 4096,
  schemaBytes: 262_144,
  /** Bytes of a value on a topic with a schema: all of it is parsed before it is stored. */
  schemaValueBytes: 8 * 1_048_576,
  weight: 1000,
  consumerNameBytes: 200,
  reasonBytes: 1024,
  /** Longest ack deadline, delay or extension: 24 days, what a timer can hold. */
  delayMs: 2_147_483_647,
  /** How far ahead a message may be scheduled: ten years. */
  scheduleAheadMs: 315_576_000_000,
  /** Scheduled messages of one topic that may be pending at once, and in one page of their list. */
  scheduledCount: 4_000_000,
  scheduledPageCount: 10_000,
} as const

export const DEFAULT_PREFETCH = 256
export const DEFAULT_PULL_COUNT = 100
export const DEFAULT_READ_COUNT = 100
export const DEFAULT_REDRIVE_COUNT = 10_000

const NAME = /^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$/

/** The name of a topic or subscription, or `invalid_argument` that says why not. */
export function checkName(kind: 'topic' | 'subscription', name: string): string {
  if (NAME.test(name)) return name
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name)
  if (name.startsWith('_')) {
    throw new TidingsError('invalid_argument', `${kind} name ${shown}: names that start with "_" are the broker's own`)
  }
  throw new TidingsError(
    'invalid_argument',
    `${kind} name ${shown}: use 1 to 200 of A-Z a-z 0-9 . _ ~ - and start with a letter or digit`,
  )
}
