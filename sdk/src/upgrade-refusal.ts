/**
 * What a refused upgrade means: an answer over HTTP in place of a WebSocket. Handed in where the platform shows it, which
 * browsers do not. A decision.
 */

import type { SocketEnd } from './platform.ts'
import { refusalOf } from './problem.ts'
import { TidingsError } from './protocol/errors.ts'
import { retryAfterMs } from './retry-after.ts'
import type { EndVerdict } from './socket-end.ts'

/** `now` is wall time. */
export function verdictOfRefusal(end: SocketEnd & { kind: 'refused' }, now: number): EndVerdict {
  const told = refusalOf(end.status, end.body)
  // Nothing was sent over what did not open: there is no outcome to be in doubt about.
  const error = told.code === 'outcome_unknown' ? new TidingsError('unavailable', told.message) : told
  const event = error.retryable || end.status >= 500 ? 'lost' : 'refused'
  return { event, error, afterMs: retryAfterMs(end.retryAfter, now) }
}
