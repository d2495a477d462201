/**
 * Small checks for JSON bodies and query strings: read what is known, refuse what is not. A key that
 * nobody reads would be a wish silently ignored. Pure; called by the routes.
 */
import { LIMITS, type MessageId, parseMessageId, parseTimestamp, type Position, TidingsError } from '@tidings/sdk/protocol'

export type JsonObject = Record<string, unknown>

/** The body as an object with no other keys than these; no body is an empty one. */
export function bodyObject(body: unknown, keys: readonly string[]): JsonObject {
  if (body === undefined || body === null) return {}
  if (typeof body !== 'object' || Array.isArray(body)) throw invalid('the body must be a JSON object')
  refuseOthers(Object.keys(body), keys, 'key')
  return body as JsonObject
}

/** The query parameters, each given once at most, with no others than these. */
export function queryOf(query: unknown, names: readonly string[]): Record<string, string> {
  const given = Object.entries(query as Record<string, string | string[]>)
  refuseOthers(
    given.map(([name]) => name),
    names,
    'query parameter',
  )
  const values: Record<string, string> = {}
  for (const [name, value] of given) {
    if (typeof value !== 'string') throw invalid(`query parameter "${name}" is given more than once`)
    values[name] = value
  }
  return values
}

function refuseOthers(given: readonly string[], known: readonly string[], what: string): void {
  const other = given.find((name) => !known.includes(name))
  if (other === undefined) return
  const list = known.length === 0 ? 'none is known here' : `known are ${known.join(', ')}`
  throw invalid(`unknown ${what} ${JSON.stringify(other.slice(0, 60))}: ${list}`)
}

/** A whole number from a JSON body; null and absent give the default. */
export function wholeNumber(body: JsonObject, name: string, from: number, to: number): number | undefined {
  const value = body[name]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= from && value <= to) return value
  throw invalid(`"${name}" must be a whole number from ${from} to ${to}`)
}

/** A whole number from a query string or a path. */
export function wholeNumberText(name: string, text: string, from: number, to: number): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (value >= from && value <= to) return value
  throw invalid(`"${name}" must be a whole number from ${from} to ${to}`)
}

export function timestampText(name: string, text: string): number {
  const time = parseTimestamp(text)
  if (time === null) throw invalid(`"${name}" must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z`)
  return time
}

export function idsOf(body: JsonObject): MessageId[] {
  const ids = body['ids']
  if (!Array.isArray(ids)) throw invalid('"ids" must be a list of message ids')
  if (ids.length > LIMITS.idsPerFrame) throw invalid(`at most ${LIMITS.idsPerFrame} ids a request`)
  return ids.map(parseMessageId)
}

export function reasonOf(body: JsonObject): string | undefined {
  const reason = body['reason']
  if (reason === undefined || reason === null) return undefined
  if (typeof reason !== 'string') throw invalid('"reason" must be a string')
  return reason.slice(0, LIMITS.reasonBytes)
}

/** A position as `start` and `seek` spell it. */
export function positionOf(value: unknown): Position {
  if (value === 'latest' || value === 'earliest') return value
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const entries = Object.entries(value)
    const [name, inner] = entries[0] ?? []
    if (entries.length === 1 && name === 'timestamp' && typeof inner === 'string') {
      timestampText('timestamp', inner)
      return { timestamp: inner }
    }
    if (entries.length === 1 && name === 'offsets') return { offsets: offsetsOf(inner) }
  }
  throw invalid('a position is "latest", "earliest", {"timestamp": RFC 3339} or {"offsets": {"0": 12}}')
}

function offsetsOf(value: unknown): Record<string, number> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('"offsets" must be an object')
  for (const [partition, offset] of Object.entries(value)) {
    if (!/^(0|[1-9]\d{0,9})$/.test(partition)) throw invalid('"offsets" is keyed by partition numbers')
    if (!Number.isSafeInteger(offset) || (offset as number) < 0) throw invalid('an offset is a whole number from 0')
  }
  return value as Record<string, number>
}

export function invalid(detail: string): TidingsError {
  return new TidingsError('invalid_argument', detail)
}
