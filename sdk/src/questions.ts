/**
 * Questions to the broker about something other than messages: a topic's settings, a subscription's state. Every such
 * request may be repeated without harm, and is, at the next URL where there are several, until its time is over. Owns
 * HTTP, and the waits between attempts. Made by asking.ts.
 */
import { Backoff } from './backoff.ts'
import type { Connector } from './connector.ts'
import { clientClosed } from './option-checks.ts'
import type { Http, HttpOutcome, HttpRequest } from './platform.ts'
import { refusalOf } from './problem.ts'
import { TidingsError } from './protocol/errors.ts'
import { retryAfterMs } from './retry-after.ts'

export interface Question {
  method: Exclude<HttpRequest['method'], 'POST'>
  /** Below a broker's URL. */
  path: string
  body?: unknown
  /** For all attempts together. 0: one attempt. */
  timeoutMs: number
}

const ATTEMPT_MS = 5000
const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 1000

interface Attempt {
  answer?: unknown
  error?: TidingsError
  afterMs?: number
  token?: string | undefined
}

/** Answers with the answer's JSON, undefined for an empty one. Rejects with a TidingsError. */
export type Ask = (question: Question) => Promise<unknown>

export class Questions {
  readonly #connector: Connector
  readonly #http: Http
  /** Ends of waits that are under way. */
  readonly #rests = new Set<() => void>()

  constructor(connector: Connector, http: Http) {
    this.#connector = connector
    this.#http = http
  }

  readonly ask: Ask = async (question) => {
    const { clock, credentials, random } = this.#connector
    const deadline = clock.monotonic() + question.timeoutMs
    const backoff = new Backoff(random, RETRY_MIN_MS, RETRY_MAX_MS)
    let hasRenewed = false
    for (;;) {
      if (this.#connector.isClosed) throw clientClosed()
      const { answer, error, afterMs, token } = await this.#attempt(question, deadline)
      if (!error) return answer
      if (error.code === 'unauthenticated' && credentials.isRenewable && !hasRenewed) {
        hasRenewed = true
        credentials.refused(token)
        continue
      }
      const waitMs = backoff.next(afterMs)
      if (!error.retryable || clock.monotonic() + waitMs >= deadline) throw error
      await this.#rest(waitMs)
    }
  }

  close(): void {
    this.#http.close()
    for (const end of this.#rests) end()
  }

  /** Resolves after so long, or when the client is closed. */
  #rest(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel()
        this.#rests.delete(end)
        resolve()
      }
      const timer = this.#connector.clock.after(delayMs, end)
      this.#rests.add(end)
    })
  }

  async #attempt({ method, path, body, timeoutMs: questionMs }: Question, deadline: number): Promise<Attempt> {
    const connector = this.#connector
    let token: string | undefined
    try {
      const { credentials } = connector
      const known = credentials.peek()
      token = known ? known.token : await credentials.ask()
    } catch (error) {
      return { error: TidingsError.from(error) }
    }
    const url = connector.endpoints.current
    const text = body === undefined ? {} : { body: JSON.stringify(body) }
    const headers = {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    }
    const leftMs = Math.max(1, Math.ceil(deadline - connector.clock.monotonic()))
    const timeoutMs = questionMs > 0 ? Math.min(ATTEMPT_MS, leftMs) : ATTEMPT_MS
    const outcome = await new Promise<HttpOutcome>((resolve) => {
      this.#http.send({ method, url: url + path, headers, timeoutMs, ...text }, resolve)
    })
    if (outcome.kind === 'lost') {
      connector.endpoints.failed(url)
      const { cause } = outcome
      return { error: new TidingsError('unavailable', 'no connection to the broker, or no answer from it', { cause }) }
    }
    const { status, retryAfter } = outcome
    if (status < 200 || status > 299) {
      const error = refusalOf(status, outcome.body)
      if (error.retryable) connector.endpoints.failed(url)
      return { error, afterMs: retryAfterMs(retryAfter, connector.clock.now()), token }
    }
    try {
      return { answer: outcome.body === '' ? undefined : (JSON.parse(outcome.body) as unknown) }
    } catch (cause) {
      return { error: new TidingsError('unavailable', 'the answer is not one that a broker would give', { cause }) }
    }
  }
}
