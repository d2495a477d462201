/**
 * One question to the broker about something other than messages: a topic's settings, a subscription's state. Every such
 * request may be repeated without harm, and is, at the next URL where there are several, until its time is over.
 */
import { Backoff, retryAfterMs } from './backoff.ts'
import type { Connector } from './connector.ts'
import type { HttpOutcome, HttpRequest } from './platform.ts'
import { refusalOf } from './problem.ts'
import { TidingsError } from './protocol/errors.ts'

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

/** The answer's JSON (undefined for an empty one). Rejects with a TidingsError. */
export async function ask(connector: Connector, question: Question): Promise<unknown> {
  const { clock } = connector
  const deadline = clock.monotonic() + question.timeoutMs
  const backoff = new Backoff(connector.random, RETRY_MIN_MS, RETRY_MAX_MS)
  let hasRenewed = false
  for (;;) {
    if (connector.isClosed) throw new TidingsError('aborted', 'the client is closed')
    const { answer, error, afterMs, token } = await attempt(connector, question, deadline)
    if (!error) return answer
    const { credentials } = connector
    if (error.code === 'unauthenticated' && credentials.isRenewable && !hasRenewed) {
      hasRenewed = true
      credentials.refused(token)
      continue
    }
    const waitMs = backoff.next(afterMs)
    if (!error.retryable || clock.monotonic() + waitMs >= deadline) throw error
    await connector.rest(waitMs)
  }
}

interface Attempt {
  answer?: unknown
  error?: TidingsError
  afterMs?: number
  token?: string | undefined
}

async function attempt(
  connector: Connector,
  { method, path, body, timeoutMs: questionMs }: Question,
  deadline: number,
): Promise<Attempt> {
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
  const leftMs = Math.max(1, Math.ceil(deadline - connector.clock.monotonic()))
  const timeoutMs = questionMs > 0 ? Math.min(ATTEMPT_MS, leftMs) : ATTEMPT_MS
  const outcome = await new Promise<HttpOutcome>((resolve) => {
    connector.send({ method, url: url + path, timeoutMs, ...text }, token, resolve)
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
