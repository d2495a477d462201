/**
 * The API's description, kept by hand: schemas on the routes would be compiled into validators, and
 * those cost more than a publish may. A test holds it to the routes there are, one for one.
 */
import {
  DEFAULT_PULL_COUNT,
  DEFAULT_READ_COUNT,
  ERRORS,
  type ErrorCode,
  HEADER,
  LIMITS,
  NDJSON_CONTENT_TYPE,
  PROBLEM_CONTENT_TYPE,
} from '@tidings/sdk/protocol'
import { list, object, ref, SCHEMAS, type Schema, text, whole } from './openapi-schemas.ts'

interface Operation {
  summary: string
  tag: string
  description?: string
  parameters?: Schema[]
  body?: Record<string, Schema>
  /** By status; null: no body. */
  answers: Record<number, { description: string; type?: string; schema?: Schema } | null>
  errors: ErrorCode[]
}

const TOPIC = '/v1/topics/{topic}'
const SUBSCRIPTION = `${TOPIC}/subscriptions/{name}`
const PARTITION = `${TOPIC}/partitions/{partition}`

const json = (schema: Schema): Record<string, Schema> => ({ 'application/json': schema })
const ok = (description: string, schema: Schema): { description: string; schema: Schema } => ({ description, schema })
/** Names are written as people write them, `Tidings-Key`; HTTP does not care. */
const header = (name: string, description: string, schema: Schema = { type: 'string' }): Schema => ({
  name: name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase()),
  in: 'header',
  description,
  schema,
})
const query = (name: string, description: string, schema: Schema = { type: 'string' }): Schema => ({
  name,
  in: 'query',
  description,
  schema,
})

const PUBLISH_ERRORS: ErrorCode[] = [
  'invalid_argument',
  'topic_not_found',
  'message_too_large',
  'overloaded',
  'storage_full',
  'internal',
]
const ON_SUBSCRIPTION: ErrorCode[] = ['invalid_argument', 'topic_not_found', 'subscription_not_found']
const WITH_BODY: ErrorCode[] = ['message_too_large', 'unsupported_media_type']

/** A verb on what pulls hold. */
function verb(summary: string, body: Schema, description?: string): Operation {
  return {
    summary,
    tag: 'consume',
    ...(description === undefined ? {} : { description }),
    body: json(body),
    answers: { 200: ok('How many were outstanding', ref('Count')) },
    errors: [...ON_SUBSCRIPTION, ...WITH_BODY],
  }
}

const ids = ref('Ids')
const withIds = (more: Record<string, Schema>): Schema => ({ allOf: [ids, object(more)] })
const reason = text('kept with a dead letter', { maxLength: LIMITS.reasonBytes })

