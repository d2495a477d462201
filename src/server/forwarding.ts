/**
 * Requests and WebSockets of topics that another broker leads: passed on to it, once, and its answer back, byte for
 * byte as it comes. The edge of a cluster; a broker that is alone has none of this. What is passed on says who passed it,
 * and a broker that does not lead the topic either refuses that with `no_leader` instead of passing it further.
 *
 * Must stay true: nothing of a body is read before it is known whose it is; a request that may have reached the leader is
 * never sent twice; the end of either side ends the other.
 */
import {
  Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request as requestOf,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import { connect } from 'node:net'
import { type Duplex, pipeline } from 'node:stream'
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Elsewhere, Route, Routing } from '../cluster/routing.ts'
import { answerEarly } from './body.ts'
import { answerOf, errorOf, rawAnswer } from './problem.ts'

/** What a broker that passes something on adds to the header Via (RFC 9110, 7.6.3), by which the next one knows it. */
const VIA_MARK = '(tidings)'

const TOPIC_PATH = /^\/v1\/topics\/([^/?#]+)/
/** Meant for one connection only (RFC 9110, 7.6.1), or said anew. */
const HOP_HEADERS = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'te',
  'host',
])
/** Connections to one broker that may be kept for later. */
const IDLE_CONNECTIONS = 64
const CONNECT_TIMEOUT_MS = 3000

export class Forwarding {
  readonly #routing: Routing
  readonly #clock: Clock
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS })
  readonly #tunnels = new Set<Duplex>()

  constructor(routing: Routing, clock: Clock) {
    this.#routing = routing
    this.#clock = clock
  }

  /** Calls `serve` at once or later where the request is this broker's own to answer; else passes it on. */
  request(request: IncomingMessage, response: ServerResponse, serve: () => void): void {
    const topic = topicOf(request.url ?? '')
    this.#route(topic, request, (error, route) => {
      if (route?.isHere) serve()
      else if (route) this.#pass(route, topic!, request, response)
      else this.#refuse(request, response, error!)
    })
  }

  /** The same for an upgrade. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, serve: () => void): void {
    const onError = (): void => void socket.destroy()
    socket.on('error', onError)
    const topic = topicOf(request.url ?? '')
    this.#route(topic, request, (error, route) => {
      if (socket.destroyed) return
      socket.off('error', onError)
      if (route?.isHere) serve()
      else if (route) this.#tunnel(route, topic!, request, socket, head)
      else refuseUpgrade(socket, error!)
    })
  }

  /** Ends what is passed on: the clients come back to another broker. */
  drain(): void {
    for (const socket of this.#tunnels) socket.destroy()
  }

  close(): void {
    this.drain()
    this.#agent.destroy()
  }

  #route(
    topic: string | null,
    request: IncomingMessage,
    settled: (error: TidingsError | null, route?: Route) => void,
  ): void {
    if (topic === null) return settled(null, { isHere: true })
    const isForwarded = wasForwarded(request.headers)
    const settle = (route: Route): void => {
      if (route.isHere || !isForwarded) settled(null, route)
      else settled(notHere(topic))
    }
    const known = this.#routing.known(topic)
    if (known) return settle(known)
    void this.#routing.find(topic).then(settle, (error: unknown) => settled(errorOf(error)))
  }

  #pass(route: Elsewhere, topic: string, request: IncomingMessage, response: ServerResponse): void {
    // Who has gone meanwhile is told of no more: nothing would end what is begun for it.
    if (response.destroyed) return
    const headers = { ...passedHeaders(request.headers), via: viaOf(request.headers, this.#routing.nodeId) }
    const passed = requestOf(optionsOf(route, request, headers, this.#agent))
    const isSafe = request.method === 'GET' || request.method === 'HEAD'
    passed.setTimeout(CONNECT_TIMEOUT_MS, () => {
      if (passed.socket?.connecting) passed.destroy()
    })
    let isAnswered = false
    passed.on('response', (answer) => {
      isAnswered = true
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passedAnswerHeaders(answer.headers))
      pipeline(answer, response, () => undefined)
    })
    passed.on('error', () => {
      // An answer may come before all of the body was taken; what has begun ends by the pipeline.
      if (isAnswered || response.destroyed) return
      this.#refuse(request, response, unreachable(route, isSafe))
    })
    const unwatch = this.#routing.watch(topic, route, () => passed.destroy())
    response.on('close', () => {
      unwatch()
      if (!response.writableFinished) passed.destroy()
    })
    sendBody(request, passed)
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: TidingsError): void {
    answerEarly(request, response, answerOf(error), this.#clock)
  }

  #tunnel(route: Elsewhere, topic: string, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { hostname, port } = new URL(route.url)
    const upstream = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80), noDelay: true })
    let isConnected = false
    upstream.setTimeout(CONNECT_TIMEOUT_MS, () => upstream.destroy())
    upstream.on('connect', () => {
      isConnected = true
      upstream.setTimeout(0)
      upstream.write(upgradeHead(route, request, this.#routing.nodeId))
      if (head.length > 0) upstream.write(head)
      socket.pipe(upstream).pipe(socket)
    })
    for (const end of [socket, upstream]) {
      this.#tunnels.add(end)
      end.on('error', () => end.destroy())
    }
    const unwatch = this.#routing.watch(topic, route, () => upstream.destroy())
    upstream.on('close', () => {
      unwatch()
      this.#tunnels.delete(upstream)
      if (isConnected) socket.destroy()
      else refuseUpgrade(socket, unreachable(route, true))
    })
    socket.on('close', () => {
      this.#tunnels.delete(socket)
      upstream.destroy()
    })
  }
}

