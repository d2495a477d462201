/**
 * Every bound that both sides share, known to the outside as `LIMITS`. A bound on something that grows from outside
 * belongs here or in the broker's configuration, never inline. Each is a constant of its own, so that a page in a
 * browser loads those that it needs.
 */

/** UTF-8 bytes of a message key. */
export const keyBytes = 1024
/** UTF-8 bytes of an Idempotency-Key. */
export const idempotencyKeyBytes = 255
/** Headers a message may carry, and their bytes (names and values) together. */
export const headerCount = 64
export const headersBytes = 16_384
export const contentTypeBytes = 255
/** Default of a topic's `maxMessageBytes`; the configurable ceiling is the broker's. */
export const messageBytes = 1_048_576
export const messageBytesCeiling = 64 * 1_048_576
export const partitions = 1024
export const segmentBytesFloor = 4096
export const segmentBytesCeiling = 1024 * 1_048_576
/** Replicas of a partition that a topic may ask for. */
export const replicationFactor = 15
/** Entries of one batch request, and bytes of its body. */
export const batchCount = 100_000
export const batchBytes = 64 * 1_048_576
/** Most messages of one pull or read. */
export const pullCount = 10_000
export const pullWaitMs = 60_000
export const readCount = 10_000
/** Bytes of one frame from a client, and ids in it. */
export const frameBytes = 1_048_576
export const idsPerFrame = 10_000
/** Ranges in one binary frame, and messages that the ranges of one request may name together. */
export const rangesPerFrame = 10_000
export const offsetsPerFrame = 100_000
/** Topics that one connection of a pattern may be told of before it has to be made anew. */
export const topicsPerConnection = 100_000
/** Messages of one publish frame, publish frames of one topic that may be unanswered, topics of one connection. */
export const frameCount = 65_536
/** Bytes of a publish frame of more than one message. */
export const publishFrameBytes = 4 * 1_048_576
export const publishWindow = 8
export const handles = 65_536
export const prefetch = 100_000
export const maxUnacked = 1_000_000
export const maxDeliveries = 10_000
export const maxParked = 100_000
/** UTF-8 bytes of a filter, and of a topic's JSON Schema. */
export const filterBytes = 4096
export const schemaBytes = 262_144
/** Bytes of a value on a topic with a schema: all of it is parsed before it is stored. */
export const schemaValueBytes = 8 * 1_048_576
export const weight = 1000
export const consumerNameBytes = 200
export const reasonBytes = 1024
/** Longest ack deadline, delay or extension: 24 days, what a timer can hold. */
export const delayMs = 2_147_483_647
/** How far ahead a message may be scheduled: ten years. */
export const scheduleAheadMs = 315_576_000_000
/** Scheduled messages of one topic that may be pending at once, and in one page of their list. */
export const scheduledCount = 4_000_000
export const scheduledPageCount = 10_000
