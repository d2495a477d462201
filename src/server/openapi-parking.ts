/** The API's description: parked keys. */
import { LIMITS } from '@tidings/sdk/protocol'
import { json, type Operation, type Operations, ok, query, SUBSCRIPTION, WITH_BODY } from './openapi-operation.ts'
import { list, object, ref, type Schema, text, whole } from './openapi-schemas.ts'

export const PARKING_OPERATIONS: Operations = {
  [`GET ${SUBSCRIPTION}/parked`]: {
    summary: 'Keys that wait for a person',
    tag: 'subscriptions',
    description:
      'With `deadLetter.mode` `park`: when a message has used up its deliveries its key is parked, and later messages of that key wait in order. The longest parked first. Answered when what it tells is durable.',
    parameters: [
      query('limit', 'At most so many', { type: 'integer', minimum: 1, maximum: LIMITS.maxParked, default: 1000 }),
    ],
    answers: {
      200: ok(
        'Parked keys',
        object(
          {
            parked: list(ref('ParkedKey')),
            count: whole('how many there are, listed or not'),
            fellBack: whole('keys that fell back to the dead-letter topic since the start, since too much was parked'),
          },
          ['parked', 'count', 'fellBack'],
        ),
      ),
    },
    errors: ['invalid_argument', 'topic_not_found', 'subscription_not_found', 'overloaded', 'storage_full'],
  },
  [`POST ${SUBSCRIPTION}/parked`]: decision(ref('ParkedKeyAction'), 'Let a parked key go on, any key there is'),
  [`POST ${SUBSCRIPTION}/parked/{key}`]: decision(ref('ParkedAction'), 'Let a parked key go on'),
}

function decision(body: Schema, summary: string): Operation {
  return {
    summary,
    tag: 'subscriptions',
    description:
      '`resume`: the failed message is tried again, from attempt 1. `skip`: it goes to the dead-letter topic. `discard`: it is acknowledged. `replace`: it is delivered with this value instead, `base64` for one that is neither JSON nor text. Answered when that is durable.',
    body: json(body),
    answers: {
      200: ok(
        'What was done',
        object(
          {
            key: text('the key'),
            action: text('what was done'),
            id: text('the failed message'),
            waiting: whole('messages that waited behind it'),
          },
          ['key', 'action', 'id', 'waiting'],
        ),
      ),
    },
    errors: [
      'invalid_argument',
      'topic_not_found',
      'subscription_not_found',
      'not_found',
      'conflict',
      'overloaded',
      'storage_full',
      ...WITH_BODY,
    ],
  }
}
