/**
 * The client's surroundings, played by a test: requests wait until the test answers them, sockets say what the test
 * makes them say, and time is a SimClock's.
 */
import type {
  Http,
  HttpOutcome,
  HttpRequest,
  Platform,
  Socket,
  SocketEnd,
  SocketEvents,
} from '../../sdk/src/platform.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'

export class SimRequest {
  readonly request: HttpRequest
  readonly #done: (outcome: HttpOutcome) => void

  constructor(request: HttpRequest, done: (outcome: HttpOutcome) => void) {
    this.request = request
    this.#done = done
  }

  get path(): string {
    return new URL(this.request.url).pathname
  }

  get entries(): Record<string, unknown>[] {
    return (JSON.parse(this.request.body!) as { messages: Record<string, unknown>[] }).messages
  }

  answer(status: number, body: unknown, retryAfter: string | null = null): void {
    this.#done({ kind: 'answer', status, retryAfter, body: typeof body === 'string' ? body : JSON.stringify(body) })
  }

  refuse(status: number, code: string, retryAfter: string | null = null): void {
    this.answer(status, { code, detail: `refused: ${code}` }, retryAfter)
  }

  lose(sent: boolean): void {
    this.#done({ kind: 'lost', sent, cause: new Error('lost') })
  }
}

export class SimSocket implements Socket {
  readonly url: string
  readonly token: string | undefined
  readonly sent: Record<string, unknown>[] = []
  readonly sentBytes: Uint8Array[] = []
  closedWith: number | undefined
  isTerminated = false
  readonly #events: SocketEvents

  constructor(url: string, token: string | undefined, events: SocketEvents) {
    this.url = url
    this.token = token
    this.#events = events
  }

  send(data: string | Uint8Array): void {
    if (typeof data === 'string') this.sent.push(JSON.parse(data) as Record<string, unknown>)
    else this.sentBytes.push(data.slice())
  }

  close(code: number): void {
    this.closedWith = code
  }

  terminate(): void {
    this.isTerminated = true
  }

  /** What the client sent since the last look. */
  takeSent(): Record<string, unknown>[] {
    return this.sent.splice(0)
  }

  open(): void {
    this.#events.opened()
  }

  say(frame: unknown): void {
    this.#events.text(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  sayBytes(bytes: Uint8Array): void {
    this.#events.bytes(bytes)
  }

  ping(): void {
    this.#events.alive()
  }

  end(end: SocketEnd | number): void {
    this.#events.ended(typeof end === 'number' ? { kind: 'closed', code: end, reason: '' } : end)
  }
}

export class SimPlatform implements Platform {
  readonly clock: SimClock
  readonly random: SimRandom
  /** Requests that are not answered. */
  readonly requests: SimRequest[] = []
  readonly sockets: SimSocket[] = []
  isHttpClosed = false

  constructor(seed: number | string = 1) {
    this.clock = new SimClock({ soon: 'driven' })
    this.random = new SimRandom(seed)
  }

  http(): Http {
    return {
      send: (request, done) => void this.requests.push(new SimRequest(request, done)),
      close: () => {
        this.isHttpClosed = true
      },
    }
  }

  connect(url: string, _protocol: string, token: string | undefined, events: SocketEvents): Socket {
    const socket = new SimSocket(url, token, events)
    this.sockets.push(socket)
    return socket
  }

  /** The next request that is not answered. */
  request(): SimRequest {
    const request = this.requests.shift()
    if (!request) throw new Error('no request is waiting')
    return request
  }

  get socket(): SimSocket {
    const socket = this.sockets.at(-1)
    if (!socket) throw new Error('nothing has connected')
    return socket
  }
}