/** The topic that the path is about; null where it is about none, or about a pattern, or is no path of ours. */
export function topicOf(url: string): string | null {
  const part = TOPIC_PATH.exec(url)?.[1]
  if (part === undefined) return null
  try {
    const name = decodeURIComponent(part)
    return name.includes('*') ? null : name
  } catch {
    return null
  }
}

/** Whether another broker has passed this on: then it is not passed further. */
export function wasForwarded({ via }: { readonly via?: string | string[] | undefined }): boolean {
  return via !== undefined && String(via).includes(VIA_MARK)
}

/** The header Via of what this broker passes on. */
export function viaOf({ via }: { readonly via?: string | undefined }, nodeId: string): string {
  const own = `1.1 ${nodeId} ${VIA_MARK}`
  return via === undefined ? own : `${via}, ${own}`
}

function optionsOf(
  { url }: Elsewhere,
  { method, url: path }: IncomingMessage,
  headers: IncomingHttpHeaders,
  agent: Agent,
): RequestOptions {
  const { hostname, port } = new URL(url)
  return { agent, host: hostname.replace(/^\[|\]$/g, ''), port: port || 80, method, path, headers }
}

function sendBody(request: IncomingMessage, passed: ClientRequest): void {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  if (coding === undefined && (length === undefined || length === '0')) {
    passed.end()
    request.resume()
    return
  }
  pipeline(request, passed, () => undefined)
}

function passedHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const named = new Set((headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()))
  const passed: IncomingHttpHeaders = {}
  for (const [name, value] of Object.entries(headers)) {
    if (!HOP_HEADERS.has(name) && !named.has(name)) passed[name] = value
  }
  return passed
}

function passedAnswerHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const passed: IncomingHttpHeaders = {}
  for (const [name, value] of Object.entries(headers)) if (!HOP_HEADERS.has(name)) passed[name] = value
  return passed
}

/** The client's own request for the upgrade, under the leader's name. */
function upgradeHead({ url }: Elsewhere, request: IncomingMessage, nodeId: string): string {
  const via = viaOf(request.headers, nodeId)
  const lines = [`GET ${request.url} HTTP/1.1`, `Host: ${new URL(url).host}`, `Via: ${via}`]
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i]!
    if (!/^(host|via)$/i.test(name)) lines.push(`${name}: ${request.rawHeaders[i + 1]!}`)
  }
  return `${lines.join('\r\n')}\r\n\r\n`
}

function refuseUpgrade(socket: Duplex, error: TidingsError): void {
  const answer = answerOf(error)
  socket.end(rawAnswer(answer, STATUS_CODES[answer.status] ?? 'Error'), () => socket.destroy())
}

function notHere(topic: string): TidingsError {
  return new TidingsError('no_leader', `topic ${topic} has just moved to another broker: try again`)
}

function unreachable({ nodeId }: Elsewhere, isSafe: boolean): TidingsError {
  const doubt = isSafe ? '' : '; whether it did what was asked is not known: repeat with the same Idempotency-Key'
  return new TidingsError('no_leader', `broker ${nodeId}, which leads this topic, did not answer${doubt}`)
}
