/**
 * Reading a partition without a subscription: messages by offset or time.
 * An answer is bounded in messages and in bytes; `nextOffset` says where to go on.
 */
import { DEFAULT_READ_COUNT, LIMITS, recordExpiresAt, TidingsError } from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../base/clock.ts'
import type { Host } from '../cluster/host.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import { integerText, invalid, queryOf, timestampText } from './json-request.ts'
import { messageJson } from './message-json.ts'
import { type PartitionParams, partitionOf } from './partition-params.ts'

/** Characters of one answer after which no further message is added. */
const ANSWER_CHARS_MAX = 8 * 1_048_576

export function readRoutes(app: FastifyInstance, host: Host, clock: Clock): void {
  const path = '/v1/topics/:topic/partitions/:partition'

  app.get<{ Params: PartitionParams }>(`${path}/messages`, async (request, reply) => {
    const partition = partitionOf(host, request.params)
    const query = queryOf(request.query, ['offset', 'timestamp', 'limit'])
    const limitText = query.get('limit')
    const limit = limitText === undefined ? DEFAULT_READ_COUNT : integerText('limit', limitText, 1, LIMITS.readCount)
    const start = await startOf(partition, query)
    const answer = await read(request.params.topic, partition, start, limit, clock.now())
    return reply.type('application/json; charset=utf-8').send(answer)
  })
}

async function startOf(partition: Partition, query: ReadonlyMap<string, string>): Promise<number> {
  const offset = query.get('offset')
  const timestamp = query.get('timestamp')
  if (offset !== undefined && timestamp !== undefined) throw invalid('give "offset" or "timestamp", not both')
  if (offset !== undefined) return integerText('offset', offset, 0, Number.MAX_SAFE_INTEGER)
  if (timestamp !== undefined) return partition.offsetAt(timestampText('timestamp', timestamp))
  return partition.startOffset
}

async function read(topic: string, partition: Partition, start: number, limit: number, now: number): Promise<string> {
  const place = { topic, partition: partition.number }
  if (start < partition.startOffset) {
    const earliest = partition.startOffset
    throw new TidingsError('offset_out_of_range', `offset ${start} is gone: the earliest is ${earliest}`)
  }
  const messages: string[] = []
  let chars = 0
  let offset = start
  while (messages.length < limit && chars < ANSWER_CHARS_MAX && offset < partition.highWatermark) {
    const batch = partition.cached(offset) ?? (await partition.load(offset))[0]
    if (!batch) break
    const to = Math.min(batch.nextOffset, partition.highWatermark)
    for (; offset < to && messages.length < limit && chars < ANSWER_CHARS_MAX; offset++) {
      if (isGone(batch, offset, now)) continue
      const text = messageJson(place, batch, offset)
      chars += text.length
      messages.push(text)
    }
  }
  return `{"messages":[${messages.join(',')}],"nextOffset":${offset}}`
}

/** Compaction has removed it, or it has expired. */
function isGone(batch: RecordBatch, offset: number, now: number): boolean {
  if (!batch.has(offset)) return true
  const expiresAt = recordExpiresAt(batch.bytes, batch.positionOf(offset))
  return expiresAt !== null && expiresAt <= now
}
