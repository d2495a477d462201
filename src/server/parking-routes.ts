/**
 * Parked keys: the list, and what a person decides about one. A replacement keeps the exact bytes of its
 * value, as a publish does, so its request's text is read here and not by the framework.
 */
import { formatMessageId, formatTimestamp, LIMITS, parseMessageId } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import { integerField, oneOfField, stringField } from '../base/field.ts'
import type { Host } from '../cluster/host.ts'
import type { ReplacedValue } from '../subscription/replacement.ts'
import { type Doing, PARKED_ACTIONS, type ParkedKey, type ParkedPlace } from '../subscription/subscription.ts'
import { bodyText, parse, valueOf } from './batch-request.ts'
import { bodyFields, type Fields, integerText, invalid, queryOf } from './json-request.ts'
import { contentType } from './publish-request.ts'
import { type SubscriptionParams, subscriptionOf } from './subscription-routes.ts'

const DEFAULT_COUNT = 1000
const REPLACING = ['value', 'base64', 'contentType'] as const

export function parkingRoutes(app: FastifyInstance, host: Host): void {
  const path = '/v1/topics/:topic/subscriptions/:name/parked'

  app.get<{ Params: SubscriptionParams }>(path, async (request) => {
    const { parking } = subscriptionOf(host, request.params)
    const limit = queryOf(request.query, ['limit']).get('limit')
    const parked = await parking.list(
      limit === undefined ? DEFAULT_COUNT : integerText('limit', limit, 1, LIMITS.maxParked),
    )
    return { ...parked, parked: parked.parked.map(parkedJson) }
  })

  app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser(/^application\/([^;]+\+)?json(;|$)/i, { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, body),
    )
    const act = async (params: SubscriptionParams, { key, place, doing }: Decision): Promise<object> => {
      const acted = await subscriptionOf(host, params).parking.act(key, place, doing)
      return { key, action: doing.action, id: idOf(acted), waiting: acted.waiting }
    }
    type Body = Buffer | undefined
    scope.post<{ Params: SubscriptionParams & { key: string }; Body: Body }>(`${path}/:key`, (request) =>
      act(request.params, readDecision(request.body, request.params.key)),
    )
    scope.post<{ Params: SubscriptionParams; Body: Body }>(path, (request) =>
      act(request.params, readDecision(request.body, null)),
    )
  })
}

/** What is to be done, and with which key. */
interface Decision {
  key: string
  place: ParkedPlace
  doing: Doing
}

/** The key stands in the path or, since no path has every key (clients resolve `.` and `..`), in the body. */
function readDecision(body: Buffer | undefined, pathKey: string | null): Decision {
  const text = bodyText(body ?? Buffer.alloc(0))
  const entry = parse(text === '' ? '{}' : text, 'the body is not JSON')
  const own = pathKey === null ? ['key'] : []
  const fields = bodyFields(entry, [...own, 'action', 'id', 'topic', 'partition', ...REPLACING])
  const key = pathKey ?? stringField('key', fields.get('key'))
  const action = oneOfField('action', fields.get('action'), PARKED_ACTIONS)
  const place = readPlace(fields)
  if (action === 'replace') return { key, place, doing: { action, ...replacedValue(fields, text) } }
  const extra = REPLACING.find((name) => fields.has(name))
  if (extra) throw invalid(`"${extra}" is for the action "replace"`)
  return { key, place, doing: { action } }
}

function readPlace(fields: Fields): ParkedPlace {
  const hasPlace = fields.has('topic') || fields.has('partition')
  if (fields.has('id')) {
    if (hasPlace) throw invalid('"id" says where the key is parked: leave "topic" and "partition" out')
    return parseMessageId(fields.get('id'))
  }
  return {
    ...(fields.has('topic') ? { topic: stringField('topic', fields.get('topic')) } : {}),
    ...(fields.has('partition')
      ? { partition: integerField('partition', fields.get('partition'), 0, LIMITS.partitions - 1) }
      : {}),
  }
}

function replacedValue(fields: Fields, text: string): ReplacedValue {
  const given = fields.get('contentType') ?? undefined
  const type = given === undefined ? 'application/json' : contentType(stringField('contentType', given))
  const value = valueOf(Object.fromEntries(fields), type, text, { from: 0, to: text.length })
  return { contentType: type, ...value }
}

function parkedJson(parked: ParkedKey): object {
  const { key, topic, partition, attempts, parkedAt, waiting, reason } = parked
  return {
    key,
    ...(topic === undefined ? {} : { topic }),
    partition,
    id: idOf(parked),
    attempts,
    parkedAt: formatTimestamp(parkedAt),
    waiting,
    ...(reason === null ? {} : { reason }),
  }
}

function idOf({ topic, partition, offset }: Pick<ParkedKey, 'topic' | 'partition' | 'offset'>): string {
  const id = formatMessageId(partition, offset)
  return topic === undefined ? id : `${topic}/${id}`
}
