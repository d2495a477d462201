/**
 * A client's HTTP in memory: each request goes through the broker's routes as one from a socket would. What is under
 * way can be cut: the broker has had the request then, and nobody hears its answer.
 */
import type { Http, HttpOutcome, HttpRequest } from '@tidings/sdk/platform'
import type { Clock, Timer } from '../base/clock.ts'
import type { Server } from '../server/app.ts'

interface Wires {
  readonly server: Server | null
  later(run: () => void): void
}

interface Exchange {
  isSent: boolean
  done: (outcome: HttpOutcome) => void
  timer: Timer
}

export class MemoryHttp implements Http {
  readonly #wires: Wires
  readonly #clock: Clock
  readonly #closed: () => void
  readonly #exchanges = new Set<Exchange>()

  constructor(wires: Wires, clock: Clock, closed: () => void) {
    this.#wires = wires
    this.#clock = clock
    this.#closed = closed
  }

  send(request: HttpRequest, done: (outcome: HttpOutcome) => void): void {
    const giveUp = (): void => this.#lose(exchange, `no answer within ${request.timeoutMs} ms`)
    const exchange: Exchange = { isSent: false, done, timer: this.#clock.after(request.timeoutMs, giveUp) }
    this.#exchanges.add(exchange)
    this.#wires.later(() => this.#send(exchange, request))
  }

  /** Ends all that is under way. */
  cut(): void {
    for (const exchange of this.#exchanges) this.#wires.later(() => this.#lose(exchange, 'the connection was lost'))
  }

  close(): void {
    for (const exchange of this.#exchanges) this.#lose(exchange, 'the client was closed')
    this.#closed()
  }

  #send(exchange: Exchange, { method, url, headers, body }: HttpRequest): void {
    const { server } = this.#wires
    if (!this.#exchanges.has(exchange)) return
    if (!server) return this.#lose(exchange, 'no broker is running')
    exchange.isSent = true
    const { pathname, search } = new URL(url)
    const payload = body === undefined ? {} : { payload: body }
    server.inject({ method, url: pathname + search, headers, ...payload }).then(
      ({ statusCode: status, headers: answered, payload: text }) => {
        const retryAfter = answered['retry-after']
        const outcome = { status, retryAfter: retryAfter === undefined ? null : String(retryAfter), body: text }
        this.#wires.later(() => this.#end(exchange, { kind: 'answer', ...outcome }))
      },
      (cause: unknown) => this.#wires.later(() => this.#end(exchange, { kind: 'lost', sent: true, cause })),
    )
  }

  #lose(exchange: Exchange, why: string): void {
    this.#end(exchange, { kind: 'lost', sent: exchange.isSent, cause: new Error(why) })
  }

  #end(exchange: Exchange, outcome: HttpOutcome): void {
    if (!this.#exchanges.delete(exchange)) return
    exchange.timer.cancel()
    exchange.done(outcome)
  }
}
