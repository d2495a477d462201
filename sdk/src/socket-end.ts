/**
 * What the end of a WebSocket means: whether to come again, and the error to tell. Close codes are the contract's;
 * everything that is not, such as a proxy's, passes. Refused upgrades are upgrade-refusal.ts's. A decision.
 */
import type { SocketEnd } from './platform.ts'
import { CLOSE, ERRORS, type ErrorCode, TidingsError } from './protocol/errors.ts'

export interface EndVerdict {
  event: 'lost' | 'refused'
  error: TidingsError
  /** The least to wait, when the broker said so. */
  afterMs: number
}

/** Close codes after which coming again would meet the same. */
const FINAL: Readonly<Record<number, ErrorCode>> = {
  4400: 'invalid_argument',
  [ERRORS.unauthenticated.close]: 'unauthenticated',
  [ERRORS.permission_denied.close]: 'permission_denied',
  [ERRORS.topic_not_found.close]: 'subscription_not_found',
  [CLOSE.deleted]: 'subscription_not_found',
  [ERRORS.message_too_large.close]: 'message_too_large',
}

/** Close codes after which another broker, or the same one a little later, takes us in. */
const PASSING: Readonly<Record<number, ErrorCode>> = {
  [ERRORS.subscription_busy.close]: 'subscription_busy',
  [ERRORS.no_leader.close]: 'no_leader',
  [CLOSE.slow]: 'overloaded',
}

export function verdictOfEnd(end: Exclude<SocketEnd, { kind: 'refused' }>): EndVerdict {
  if (end.kind === 'lost') {
    const error = new TidingsError('unavailable', 'the connection to the broker ended', { cause: end.cause })
    return { event: 'lost', error, afterMs: 0 }
  }
  const final = FINAL[end.code]
  const detail = end.reason === '' ? `the broker closed the connection (${end.code})` : end.reason
  const error = new TidingsError(final ?? PASSING[end.code] ?? 'unavailable', detail)
  return { event: final ? 'refused' : 'lost', error, afterMs: 0 }
}
