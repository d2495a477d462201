/**
 * What a pull is answered with: messages in their JSON form, or CloudEvents where `Accept` names one of their
 * modes. An answer is bounded in bytes, and a client that hung up gets nothing: what does not go out is
 * handed back uncounted. Called by pull-routes.ts.
 */
import {
  CLOUDEVENT_BATCH_CONTENT_TYPE,
  CLOUDEVENT_BINARY_MODE,
  CLOUDEVENT_CONTENT_TYPE,
  DEFAULT_PULL_COUNT,
  type MessageId,
} from '@tidings/sdk/protocol'
import type { FastifyReply } from 'fastify'
import type { Delivery, Subscription } from '../subscription/subscription.ts'
import { preferred } from './accept.ts'
import { eventJson, eventMessage } from './cloud-event.ts'
import { invalid } from './json-request.ts'
import { pulledJson } from './message-json.ts'

const JSON_FORM = 'application/json'
const FORMS = [JSON_FORM, CLOUDEVENT_BATCH_CONTENT_TYPE, CLOUDEVENT_CONTENT_TYPE, CLOUDEVENT_BINARY_MODE] as const
export type PullForm = (typeof FORMS)[number]

/** Characters of one answer after which no further message is added. */
const ANSWER_CHARS_MAX = 8 * 1_048_576

export function pullForm(accept: string | undefined): PullForm {
  return preferred(accept, FORMS) ?? JSON_FORM
}

/** How many messages to take. Two of the forms hold one event each. */
export function pullCount(form: PullForm, max: number | undefined): number {
  if (form === JSON_FORM || form === CLOUDEVENT_BATCH_CONTENT_TYPE) return max ?? DEFAULT_PULL_COUNT
  if (max === undefined || max === 1) return 1
  throw invalid(`"max" must be 1, for an answer holds one event: several come as ${CLOUDEVENT_BATCH_CONTENT_TYPE}`)
}

export function answerPull(
  form: PullForm,
  subscription: Subscription,
  deliveries: readonly Delivery[],
  reply: FastifyReply,
): FastifyReply {
  const answer = new PullAnswer(subscription, reply)
  switch (form) {
    case JSON_FORM: {
      const messages = answer.texts(deliveries, (one, offset) => pulledJson(one, one.batch, offset, one.attempt))
      return answer.send(form, `{"messages":[${messages.join(',')}]}`)
    }
    case CLOUDEVENT_BATCH_CONTENT_TYPE:
      return answer.send(form, `[${answer.texts(deliveries, eventText).join(',')}]`)
    case CLOUDEVENT_CONTENT_TYPE: {
      const [event] = answer.texts(deliveries, eventText)
      return event === undefined ? answer.nothing() : answer.send(form, event)
    }
    case CLOUDEVENT_BINARY_MODE: {
      // One was asked for; its headers and its body are made only for a client that is still there.
      const [first] = answer.texts(deliveries, () => '')
      const [delivery] = deliveries
      if (first === undefined || !delivery) return answer.nothing()
      const { headers, body } = eventMessage(delivery, delivery.batch, delivery.from, delivery.attempt)
      return reply.headers(headers).send(body)
    }
  }
}

function eventText(delivery: Delivery, offset: number): string {
  return eventJson(delivery, delivery.batch, offset, delivery.attempt)
}

class PullAnswer {
  readonly #subscription: Subscription
  readonly #reply: FastifyReply

  constructor(subscription: Subscription, reply: FastifyReply) {
    this.#subscription = subscription
    this.#reply = reply
  }

  /** The messages as texts, as many as the answer may hold. */
  texts(deliveries: readonly Delivery[], make: (delivery: Delivery, offset: number) => string): string[] {
    const texts: string[] = []
    const unsent: MessageId[] = []
    let chars = 0
    for (const delivery of deliveries) {
      for (let offset = delivery.from; offset < delivery.to; offset++) {
        // A client that hung up while it waited gets nothing, and so must hold nothing.
        if (this.#reply.raw.destroyed || chars >= ANSWER_CHARS_MAX) {
          unsent.push({ topic: delivery.topic, partition: delivery.partition, offset })
          continue
        }
        const text = make(delivery, offset)
        chars += text.length
        texts.push(text)
      }
    }
    if (unsent.length > 0) this.#subscription.pulled.release(unsent)
    return texts
  }

  send(type: string, text: string): FastifyReply {
    return this.#reply.type(`${type}; charset=utf-8`).send(text)
  }

  nothing(): FastifyReply {
    return this.#reply.code(204).send()
  }
}
