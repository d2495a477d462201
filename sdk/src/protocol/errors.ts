/**
 * The one table of errors. Everything that a client can be told went wrong is a row here: its stable
 * code, the HTTP status, the WebSocket close code where the connection ends with it, and whether the
 * same request may succeed later. Both sides derive from this table; nobody matches on texts.
 */

interface ErrorRow {
  readonly status: number
  /** Close code of a WebSocket that ends for this reason; most errors leave it open. */
  readonly close?: number
  /** The same request, unchanged, may succeed later. */
  readonly retryable: boolean
}

export const ERRORS = {
  invalid_argument: { status: 400, close: 4400, retryable: false },
  filter_invalid: { status: 400, retryable: false },
  unauthenticated: { status: 401, close: 4401, retryable: false },
  permission_denied: { status: 403, close: 4403, retryable: false },
  topic_not_found: { status: 404, close: 4404, retryable: false },
  subscription_not_found: { status: 404, close: 4404, retryable: false },
  partition_not_found: { status: 404, close: 4404, retryable: false },
  not_found: { status: 404, retryable: false },
  method_not_allowed: { status: 405, retryable: false },
  not_acceptable: { status: 406, retryable: false },
  conflict: { status: 409, retryable: false },
  subscription_busy: { status: 409, close: 4409, retryable: true },
  precondition_failed: { status: 412, retryable: false },
  message_too_large: { status: 413, close: 4413, retryable: false },
  unsupported_media_type: { status: 415, retryable: false },
  offset_out_of_range: { status: 416, retryable: false },
  schema_violation: { status: 422, retryable: false },
  rate_limited: { status: 429, retryable: true },
  internal: { status: 500, retryable: false },
  overloaded: { status: 503, retryable: true },
  not_enough_replicas: { status: 503, retryable: true },
  no_leader: { status: 503, close: 4421, retryable: true },
  /** Nobody could be asked: nothing happened. */
  unavailable: { status: 503, retryable: true },
  /** Asked, and no answer came: it may or may not have happened. */
  outcome_unknown: { status: 504, retryable: true },
  /** Taken back by whoever asked, before anything happened. Only said by a client to its own user. */
  aborted: { status: 499, retryable: false },
  /** Said by a client to its own user: nobody answered a request in time, or whoever did answered with an error. */
  reply_timeout: { status: 504, retryable: true },
  reply_failed: { status: 502, retryable: false },
  storage_full: { status: 507, retryable: true },
} as const satisfies Record<string, ErrorRow>

/** Codes that no broker answers with. */
export const CLIENT_CODES: readonly string[] = [
  'aborted',
  'reply_timeout',
  'reply_failed',
] satisfies (keyof typeof ERRORS)[]

/** What went wrong, for programs: stable, and the same over every protocol. */
export type ErrorCode = keyof typeof ERRORS

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERRORS, code)
}

/** Close codes that are no errors of the table: what happened to the other end. */
export const CLOSE = {
  /** The subscription or its topic was deleted. */
  deleted: 4410,
  /** The broker is restarting: reconnect. */
  restarting: 1012,
  /** The consumer did not read what was sent for too long: reconnect. */
  slow: 1013,
} as const

const BRAND = Symbol.for('tidings.error')

/**
 * The one error class of both sides. `code` is stable, `message` is written for the person who reads
 * it (what was wrong, what to do), `cause` keeps what lay beneath.
 */
export class TidingsError extends Error {
  /** What went wrong, for programs; `message` says it to people. */
  readonly code: ErrorCode
  /** Survives two copies of this package in one program, where `instanceof` does not. */
  readonly [BRAND] = true

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown }) {
    super(detail, options)
    this.name = 'TidingsError'
    this.code = code
  }

  /** The HTTP status that goes with the code. */
  get status(): number {
    return ERRORS[this.code].status
  }

  /** Whether the same may succeed later. */
  get retryable(): boolean {
    return ERRORS[this.code].retryable
  }

  /** Close code for a WebSocket that cannot go on after this error. */
  get closeCode(): number {
    const row: ErrorRow = ERRORS[this.code]
    return row.close ?? 4400
  }

  /** Whether it is one, also when it comes from another copy of this package. */
  static is(value: unknown): value is TidingsError {
    return typeof value === 'object' && value !== null && BRAND in value
  }

  /** Any thrown value as a TidingsError: itself when it is one, else `internal` with the cause kept. */
  static from(value: unknown): TidingsError {
    if (TidingsError.is(value)) return value
    return new TidingsError('internal', 'something went wrong inside the broker', { cause: value })
  }
}

/** What a problem is called. The broker's alone: a client shows the detail. */
export const ERROR_TITLES: Readonly<Record<ErrorCode, string>> = {
  invalid_argument: 'Invalid argument',
  filter_invalid: 'The filter does not compile',
  unauthenticated: 'Not authenticated',
  permission_denied: 'Not permitted',
  topic_not_found: 'No such topic',
  subscription_not_found: 'No such subscription',
  partition_not_found: 'No such partition',
  not_found: 'No such resource',
  method_not_allowed: 'Method not allowed',
  not_acceptable: 'No answer in a form that Accept allows',
  conflict: 'Conflict',
  subscription_busy: 'The subscription has a consumer',
  precondition_failed: 'Precondition failed',
  message_too_large: 'Message too large',
  unsupported_media_type: 'Unsupported media type',
  offset_out_of_range: 'Offset out of range',
  schema_violation: 'The value breaks the schema of its topic',
  rate_limited: 'Rate limited',
  internal: 'Internal error',
  overloaded: 'Overloaded',
  not_enough_replicas: 'Not enough replicas',
  no_leader: 'No leader',
  unavailable: 'No broker could be reached',
  outcome_unknown: 'The outcome is not known',
  aborted: 'Taken back',
  reply_timeout: 'No answer in time',
  reply_failed: 'The request was answered with an error',
  storage_full: 'Storage full',
}

/** The body of every error answer (RFC 9457, `application/problem+json`). */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
}

export const PROBLEM_CONTENT_TYPE = 'application/problem+json'

export function problemOf(error: TidingsError): Problem {
  const { code, status, message: detail } = error
  return { type: `urn:tidings:error:${code}`, title: ERROR_TITLES[code], status, detail, code }
}
