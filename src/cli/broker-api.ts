/**
 * Administration over HTTP: JSON in, JSON out, and every refusal as a TidingsError with the broker's own detail. Of several
 * URLs the next one is asked where nobody answers at one; what a broker answered is never asked again.
 */
import { ERROR_TITLES, ERRORS, type ErrorCode, TidingsError } from '@tidings/sdk/protocol'

const ANSWER_MS = 60_000

export interface Place {
  urls: readonly string[]
  token: string | undefined
}

export class BrokerApi {
  readonly #place: Place

  constructor(place: Place) {
    this.#place = place
  }

  get<T>(path: string): Promise<T> {
    return this.#ask<T>('GET', path)
  }

  put<T>(path: string, body: unknown): Promise<T> {
    return this.#ask<T>('PUT', path, body)
  }

  post<T>(path: string, body: unknown): Promise<T> {
    return this.#ask<T>('POST', path, body)
  }

  async delete(path: string): Promise<void> {
    await this.#ask('DELETE', path)
  }

  /** As `get`; null where the error's code is one of these. */
  async find<T>(path: string, ...codes: ErrorCode[]): Promise<T | null> {
    try {
      return await this.get<T>(path)
    } catch (error) {
      if (TidingsError.is(error) && codes.includes(error.code)) return null
      throw error
    }
  }

  /** Rejects with `unavailable` where no broker answers. */
  async reach(): Promise<void> {
    await this.get('/healthz')
  }

  async #ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const { urls, token } = this.#place
    const headers: Record<string, string> = {}
    if (token !== undefined) headers['authorization'] = `Bearer ${token}`
    if (body !== undefined) headers['content-type'] = 'application/json'
    let cause: unknown
    for (const url of urls) {
      let answer: Response
      let text: string
      try {
        answer = await fetch(url + path, {
          method,
          headers,
          signal: AbortSignal.timeout(ANSWER_MS),
          redirect: 'error',
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        })
        text = await answer.text()
      } catch (error) {
        cause = error
        continue
      }
      return readAnswer<T>(url, answer.status, text)
    }
    throw unreachable(urls, cause)
  }
}

/** Throws the refusal that it is. */
export function readAnswer<T>(url: string, status: number, text: string): T {
  const body = parse(text)
  if (status >= 200 && status < 300) {
    if (body !== undefined || text === '') return body as T
    throw new TidingsError('internal', `what listens at ${url} does not answer like a tidings broker`)
  }
  const { code, detail } = (body ?? {}) as { code?: unknown; detail?: unknown }
  if (typeof code === 'string' && Object.hasOwn(ERRORS, code)) {
    throw new TidingsError(code as ErrorCode, typeof detail === 'string' ? detail : ERROR_TITLES[code as ErrorCode])
  }
  throw new TidingsError(
    'internal',
    `what listens at ${url} answered with status ${status}, and not like a tidings broker`,
  )
}

function unreachable(urls: readonly string[], cause: unknown): TidingsError {
  return new TidingsError('unavailable', `no broker answers at ${urls.join(' or ')} (${reasonOf(cause)})`, { cause })
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of the host cannot be looked up',
  ECONNRESET: 'the connection was cut',
  UND_ERR_SOCKET: 'the connection was cut',
  UND_ERR_CONNECT_TIMEOUT: 'it did not answer in time',
}

function reasonOf(error: unknown): string {
  const { name, code, cause } = (error ?? {}) as { name?: string; code?: unknown; cause?: unknown }
  if (name === 'TimeoutError') return 'it did not answer in time'
  if (typeof code === 'string' && REASONS[code] !== undefined) return REASONS[code]
  if (cause !== undefined && cause !== null) return reasonOf(cause)
  return typeof code === 'string' ? code : error instanceof Error ? error.message : 'the request failed'
}

function parse(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

export function topicPath(topic: string): string {
  return `/v1/topics/${encodeURIComponent(topic)}`
}

export function subscriptionPath(topic: string, name: string): string {
  return `${topicPath(topic)}/subscriptions/${encodeURIComponent(name)}`
}
