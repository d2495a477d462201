/** The shapes of the API's JSON bodies, for the OpenAPI document. Data only; the defaults and limits are the protocol's. */
import {
  CLIENT_CODES,
  DEAD_LETTER_DEFAULTS,
  DEAD_LETTER_MODES,
  DISPATCH_POLICIES,
  ERRORS,
  LIMITS,
  SCHEMA_COMPATIBILITIES,
  SUBSCRIPTION_DEFAULTS,
  SUBSCRIPTION_TYPES,
  TOPIC_DEFAULTS,
} from '@tidings/sdk/protocol'

export type Schema = Readonly<Record<string, unknown>>

export const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })
export const list = (items: Schema): Schema => ({ type: 'array', items })
export const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: 'object',
  properties,
  ...(required.length > 0 ? { required } : {}),
})
export const whole = (description: string, limits: object = { minimum: 0 }): Schema => ({
  type: 'integer',
  description,
  ...limits,
})
export const text = (description: string, more: object = {}): Schema => ({ type: 'string', description, ...more })
export const flag = (description: string): Schema => ({ type: 'boolean', description })
export const orNull = (schema: Schema): Schema =>
  '$ref' in schema ? { oneOf: [schema, { type: 'null' }] } : { ...schema, type: [schema['type'], 'null'] }

const time = text('RFC 3339, UTC, milliseconds', { format: 'date-time' })
const messageId = text('"<partition>:<offset>"', { examples: ['0:12'] })
const headers: Schema = { type: 'object', additionalProperties: { type: 'string' }, description: 'names in lower case' }
const anyValue: Schema = { description: 'the JSON value, or a string for text/*; absent when base64 is there' }
const base64 = text('the bytes of any other value', { contentEncoding: 'base64' })

const topicSettings = {
  partitions: whole('may grow, never shrink', {
    minimum: 1,
    maximum: LIMITS.partitions,
    default: TOPIC_DEFAULTS.partitions,
  }),
  replicationFactor: whole('copies of every message', { minimum: 1, default: 1 }),
  minInSyncReplicas: whole('copies that must be written for a publish to be answered', { minimum: 1, default: 1 }),
  retention: object({
    maxAgeMs: orNull(whole('segments go when their newest message is older')),
    maxBytes: orNull(whole('oldest segments go when a partition is larger')),
    untilAcked: flag('segments stay until every subscription has acknowledged all of them'),
  }),
  durability: text('what an answered publish has reached: the disk, or the operating system', {
    enum: ['fsync', 'buffered'],
    default: TOPIC_DEFAULTS.durability,
  }),
  maxMessageBytes: whole('of a value', {
    minimum: 1,
    maximum: LIMITS.messageBytesCeiling,
    default: TOPIC_DEFAULTS.maxMessageBytes,
  }),
  deduplicationWindowMs: whole('how long an Idempotency-Key is remembered', {
    minimum: 0,
    default: TOPIC_DEFAULTS.deduplicationWindowMs,
  }),
  segmentBytes: whole('size of a segment file', {
    minimum: LIMITS.segmentBytesFloor,
    default: TOPIC_DEFAULTS.segmentBytes,
  }),
  compact: flag('sealed segments keep the last message of each key'),
  tombstoneMs: whole('how long compaction keeps a key with an empty value', {
    minimum: 0,
    default: TOPIC_DEFAULTS.tombstoneMs,
  }),
  schema: {
    type: ['object', 'null'],
    description: 'a JSON Schema (2020-12 or draft-07) that every value must satisfy',
  },
  schemaCompatibility: text('what a changed schema must admit', {
    enum: SCHEMA_COMPATIBILITIES,
    default: TOPIC_DEFAULTS.schemaCompatibility,
  }),
  expireWithSubscriptions: flag('delete the topic when the last of its subscriptions expires'),
}

const position: Schema = {
  oneOf: [
    { type: 'string', enum: ['latest', 'earliest'] },
    object({ timestamp: time }, ['timestamp']),
    object({ offsets: { type: 'object', additionalProperties: { type: 'integer', minimum: 0 } } }, ['offsets']),
  ],
}