const OPERATIONS: Readonly<Record<string, Operation>> = {
  [`POST ${TOPIC}/messages`]: {
    summary: 'Publish a message',
    tag: 'publish',
    description:
      'The body is the value, byte for byte. The answer comes when the message is durable. Headers `Tidings-Header-<Name>` are kept as header `<name>`; `traceparent`, `tracestate`, `baggage` and CloudEvents `ce-*` under their own names.',
    parameters: [
      header(HEADER.key, 'UTF-8; messages of one key share a partition and keep their order'),
      header(HEADER.partition, 'An explicit partition', { type: 'integer', minimum: 0 }),
      header(HEADER.idempotencyKey, 'Stored once, however often it is sent within the topic’s window'),
      header(HEADER.ttlMs, 'Not delivered after so long', { type: 'integer', minimum: 1 }),
    ],
    body: { '*/*': { type: 'string', format: 'binary' } },
    answers: { 200: ok('Durable', ref('Receipt')) },
    errors: ['partition_not_found', ...PUBLISH_ERRORS],
  },
  [`POST ${TOPIC}/messages/batch`]: {
    summary: 'Publish many messages',
    tag: 'publish',
    description: 'The whole batch is checked before any of it is stored; an error names the entry by its index.',
    body: {
      'application/json': object({ messages: { ...list(ref('NewMessage')), maxItems: LIMITS.batchCount } }, [
        'messages',
      ]),
      [NDJSON_CONTENT_TYPE]: { type: 'string', description: 'One NewMessage a line' },
    },
    answers: {
      200: ok('Durable, in the order of the request', object({ receipts: list(ref('BatchReceipt')) }, ['receipts'])),
    },
    errors: ['unsupported_media_type', ...PUBLISH_ERRORS],
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
  [`GET ${TOPIC}/subscriptions`]: {
    summary: 'List the subscriptions of a topic',
    tag: 'subscriptions',
    answers: {
      200: ok(
        'Subscriptions with their state',
        object({ subscriptions: list(ref('Subscription')) }, ['subscriptions']),
      ),
    },
    errors: ['invalid_argument', 'topic_not_found'],
  },
  [`PUT ${SUBSCRIPTION}`]: {
    summary: 'Create or change a subscription',
    tag: 'subscriptions',
    description: 'Keys that are left out keep their value. `type` and `start` cannot be changed: use seek.',
    body: json(ref('SubscriptionSettings')),
    answers: { 200: ok('It was there; changed', ref('Subscription')), 201: ok('Created', ref('Subscription')) },
    errors: ['invalid_argument', 'filter_invalid', 'topic_not_found', 'conflict', ...WITH_BODY],
  },
  [`GET ${SUBSCRIPTION}`]: {
    summary: 'A subscription and its state',
    tag: 'subscriptions',
    answers: { 200: ok('The subscription', ref('Subscription')) },
    errors: ON_SUBSCRIPTION,
  },
  [`DELETE ${SUBSCRIPTION}`]: {
    summary: 'Delete a subscription; its consumers are disconnected with 4410',
    tag: 'subscriptions',
    answers: { 204: null },
    errors: ON_SUBSCRIPTION,
  },
  [`POST ${SUBSCRIPTION}/seek`]: {
    summary: 'Move a subscription to another position',
    tag: 'subscriptions',
    body: json(object({ to: ref('Position') }, ['to'])),
    answers: { 200: ok('Moved, durably', ref('Subscription')) },
    errors: [...ON_SUBSCRIPTION, ...WITH_BODY],
  },
  [`POST ${SUBSCRIPTION}/redrive`]: {
    summary: 'Move dead letters back (not in this release)',
    tag: 'subscriptions',
    body: json(object({ max: whole('at most so many', { minimum: 1 }) })),
    answers: {},
    errors: [...ON_SUBSCRIPTION, ...WITH_BODY],
  },
  [`GET ${SUBSCRIPTION}/stream`]: {
    summary: 'Consume over a WebSocket',
    tag: 'consume',
    description:
      'An upgrade to the subprotocol `tidings.json.v1`: one JSON object a text frame. The server sends `message`, `acked`, `error` and `gap`; the client `ack`, `nack`, `extend`, `release`, `reject`, `pause`, `resume` and `auth`. Creates the subscription if it does not exist. Refusals are problem+json before the upgrade, except close code 4409 (busy).',
    parameters: [
      query('type', 'Of a subscription that this creates', { type: 'string' }),
      query('start', 'earliest, latest or RFC 3339, of a subscription that this creates'),
      query('ackDeadlineMs', 'Of a subscription that this creates', { type: 'integer', minimum: 1 }),
      query('prefetch', 'Most messages unacknowledged on this connection', {
        type: 'integer',
        minimum: 1,
        maximum: LIMITS.prefetch,
        default: 256,
      }),
      query('consumer', 'A name for logs and stats', { type: 'string', maxLength: LIMITS.consumerNameBytes }),
      query('weight', 'For weighted dispatch', { type: 'integer', minimum: 1, maximum: LIMITS.weight, default: 1 }),
      query('access_token', 'Ignored while access control is off'),
    ],
    answers: { 101: { description: 'Switching protocols' } },
    errors: ['invalid_argument', 'permission_denied', 'topic_not_found', 'overloaded'],
  },
  [`POST ${SUBSCRIPTION}/pull`]: {
    summary: 'Take messages',
    tag: 'consume',
    body: json(
      object({
        max: whole('at most so many', { minimum: 1, maximum: LIMITS.pullCount, default: DEFAULT_PULL_COUNT }),
        waitMs: whole('wait so long for the first', { minimum: 0, maximum: LIMITS.pullWaitMs, default: 0 }),
      }),
    ),
    answers: {
      200: ok('Leased until the ack deadline', object({ messages: list(ref('PulledMessage')) }, ['messages'])),
    },
    errors: [...ON_SUBSCRIPTION, 'subscription_busy', ...WITH_BODY],
  },
  [`POST ${SUBSCRIPTION}/ack`]: verb(
    'Acknowledge',
    { oneOf: [ids, object({ upTo: text('cumulative in that partition; exclusive and failover only') }, ['upTo'])] },
    'The answer means that the acknowledgement is durable.',
  ),
  [`POST ${SUBSCRIPTION}/nack`]: verb(
    'Ask for another delivery',
    withIds({ delayMs: whole('without it: the backoff; 0: at once'), reason }),
  ),
  [`POST ${SUBSCRIPTION}/release`]: verb('Hand back; does not count as an attempt', ids),
  [`POST ${SUBSCRIPTION}/reject`]: verb('Give up: to the dead-letter topic, else dropped', withIds({ reason })),
  [`POST ${SUBSCRIPTION}/extend`]: verb('Set a new ack deadline', {
    allOf: [ids, object({ ms: whole('from now') }, ['ms'])],
  }),
  [`GET ${PARTITION}/messages`]: {
    summary: 'Read messages without a subscription',
    tag: 'read',
    parameters: [
      query('offset', 'Where to begin; without a position: the earliest', { type: 'integer', minimum: 0 }),
      query('timestamp', 'Begin at the first message of that time or later', { type: 'string', format: 'date-time' }),
      query('limit', 'At most so many', {
        type: 'integer',
        minimum: 1,
        maximum: LIMITS.readCount,
        default: DEFAULT_READ_COUNT,
      }),
    ],
    answers: {
      200: ok(
        'Past the end the list is empty',
        object({ messages: list(ref('Message')), nextOffset: whole('where to go on') }, ['messages', 'nextOffset']),
      ),
    },
    errors: ['invalid_argument', 'topic_not_found', 'partition_not_found', 'offset_out_of_range'],
  },
  [`GET ${PARTITION}/segments`]: {
    summary: 'List the segments of a partition',
    tag: 'read',
    answers: { 200: ok('Oldest first', object({ segments: list(ref('Segment')) }, ['segments'])) },
    errors: ['invalid_argument', 'topic_not_found', 'partition_not_found'],
  },
  'GET /healthz': {
    summary: 'The process lives',
    tag: 'operate',
    answers: { 200: { description: 'Alive' } },
    errors: [],
  },
  'GET /readyz': {
    summary: 'The broker can serve',
    tag: 'operate',
    answers: { 200: { description: 'Ready' }, 503: { description: 'Not ready; `reason` says why' } },
    errors: [],
  },
  'GET /metrics': {
    summary: 'Metrics for Prometheus',
    tag: 'operate',
    answers: { 200: { description: 'The text exposition', type: 'text/plain' } },
    errors: [],
  },
  'GET /v1/cluster': {
    summary: 'Nodes, leaders, epochs',
    tag: 'operate',
    answers: {
      200: {
        description: 'The cluster',
        schema: object({ nodes: list({ type: 'object' }), partitions: list({ type: 'object' }) }),
      },
    },
    errors: [],
  },
  'GET /openapi.json': {
    summary: 'This document',
    tag: 'operate',
    answers: { 200: { description: 'OpenAPI 3.1' } },
    errors: [],
  },
  'GET /docs': {
    summary: 'This document, to read',
    tag: 'operate',
    answers: { 200: { description: 'A page', type: 'text/html' } },
    errors: [],
  },
}

export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const [route, operation] of Object.entries(OPERATIONS)) {
    const [method, path] = route.split(' ') as [string, string]
    paths[path] ??= {}
    paths[path][method.toLowerCase()] = operationJson(path, operation)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tidings',
      version,
      description:
        'A durable publish/subscribe broker. Every error body is application/problem+json with a stable `code`. Requests of browser pages that change something are refused unless their Origin is among --allowed-origins.',
    },
    paths,
    components: { schemas: SCHEMAS },
  }
}

