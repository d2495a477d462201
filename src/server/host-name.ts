/**
 * Under which names the broker may be asked while it listens for its own machine only. A page of a stranger whose name
 * is made to mean 127.0.0.1 (DNS rebinding) is of one origin with the broker in the eyes of its browser, which then
 * keeps nothing from it; the name in the request gives it away. Only a name that a stranger can own does: one with a
 * dot in it, that is no address. Pure; asked for every request and upgrade.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { isLoopback } from '../base/loopback.ts'

export class HostNames {
  /** Null: every name is good, for whoever reaches the address may ask. */
  readonly #allowed: ReadonlySet<string> | null
  /** Found good last: nearly always the next one. */
  #lastGood: string | undefined

  /** @param listensOn the address that the broker binds */
  constructor(listensOn: string, allowed: readonly string[]) {
    this.#allowed = isLoopback(listensOn) ? new Set(allowed.map((name) => name.toLowerCase())) : null
  }

  /** Throws `permission_denied`. `host` is the request's header: a name, and perhaps a port. Browsers never leave it out. */
  check(host: string | undefined): void {
    if (this.#allowed === null || host === this.#lastGood || host === undefined) return
    const name = nameOf(host)
    if (!isOwnable(name) || this.#allowed.has(name)) {
      this.#lastGood = host
      return
    }
    throw new TidingsError(
      'permission_denied',
      `this broker listens for its own machine only, and not as ${JSON.stringify(name.slice(0, 100))}: see --allowed-hosts`,
    )
  }
}

/** Whether somebody in the world may have it, and say what it means. Names below localhost nobody may (RFC 6761, 6.3). */
function isOwnable(name: string): boolean {
  const last = name.slice(name.lastIndexOf('.') + 1)
  if (last === name || last === 'localhost') return false
  return !name.startsWith('[') && !/^\d+$/.test(last)
}

/** Without the port, and the dot that may end a name. */
function nameOf(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '')
}
