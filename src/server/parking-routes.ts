/**
 * Parked keys: the list, and what a person decides about one. A replacement keeps the exact bytes of its
 * value, as a publish does, so its request's text is read here and not by the framework.
 */
import { formatMessageId, formatTimestamp, LIMITS } from '@tidings/sdk/protocol'
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
    scope.post<{ Params: SubscriptionParams & { key: string }; Body: Buffer | undefined }>(
      `${path}/:key`,
      async (request) => {
        const { parking } = subscriptionOf(host, request.params)
        const { key } = request.params
        const { place, doing } = readDoing(request.body ?? Buffer.alloc(0))
        const acted = await parking.act(key, place, doing)
        return { key, action: doing.action, id: idOf(acted), waiting: acted.waiting }
      },
    )
  })
}

/** What the body says is to be done, and with the key of which partition. */
function readDoing(body: Buffer): { place: ParkedPlace; doing: Doing } {
  const text = bodyText(body)
  const entry = parse(text === '' ? '{}' : text, 'the body is not JSON')
  const fields = bodyFields(entry, ['action', 'topic', 'partition', ...REPLACING])
  const action = oneOfField('action', fields.get('action'), PARKED_ACTIONS)
  const place: ParkedPlace = {
    ...(fields.has('topic') ? { topic: stringField('topic', fields.get('topic')) } : {}),
    ...(fields.has('partition')
      ? { partition: integerField('partition', fields.get('partition'), 0, LIMITS.partitions - 1) }
      : {}),
  }
  if (action === 'replace') return { place, doing: { action, ...replacedValue(fields, text) } }
  const extra = REPLACING.find((name) => fields.has(name))
  if (extra) throw invalid(`"${extra}" is for the action "replace"`)
  return { place, doing: { action } }
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
