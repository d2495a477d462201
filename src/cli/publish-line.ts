/**
 * One line of a file of messages: what is published for it, or a TidingsError that says why it cannot be. Values keep their
 * exact bytes. Lines that `subscribe --json` printed are taken as well: where they lay before does not count. Pure.
 */
import type { PublishOptions } from '@tidings/sdk'
import { TidingsError, valueKind } from '@tidings/sdk/protocol'
import { memberSpan } from '../server/json-span.ts'

export interface Outgoing {
  value: Uint8Array
  options: PublishOptions
}

/** What a delivered message has beside what can be published. */
const OF_A_DELIVERY: ReadonlySet<string> = new Set(['id', 'topic', 'offset', 'timestamp', 'attempt'])
const encoder = new TextEncoder()
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/

/** `{"key","value"|"base64","contentType","headers","partition","idempotencyKey","delayMs","deliverAt","ttlMs"}` */
export function readMessageLine(line: string): Outgoing {
  const entry = parsed(line)
  if (entry === undefined) throw invalid('the line is not JSON')
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    throw invalid('the line is not a JSON object such as {"key":"ada","value":1}; use --lines for plain values')
  const { value, base64, contentType, partition, key, ...rest } = entry as Record<string, unknown>
  const isDelivered = 'id' in rest
  const options: Record<string, unknown> = {}
  // What was delivered goes where its key leads: the partition is of the topic that it came from.
  if (partition !== undefined && !isDelivered) options['partition'] = partition
  if (key !== undefined && key !== null) options['key'] = text('key', key)
  for (const [name, given] of Object.entries(rest)) {
    if (isDelivered && OF_A_DELIVERY.has(name)) continue
    if (!OPTIONS.has(name)) throw invalid(`${JSON.stringify(name)} is nothing that a message has`)
    if (name === 'headers') checkHeaders(given)
    options[name] = given
  }
  if (contentType !== undefined) options['contentType'] = text('contentType', contentType)
  else if (base64 === undefined) options['contentType'] = 'application/json'
  return { value: bytesOf(line, value, base64, options['contentType']), options: options as PublishOptions }
}

const OPTIONS: ReadonlySet<string> = new Set(['headers', 'idempotencyKey', 'delayMs', 'deliverAt', 'ttlMs'])

function bytesOf(line: string, value: unknown, base64: unknown, contentType: unknown): Uint8Array {
  if (base64 !== undefined) {
    if (value !== undefined) throw invalid('a message has "value" or "base64", not both')
    if (typeof base64 !== 'string' || !BASE64.test(base64)) throw invalid('"base64" is not base64')
    return Buffer.from(base64, 'base64')
  }
  if (value === undefined) throw invalid('the message has no "value" and no "base64"')
  const kind = valueKind(contentType as string)
  if (kind === 'binary') throw invalid(`a value of type ${String(contentType)} goes into "base64"`)
  if (kind === 'text') return encoder.encode(text('value', value))
  const { from, to } = memberSpan(line, 0, 'value')!
  return encoder.encode(line.slice(from, to))
}

function checkHeaders(headers: unknown): void {
  const isRight =
    typeof headers === 'object' &&
    headers !== null &&
    !Array.isArray(headers) &&
    Object.values(headers).every((value) => typeof value === 'string')
  if (!isRight) throw invalid('"headers" is an object of texts')
}

/** A whole value, as it looks: JSON, text, or bytes. */
export function readValue(bytes: Uint8Array, contentType: string | undefined): Outgoing {
  if (contentType !== undefined) {
    if (valueKind(contentType) === 'json' && parsed(decoded(bytes) ?? '') === undefined)
      throw invalid(`the value is not JSON, which ${contentType} claims`)
    return { value: bytes, options: { contentType } }
  }
  const content = decoded(bytes)
  if (content === null) return { value: bytes, options: { contentType: 'application/octet-stream' } }
  const isJson = parsed(content) !== undefined
  return { value: bytes, options: { contentType: isJson ? 'application/json' : 'text/plain' } }
}

function decoded(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return null
  }
}

function parsed(content: string): unknown {
  try {
    return JSON.parse(content) as unknown
  } catch {
    return undefined
  }
}

function text(name: string, value: unknown): string {
  if (typeof value === 'string') return value
  throw invalid(`"${name}" is not a text`)
}

function invalid(detail: string): TidingsError {
  return new TidingsError('invalid_argument', detail)
}
