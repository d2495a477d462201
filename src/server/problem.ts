/**
 * Errors as answers: whatever was thrown becomes a row of the error table and problem+json. What the
 * framework throws is told apart by its code, never by its text; what nobody foresaw is `internal`,
 * logged here and told to the client without its cause.
 */
import { PROBLEM_CONTENT_TYPE, problemOf, TidingsError } from '@tidings/sdk/protocol'
import type { FastifyReply } from 'fastify'
import type { Logger } from '../base/telemetry.ts'

/** Seconds after which a refused client should try again. */
const RETRY_AFTER_S = 1

export interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

const FRAMEWORK_ERRORS: Readonly<Record<string, () => TidingsError>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new TidingsError('message_too_large', 'the request body is too large'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new TidingsError('unsupported_media_type', 'send the body as application/json with that Content-Type'),
  FST_ERR_BAD_URL: () => new TidingsError('invalid_argument', 'the path is not a valid URL path'),
  FST_ERR_MAX_PARAM_LENGTH: () => new TidingsError('invalid_argument', 'a part of the path is too long'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new TidingsError('invalid_argument', 'the body is not as long as Content-Length says'),
}

/** Any thrown value as an error of the table. */
export function errorOf(thrown: unknown): TidingsError {
  if (TidingsError.is(thrown)) return thrown
  if (typeof thrown === 'object' && thrown !== null) {
    const { code, statusCode } = thrown as { code?: unknown; statusCode?: unknown }
    const known = typeof code === 'string' ? FRAMEWORK_ERRORS[code] : undefined
    if (known) return known()
    if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
      return new TidingsError('invalid_argument', 'the request is malformed', { cause: thrown })
    }
  }
  return TidingsError.from(thrown)
}

export function answerOf(error: TidingsError): Answer {
  const headers: Record<string, string> = { 'content-type': PROBLEM_CONTENT_TYPE }
  if (error.status === 429 || error.status === 503) headers['retry-after'] = String(RETRY_AFTER_S)
  return { status: error.status, headers, body: JSON.stringify(problemOf(error)) }
}

export function sendError(reply: FastifyReply, thrown: unknown, logger: Logger): void {
  const error = errorOf(thrown)
  logInternal(error, logger)
  const { status, headers, body } = answerOf(error)
  reply.code(status).headers(headers).send(body)
}

/** Our own failures are written down with their cause; a client's mistakes are not news. */
export function logInternal(error: TidingsError, logger: Logger): void {
  if (error.code === 'internal') logger.error({ err: error.cause ?? error }, 'request failed')
}

/** The whole HTTP/1.1 answer as text, for sockets that have no response object. */
export function rawAnswer(answer: Answer, statusText: string): string {
  const lines = [`HTTP/1.1 ${answer.status} ${statusText}`, 'Connection: close']
  for (const [name, value] of Object.entries(answer.headers)) lines.push(`${name}: ${value}`)
  lines.push(`content-length: ${Buffer.byteLength(answer.body)}`, '', answer.body)
  return lines.join('\r\n')
}

/** The problem of a broken request that no route ever saw: its status is HTTP's own. */
export function parserProblem(status: number, detail: string): Answer {
  const body = { ...problemOf(new TidingsError('invalid_argument', detail)), status }
  return { status, headers: { 'content-type': PROBLEM_CONTENT_TYPE }, body: JSON.stringify(body) }
}
