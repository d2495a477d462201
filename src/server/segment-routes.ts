/**
 * History as files: the list of a partition's segments, and the bytes of the sealed ones as cacheable resources with a
 * strong entity tag, ranges and conditional requests, so that any HTTP cache can serve them. What may be
 * answered to the headers is byte-range.ts.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../base/clock.ts'
import { isOutOfHandles } from '../base/disk.ts'
import type { Host } from '../cluster/host.ts'
import type { SealedFile } from '../log/sealed-file.ts'
import type { Partition } from '../partition/partition.ts'
import { type ByteRange, hasAlready, isWanted, meetsIfRange, rangeOf } from './byte-range.ts'
import { integerText, queryOf } from './json-request.ts'
import { type PartitionParams, partitionOf } from './partition-params.ts'
import { SegmentBody } from './segment-body.ts'

export interface SegmentRoutesOptions {
  host: Host
  clock: Clock
  writeTimeoutMs: number
  /** A request for a segment's bytes was answered with this status. */
  served: (status: number) => void
  /** So many bytes of a segment were read for somebody. */
  read: (bytes: number) => void
}

/** Bodies under way at once: each holds a file handle and a chunk in memory. */
const BODIES_MAX = 64
/** Sealed segments never change, unless the topic compacts: then whoever kept one must ask. */
const FOR_EVER = 'public, max-age=31536000, immutable'
const ASK = 'no-cache'
/** What was not found may be there later, and a refusal is nobody's to keep. */
const NEVER = 'no-store'

interface SegmentRequest {
  Params: PartitionParams & { baseOffset: string }
}

export function segmentRoutes(app: FastifyInstance, options: SegmentRoutesOptions): void {
  const { host } = options
  const path = '/v1/topics/:topic/partitions/:partition/segments'
  let bodies = 0

  app.get<{ Params: PartitionParams }>(path, async (request) => {
    const partition = partitionOf(host, request.params)
    queryOf(request.query, [])
    return { segments: partition.segments }
  })

  const answer = async (request: FastifyRequest<SegmentRequest>, reply: FastifyReply): Promise<FastifyReply> => {
    reply.header('cache-control', NEVER)
    const partition = partitionOf(host, request.params)
    queryOf(request.query, [])
    const baseOffset = integerText('baseOffset', request.params.baseOffset, 0, Number.MAX_SAFE_INTEGER)
    if (bodies >= BODIES_MAX) throw tooMany()
    const file = await openSegment(partition, baseOffset)
    let body: SegmentBody | null = null
    try {
      const etag = `"${await file.contentHash()}"`
      // Many may have waited for the tag together: it is computed once, for the first who asks.
      if (bodies >= BODIES_MAX) throw tooMany()
      const { compact } = host.topic(request.params.topic).settings
      reply.headers({ etag, 'cache-control': compact ? ASK : FOR_EVER, 'accept-ranges': 'bytes' })
      const part = partOf(request, reply, etag, file.bytes)
      if (!part) return await reply.send()
      reply.header('content-length', part.to - part.from)
      if (request.method === 'HEAD') return await reply.send()
      bodies += 1
      const ended = (): void => void (bodies -= 1)
      const { clock, writeTimeoutMs, read } = options
      body = new SegmentBody(file, part, { clock, writeTimeoutMs, read, ended })
      return await reply.send(body)
    } finally {
      if (!body) await file.close()
    }
  }
  // Before GET, or the framework would make a HEAD of its own, which reads the whole body to throw it away.
  const counted = { onResponse: async (_: FastifyRequest, reply: FastifyReply) => options.served(reply.statusCode) }
  app.head<SegmentRequest>(`${path}/:baseOffset`, counted, answer)
  app.get<SegmentRequest>(`${path}/:baseOffset`, counted, answer)
}

/** Sets the status; answers which bytes go out, null for none. */
function partOf(request: FastifyRequest, reply: FastifyReply, etag: string, bytes: number): ByteRange | null {
  const { headers } = request
  if (!isWanted(headers['if-match'], etag)) {
    reply.header('cache-control', NEVER)
    throw new TidingsError('precondition_failed', `the segment's entity tag is ${etag}, which If-Match does not name`)
  }
  if (hasAlready(headers['if-none-match'], etag)) {
    reply.code(304)
    return null
  }
  reply.header('content-type', 'application/octet-stream').header('x-content-type-options', 'nosniff')
  const isPartial = request.method === 'GET' && meetsIfRange(headers['if-range'] as string | undefined, etag)
  const range = isPartial ? rangeOf(headers.range, bytes) : 'whole'
  if (range === 'whole') return { from: 0, to: bytes }
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${bytes}`).header('cache-control', NEVER)
    throw new TidingsError('offset_out_of_range', `the segment has ${bytes} bytes: the range begins behind them`)
  }
  const [first, last] = [range.from, range.to - 1]
  reply.code(206).header('content-range', `bytes ${first}-${last}/${bytes}`)
  return range
}

async function openSegment(partition: Partition, baseOffset: number): Promise<SealedFile> {
  let file: SealedFile | null
  try {
    file = await partition.openSegment(baseOffset)
  } catch (error) {
    if (isOutOfHandles(error)) throw tooMany()
    throw error
  }
  if (file) return file
  const found = partition.segments.find((segment) => segment.baseOffset === baseOffset)
  if (found) {
    throw new TidingsError('not_found', `segment ${baseOffset} is still written to: only sealed segments are served`)
  }
  const gone = baseOffset < partition.startOffset ? `; what is below ${partition.startOffset} is no longer kept` : ''
  throw new TidingsError('not_found', `no segment begins at offset ${baseOffset}${gone}: the list is at …/segments`)
}

function tooMany(): TidingsError {
  return new TidingsError('overloaded', 'too many segments are being read at once: try again in a moment')
}
