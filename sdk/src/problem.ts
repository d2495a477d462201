/**
 * What a broker's refusal means, whether it came as problem+json or as something that no broker wrote: an error
 * of the table, always. A codec.
 */
import { type ErrorCode, isErrorCode, TidingsError } from './protocol/errors.ts'

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  405: 'method_not_allowed',
  408: 'outcome_unknown',
  409: 'conflict',
  413: 'message_too_large',
  415: 'unsupported_media_type',
  429: 'rate_limited',
  503: 'unavailable',
  507: 'storage_full',
}

/** An answer that is no 2xx. A 5xx which no broker wrote says nothing about what became of the request. */
export function refusalOf(status: number, body: string): TidingsError {
  const problem = parse(body)
  const { code, detail } = problem ?? {}
  if (isErrorCode(code)) return new TidingsError(code, typeof detail === 'string' ? detail : code)
  const byStatus = BY_STATUS[status] ?? (status >= 400 && status < 500 ? 'invalid_argument' : 'outcome_unknown')
  return new TidingsError(byStatus, `status ${status}, from something that does not answer like a broker`)
}

function parse(body: string): { code?: unknown; detail?: unknown } | null {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' ? value : null
  } catch {
    return null
  }
}
