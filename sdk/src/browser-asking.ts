/** What a page loads when it asks for the first time: asking.ts, and HTTP by fetch. */
import { Asking, type AskingKit } from './asking.ts'
import { ANSWER_BYTES_MAX, type Http, type HttpOutcome, type HttpRequest } from './platform.ts'

export function askingKit(): AskingKit {
  return { Asking, http: new FetchHttp() }
}

class FetchHttp implements Http {
  readonly #open = new Set<AbortController>()

  send(request: HttpRequest, finish: (outcome: HttpOutcome) => void): void {
    const aborter = new AbortController()
    this.#open.add(aborter)
    const timer = setTimeout(() => aborter.abort(), request.timeoutMs)
    exchange(request, aborter.signal)
      // fetch does not tell a refused connection from one that broke, so the broker may always have seen it.
      .catch((cause: unknown): HttpOutcome => ({ kind: 'lost', sent: true, cause }))
      .then(
        (outcome) => {
          clearTimeout(timer)
          this.#open.delete(aborter)
          finish(outcome)
        },
        () => undefined,
      )
  }

  close(): void {
    for (const aborter of this.#open) aborter.abort()
  }
}

async function exchange(request: HttpRequest, signal: AbortSignal): Promise<HttpOutcome> {
  const { method, url, headers, body = null } = request
  const response = await fetch(url, { method, headers, body, signal, credentials: 'omit' })
  if (Number(response.headers.get('content-length')) > ANSWER_BYTES_MAX) throw new Error('the answer is too large')
  const text = await response.text()
  return { kind: 'answer', status: response.status, retryAfter: response.headers.get('retry-after'), body: text }
}
