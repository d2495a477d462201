/**
 * Publishing, single and in batches. The single publish is the hottest path of the broker, so it passes the framework
 * by: `publishRoutes` gives a function that app.ts asks first about every request of a real connection. What has
 * another form (escapes or a query in the path) and what is injected comes by the route, to the same end: its
 * onRequest hook, where the body is still raw bytes of any type. No promise is made unless the topic has to be created.
 * The answer leaves in the callback of `publish`, which comes when the message is durable.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  CLOUDEVENT_BATCH_CONTENT_TYPE,
  checkName,
  HEADER,
  LIMITS,
  NDJSON_CONTENT_TYPE,
  TidingsError,
  TOPIC_DEFAULTS,
  valueKind,
} from '@tidings/sdk/protocol'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../base/clock.ts'
import { InvariantError } from '../base/invariant.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'
import type { PublishInput, Topic } from '../partition/topic.ts'
import { atEntry, type BatchEntries, parseJsonBatch, parseNdjsonBatch } from './batch-request.ts'
import { answerEarly, BodyReader } from './body.ts'
import { eventMode, keyOfHeaders, parseEventBatch, readEvent } from './cloud-event-request.ts'
import { checkOrigin, readingHeaders } from './origin.ts'
import { answerOf, errorOf, logInternal } from './problem.ts'
import { parsePublishHeaders } from './publish-request.ts'
import { receiptJson, receiptsJson } from './receipt-json.ts'

export interface PublishParts {
  host: Host
  clock: Clock
  logger: Logger
  /** The broker's own bound on a message, whatever its topic allows. */
  maxMessageBytes: number
  /** Origins of browser pages that may publish. */
  allowedOrigins: readonly string[]
  /** What bodies that are still coming in may hold together. */
  maxHeldBytes: number
  isDraining(): boolean
  /** Counts an answer: `ok` or the error's code. */
  answered(code: string): void
}

interface TopicParams {
  topic: string
}

/** Takes a request that is a single publish and answers it; says whether it was one. */
export type ShortCut = (request: IncomingMessage, response: ServerResponse) => boolean

