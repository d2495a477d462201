/**
 * A batch of messages as it stands in a request body (one JSON document, or NDJSON), as messages to
 * store. Values keep their exact bytes: json-span.ts cuts them out of the text that JSON.parse has
 * accepted. Everything is checked before anything is stored; the error names the entry. Pure: called
 * by publish-routes.ts.
 */
import { isUtf8 } from 'node:buffer'
import { LIMITS, TidingsError, valueKind } from '@tidings/sdk/protocol'
import { integerField } from '../base/field.ts'
import type { PublishInput } from '../partition/topic.ts'
import { invalid } from './json-request.ts'
import { elementSpans, memberSpan, type Span } from './json-span.ts'
import { checkHeaders, contentType, delayed, dueAt, idempotencyKey, messageKey, TTL_MS_MAX } from './publish-request.ts'

export interface BatchEntries {
  inputs: PublishInput[]
  /** How an error names an entry: by index, for NDJSON by line too. */
  place(index: number): string
}

const ENTRY_KEYS = new Set([
  'key',
  'value',
  'base64',
  'contentType',
  'headers',
  'partition',
  'idempotencyKey',
  'delayMs',
  'deliverAt',
  'ttlMs',
])

/** `{"messages":[…]}`; `now` is the wall time that delays count from. Throws `invalid_argument`. */
export function parseJsonBatch(body: Buffer, now: () => number): BatchEntries {
  const text = bodyText(body)
  const place = (index: number): string => `messages[${index}]`
  const document = parse(text, 'the body is not JSON')
  if (!isObject(document)) throw invalid('the body must be an object with a list "messages"')
  for (const name of Object.keys(document)) {
    if (name !== 'messages') throw invalid(`unknown key ${JSON.stringify(name.slice(0, 60))} beside "messages"`)
  }
  const messages = document['messages']
  if (!Array.isArray(messages)) throw invalid('"messages" must be a list')
  checkCount(messages.length)
  const list = memberSpan(text, 0, 'messages')
  const spans = list ? elementSpans(text, list.from) : []
  return { place, inputs: messages.map((entry, i) => named(place, i, () => parseEntry(entry, text, spans[i]!, now))) }
}

/** One entry a line; lines of nothing but white space are passed over. Throws `invalid_argument`. */
export function parseNdjsonBatch(body: Buffer, now: () => number): BatchEntries {
  const text = bodyText(body)
  const inputs: PublishInput[] = []
  const lines: number[] = []
  const place = (index: number): string => `message ${index} (line ${lines[index]})`
  let line = 0
  for (let from = 0; from < text.length; ) {
    let to = text.indexOf('\n', from)
    if (to === -1) to = text.length
    line++
    const entryText = text.slice(from, to)
    from = to + 1
    if (entryText.trim() === '') continue
    lines.push(line)
    checkCount(lines.length)
    inputs.push(
      named(place, lines.length - 1, () => {
        const entry = parse(entryText, 'not JSON')
        return parseEntry(entry, entryText, { from: 0, to: entryText.length }, now)
      }),
    )
  }
  return { place, inputs }
}

/** The error, naming the entry it is about; the code stays. */
export function atEntry(place: string, error: TidingsError): TidingsError {
  return new TidingsError(error.code, `${place}: ${error.message}`, { cause: error })
}

export function named<T>(place: (index: number) => string, index: number, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw TidingsError.is(error) ? atEntry(place(index), error) : error
  }
}

function checkCount(count: number): void {
  if (count > LIMITS.batchCount) throw invalid(`a batch may have at most ${LIMITS.batchCount} messages`)
}

export function bodyText(body: Buffer): string {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  return body.toString('utf8')
}

