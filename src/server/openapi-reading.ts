/** The API's description: reading without a subscription. */
import { DEFAULT_READ_COUNT, EVENT_STREAM_CONTENT_TYPE, LAST_EVENT_ID_HEADER, LIMITS } from '@tidings/sdk/protocol'
import { header, type Operations, ok, PARTITION, query, TOPIC } from './openapi-operation.ts'
import { list, object, ref, whole } from './openapi-schemas.ts'

export const READING_OPERATIONS: Operations = {
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
  [`GET ${TOPIC}/events`]: {
    summary: 'Read messages as server-sent events, without a subscription',
    tag: 'read',
    description:
      'Each message is one event: `data` its JSON form, `id` where a resume goes on. An event `gap` tells that history which was asked for is gone, `deleted` that the topic is.',
    parameters: [
      query('start', 'latest (the default), earliest or RFC 3339'),
      query('lastEventId', 'As the header of that name, for those who cannot send headers'),
      query('format', 'What `data` holds: the JSON form of a message, or a CloudEvent in JSON', {
        type: 'string',
        enum: ['json', 'cloudevents'],
        default: 'json',
      }),
      query('access_token', 'Ignored while access control is off'),
      header(LAST_EVENT_ID_HEADER, 'Go on after that event; goes before `start`'),
    ],
    answers: { 200: { description: 'The stream', type: EVENT_STREAM_CONTENT_TYPE } },
    errors: ['invalid_argument', 'topic_not_found', 'not_acceptable', 'offset_out_of_range', 'overloaded'],
  },
  [`GET ${PARTITION}/segments`]: {
    summary: 'List the segments of a partition',
    tag: 'read',
    answers: { 200: ok('Oldest first', object({ segments: list(ref('Segment')) }, ['segments'])) },
    errors: ['invalid_argument', 'topic_not_found', 'partition_not_found'],
  },
  [`GET ${PARTITION}/segments/{baseOffset}`]: {
    summary: 'The bytes of a sealed segment',
    tag: 'read',
    description:
      'As docs/FORMAT.md describes them. The ETag is strong, the SHA-256 of the bytes. To be kept for ever, except where the topic compacts (`Cache-Control: no-cache`). HEAD answers the headers alone.',
    parameters: [
      header('range', 'One range of bytes; anything else is answered whole'),
      header('if-range', 'Answer the range only if the ETag is still this one'),
      header('if-match', 'Answer only if the ETag is one of these'),
      header('if-none-match', 'ETags of what is there already'),
    ],
    answers: {
      200: { description: 'The whole segment', type: 'application/octet-stream' },
      206: { description: 'The range', type: 'application/octet-stream' },
      304: { description: 'Unchanged' },
    },
    errors: [
      'invalid_argument',
      'topic_not_found',
      'partition_not_found',
      'not_found',
      'precondition_failed',
      'offset_out_of_range',
      'overloaded',
    ],
  },
}