const SINGLE_PREFIX = '/v1/topics/'
const SINGLE_SUFFIX = '/messages'
/** What means something else than itself in a path, or ends the topic's name. */
const IS_PLAIN_NAME = /^[^/?#%;]+$/

export function publishRoutes(app: FastifyInstance, parts: PublishParts): ShortCut {
  const edge = new PublishEdge(parts)
  const unreached = (): never => {
    throw new InvariantError('the publish hook answers')
  }
  app.post<{ Params: TopicParams }>('/v1/topics/:topic/messages', {
    onRequest: (request, reply) => {
      reply.hijack()
      edge.single(request.raw, reply.raw, request.params.topic)
    },
    handler: unreached,
  })
  app.post<{ Params: TopicParams }>('/v1/topics/:topic/messages/batch', {
    onRequest: (request, reply) => {
      reply.hijack()
      const isTimed = (request.query as { timestamps?: unknown }).timestamps === 'true'
      edge.batch(request.raw, reply.raw, request.params.topic, isTimed)
    },
    handler: unreached,
  })
  return (request, response) => {
    const url = request.url!
    if (request.method !== 'POST' || !url.startsWith(SINGLE_PREFIX) || !url.endsWith(SINGLE_SUFFIX)) return false
    const name = url.slice(SINGLE_PREFIX.length, -SINGLE_SUFFIX.length)
    if (!IS_PLAIN_NAME.test(name)) return false
    edge.single(request, response, name)
    return true
  }
}

class PublishEdge {
  readonly #parts: PublishParts
  readonly #bodies: BodyReader
  readonly #now: () => number

  constructor(parts: PublishParts) {
    this.#parts = parts
    this.#now = () => parts.clock.now()
    this.#bodies = new BodyReader(parts.maxHeldBytes)
  }

  single(request: IncomingMessage, response: ServerResponse, name: string): void {
    try {
      const { headers } = request
      this.#admit(headers.origin, response)
      const topic = this.#existing(name)
      const input = parsePublishHeaders(headers, this.#now)
      const mode = eventMode(input.contentType)
      if (mode === 'batched') refuseForBatch(input)
      if (mode !== null) return this.#events(response, name, topic, mode === 'structured' ? input : null)
      input.key ??= keyOfHeaders(input.headers)
      this.#bodies.read(request, this.#limitBytes(topic), (error, body) => {
        if (error) return this.#fail(response, error)
        input.value = body
        this.#withTopic(topic, name, response, (ready) => this.#publish(ready, input, response))
      })
    } catch (error) {
      this.#fail(response, error)
    }
  }

  /** CloudEvents in the body: one, which completes the input, or else a list. */
  #events(response: ServerResponse, name: string, topic: Topic | null, input: PublishInput | null): void {
    const limitBytes = this.#limitBytes(topic)
    this.#bodies.read(response.req, input ? envelopeBytes(limitBytes) : LIMITS.batchBytes, (error, body) => {
      if (error) return this.#fail(response, error)
      try {
        if (!input) {
          const entries = parseEventBatch(body)
          return this.#withTopic(topic, name, response, (ready) => this.#publishAll(ready, entries, response))
        }
        readEvent(body, input)
        if (input.value.length > limitBytes) {
          throw new TidingsError('message_too_large', `the data is larger than ${limitBytes} bytes`)
        }
        this.#withTopic(topic, name, response, (ready) => this.#publish(ready, input, response))
      } catch (thrown) {
        this.#fail(response, thrown)
      }
    })
  }

  batch(request: IncomingMessage, response: ServerResponse, name: string, isTimed: boolean): void {
    try {
      const { headers } = request
      this.#admit(headers.origin, response)
      const topic = this.#existing(name)
      const parse = batchParser(headers['content-type'])
      refuseScheduling(headers)
      this.#bodies.read(request, LIMITS.batchBytes, (error, body) => {
        if (error) return this.#fail(response, error)
        try {
          const entries = parse(body, this.#now)
          this.#withTopic(topic, name, response, (ready) => this.#publishAll(ready, entries, response, isTimed))
        } catch (thrown) {
          this.#fail(response, thrown)
        }
      })
    } catch (error) {
      this.#fail(response, error)
    }
  }

  #publish(topic: Topic, input: PublishInput, response: ServerResponse): void {
    topic.publish(input, (error, outcome) => {
      if (error) return this.#fail(response, error)
      this.#answer(response, receiptJson(topic.name, outcome!))
    })
  }

  #publishAll(topic: Topic, entries: BatchEntries, response: ServerResponse, isTimed = false): void {
    const { inputs } = entries
    for (let i = 0; i < inputs.length; i++) {
      try {
        if (inputs[i]!.value.length > this.#parts.maxMessageBytes) {
          throw new TidingsError('message_too_large', `the value is larger than ${this.#parts.maxMessageBytes} bytes`)
        }
        topic.check(inputs[i]!)
      } catch (thrown) {
        return this.#fail(response, entryError(entries.place(i), errorOf(thrown)))
      }
    }
    if (inputs.length === 0) return this.#answer(response, '{"receipts":[]}')
    topic.publishAll(inputs, (error, outcomes) => {
      if (error) return this.#fail(response, error)
      this.#answer(response, receiptsJson(outcomes!, isTimed))
    })
  }

  #existing(name: string): Topic | null {
    try {
      return this.#parts.host.topic(name)
    } catch (error) {
      if (!TidingsError.is(error) || error.code !== 'topic_not_found') throw error
      checkName('topic', name)
      return null
    }
  }

  /** A topic that is missing comes into being only for a request that is otherwise in order. */
  #withTopic(topic: Topic | null, name: string, response: ServerResponse, use: (topic: Topic) => void): void {
    const attempt = (ready: Topic): void => {
      try {
        use(ready)
      } catch (error) {
        this.#fail(response, error)
      }
    }
    if (topic) return attempt(topic)
    this.#parts.host.ensureTopic(name).then(attempt, (error: unknown) => this.#fail(response, error))
  }

  #limitBytes(topic: Topic | null): number {
    return Math.min((topic?.settings ?? TOPIC_DEFAULTS).maxMessageBytes, this.#parts.maxMessageBytes)
  }

  #admit(origin: string | undefined, response: ServerResponse): void {
    const { allowedOrigins } = this.#parts
    checkOrigin(origin, allowedOrigins)
    if (origin !== undefined) response.setHeaders(new Map(Object.entries(readingHeaders(origin, allowedOrigins))))
    if (this.#parts.isDraining())
      throw new TidingsError('overloaded', 'the broker is shutting down: try another or later')
  }

  #answer(response: ServerResponse, text: string): void {
    this.#parts.answered('ok')
    // Receipts are ASCII, so their length is their bytes; without it the answer would go out chunked.
    const headers = { 'content-type': 'application/json; charset=utf-8', 'content-length': text.length }
    response.writeHead(200, headers)
    response.end(text)
  }

  #fail(response: ServerResponse, thrown: unknown): void {
    const error = errorOf(thrown)
    logInternal(error, this.#parts.logger)
    this.#parts.answered(error.code)
    if (response.headersSent || response.destroyed) return
    answerEarly(response.req, response, answerOf(error), this.#parts.clock)
  }
}

