/** Scheduled messages of a topic: the list in order of due time, page by page, and the cancellation of one. */
import { checkName, DEFAULT_READ_COUNT, formatTimestamp, LIMITS, TidingsError } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import type { Host } from '../cluster/host.ts'
import type { Mark } from '../partition/schedule.ts'
import { integerText, invalid, queryOf } from './json-request.ts'

export function scheduleRoutes(app: FastifyInstance, host: Host): void {
  app.get<{ Params: { topic: string } }>('/v1/topics/:topic/scheduled', async (request) => {
    const topic = host.topic(checkName('topic', request.params.topic))
    const query = queryOf(request.query, ['limit', 'cursor'])
    const limitText = query.get('limit')
    const limit =
      limitText === undefined ? DEFAULT_READ_COUNT : integerText('limit', limitText, 1, LIMITS.scheduledPageCount)
    const cursor = query.get('cursor')
    const page = topic.scheduled(cursor === undefined ? null : parseCursor(cursor), limit)
    const last = page.at(-1)
    return {
      scheduled: page.map(({ id, dueAt }) => ({ id: String(id), deliverAt: formatTimestamp(dueAt) })),
      nextCursor: last && page.length === limit ? `${last.dueAt}-${last.id}` : null,
    }
  })

  app.delete<{ Params: { topic: string; id: string } }>('/v1/topics/:topic/scheduled/:id', async (request, reply) => {
    const { topic, id } = request.params
    const number = parseId(id)
    if (number !== null && (await host.topic(checkName('topic', topic)).cancelScheduled(number))) {
      return reply.code(204).send()
    }
    // A topic that is not there is the better answer.
    host.topic(checkName('topic', topic))
    throw new TidingsError(
      'not_found',
      `no scheduled message ${JSON.stringify(id.slice(0, 60))}: fired, cancelled, or never there`,
    )
  })
}

function parseId(text: string): number | null {
  const id = /^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(id) ? id : null
}

function parseCursor(text: string): Mark {
  const [, dueAt, id] = /^(\d{1,16})-(\d{1,16})$/.exec(text) ?? []
  if (dueAt === undefined) throw invalid('"cursor" must be the "nextCursor" of the page before')
  return { dueAt: Number(dueAt), id: Number(id) }
}
