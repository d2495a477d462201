/** The API's description: topics, and publishing to them. */
import {
  CLOUDEVENT_BATCH_CONTENT_TYPE,
  CLOUDEVENT_CONTENT_TYPE,
  DEFAULT_READ_COUNT,
  type ErrorCode,
  HEADER,
  LIMITS,
  NDJSON_CONTENT_TYPE,
} from '@tidings/sdk/protocol'
import { header, json, type Operations, ok, query, TOPIC, WITH_BODY } from './openapi-operation.ts'
import { list, object, orNull, ref, text } from './openapi-schemas.ts'

const PUBLISH_ERRORS: ErrorCode[] = [
  'invalid_argument',
  'topic_not_found',
  'message_too_large',
  'schema_violation',
  'overloaded',
  'storage_full',
  'internal',
]

export const TOPIC_OPERATIONS: Operations = {
  [`POST ${TOPIC}/messages`]: {
    summary: 'Publish a message',
    tag: 'publish',
    description:
      'The body is the value, byte for byte. The answer comes when the message is durable. Headers `Tidings-Header-<Name>` are kept as header `<name>`; `traceparent`, `tracestate`, `baggage` and CloudEvents `ce-*` under their own names. A CloudEvent in structured mode, or a list of them, is stored as binary mode would have stored it.',
    parameters: [
      header(HEADER.key, 'UTF-8; messages of one key share a partition and keep their order'),
      header(HEADER.partition, 'An explicit partition', { type: 'integer', minimum: 0 }),
      header(HEADER.idempotencyKey, 'Stored once, however often it is sent within the topic’s window'),
      header(HEADER.ttlMs, 'Not delivered after so long, from when it enters the log', { type: 'integer', minimum: 1 }),
      header(HEADER.delayMs, 'Enters the log so much later; the answer is a ScheduledReceipt', {
        type: 'integer',
        minimum: 0,
        maximum: LIMITS.scheduleAheadMs,
      }),
      header(HEADER.deliverAt, 'Enters the log at that time (at once when it is past); not with a delay', {
        type: 'string',
        format: 'date-time',
      }),
    ],
    body: {
      '*/*': { type: 'string', format: 'binary' },
      [CLOUDEVENT_CONTENT_TYPE]: ref('CloudEvent'),
      [CLOUDEVENT_BATCH_CONTENT_TYPE]: list(ref('CloudEvent')),
    },
    answers: {
      200: ok('Durable; a list of events is answered as a batch', {
        oneOf: [ref('Receipt'), ref('ScheduledReceipt'), ref('BatchReceipts')],
      }),
    },
    errors: ['partition_not_found', ...PUBLISH_ERRORS],
  },
  [`POST ${TOPIC}/messages/batch`]: {
    summary: 'Publish many messages',
    tag: 'publish',
    description: 'The whole batch is checked before any of it is stored; an error names the entry by its index.',
    parameters: [query('timestamps', 'With `true` receipts carry their timestamp', { type: 'string', enum: ['true'] })],
    body: {
      'application/json': object({ messages: { ...list(ref('NewMessage')), maxItems: LIMITS.batchCount } }, [
        'messages',
      ]),
      [NDJSON_CONTENT_TYPE]: { type: 'string', description: 'One NewMessage a line' },
      [CLOUDEVENT_BATCH_CONTENT_TYPE]: list(ref('CloudEvent')),
    },
    answers: { 200: ok('Durable, in the order of the request', ref('BatchReceipts')) },
    errors: ['unsupported_media_type', ...PUBLISH_ERRORS],
  },
  [`GET ${TOPIC}/scheduled`]: {
    summary: 'List the scheduled messages of a topic',
    tag: 'publish',
    parameters: [
      query('limit', 'At most so many', {
        type: 'integer',
        minimum: 1,
        maximum: LIMITS.scheduledPageCount,
        default: DEFAULT_READ_COUNT,
      }),
      query('cursor', 'The `nextCursor` of the page before'),
    ],
    answers: {
      200: ok(
        'In the order in which they are due',
        object({ scheduled: list(ref('Scheduled')), nextCursor: orNull(text('of the next page')) }, [
          'scheduled',
          'nextCursor',
        ]),
      ),
    },
    errors: ['invalid_argument', 'topic_not_found'],
  },
  [`DELETE ${TOPIC}/scheduled/{id}`]: {
    summary: 'Cancel a scheduled message; `not_found` when it has entered the log, or was cancelled',
    tag: 'publish',
    answers: { 204: null },
    errors: ['invalid_argument', 'topic_not_found', 'not_found', 'overloaded', 'storage_full'],
  },
  'GET /v1/publish': {
    summary: 'Publish over a WebSocket',
    tag: 'publish',
    description:
      'An upgrade to a WebSocket with the subprotocol `tidings.binary.v1`, which carries what a client publishes to all its topics: numbered frames of records that are stored once, however often they are sent. Described in PROTOCOL.md; the SDK publishes over it.',
    parameters: [query('access_token', 'Ignored while access control is off')],
    answers: { 101: { description: 'Switching protocols' } },
    errors: ['invalid_argument', 'permission_denied', 'overloaded'],
  },
  'GET /v1/topics': {
    summary: 'List topics',
    tag: 'topics',
    answers: { 200: ok('Topics with their settings', object({ topics: list(ref('Topic')) }, ['topics'])) },
    errors: [],
  },
  [`PUT ${TOPIC}`]: {
    summary: 'Create or change a topic',
    tag: 'topics',
    description: 'Keys that are left out keep their value.',
    body: json(ref('TopicSettings')),
    answers: { 200: ok('It was there; changed', ref('Topic')), 201: ok('Created', ref('Topic')) },
    errors: ['invalid_argument', 'conflict', 'storage_full', ...WITH_BODY],
  },
  [`GET ${TOPIC}`]: {
    summary: 'A topic and its partitions',
    tag: 'topics',
    answers: { 200: ok('The topic', ref('Topic')) },
    errors: ['invalid_argument', 'topic_not_found'],
  },
  [`DELETE ${TOPIC}`]: {
    summary: 'Delete a topic with all its messages and subscriptions',
    tag: 'topics',
    answers: { 204: null },
    errors: ['invalid_argument', 'topic_not_found'],
  },
}
