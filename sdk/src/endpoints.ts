/**
 * The URLs under which brokers may be reached. One is used until it fails, then the next: every part of the
 * client that meets the failure says so, and only the first one moves on. A decision.
 */
import { invalid } from './option-checks.ts'

export class Endpoints {
  readonly #urls: readonly string[]
  #current = 0

  /** Throws `invalid_argument` for what is no HTTP URL. */
  constructor(url: string | readonly string[]) {
    const urls: unknown = typeof url === 'string' ? [url] : url
    if (!Array.isArray(urls)) throw invalid('url must be a string or a list')
    this.#urls = urls.map(checked)
    if (this.#urls.length === 0) throw invalid('url: give at least one')
  }

  get count(): number {
    return this.#urls.length
  }

  get current(): string {
    return this.#urls[this.#current]!
  }

  /** It did not answer, or sent us away: use the next one, unless somebody already moved on. */
  failed(url: string): void {
    if (url === this.current) this.#current = (this.#current + 1) % this.#urls.length
  }
}

/** `http` becomes `ws`, `https` becomes `wss`. */
export function webSocketUrl(url: string): string {
  return url.replace(/^http/, 'ws')
}

function checked(text: string): string {
  let url: URL | undefined
  try {
    url = new URL(text)
  } catch {
    // Told below.
  }
  if (/^https?:$/.test(url?.protocol ?? '') && !(url!.search || url!.hash || url!.username)) {
    return url!.origin + url!.pathname.replace(/\/+$/, '')
  }
  throw invalid(`url ${JSON.stringify(text)} must be http://… or https://…, without a query, a fragment and a user`)
}
