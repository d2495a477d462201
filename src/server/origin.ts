/**
 * Which browser pages may use the broker. A page's request carries its Origin, wherever the page came from; with no
 * access control the browser on the same machine is the one client that must not be trusted with everything
 * that its pages ask for. Clients that are no browsers send no Origin. Pure.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { TidingsError } from '@tidings/sdk/protocol'

/** Throws `permission_denied` for a page of an origin that is not listed. */
export function checkOrigin(origin: string | undefined, allowed: readonly string[]): void {
  if (origin === undefined || allowed.includes(origin)) return
  throw new TidingsError('permission_denied', 'pages of this Origin may not do this: see --allowed-origins')
}

/** What lets a page of a listed origin read an answer, which a browser keeps from all others. */
export function readingHeaders(origin: string, allowed: readonly string[]): Record<string, string> {
  return allowed.includes(origin) ? { 'access-control-allow-origin': origin, vary: 'Origin' } : { vary: 'Origin' }
}

/** How long a browser may remember what it was told. */
const PREFLIGHT_S = 600

/** The answer to a browser that asks before a request of a listed origin: the path's methods, and any header. */
export function preflightHeaders(methods: readonly string[], asked: IncomingHttpHeaders): Record<string, string> {
  const headers = asked['access-control-request-headers']
  return {
    'access-control-allow-methods': methods.join(', '),
    'access-control-max-age': String(PREFLIGHT_S),
    ...(headers === undefined ? {} : { 'access-control-allow-headers': headers }),
  }
}
