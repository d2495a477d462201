/**
 * Node: HTTP through undici's dispatch, which costs half of what node:http does for a request and a tenth of what
 * fetch does; WebSockets through `ws`, which shows pings and the answer to a refused upgrade.
 */
import { type Dispatcher, Pool } from 'undici'
import { WebSocket } from 'ws'
import { ANSWER_BYTES_MAX, type Http, type HttpOutcome, type HttpRequest, type Platform } from './platform.ts'
import { systemClock, systemRandom } from './system-clock.ts'

const CONNECT_TIMEOUT_MS = 10_000
const CONNECTIONS = 64
/** Frames above it are no broker's: 64 MiB of value, as base64, and what stands around it. */
const FRAME_BYTES_MAX = 96 * 1_048_576
const REFUSAL_BYTES_MAX = 65_536

export const nodePlatform: Platform = {
  clock: systemClock((run) => void setImmediate(run)),
  random: systemRandom,
  http: () => new UndiciHttp(),
  connect(url, protocol, token, events) {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    // The mask keeps pages in browsers from planting what a proxy would take for a request. No page runs here, and
    // a mask of zeros spares both ends a walk over every byte.
    const generateMask = (mask: Buffer): void => void mask.fill(0)
    const options = { headers, perMessageDeflate: false, maxPayload: FRAME_BYTES_MAX, generateMask }
    const socket = new WebSocket(url, protocol, options)
    let cause: unknown
    let hasEnded = false
    socket.on('open', () => events.opened())
    socket.on('message', (data: Buffer, isBinary) => (isBinary ? events.bytes(data) : events.text(data.toString())))
    socket.on('ping', () => events.alive())
    socket.on('pong', () => events.alive())
    socket.on('unexpected-response', (request, response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        if (body.length < REFUSAL_BYTES_MAX) body += chunk
        else request.destroy()
      })
      response.once('close', () => {
        if (hasEnded) return
        hasEnded = true
        const retryAfter = response.headers['retry-after'] ?? null
        events.ended({ kind: 'refused', status: response.statusCode ?? 0, retryAfter, body })
      })
    })
    socket.on('error', (error) => {
      cause = error
    })
    socket.on('close', (code, reason) => {
      if (hasEnded) return
      hasEnded = true
      events.ended(cause === undefined ? { kind: 'closed', code, reason: reason.toString() } : { kind: 'lost', cause })
    })
    return {
      send: (data) => socket.send(data),
      close: (code, reason) => socket.close(code, reason),
      terminate: () => socket.terminate(),
    }
  },
}

class UndiciHttp implements Http {
  readonly #pools = new Map<string, Pool>()

  send(request: HttpRequest, done: (outcome: HttpOutcome) => void): void {
    const { origin, pathname, search } = new URL(request.url)
    const { method, headers, body = null, timeoutMs } = request
    this.#pool(origin).dispatch(
      { method, path: pathname + search, headers, body, headersTimeout: timeoutMs, bodyTimeout: timeoutMs },
      new Exchange(done, timeoutMs),
    )
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.destroy().catch(() => undefined)
    this.#pools.clear()
  }

  #pool(origin: string): Pool {
    let pool = this.#pools.get(origin)
    if (!pool) {
      const connect = { timeout: CONNECT_TIMEOUT_MS, noDelay: true }
      pool = new Pool(origin, { connections: CONNECTIONS, pipelining: 1, connect })
      this.#pools.set(origin, pool)
    }
    return pool
  }
}

/** One request. undici's own timeouts are coarse and begin anew with every byte, so this has one for the whole. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #done: (outcome: HttpOutcome) => void
  readonly #timer: NodeJS.Timeout
  #controller: Dispatcher.DispatchController | undefined
  #status = 0
  #retryAfter: string | null = null
  #chunks: Buffer[] = []
  #bytes = 0
  #hasEnded = false

  constructor(done: (outcome: HttpOutcome) => void, timeoutMs: number) {
    this.#done = done
    this.#timer = setTimeout(() => this.#giveUp(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#hasEnded) controller.abort(new Error('given up'))
  }

  onResponseStart(_: unknown, status: number, headers: Record<string, string | string[] | undefined>): void {
    this.#status = status
    const retryAfter = headers['retry-after']
    this.#retryAfter = typeof retryAfter === 'string' ? retryAfter : null
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > ANSWER_BYTES_MAX) this.#giveUp(new Error('the answer has no end'))
    else this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    const body = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
    this.#end({ kind: 'answer', status: this.#status, retryAfter: this.#retryAfter, body: body.toString() })
  }

  onResponseError(_: unknown, cause: Error): void {
    // Before the request starts on a connection, not a byte of it has left.
    this.#end({ kind: 'lost', sent: this.#controller !== undefined, cause })
  }

  #giveUp(cause: Error): void {
    this.#end({ kind: 'lost', sent: this.#controller !== undefined, cause })
    this.#controller?.abort(cause)
  }

  #end(outcome: HttpOutcome): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    clearTimeout(this.#timer)
    this.#done(outcome)
  }
}
