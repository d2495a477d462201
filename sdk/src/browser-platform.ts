/**
 * Browsers (and other runtimes with web APIs): fetch and WebSocket. Neither shows why a WebSocket was refused, and
 * pings are answered unseen; the client's own probe (`connection.ts`) finds connections that are silent.
 */
import { ANSWER_BYTES_MAX, type Http, type HttpOutcome, type HttpRequest, type Platform } from './platform.ts'
import { systemClock, systemRandom } from './system-clock.ts'

/** Unlike timeouts of zero, messages are not slowed down in tabs that nobody looks at. */
function soon(run: () => void): void {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    run()
  }
  port2.postMessage(null)
}

export const browserPlatform: Platform = {
  clock: systemClock(soon),
  random: systemRandom,
  http: () => new FetchHttp(),
  connect(url, protocol, token, events) {
    const full = new URL(url)
    if (token !== undefined) full.searchParams.set('access_token', token)
    const socket = new WebSocket(full, protocol)
    socket.binaryType = 'arraybuffer'
    let hasOpened = false
    socket.onopen = () => {
      hasOpened = true
      events.opened()
    }
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) =>
      typeof data === 'string' ? events.text(data) : events.bytes(new Uint8Array(data))
    socket.onclose = ({ code, reason }) => {
      if (hasOpened) events.ended({ kind: 'closed', code, reason })
      else events.ended({ kind: 'lost', cause: new Error('the WebSocket did not open') })
    }
    return {
      send: (data) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(data as string | Uint8Array<ArrayBuffer>)
      },
      close: (code, reason) => socket.close(code, reason),
      terminate: () => socket.close(),
    }
  },
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
