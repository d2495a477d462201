/**
 * Small checks for request bodies and query strings: read what is known, refuse what is not. A key that
 * nobody reads would be a wish silently ignored. Pure; called by the routes. The checks of JSON fields
 * themselves are base/field.ts.
 */
import { LIMITS, type MessageId, parseMessageId, parseTimestamp, TidingsError } from '@tidings/sdk/protocol'
import { fieldsOf, integerField, stringField } from '../base/field.ts'

export type Fields = ReadonlyMap<string, unknown>

/** The body's fields, with no others than these; no body is an empty object. */
export function bodyFields(body: unknown, known: readonly string[]): Fields {
  return fieldsOf('the body', body ?? {}, known)
}

/** The query parameters, each given once at most, with no others than these. */
export function queryOf(query: unknown, known: readonly string[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  for (const [name, value] of Object.entries(query as Record<string, string | string[]>)) {
    if (!known.includes(name)) {
      const hint = known.length === 0 ? 'none is known here' : `known are ${known.join(', ')}`
      throw invalid(`unknown query parameter ${JSON.stringify(name.slice(0, 60))}: ${hint}`)
    }
    if (typeof value !== 'string') throw invalid(`query parameter "${name}" is given more than once`)
    values.set(name, value)
  }
  return values
}

/** A whole number from a JSON body, or undefined where it is absent or null. */
export function optionalInteger(fields: Fields, name: string, least: number, most: number): number | undefined {
  const value = fields.get(name) ?? undefined
  return value === undefined ? undefined : integerField(name, value, least, most)
}

/** A whole number from a query string or a path. */
export function integerText(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw invalid(`"${name}" must be a whole number from ${least} to ${most}`)
}

export function timestampText(name: string, text: string): number {
  const time = parseTimestamp(text)
  if (time === null) throw invalid(`"${name}" must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z`)
  return time
}

export function idsOf(fields: Fields): MessageId[] {
  const ids = fields.get('ids')
  if (!Array.isArray(ids)) throw invalid('"ids" must be a list of message ids')
  if (ids.length > LIMITS.idsPerFrame) throw invalid(`at most ${LIMITS.idsPerFrame} ids a request`)
  return ids.map(parseMessageId)
}

export function reasonOf(fields: Fields): string | undefined {
  const reason = fields.get('reason') ?? undefined
  return reason === undefined ? undefined : stringField('reason', reason).slice(0, LIMITS.reasonBytes)
}

export function invalid(detail: string): TidingsError {
  return new TidingsError('invalid_argument', detail)
}
