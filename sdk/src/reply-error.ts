/**
 * An error that travels from whoever answers a request to whoever asked, as an answer of its own kind. A codec; called by
 * replier.ts and inbox.ts.
 */
import { isErrorCode, TidingsError } from './protocol/errors.ts'
import * as LIMITS from './protocol/limits.ts'

/** Thrown by a replier, it arrives at the requester as it is: `reason` is the application's own code. */
export class ReplyError extends TidingsError {
  /** The application's own code for what went wrong. */
  readonly reason: string
  /** Whatever JSON can carry. */
  readonly details: unknown

  constructor(reason: string, detail: string, details?: unknown) {
    super('reply_failed', detail)
    this.name = 'ReplyError'
    this.reason = reason
    this.details = details
  }
}

/** What is sent of an error: its code and texts, never its stack. */
export function errorAnswer(error: unknown): { code: string; reason?: string; detail: string; details?: unknown } {
  if (error instanceof ReplyError) {
    const { code, reason, message, details } = error
    return { code, reason, detail: bounded(message), details }
  }
  if (TidingsError.is(error)) return { code: error.code, detail: bounded(error.message) }
  const isError = error instanceof Error
  return {
    code: 'reply_failed',
    reason: isError ? error.name : 'Error',
    detail: bounded(isError ? error.message : String(error)),
  }
}

/** Total: whatever was sent as an error is one. */
export function errorOf(answer: unknown): TidingsError {
  const { code, reason, detail, details } = (typeof answer === 'object' && answer !== null ? answer : {}) as {
    [member: string]: unknown
  }
  const text = typeof detail === 'string' ? detail : 'the request was answered with an error'
  if (isErrorCode(code) && code !== 'reply_failed') return new TidingsError(code, text)
  return new ReplyError(typeof reason === 'string' ? reason : 'Error', text, details)
}

function bounded(text: string): string {
  return text.slice(0, LIMITS.reasonBytes)
}
