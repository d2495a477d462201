/**
 * Server-sent events: a topic read by whoever asks, without a subscription. Checks the request as a whole
 * before the stream begins, finds where it starts, and hands its response to the topic's readers. Owns
 * the readers of all topics, which drain ends. EventSource gives up on every status but 200, so what can go
 * wrong is answered before the first byte, and later as an event.
 */
import type { ServerResponse } from 'node:http'
import {
  CLOUDEVENT_CONTENT_TYPE,
  checkName,
  EVENT_STREAM_CONTENT_TYPE,
  LAST_EVENT_ID_HEADER,
  type Position,
  parseTimestamp,
  TidingsError,
} from '@tidings/sdk/protocol'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'
import type { Topic } from '../partition/topic.ts'
import { startOffset } from '../subscription/positions.ts'
import { accepts, names } from './accept.ts'
import { eventJson } from './cloud-event.ts'
import { type Offsets, parseEventId, standingId } from './event-id.ts'
import type { Render } from './event-slice.ts'
import { type EventSink, EventStream } from './event-stream.ts'
import { invalid, queryOf } from './json-request.ts'
import { messageJson } from './message-json.ts'
import { TopicEvents } from './topic-events.ts'

export interface EventParts {
  host: Host
  clock: Clock
  logger: Logger
  /** A reader whose response is full and takes nothing for so long is cut off. */
  writeTimeoutMs: number
  isDraining(): boolean
  joined(): void
  left(): void
}

interface TopicParams {
  topic: string
}

/** What a request asks for. */
interface EventRequest {
  start: Position
  /** Where an earlier stream ended, not empty; it goes before `start`. */
  lastEventId: string | undefined
  render: Render
}

/** A browser that lost its connection comes back after so long. */
const RETRY_MS = 2000

const DATA_LOST = 'its topic holds less than that: it was deleted and created again, or lost what was never synced'

export class EventStreams {
  readonly #parts: EventParts
  readonly #topics = new Map<string, TopicEvents>()

  constructor(parts: EventParts) {
    this.#parts = parts
  }

  routes(app: FastifyInstance): void {
    app.get<{ Params: TopicParams }>('/v1/topics/:topic/events', async (request, reply) => {
      const topic = this.#parts.host.topic(checkName('topic', request.params.topic))
      const asked = parseEventRequest(request)
      const offsets = await startOf(topic, asked)
      // Meanwhile the topic may have been deleted, or the broker begun to stop.
      if (this.#parts.host.topic(topic.name) !== topic) throw new TidingsError('overloaded', 'the topic has changed')
      if (this.#parts.isDraining()) throw new TidingsError('overloaded', 'the broker is shutting down: try again')
      reply.hijack()
      this.#open(topic, asked, offsets, reply, request.method === 'HEAD')
    })
  }

  /** Ends every stream after what was written; their responses end by themselves. */
  drain(): void {
    for (const events of this.#topics.values()) this.#close(events)
  }

  #open(topic: Topic, { render }: EventRequest, offsets: Offsets, reply: FastifyReply, isHead: boolean): void {
    const { clock, logger, writeTimeoutMs } = this.#parts
    const response = reply.raw
    if (response.destroyed) return
    response.writeHead(200, {
      ...(reply.getHeaders() as Record<string, string>),
      'content-type': EVENT_STREAM_CONTENT_TYPE,
      // A proxy that keeps, gathers or compresses what passes would hold events back.
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    })
    if (isHead) return void response.end()
    // The standing comes first, so that a connection lost before the first event resumes here, not at a later "latest".
    response.write(`retry: ${RETRY_MS}\nid: ${standingId(offsets)}\n\n`)
    const standing = { offsets, turn: 0 }
    const stream = new EventStream(sinkOf(response), clock, logger, { render, standing, writeTimeoutMs })
    const events = this.#eventsOf(topic)
    response.on('drain', () => {
      stream.drained()
      events.wake(stream)
    })
    response.on('error', () => response.destroy())
    response.once('close', () => {
      stream.closed()
      events.remove(stream)
      if (events.isEmpty && this.#topics.get(topic.id) === events) this.#close(events)
      this.#parts.left()
    })
    this.#parts.joined()
    events.add(stream)
  }

  #eventsOf(topic: Topic): TopicEvents {
    const existing = this.#topics.get(topic.id)
    if (existing) return existing
    const { clock, logger } = this.#parts
    const events: TopicEvents = new TopicEvents(topic, clock, logger, (why) => {
      this.#close(events, why === 'deleted' ? deletedEvent(topic.name) : undefined)
    })
    this.#topics.set(topic.id, events)
    return events
  }

  #close(events: TopicEvents, last?: string): void {
    this.#topics.delete(events.topic.id)
    events.close(last)
  }
}

function parseEventRequest(request: FastifyRequest): EventRequest {
  const { accept } = request.headers
  if (!accepts(accept, EVENT_STREAM_CONTENT_TYPE)) {
    throw new TidingsError('not_acceptable', `this is a stream of ${EVENT_STREAM_CONTENT_TYPE}: Accept must allow it`)
  }
  const query = queryOf(request.query, ['start', 'lastEventId', 'format', 'access_token'])
  const header = request.headers[LAST_EVENT_ID_HEADER]
  // A URL stays the same when a browser reconnects, so the header is the newer of the two.
  const lastEventId = typeof header === 'string' && header !== '' ? header : query.get('lastEventId')
  const start = startPosition(query.get('start'))
  return {
    start,
    lastEventId: lastEventId === '' ? undefined : lastEventId,
    render: renderOf(query.get('format'), accept),
  }
}

/** Events have no headers of their own, so a CloudEvent is in its `data`, as JSON. A browser's EventSource can set no `Accept`. */
function renderOf(format: string | undefined, accept: string | undefined): Render {
  if (format !== undefined && format !== 'json' && format !== 'cloudevents') {
    throw invalid('"format" must be json or cloudevents')
  }
  if (format === undefined ? names(accept, CLOUDEVENT_CONTENT_TYPE) : format === 'cloudevents') return undelivered
  return messageJson
}

const undelivered: Render = (place, batch, offset) => eventJson(place, batch, offset, null)

function startPosition(text = 'latest'): Position {
  if (text === 'latest' || text === 'earliest') return text
  if (parseTimestamp(text) !== null) return { timestamp: text }
  throw invalid('"start" must be latest, earliest or an RFC 3339 time')
}

async function startOf(topic: Topic, { start, lastEventId }: EventRequest): Promise<Offsets> {
  const { partitions } = topic
  if (lastEventId === undefined) return Promise.all(partitions.map((partition) => startOffset(start, partition)))
  const offsets = parseEventId(lastEventId, partitions.length)
  for (const { number, highWatermark } of partitions) {
    const offset = offsets[number] ?? 0
    if (offset <= highWatermark) continue
    const detail = `Last-Event-ID stands at offset ${offset} of partition ${number}, which ends at ${highWatermark}`
    throw new TidingsError('offset_out_of_range', `${detail}: ${DATA_LOST}`)
  }
  return offsets
}

function deletedEvent(topic: string): string {
  return `event: deleted\ndata: ${JSON.stringify({ topic })}\n\n`
}

function sinkOf(response: ServerResponse): EventSink {
  return {
    write: (bytes) => void response.write(bytes),
    bufferedBytes: () => response.writableLength,
    end: () => void response.end(),
    destroy: () => void response.destroy(),
  }
}