/** An entry that could never be stored makes the batch a bad one, whatever is wrong with it; only its size keeps its own code. */
function entryError(place: string, error: TidingsError): TidingsError {
  if (error.code !== 'partition_not_found') return atEntry(place, error)
  return new TidingsError('invalid_argument', `${place}: ${error.message}`, { cause: error })
}

/** Most bytes of an event whose data has so many: base64 or escapes make it longer, and its attributes stand beside it. */
function envelopeBytes(dataBytes: number): number {
  return Math.min(2 * dataBytes + 65_536, LIMITS.batchBytes * 2)
}

/** Headers of a single publish say nothing that could hold for every event of a list. */
function refuseForBatch({ key, partition, idempotencyKey, ttlMs, deliverAt }: PublishInput): void {
  if ([key, partition, idempotencyKey, ttlMs, deliverAt].every((one) => one === null)) return
  throw new TidingsError(
    'invalid_argument',
    'key, partition, idempotency key, time to live and delay are those of one message: with a list of events, use "partitionkey", or publish the events one by one',
  )
}

function batchParser(contentType: string | undefined): (body: Buffer, now: () => number) => BatchEntries {
  const mode = eventMode(contentType)
  if (mode === 'batched') return parseEventBatch
  if (mode === 'structured') {
    throw new TidingsError(
      'unsupported_media_type',
      `one event is published to …/messages; a list has the type ${CLOUDEVENT_BATCH_CONTENT_TYPE}`,
    )
  }
  const media = contentType?.split(';', 1)[0]?.trim().toLowerCase()
  // JSON is every +json type too, as it is in the bodies of the other routes.
  if (media !== undefined && valueKind(media) === 'json') return parseJsonBatch
  if (media === NDJSON_CONTENT_TYPE) return parseNdjsonBatch
  throw new TidingsError('unsupported_media_type', `send a batch as application/json or ${NDJSON_CONTENT_TYPE}`)
}

/** Headers of a single publish that would be lost on a batch. */
function refuseScheduling(headers: IncomingMessage['headers']): void {
  for (const name of [HEADER.delayMs, HEADER.deliverAt]) {
    if (headers[name] !== undefined) {
      throw new TidingsError(
        'invalid_argument',
        `${name}: each message of a batch says itself when it is to be delivered`,
      )
    }
  }
}