const subscriptionSettings = {
  type: text('who gets what', { enum: SUBSCRIPTION_TYPES, default: SUBSCRIPTION_DEFAULTS.type }),
  start: { ...position, default: SUBSCRIPTION_DEFAULTS.start },
  ackDeadlineMs: whole('a delivery not acknowledged by then comes again', {
    minimum: 1,
    default: SUBSCRIPTION_DEFAULTS.ackDeadlineMs,
  }),
  maxUnacked: whole('most messages outstanding', {
    minimum: 1,
    maximum: LIMITS.maxUnacked,
    default: SUBSCRIPTION_DEFAULTS.maxUnacked,
  }),
  backoff: object({ minMs: whole('before the second attempt'), maxMs: whole('before a late attempt') }),
  deadLetter: orNull(
    object({
      topic: orNull(text('its name; null: <topic>.<subscription>.dlq')),
      maxDeliveries: whole('attempts before a message is given up on', {
        minimum: 1,
        maximum: LIMITS.maxDeliveries,
        default: DEAD_LETTER_DEFAULTS.maxDeliveries,
      }),
      mode: text('what becomes of it', { enum: DEAD_LETTER_MODES, default: DEAD_LETTER_DEFAULTS.mode }),
      maxParked: whole('keys that may be parked', {
        minimum: 1,
        maximum: LIMITS.maxParked,
        default: DEAD_LETTER_DEFAULTS.maxParked,
      }),
    }),
  ),
  filter: orNull(
    text(
      'a CEL expression over key, headers, contentType, topic, timestamp and value; what it does not give true for counts as acknowledged',
    ),
  ),
  dispatch: text('which consumer is next', { enum: DISPATCH_POLICIES, default: SUBSCRIPTION_DEFAULTS.dispatch }),
  expireAfterMs: orNull(whole('deleted after so long without a consumer')),
}

const message = {
  id: messageId,
  topic: text('name'),
  partition: whole('number'),
  offset: whole('position in the partition'),
  key: orNull(text('or null')),
  value: anyValue,
  base64,
  contentType: text('as published'),
  headers,
  timestamp: time,
}

const receipt = {
  partition: whole('number'),
  offset: whole('position in the partition'),
  id: messageId,
  duplicate: flag('true when the Idempotency-Key was seen before; the position is the first one'),
}

const scheduled = object({ id: text('to cancel it by'), deliverAt: time }, ['id', 'deliverAt'])