function operationJson(path: string, operation: Operation): object {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: name === 'partition' ? 'integer' : 'string' },
  }))
  const { summary, tag, description, body } = operation
  return {
    summary,
    tags: [tag],
    ...(description === undefined ? {} : { description }),
    parameters: [...inPath, ...(operation.parameters ?? [])],
    ...(body === undefined ? {} : { requestBody: { content: contentOf(body) } }),
    responses: { ...answersJson(operation), ...errorsJson(operation.errors) },
  }
}

function contentOf(schemas: Record<string, Schema>): object {
  return Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }]))
}

function answersJson({ answers }: Operation): Record<string, object> {
  const responses: Record<string, object> = {}
  for (const [status, answer] of Object.entries(answers)) {
    if (answer === null) responses[status] = { description: 'Done' }
    else {
      const { description, type = 'application/json', schema } = answer
      responses[status] =
        schema || type !== 'application/json'
          ? { description, content: { [type]: { schema: schema ?? {} } } }
          : { description }
    }
  }
  return responses
}

/** One response a status: several codes may share it. */
function errorsJson(codes: readonly ErrorCode[]): Record<string, object> {
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const { status } = ERRORS[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  const responses: Record<string, object> = {}
  for (const [status, names] of byStatus) {
    responses[status] = {
      description: names.map((name) => `\`${name}\``).join(', '),
      content: { [PROBLEM_CONTENT_TYPE]: { schema: ref('Problem') } },
    }
  }
  return responses
}
