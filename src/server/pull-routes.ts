/**
 * Consuming over HTTP: pull, and the verbs on what pulls hold. An answer to `ack` and `reject` means that
 * it is durable. A pull's answer is bounded in bytes: what does not fit is handed back uncounted.
 */
import { LIMITS, parseMessageId } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import type { Host } from '../cluster/host.ts'
import type { Attachment, Confirmed } from '../subscription/subscription.ts'
import { bodyFields, type Fields, idsOf, invalid, optionalInteger, reasonOf } from './json-request.ts'
import { answerPull, pullCount, pullForm } from './pull-answer.ts'
import { type SubscriptionParams, subscriptionOf } from './subscription-routes.ts'

/** A verb: what its body may say, and what it does. The result is how many were settled. */
interface Verb {
  keys: readonly string[]
  run(pulled: Attachment, body: Fields): number | Promise<number>
}

const VERBS: Readonly<Record<string, Verb>> = {
  ack: { keys: ['ids', 'upTo', 'request'], run: ack },
  nack: {
    keys: ['ids', 'delayMs', 'reason', 'request'],
    run(pulled, body) {
      const delayMs = optionalInteger(body, 'delayMs', 0, LIMITS.delayMs)
      return confirmed((done) => pulled.nack(idsOf(body), delayMs, reasonOf(body), done))
    },
  },
  release: {
    keys: ['ids', 'request'],
    run: (pulled, body) => confirmed((done) => pulled.release(idsOf(body), done)),
  },
  reject: {
    keys: ['ids', 'reason', 'request'],
    run: (pulled, body) => confirmed((done) => pulled.reject(idsOf(body), reasonOf(body), done)),
  },
  extend: {
    keys: ['ids', 'ms', 'request'],
    run(pulled, body) {
      const ms = optionalInteger(body, 'ms', 0, LIMITS.delayMs)
      if (ms === undefined) throw invalid('"ms" is missing')
      return pulled.extend(idsOf(body), ms)
    },
  },
}

export function pullRoutes(app: FastifyInstance, host: Host): void {
  const path = '/v1/topics/:topic/subscriptions/:name'

  app.post<{ Params: SubscriptionParams }>(`${path}/pull`, async (request, reply) => {
    const subscription = subscriptionOf(host, request.params)
    const body = bodyFields(request.body, ['max', 'waitMs'])
    const form = pullForm(request.headers.accept)
    const max = pullCount(form, optionalInteger(body, 'max', 1, LIMITS.pullCount))
    const waitMs = optionalInteger(body, 'waitMs', 0, LIMITS.pullWaitMs) ?? 0
    const gone = new AbortController()
    const onClose = (): void => gone.abort()
    reply.raw.once('close', onClose)
    const deliveries = await subscription.pull(max, waitMs, gone.signal)
    reply.raw.off('close', onClose)
    return answerPull(form, subscription, deliveries, reply)
  })

  for (const [name, verb] of Object.entries(VERBS)) {
    app.post<{ Params: SubscriptionParams }>(`${path}/${name}`, async (request) => {
      const { pulled } = subscriptionOf(host, request.params)
      return { count: await verb.run(pulled, bodyFields(request.body, verb.keys)) }
    })
  }
}

function ack(pulled: Attachment, body: Fields): Promise<number> {
  if (body.get('upTo') === undefined) return confirmed((done) => pulled.ack(idsOf(body), done))
  if (body.get('ids') !== undefined) throw invalid('give "ids" or "upTo", not both')
  const upTo = parseMessageId(body.get('upTo'))
  return confirmed((done) => pulled.ackUpTo(upTo, done))
}

/** The count that `run` answers, once it has also called back. */
function confirmed(run: (done: Confirmed) => number): Promise<number> {
  return new Promise((resolve, reject) => {
    let count = 0
    let isDurable = false
    let hasRun = false
    const finish = (): void => {
      if (isDurable && hasRun) resolve(count)
    }
    count = run((error) => {
      if (error) return reject(error)
      isDurable = true
      finish()
    })
    hasRun = true
    finish()
  })
}
