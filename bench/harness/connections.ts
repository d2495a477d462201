/**
 * A fixed number of HTTP connections with one request at a time on each, over undici's dispatch: the least that a
 * client in Node can spend on a request, so that the broker is what is measured.
 */
import { Client, type Dispatcher } from 'undici'

export interface Request {
  path: string
  headers: Record<string, string>
  body: string | Uint8Array
}

type Done = () => void

export class Connections {
  readonly #free: Client[] = []
  readonly #all: Client[] = []
  readonly #waiting: { request: Request; done: Done }[] = []

  constructor(url: string, count: number) {
    for (let i = 0; i < count; i++) this.#all.push(new Client(url, { pipelining: 1 }))
    this.#free.push(...this.#all)
  }

  /** Sends it on a free connection, or as soon as there is one. Anything but a 200 ends the run. */
  send(request: Request, done: Done): void {
    const client = this.#free.pop()
    if (client) this.#dispatch(client, request, done)
    else this.#waiting.push({ request, done })
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((client) => client.destroy()))
  }

  #dispatch(client: Client, request: Request, done: Done): void {
    client.dispatch(
      { method: 'POST', ...request },
      new Answer(() => {
        const next = this.#waiting.shift()
        if (next) this.#dispatch(client, next.request, next.done)
        else this.#free.push(client)
        done()
      }),
    )
  }
}

/** Reads an answer to its end and looks at nothing but the status. */
class Answer implements Dispatcher.DispatchHandler {
  readonly #done: Done
  #status = 0

  constructor(done: Done) {
    this.#done = done
  }

  onRequestStart(): void {
    this.#status = 0
  }

  onResponseStart(_controller: unknown, statusCode: number): void {
    this.#status = statusCode
  }

  onResponseData(): void {
    // The body is of no interest here.
  }

  onResponseEnd(): void {
    if (this.#status !== 200) throw new Error(`an answer with status ${this.#status}`)
    this.#done()
  }

  onResponseError(_controller: unknown, error: Error): void {
    throw error
  }
}
