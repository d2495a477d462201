/** Subscriptions: create and change, list, look at, delete, seek. The host checks and decides; this is its JSON. */
import { checkName, checkTopicOrPattern, DEFAULT_REDRIVE_COUNT, parseMessageId } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import { booleanField, nullable } from '../base/field.ts'
import type { Host } from '../cluster/host.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { checkPosition, filterField } from '../subscription/subscription-settings.ts'
import { bodyFields, optionalInteger, queryOf } from './json-request.ts'

export interface SubscriptionParams {
  topic: string
  name: string
}

export function subscriptionRoutes(app: FastifyInstance, host: Host): void {
  app.get<{ Params: { topic: string } }>('/v1/topics/:topic/subscriptions', async (request) => ({
    subscriptions: host.subscriptions(checkTopicOrPattern(request.params.topic)).map(subscriptionJson),
  }))

  const path = '/v1/topics/:topic/subscriptions/:name'

  app.put<{ Params: SubscriptionParams }>(path, async (request, reply) => {
    const { topic, name } = checked(request.params)
    const { subscription, created } = await host.putSubscription(topic, name, request.body ?? {})
    return reply.code(created ? 201 : 200).send(subscriptionJson(subscription))
  })

  app.get<{ Params: SubscriptionParams }>(path, async (request) =>
    subscriptionJson(subscriptionOf(host, request.params)),
  )

  app.delete<{ Params: SubscriptionParams }>(path, async (request, reply) => {
    const { topic, name } = checked(request.params)
    await host.deleteSubscription(topic, name)
    return reply.code(204).send()
  })

  app.post<{ Params: SubscriptionParams }>(`${path}/seek`, async (request) => {
    const subscription = subscriptionOf(host, request.params)
    await subscription.seek(checkPosition('to', bodyFields(request.body, ['to']).get('to')))
    return subscriptionJson(subscription)
  })

  app.get<{ Params: SubscriptionParams }>(`${path}/explain`, async (request) => {
    queryOf(request.query, [])
    return subscriptionOf(host, request.params).explain()
  })

  app.get<{ Params: SubscriptionParams & { id: string } }>(`${path}/messages/:id/explain`, async (request) => {
    queryOf(request.query, [])
    return subscriptionOf(host, request.params).explainMessage(parseMessageId(request.params.id))
  })

  app.post<{ Params: SubscriptionParams }>(`${path}/redrive`, async (request) => {
    const subscription = subscriptionOf(host, request.params)
    const body = bodyFields(request.body, ['max', 'filter', 'dryRun'])
    const max = optionalInteger(body, 'max', 1, Number.MAX_SAFE_INTEGER) ?? DEFAULT_REDRIVE_COUNT
    const dryRun = body.get('dryRun') === undefined ? false : booleanField('dryRun', body.get('dryRun'))
    const filter = nullable(body.get('filter') ?? null, (text) => filterField('filter', text))
    return subscription.redrive({ max, filter, dryRun })
  })
}

/** The subscription of a path, or the error that says what is wrong with it. */
export function subscriptionOf(host: Host, params: SubscriptionParams): Subscription {
  const { topic, name } = checked(params)
  return host.subscription(topic, name)
}

function checked(params: SubscriptionParams): SubscriptionParams {
  return { topic: checkTopicOrPattern(params.topic), name: checkName('subscription', params.name) }
}

function subscriptionJson(subscription: Subscription): object {
  const { topic, name, settings } = subscription
  return { topic, name, ...settings, state: subscription.state() }
}
