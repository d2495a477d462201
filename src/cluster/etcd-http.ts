/**
 * HTTP to etcd, through undici: one request and its whole answer, or a stream of lines. Owns the connections, which are
 * kept alive, a few to each endpoint; a stream has one of its own.
 *
 * What must stay true: every request ends by its deadline with one outcome, and an outcome says whether a byte of
 * the request may have left. undici sends nothing a second time. Called by etcd-client.ts.
 */
import { createSecureContext } from 'node:tls'
import { Client, type Dispatcher, Pool } from 'undici'
import type { Clock, Timer } from '../base/clock.ts'

export interface TlsFiles {
  ca?: string
  cert?: string
  key?: string
}

export interface EtcdRequest {
  path: string
  body: string
  token: string | null
}

export type HttpOutcome =
  | { kind: 'answer'; status: number; body: string }
  | { kind: 'lost'; sent: boolean; cause: Error }

export interface StreamEvents {
  line(line: string): void
  /** Not called after `close`. */
  ended(cause: Error | null): void
}

const CONNECTIONS = 16
const CONNECT_TIMEOUT_MS = 1000
/** How long a connection may be silent before the kernel asks whether the other end is still there. */
const TCP_PROBE_MS = 5000
const ANSWER_BYTES_MAX = 64 * 1_048_576

/** The answer is larger than what is kept in memory: the same with fewer entries may fit. */
export class AnswerTooLargeError extends Error {
  override readonly name = 'AnswerTooLargeError'
}

export class EtcdHttp {
  readonly #urls: readonly string[]
  readonly #clock: Clock
  readonly #options: Client.Options
  readonly #pools: Pool[]
  readonly #streams = new Set<Client>()

  /** Throws a sentence for certificates that cannot be used. */
  constructor(urls: readonly string[], tls: TlsFiles, clock: Clock) {
    try {
      createSecureContext(tls)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new Error(`--etcd-ca, --etcd-cert and --etcd-key hold no certificates and key that fit together: ${why}`, {
        cause: error,
      })
    }
    const connect = { ...tls, timeout: CONNECT_TIMEOUT_MS, keepAlive: true, keepAliveInitialDelay: TCP_PROBE_MS }
    // Deadlines are ours: undici's are coarse and begin anew with every byte.
    this.#options = { pipelining: 1, connect, headersTimeout: 0, bodyTimeout: 0 }
    this.#urls = urls
    this.#clock = clock
    this.#pools = urls.map((url) => new Pool(url, { ...this.#options, connections: CONNECTIONS }))
  }

  /** Not begun within `beginMs`, or not answered within `answerMs`: lost. */
  send(index: number, request: EtcdRequest, limits: { beginMs: number; answerMs: number }): Promise<HttpOutcome> {
    return new Promise((resolve) => {
      const exchange = new Exchange(resolve, limits, this.#clock)
      this.#pools[index]!.dispatch(dispatchOf(request, limits.answerMs), exchange)
    })
  }

  /** An answer that goes on until `close`, line by line. */
  stream(index: number, request: EtcdRequest, events: StreamEvents): { close(): void } {
    const client = new Client(this.#urls[index]!, this.#options)
    this.#streams.add(client)
    const close = (): void => {
      this.#streams.delete(client)
      client.destroy().catch(() => undefined)
    }
    const lines = new Lines(events, close)
    client.dispatch(dispatchOf(request, null), lines)
    return {
      close: () => {
        lines.silence()
        close()
      },
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools, ...this.#streams].map((pool) => pool.destroy()))
  }
}

function dispatchOf({ path, body, token }: EtcdRequest, timeoutMs: number | null): Dispatcher.DispatchOptions {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (token !== null) headers['authorization'] = token
  // A member that has lost its cluster ends a stream that asks for a leader, instead of going on in silence.
  if (timeoutMs === null) headers['grpc-metadata-hasleader'] = 'true'
  else headers['grpc-timeout'] = `${Math.max(1, Math.ceil(timeoutMs))}m`
  return { method: 'POST', path, headers, body }
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #done: (outcome: HttpOutcome) => void
  readonly #timers: Timer[]
  #controller: Dispatcher.DispatchController | undefined
  #status = 0
  #chunks: Buffer[] = []
  #bytes = 0
  #hasEnded = false

  constructor(done: (outcome: HttpOutcome) => void, limits: { beginMs: number; answerMs: number }, clock: Clock) {
    const { beginMs, answerMs } = limits
    this.#done = done
    this.#timers = [
      clock.after(beginMs, () => {
        if (!this.#controller) this.#giveUp(new Error(`it takes no request within ${Math.ceil(beginMs)} ms`))
      }),
      clock.after(answerMs, () => this.#giveUp(new Error(`no answer within ${Math.ceil(answerMs)} ms`))),
    ]
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    // It is aborted here before its first byte leaves.
    if (this.#hasEnded) controller.abort(new Error('given up'))
  }

  onResponseStart(_: unknown, status: number): void {
    this.#status = status
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > ANSWER_BYTES_MAX) this.#giveUp(new AnswerTooLargeError('the answer is too large'))
    else this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    this.#end({ kind: 'answer', status: this.#status, body: Buffer.concat(this.#chunks).toString() })
  }

  onResponseError(_: unknown, cause: Error): void {
    this.#end({ kind: 'lost', sent: this.#controller !== undefined, cause })
  }

  #giveUp(cause: Error): void {
    this.#end({ kind: 'lost', sent: this.#controller !== undefined, cause })
    this.#controller?.abort(cause)
  }

  #end(outcome: HttpOutcome): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    for (const timer of this.#timers) timer.cancel()
    this.#done(outcome)
  }
}

/** Cuts what arrives into lines. */
class Lines implements Dispatcher.DispatchHandler {
  readonly #events: StreamEvents
  readonly #close: () => void
  #pieces: Buffer[] = []
  #bytes = 0
  #isSilent = false

  constructor(events: StreamEvents, close: () => void) {
    this.#events = events
    this.#close = close
  }

  silence(): void {
    this.#isSilent = true
  }

  onRequestStart(): void {
    // Nothing to do: whether it was sent does not matter for what only reads.
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    let from = 0
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
      this.#pieces.push(chunk.subarray(from, at))
      const line = Buffer.concat(this.#pieces).toString()
      this.#pieces = []
      this.#bytes = 0
      from = at + 1
      if (!this.#isSilent && line !== '') this.#events.line(line)
    }
    this.#pieces.push(chunk.subarray(from))
    this.#bytes += chunk.length - from
    if (this.#bytes > ANSWER_BYTES_MAX) this.#end(new AnswerTooLargeError('a message is too large'))
  }

  onResponseEnd(): void {
    this.#end(null)
  }

  onResponseError(_: unknown, cause: Error): void {
    this.#end(cause)
  }

  #end(cause: Error | null): void {
    if (this.#isSilent) return
    this.#isSilent = true
    this.#close()
    this.#events.ended(cause)
  }
}