export function parse(text: string, complaint: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new TidingsError('invalid_argument', complaint, { cause: error })
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseEntry(entry: unknown, text: string, span: Span, now: () => number): PublishInput {
  if (!isObject(entry)) throw invalid('a message must be a JSON object')
  for (const name of Object.keys(entry)) {
    if (!ENTRY_KEYS.has(name)) throw invalid(`unknown key ${JSON.stringify(name.slice(0, 60))}`)
  }
  const type = isGiven(entry, 'contentType') ? contentType(stringOf(entry, 'contentType')) : 'application/json'
  return {
    key: isGiven(entry, 'key') ? messageKey(Buffer.from(stringOf(entry, 'key'))) : null,
    ...valueOf(entry, type, text, span),
    contentType: type,
    headers: isGiven(entry, 'headers') ? headersOf(entry['headers']) : [],
    idempotencyKey: isGiven(entry, 'idempotencyKey')
      ? idempotencyKey(Buffer.from(stringOf(entry, 'idempotencyKey')))
      : null,
    partition: isGiven(entry, 'partition') ? integerField('partition', entry['partition'], 0, 0xffff_ffff) : null,
    ttlMs: isGiven(entry, 'ttlMs') ? integerField('ttlMs', entry['ttlMs'], 1, TTL_MS_MAX) : null,
    deliverAt: deliverAtOf(entry, now),
  }
}

function deliverAtOf(entry: Record<string, unknown>, now: () => number): number | null {
  const isDelayed = isGiven(entry, 'delayMs')
  if (!isGiven(entry, 'deliverAt')) {
    return isDelayed ? delayed(integerField('delayMs', entry['delayMs'], 0, LIMITS.scheduleAheadMs), now) : null
  }
  if (isDelayed) throw invalid('give "delayMs" or "deliverAt", not both')
  return dueAt('deliverAt', stringOf(entry, 'deliverAt'), now)
}

/** Everything but the value may be null, which is the same as left out. */
function isGiven(entry: Record<string, unknown>, name: string): boolean {
  return entry[name] !== undefined && entry[name] !== null
}

/** The value of a message's JSON form, which stands at `span` of the text: the exact bytes of what is there. */
export function valueOf(
  entry: Record<string, unknown>,
  type: string,
  text: string,
  span: Span,
): { value: Buffer; valueChecked: boolean } {
  const hasValue = Object.hasOwn(entry, 'value')
  const hasBase64 = Object.hasOwn(entry, 'base64')
  if (hasValue === hasBase64) throw invalid('give "value" or "base64", one of the two')
  if (hasBase64) return { value: base64Of(entry), valueChecked: false }
  switch (valueKind(type)) {
    case 'json': {
      const { from, to } = memberSpan(text, span.from, 'value') ?? span
      return { value: Buffer.from(text.slice(from, to)), valueChecked: true }
    }
    case 'text':
      return { value: Buffer.from(stringOf(entry, 'value')), valueChecked: true }
    case 'binary':
      throw invalid('"value" is for JSON and text; this content type needs "base64"')
  }
}

function base64Of(entry: Record<string, unknown>): Buffer {
  const text = stringOf(entry, 'base64')
  const bytes = Buffer.from(text, 'base64')
  // Buffer skips what it does not understand, so only the way back proves that nothing was skipped.
  if (bytes.toString('base64') !== text) throw invalid('"base64" is not base64 (the standard alphabet, with padding)')
  return bytes
}

function headersOf(value: unknown): [string, string][] {
  if (!isObject(value)) throw invalid('"headers" must be an object of strings')
  const headers = new Map<string, string>()
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw invalid(`header ${JSON.stringify(name.slice(0, 60))} must be a string`)
    headers.set(wellFormed('headers', name).toLowerCase(), wellFormed('headers', text))
  }
  const entries = [...headers]
  checkHeaders(entries)
  return entries
}

function stringOf(entry: Record<string, unknown>, name: string): string {
  const value = entry[name]
  if (typeof value !== 'string') throw invalid(`"${name}" must be a string`)
  return wellFormed(name, value)
}

/** A lone surrogate has no UTF-8: stored, it would come back as something else. */
function wellFormed(name: string, text: string): string {
  if (/\p{Surrogate}/u.test(text)) throw invalid(`"${name}" has half a surrogate pair, which UTF-8 cannot hold`)
  return text
}