export const SCHEMAS: Readonly<Record<string, Schema>> = {
  Problem: object(
    {
      type: text('a URN of the code'),
      title: text('of the code'),
      status: whole('HTTP status'),
      detail: text('what was wrong with this request, and what to do'),
      code: text('stable', { enum: Object.keys(ERRORS).filter((code) => !CLIENT_CODES.includes(code)) }),
    },
    ['type', 'title', 'status', 'detail', 'code'],
  ),
  TopicSettings: object(topicSettings),
  Topic: object(
    {
      name: text('name'),
      ...topicSettings,
      partitionStates: list(
        object({
          partition: whole('number'),
          earliestOffset: whole('first offset that is still there'),
          nextOffset: whole('offset of the next message'),
          highWatermark: whole('offsets below it can be read'),
          bytes: whole('on disk'),
          segments: whole('files'),
          leader: text('node'),
          replicas: list({ type: 'string' }),
          isr: list({ type: 'string' }),
          epoch: whole('of the leader'),
          whyRetained: orNull(ref('WhyRetained')),
        }),
      ),
    },
    ['name'],
  ),
  WhyRetained: object(
    {
      reason: text('what holds the oldest segment', {
        enum: ['subscription', 'no_subscription', 'active_segment', 'policy'],
      }),
      subscription: text('whose acknowledgements are missing'),
      pattern: text('which it follows'),
      offset: whole('it acknowledged everything below'),
      maxAgeMs: orNull(whole('as set')),
      maxBytes: orNull(whole('as set')),
      until: orNull(text('when its age lets it go', { format: 'date-time' })),
    },
    ['reason'],
  ),
  SubscriptionSettings: object(subscriptionSettings),
  Subscription: object(
    {
      topic: text('name'),
      name: text('name'),
      ...subscriptionSettings,
      state: object({
        backlog: whole('messages not acknowledged, outstanding deliveries included'),
        unacked: whole('outstanding deliveries'),
        redelivering: whole('messages waiting for another delivery'),
        deadLettering: whole('messages given up on whose dead letter is not durable yet'),
        parked: whole('keys that are parked'),
        consumers: list({ type: 'object' }),
        oldestUnackedAgeMs: orNull(whole('age of the oldest outstanding delivery')),
        cursors: list(
          object({
            topic: text('which of them, where the subscription follows a pattern'),
            partition: whole('number'),
            ackedThrough: whole('every offset below it is acknowledged'),
            ackedAhead: whole('messages acknowledged beyond it'),
          }),
        ),
      }),
    },
    ['name'],
  ),
  SubscriptionExplanation: object(
    {
      subscription: text('name'),
      topic: text('name, or pattern'),
      verdict: text('the first reason, in one sentence'),
      reasons: list(
        object(
          {
            code: text('stable'),
            detail: text('for people'),
            topic: text('of a pattern: where'),
            partition: whole('where'),
            id: text('the message that holds others back'),
            until: time,
          },
          ['code', 'detail'],
        ),
      ),
      backlog: whole('messages not acknowledged'),
      unacked: whole('outstanding deliveries'),
      redelivering: whole('messages waiting for another delivery'),
      deadLettering: whole('messages whose dead letter is not durable yet'),
      parked: whole('messages of parked keys'),
      maxUnacked: whole('the setting'),
      consumers: list({ type: 'object' }),
      pulls: whole('requests that wait'),
    },
    ['verdict', 'reasons'],
  ),
  MessageExplanation: object(
    {
      id: messageId,
      state: text('where it stands', {
        enum: ['acked', 'outstanding', 'waiting', 'parked', 'filtered', 'expired', 'dead_lettered', 'not_reached'],
      }),
      reason: text('for people'),
      consumer: text('who has it'),
      attempt: whole('deliveries so far'),
      deadline: time,
      nextAttemptAt: time,
      lastFailure: object({ kind: text('how the delivery before ended'), reason: text('what the consumer said') }),
      blockedBy: text('the message that must be settled first'),
      deadLetter: object({ topic: text('name'), id: messageId }),
    },
    ['id', 'state', 'reason'],
  ),
  Position: position,
  Message: object(message, ['id', 'topic', 'partition', 'offset', 'contentType', 'headers', 'timestamp']),
  PulledMessage: object({ ...message, attempt: whole('1 on the first delivery', { minimum: 1 }) }),
  NewMessage: object({
    key: text('decides the partition', { maxLength: LIMITS.keyBytes }),
    value: anyValue,
    base64,
    contentType: text('kept with the message', { default: 'application/json' }),
    headers,
    partition: whole('an explicit partition'),
    idempotencyKey: text('stored once within the topic’s window', { maxLength: LIMITS.idempotencyKeyBytes }),
    ttlMs: whole('not delivered after so long, from when it enters the log', { minimum: 1 }),
    delayMs: whole('enters the log so much later', { minimum: 0, maximum: LIMITS.scheduleAheadMs }),
    deliverAt: { ...time, description: 'enters the log then; not with a delay' },
  }),
  Receipt: object({ topic: text('name'), ...receipt, timestamp: time }, [
    'topic',
    'partition',
    'offset',
    'id',
    'timestamp',
  ]),
  Scheduled: scheduled,
  ScheduledReceipt: object({ topic: text('name'), scheduled, duplicate: receipt.duplicate }, ['topic', 'scheduled']),
  BatchReceipt: {
    oneOf: [
      object(receipt, ['partition', 'offset', 'id']),
      object({ scheduled, duplicate: receipt.duplicate }, ['scheduled']),
    ],
  },
  BatchReceipts: object({ receipts: list(ref('BatchReceipt')) }, ['receipts']),
  CloudEvent: {
    ...object(
      {
        specversion: text('1.0'),
        id: text('unique within its source'),
        source: text('a URI reference'),
        type: text('what happened'),
        subject: text('of the source'),
        time,
        datacontenttype: text('of the data', { default: 'application/json' }),
        dataschema: text('a URI'),
        partitionkey: text('the key of the message'),
        data: anyValue,
        data_base64: base64,
        tidingsid: text('added to what is read: the id to acknowledge'),
        tidingstopic: text('added to what is read'),
        tidingsattempt: whole('added to what is delivered', { minimum: 1 }),
      },
      ['specversion', 'id', 'source', 'type'],
    ),
    description: 'CloudEvents 1.0, JSON format; extension attributes stand beside these',
  },
  Segment: object({
    baseOffset: whole('first offset'),
    nextOffset: whole('offset after the last'),
    bytes: whole('on disk'),
    sealed: flag('it will never change'),
  }),
  ParkedKey: object(
    {
      key: text('the key'),
      topic: text('only where the subscription follows a pattern'),
      partition: whole('where it is parked'),
      id: text('the message that was delivered in vain for the last time'),
      attempts: whole('deliveries of that message'),
      parkedAt: time,
      waiting: whole('messages that wait behind it'),
      reason: text('how it failed last, in the consumer’s words where there are any'),
    },
    ['key', 'partition', 'id', 'attempts', 'parkedAt', 'waiting'],
  ),
  ParkedKeyAction: {
    allOf: [ref('ParkedAction'), object({ key: text('the key') }, ['key'])],
  },
  ParkedAction: object(
    {
      id: text('the failed message that this is for; a conflict where another of the key has failed'),
      action: text('what to do', { enum: ['resume', 'skip', 'discard', 'replace'] }),
      value: anyValue,
      base64,
      contentType: text('of the replacement', { default: 'application/json' }),
      topic: text('where the key is parked, if that is in several'),
      partition: whole('where the key is parked, if that is in several'),
    },
    ['action'],
  ),
  Ids: object({ ids: { ...list(messageId), maxItems: LIMITS.idsPerFrame } }, ['ids']),
  Count: object({ count: whole('how many were outstanding here') }, ['count']),
}
