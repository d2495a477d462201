/**
 * What the end of a WebSocket means: whether to come again, and the error to tell. Close codes and refused
 * upgrades are the contract's; everything that is not, such as a proxy's, passes. A decision.
 */
import { retryAfterMs } from './backoff.ts'
import type { SocketEnd } from './platform.ts'
import { refusalOf } from './problem.ts'
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

/** `now` is wall time. */
export function verdictOfEnd(end: SocketEnd, now: number): EndVerdict {
  switch (end.kind) {
    case 'lost': {
      const error = new TidingsError('unavailable', 'the connection to the broker ended', { cause: end.cause })
      return { event: 'lost', error, afterMs: 0 }
    }
    case 'refused': {
      const told = refusalOf(end.status, end.body)
      // Nothing was sent over what did not open: there is no outcome to be in doubt about.
      const error = told.code === 'outcome_unknown' ? new TidingsError('unavailable', told.message) : told
      const event = error.retryable || end.status >= 500 ? 'lost' : 'refused'
      return { event, error, afterMs: retryAfterMs(end.retryAfter, now) }
    }
    case 'closed': {
      const final = FINAL[end.code]
      const detail = end.reason === '' ? `the broker closed the connection (${end.code})` : end.reason
      if (final) return { event: 'refused', error: new TidingsError(final, detail), afterMs: 0 }
      return { event: 'lost', error: new TidingsError(PASSING[end.code] ?? 'unavailable', detail), afterMs: 0 }
    }
  }
}
