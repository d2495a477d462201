/** The API's description: subscriptions, and consuming from them. */
import {
  CLOUDEVENT_BATCH_CONTENT_TYPE,
  CLOUDEVENT_BINARY_MODE,
  CLOUDEVENT_CONTENT_TYPE,
  DEFAULT_PULL_COUNT,
  DEFAULT_REDRIVE_COUNT,
  type ErrorCode,
  LIMITS,
} from '@tidings/sdk/protocol'
import {
  json,
  type Operation,
  type Operations,
  ok,
  query,
  SUBSCRIPTION,
  TOPIC,
  WITH_BODY,
} from './openapi-operation.ts'
import { flag, list, object, ref, type Schema, text, whole } from './openapi-schemas.ts'

const ON_SUBSCRIPTION: ErrorCode[] = ['invalid_argument', 'topic_not_found', 'subscription_not_found']

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

export const SUBSCRIPTION_OPERATIONS: Operations = {
  [`GET ${TOPIC}/subscriptions`]: {
    summary: 'List the subscriptions of a topic, or of exactly a pattern',
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
    description:
      'Keys that are left out keep their value. `type` and `start` cannot be changed: use seek. In all paths of subscriptions the topic may be a pattern: `*` stands for one level of a name, `**` at the end for the rest; topics that are created later are followed from offset 0, ids are `<topic>/<partition>:<offset>`.',
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
  [`GET ${SUBSCRIPTION}/explain`]: {
    summary: 'Why nothing is being delivered, or that it is',
    tag: 'subscriptions',
    answers: { 200: ok('The most important reason first', ref('SubscriptionExplanation')) },
    errors: ON_SUBSCRIPTION,
  },
  [`GET ${SUBSCRIPTION}/messages/{id}/explain`]: {
    summary: 'What became of a message, and why',
    tag: 'subscriptions',
    answers: { 200: ok('Its state', ref('MessageExplanation')) },
    errors: [...ON_SUBSCRIPTION, 'partition_not_found', 'offset_out_of_range'],
  },
  [`POST ${SUBSCRIPTION}/redrive`]: {
    summary: 'Move dead letters of this subscription back to it',
    tag: 'subscriptions',
    description: 'They come again as first attempts, to nobody else. The oldest go first.',
    body: json(
      object({
        max: whole('at most so many', { minimum: 1, default: DEFAULT_REDRIVE_COUNT }),
        filter: text('a CEL expression over the dead letters', { maxLength: LIMITS.filterBytes }),
        dryRun: flag('moves nothing, and counts in `matched`'),
      }),
    ),
    answers: {
      200: ok(
        'Moved, durably',
        object({ moved: whole('how many'), matched: whole('of a dry run: how many would be') }, ['moved']),
      ),
    },
    errors: [...ON_SUBSCRIPTION, 'filter_invalid', 'overloaded', 'storage_full', ...WITH_BODY],
  },
  [`GET ${SUBSCRIPTION}/stream`]: {
    summary: 'Consume over a WebSocket',
    tag: 'consume',
    description:
      'An upgrade to a WebSocket. The subprotocol `tidings.binary.v1` is described in PROTOCOL.md. `tidings.json.v1`, the default: one JSON object a text frame. The server sends `message`, `acked`, `error` and `gap`; the client `ack`, `nack`, `extend`, `release`, `reject`, `pause`, `resume` and `auth`. Creates the subscription if it does not exist. Refusals are problem+json before the upgrade, except close code 4409 (busy).',
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
    description:
      'With `Accept: application/cloudevents` the answer is one event in binary mode: attributes in `ce-` headers, the value as body.',
    answers: {
      200: {
        ...ok('Leased until the ack deadline', object({ messages: list(ref('PulledMessage')) }, ['messages'])),
        others: {
          [CLOUDEVENT_BATCH_CONTENT_TYPE]: list(ref('CloudEvent')),
          [CLOUDEVENT_CONTENT_TYPE]: ref('CloudEvent'),
          [CLOUDEVENT_BINARY_MODE]: { type: 'string', format: 'binary' },
        },
      },
      204: null,
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
}
