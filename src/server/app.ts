/**
 * The HTTP server: assembles fastify, the routes and the WebSocket edge, sets every bound on requests and
 * connections, turns every error into problem+json, and stops in order. Called by broker.ts.
 */
import { isUtf8 } from 'node:buffer'
import { type IncomingMessage, type RequestListener, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { LIMITS, PUBLISH_PATH, TidingsError } from '@tidings/sdk/protocol'
import type * as Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../base/clock.ts'
import { InvariantError } from '../base/invariant.ts'
import { required } from '../base/on-demand.ts'
import { type Logger, nullLogger } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'
import type { Routing } from '../cluster/routing.ts'
import { Admission, type Admitted, type UpgradeRequest } from './admission.ts'
import { answerEarly } from './body.ts'
import { EventStreams } from './event-routes.ts'
import { Forwarding } from './forwarding.ts'
import { HostNames } from './host-name.ts'
import type { ServerMetrics } from './metrics.ts'
import { opsRoutes } from './ops-routes.ts'
import { checkOrigin, preflightHeaders, readingHeaders } from './origin.ts'
import { parkingRoutes } from './parking-routes.ts'
import { answerOf, errorOf, parserProblem, rawAnswer, sendError } from './problem.ts'
import { publishRoutes } from './publish-routes.ts'
import { pullRoutes } from './pull-routes.ts'
import { readRoutes } from './read-routes.ts'
import { RouteTable } from './route-table.ts'
import { scheduleRoutes } from './schedule-routes.ts'
import { segmentRoutes } from './segment-routes.ts'
import { subscriptionRoutes } from './subscription-routes.ts'
import { topicRoutes } from './topic-routes.ts'

const { fastify } = required<typeof Fastify>('fastify')

export interface ServerOptions {
  host: string
  port: number
  allowedOrigins: readonly string[]
  /** Names in requests, beside those of loopback, that are good while `host` is loopback. */
  allowedHosts: readonly string[]
  maxMessageBytes: number
  maxReceivingBytes: number
  maxConnections: number
  consumerWriteTimeoutMs: number
  requestTimeoutMs: number
  headersTimeoutMs: number
  drainMs: number
}

export interface ServerParts {
  host: Host
  /** Who answers for which topic; null: this broker for all. */
  routing: Routing | null
  clock: Clock
  logger: Logger
  metrics: ServerMetrics
  options: ServerOptions
  /** The program's version, for the API's description. */
  version: string
}

const KEEP_ALIVE_MS = 72_000
const HEADER_BYTES_MAX = 16_384
/** A key, every byte of it percent-encoded. */
const PATH_PART_CHARS_MAX = 3 * LIMITS.keyBytes
const JSON_BODY_BYTES_MAX = 1_048_576
/** How often connections that fell idle are looked for while draining. */
const DRAIN_STEP_MS = 20

export class Server {
  readonly #parts: ServerParts
  readonly #app: FastifyInstance
  readonly #admission: Admission
  readonly #events: EventStreams
  readonly #forwarding: Forwarding | null
  readonly routes = new RouteTable()
  readonly #sockets: Set<Duplex & { bytesRead: number }> = new Set()
  #isDraining = false

  constructor(parts: ServerParts) {
    this.#parts = parts
    const { host, clock, logger, metrics, options } = parts
    const isDraining = (): boolean => this.#isDraining
    const hostNames = new HostNames(options.host, options.allowedHosts)
    this.#app = createFastify(options)
    this.#admission = new Admission({
      host,
      routing: parts.routing,
      clock,
      logger,
      hostNames,
      allowedOrigins: options.allowedOrigins,
      consumerWriteTimeoutMs: options.consumerWriteTimeoutMs,
      maxMessageBytes: options.maxMessageBytes,
      published: (code) => metrics.published(code),
      isDraining,
      joined: () => metrics.consumerJoined(),
      left: () => metrics.consumerLeft(),
    })
    this.#events = new EventStreams({
      host,
      clock,
      logger,
      writeTimeoutMs: options.consumerWriteTimeoutMs,
      isDraining,
      joined: () => metrics.readerJoined(),
      left: () => metrics.readerLeft(),
    })
    this.#edges()
    const shortCut = publishRoutes(this.#app, {
      host,
      clock,
      logger,
      maxMessageBytes: options.maxMessageBytes,
      allowedOrigins: options.allowedOrigins,
      maxHeldBytes: options.maxReceivingBytes,
      isDraining,
      answered: (code) => metrics.published(code),
    })
    topicRoutes(this.#app, host)
    subscriptionRoutes(this.#app, host)
    pullRoutes(this.#app, host)
    parkingRoutes(this.#app, host)
    readRoutes(this.#app, host, clock)
    segmentRoutes(this.#app, {
      host,
      clock,
      writeTimeoutMs: options.consumerWriteTimeoutMs,
      served: (status) => metrics.segmentServed(status),
      read: (bytes) => metrics.segmentRead(bytes),
    })
    this.#events.routes(this.#app)
    scheduleRoutes(this.#app, host)
    opsRoutes(this.#app, { host, metrics, version: parts.version, isDraining })
    this.#forwarding = parts.routing && new Forwarding(parts.routing, clock)
    const forwarding = this.#forwarding
    takeFirst(this.#app, (others) => {
      const answer: RequestListener = (request, response) => {
        if (!shortCut(request, response)) others(request, response)
      }
      return (request, response) => {
        if (refusesHost(hostNames, request, response, clock)) return
        if (forwarding) forwarding.request(request, response, () => answer(request, response))
        else answer(request, response)
      }
    })
  }

  /** Opens the port. A port in use rejects with the system's error (EADDRINUSE). */
  async listen(): Promise<{ host: string; port: number; url: string }> {
    const { options } = this.#parts
    const { host, port } = options
    // A broker inside a program has no port, and no use for the library.
    const { WebSocketEdge } = await import('./websocket.ts')
    const webSockets = new WebSocketEdge(this.#admission, this.#parts, options)
    this.#app.server.on('upgrade', (request, socket: Duplex, head) => {
      const serve = (): void => webSockets.upgrade(request, socket, head)
      if (this.#forwarding) this.#forwarding.upgrade(request, socket, head, serve)
      else serve()
    })
    await this.#app.listen({ host, port })
    const address = this.#app.addresses().find((one) => typeof one === 'object')
    if (!address) throw new InvariantError('a listening TCP server has an address')
    const shownHost = address.family === 'IPv6' ? `[${address.address}]` : address.address
    return { host: address.address, port: address.port, url: `http://${shownHost}:${address.port}` }
  }

  /**
   * Stops in order: not ready, no new connections, nothing new accepted; what is in flight is answered;
   * consumers are told to reconnect. After `drainMs` whatever is left is cut off. Idempotent.
   */
  async drain(): Promise<void> {
    if (this.#isDraining) return
    this.#isDraining = true
    const { clock, options } = this.#parts
    const { server } = this.#app
    const isStopped = new Promise<void>((resolve) => server.close(() => resolve()))
    this.#events.drain()
    this.#forwarding?.drain()
    const isOver = { yet: false }
    const sweep = (): void => {
      if (isOver.yet) return
      server.closeIdleConnections()
      // A connection that never said anything (a browser's, a health check's) is not idle in the eyes of node.
      for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy()
      clock.after(DRAIN_STEP_MS, sweep)
    }
    sweep()
    const limit = clock.after(options.drainMs, () => {
      this.#admission.terminate()
      server.closeAllConnections()
    })
    await Promise.all([isStopped, this.#admission.drain()])
    isOver.yet = true
    limit.cancel()
    this.#forwarding?.close()
    await this.#app.close()
  }

  /** Requests without a socket, for tests and for the broker inside a program. */
  get inject(): FastifyInstance['inject'] {
    return this.#app.inject.bind(this.#app)
  }

  /** The same for WebSockets: rejects with the refusal, else opens the session on a socket of the caller's. */
  admit(request: UpgradeRequest): Promise<Admitted> {
    return this.#admission.admit(request)
  }

  #edges(): void {
    const app = this.#app
    const { logger, metrics, options } = this.#parts
    app.server.maxConnections = options.maxConnections
    app.server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    app.server.on('connection', (socket: Duplex) => {
      metrics.connected()
      socket.once('close', () => metrics.disconnected())
    })
    // Reading is left to the browser's own rules; publishes never come to a preHandler and check for themselves.
    app.addHook('preHandler', (request, reply, done) => {
      const { origin } = request.headers
      if (request.method !== 'GET' && request.method !== 'HEAD') checkOrigin(origin, options.allowedOrigins)
      if (origin !== undefined) reply.headers(readingHeaders(origin, options.allowedOrigins))
      done()
    })
    app.addHook('onRoute', ({ method, url }) => this.routes.add(method, url))
    app.setErrorHandler((error, _request, reply) => sendError(reply, error, logger))
    app.setNotFoundHandler((request, reply) => {
      const path = request.url.split('?', 1)[0]!
      const methods = this.routes.methodsOf(path)
      if (methods.length === 0)
        return sendError(reply, new TidingsError('not_found', 'there is nothing at this path'), logger)
      reply.header('allow', methods.join(', '))
      // Whether the origin is among the allowed ones has been looked at.
      if (request.method === 'OPTIONS' && request.headers.origin !== undefined) {
        return reply.code(204).headers(preflightHeaders(methods, request.headers)).send()
      }
      return sendError(
        reply,
        new TidingsError(
          'method_not_allowed',
          `${request.method} is not among the methods of this path: ${methods.join(', ')}`,
        ),
        logger,
      )
    })
    for (const path of ['/v1/topics/:topic/subscriptions/:name/stream', PUBLISH_PATH]) {
      app.get(path, async () => {
        throw new TidingsError('invalid_argument', 'this path is a WebSocket: connect to it with an upgrade')
      })
    }
    jsonBodies(app)
  }
}

/**
 * Newer versions of Node ask which upgrades are ours, so that others (h2c) are served as if not asked for;
 * older ones hand us all, and websocket.ts refuses the others.
 */
const upgradeOptions: object = {
  shouldUpgradeCallback: (request: IncomingMessage) => request.headers.upgrade?.toLowerCase() === 'websocket',
}

function noSchemas(): never {
  throw new InvariantError('no route has a schema of the framework')
}

function createFastify(options: ServerOptions): FastifyInstance {
  return fastify({
    logger: false,
    bodyLimit: JSON_BODY_BYTES_MAX,
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // The drain answers for itself; see publish-routes.ts.
    return503OnClosing: false,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: PATH_PART_CHARS_MAX },
    // Routes check for themselves; what the framework has for schemas takes as long to load as all the rest of it.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    http: {
      ...upgradeOptions,
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: options.headersTimeoutMs,
      requestTimeout: options.requestTimeoutMs,
      connectionsCheckingInterval: Math.max(100, Math.min(5000, options.headersTimeoutMs / 2)),
    },
    frameworkErrors: (error, _request, reply) => {
      sendError(reply as never, error, nullLogger)
    },
    clientErrorHandler: (error, socket) => answerParserError(error, socket),
  })
}

/** Answers a request that asks under a strange name; says whether it was one. */
function refusesHost(names: HostNames, request: IncomingMessage, response: ServerResponse, clock: Clock): boolean {
  try {
    names.check(request.headers.host)
    return false
  } catch (error) {
    answerEarly(request, response, answerOf(errorOf(error)), clock)
    return true
  }
}

/** Puts a listener before the framework's, which it is given. */
function takeFirst(app: FastifyInstance, listenerBefore: (others: RequestListener) => RequestListener): void {
  const framework = app.server.listeners('request') as RequestListener[]
  app.server.removeAllListeners('request')
  const others: RequestListener = (request, response) => {
    for (const listener of framework) listener.call(app.server, request, response)
  }
  app.server.on('request', listenerBefore(others))
}

/** JSON bodies are strict UTF-8, and no key of theirs may be one that could change an object's nature. */
function jsonBodies(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>(
    /^application\/([^;]+\+)?json(;|$)/i,
    { parseAs: 'buffer' },
    (request, body, done) => {
      if (body.length === 0) return done(null, undefined)
      if (!isUtf8(body)) return done(new TidingsError('invalid_argument', 'the body is not UTF-8'))
      return parse(request, body.toString('utf8'), (error, value) => {
        if (error) done(new TidingsError('invalid_argument', 'the body is not JSON', { cause: error }))
        else done(null, value)
      })
    },
  )
}

/** What the HTTP parser refuses never becomes a request; the answer goes straight to the socket. */
function answerParserError(error: Error & { code?: string }, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const [status, detail] =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? [408, 'the request took too long to arrive']
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? [431, `the request's headers are larger than ${HEADER_BYTES_MAX} bytes`]
        : [400, 'this is not a valid HTTP/1.1 request']
  socket.end(rawAnswer(parserProblem(status as number, detail as string), STATUS_CODES[status as number]!), () =>
    socket.destroy(),
  )
}
