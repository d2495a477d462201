/**
 * What every part of a client shares: the platform, the endpoints and the token. Also the source of names: ids of
 * producers, and idempotency keys, which are a name for this client and a count.
 */
import { Credentials, type Token } from './credentials.ts'
import { Endpoints } from './endpoints.ts'
import type { Clock, Http, HttpOutcome, HttpRequest, Platform, Random, Socket, SocketEvents } from './platform.ts'
import { Signals } from './signals.ts'

export class Connector {
  readonly clock: Clock
  readonly random: Random
  readonly endpoints: Endpoints
  readonly credentials: Credentials
  readonly signals = new Signals()
  isClosed = false
  readonly #platform: Platform
  readonly #http: Http
  readonly #producer: string
  #sequence = 0
  /** Ends of waits that are under way. */
  readonly #rests = new Set<() => void>()

  constructor(platform: Platform, url: string | readonly string[], token: Token | undefined) {
    this.#platform = platform
    this.clock = platform.clock
    this.random = platform.random
    this.endpoints = new Endpoints(url)
    this.credentials = new Credentials(platform.clock, token)
    this.#http = platform.http()
    this.#producer = platform.random.id()
  }

  nextKey(): string {
    return `${this.#producer}-${this.#sequence++}`
  }

  /** A number that nobody else has: from 1 to 2^53 - 1. */
  number(): number {
    return (this.random.uint32() & 0x1f_ffff) * 0x1_0000_0000 + this.random.uint32() || 1
  }

  /** Any request; `body` is JSON. */
  send(
    request: { method: HttpRequest['method']; url: string; body?: string; timeoutMs: number },
    token: string | undefined,
    done: (outcome: HttpOutcome) => void,
  ): void {
    const type = request.body === undefined ? {} : { 'content-type': 'application/json' }
    this.#http.send({ ...request, headers: { ...type, ...authorization(token) } }, done)
  }

  connect(url: string, protocol: string, token: string | undefined, events: SocketEvents): Socket {
    return this.#platform.connect(url, protocol, token, events)
  }

  /** Resolves after so long, or when the client is closed. */
  rest(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel()
        this.#rests.delete(end)
        resolve()
      }
      const timer = this.clock.after(delayMs, end)
      this.#rests.add(end)
    })
  }

  close(): void {
    this.isClosed = true
    this.credentials.close()
    this.#http.close()
    for (const end of this.#rests) end()
  }
}

function authorization(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` }
}
