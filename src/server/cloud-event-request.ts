/**
 * CloudEvents in a request body (structured and batched mode of the HTTP binding, JSON format 1.0.2) as the
 * messages that the same events would be in binary mode: attributes become `ce-*` headers, `data` the
 * value, `datacontenttype` its content type. The whole event is checked, for unlike the headers of binary
 * mode, which are kept as they come, it is the request. Pure; called by publish-routes.ts.
 */
import {
  CLOUDEVENT_BATCH_CONTENT_TYPE,
  CLOUDEVENT_BINARY_MODE,
  CLOUDEVENT_CONTENT_TYPE,
  CLOUDEVENTS_PREFIX,
  LIMITS,
  TidingsError,
} from '@tidings/sdk/protocol'
import type { PublishInput } from '../partition/topic.ts'
import { type BatchEntries, bodyText, isObject, named, parse } from './batch-request.ts'
import { declaresJson, decodeAttribute, encodeAttribute } from './cloud-event-text.ts'
import { invalid } from './json-request.ts'
import { elementSpans, memberSpan, type Span } from './json-span.ts'
import { checkHeaders, contentType, messageKey } from './publish-request.ts'

const REQUIRED = ['id', 'source', 'type'] as const
/** Attributes of the specification that may not be empty when they are there. */
const NOT_EMPTY = new Set(['subject', 'dataschema', 'datacontenttype', 'time'])
const NAME = /^[a-z0-9]+$/
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i
// What the type String leaves out: control characters, halves of surrogate pairs, noncharacters.
const NOT_IN_STRINGS = /[\p{Cc}\p{Surrogate}\p{Noncharacter_Code_Point}]/u
const HEADER_VALUE = /^[\x20-\x7e]+$/
const CHARSET = /;\s*charset\s*=\s*"?([^\s;"]+)/i
const UTF8 = new Set(['utf-8', 'utf8', 'us-ascii'])
/** Every type that begins so is one of an event, or of some. */
const EVENTS = /^application\/cloudevents(?:[+-]|$)/
const INTEGER_MAX = 2 ** 31

/**
 * What a request's content type makes of its body; null: a message like any other, or an event in binary mode.
 * `unsupported_media_type`: it says that the body is an event, in a form that we cannot read.
 */
export function eventMode(contentType: string | undefined): 'structured' | 'batched' | null {
  // Most content types are shorter than any of these, and a publish is to pay for no more than that.
  if (contentType === undefined || contentType.length < CLOUDEVENT_BINARY_MODE.length) return null
  const media = contentType.split(';', 1)[0]!.trim().toLowerCase()
  if (!EVENTS.test(media)) return null
  if (media !== CLOUDEVENT_CONTENT_TYPE && media !== CLOUDEVENT_BATCH_CONTENT_TYPE) {
    const known = `${CLOUDEVENT_CONTENT_TYPE} and ${CLOUDEVENT_BATCH_CONTENT_TYPE}`
    throw new TidingsError('unsupported_media_type', `${media}: events are read in the JSON format only, as ${known}`)
  }
  const charset = CHARSET.exec(contentType)?.[1]?.toLowerCase() ?? 'utf-8'
  if (!UTF8.has(charset)) throw new TidingsError('unsupported_media_type', `charset ${charset}: send events as UTF-8`)
  return media === CLOUDEVENT_CONTENT_TYPE ? 'structured' : 'batched'
}

/** Completes what the request's headers said with the one event of its body. Throws `invalid_argument`. */
export function readEvent(body: Buffer, input: PublishInput): void {
  const text = bodyText(body)
  const event = eventOf(parse(text, 'the body is not JSON'), text, { from: 0, to: text.length })
  input.value = event.value
  input.valueChecked = event.valueChecked
  input.contentType = event.contentType
  input.key ??= event.key
  // The body may come with its attributes as headers too; what counts is the body.
  const others = input.headers.filter(([name]) => !name.startsWith(CLOUDEVENTS_PREFIX))
  input.headers = [...event.headers, ...others]
  checkHeaders(input.headers)
}

/** A list of events. The error names the entry by its index. Throws `invalid_argument`. */
export function parseEventBatch(body: Buffer): BatchEntries {
  const text = bodyText(body)
  const place = (index: number): string => `event ${index}`
  const events = parse(text, 'the body is not JSON')
  if (!Array.isArray(events)) throw invalid('the body must be a list of events')
  if (events.length > LIMITS.batchCount) throw invalid(`a batch may have at most ${LIMITS.batchCount} messages`)
  const spans = elementSpans(text, 0)
  return { place, inputs: events.map((event, i) => named(place, i, () => eventOf(event, text, spans[i]!))) }
}

/** In binary mode, where attributes are headers, an event's `partitionkey` is the key as it is in the other modes. */
export function keyOfHeaders(headers: PublishInput['headers']): Buffer | null {
  if (!headers.some(([name]) => name === `${CLOUDEVENTS_PREFIX}specversion`)) return null
  const key = headers.find(([name]) => name === `${CLOUDEVENTS_PREFIX}partitionkey`)
  return key ? messageKey(Buffer.from(decodeAttribute(key[1]))) : null
}

function eventOf(event: unknown, text: string, span: Span): PublishInput {
  if (!isObject(event)) throw invalid('an event must be a JSON object')
  checkRequired(event)
  const headers: [string, string][] = []
  for (const [name, value] of Object.entries(event)) {
    if (name === 'data' || name === 'data_base64' || name === 'datacontenttype' || value === null) continue
    headers.push([`${CLOUDEVENTS_PREFIX}${checkedName(name)}`, encodeAttribute(attributeText(name, value))])
  }
  checkHeaders(headers)
  const key = event['partitionkey'] ?? null
  return {
    key: key === null ? null : messageKey(Buffer.from(attributeText('partitionkey', key))),
    ...dataOf(event, text, span),
    headers,
    idempotencyKey: null,
    partition: null,
    ttlMs: null,
  }
}

function checkRequired(event: Record<string, unknown>): void {
  const version = event['specversion'] ?? null
  if (version === null) throw invalid('the attribute "specversion" is missing')
  if (version !== '1.0') throw invalid(`"specversion" must be "1.0"`)
  for (const name of REQUIRED) {
    const value = event[name] ?? null
    if (value === null) throw invalid(`the attribute "${name}" is missing`)
    if (typeof value !== 'string' || value === '') throw invalid(`"${name}" must be a string that is not empty`)
  }
}

function checkedName(name: string): string {
  if (NAME.test(name)) return name
  throw invalid(`attribute ${JSON.stringify(name.slice(0, 60))}: names are lower-case letters a-z and digits`)
}

/** The canonical string of an attribute of any type. */
function attributeText(name: string, value: unknown): string {
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (Number.isInteger(value) && value >= -INTEGER_MAX && value < INTEGER_MAX) return String(value)
    throw invalid(`"${name}" must be a whole number of 32 bits, or a string`)
  }
  if (typeof value !== 'string') throw invalid(`"${name}" must be a string, a whole number or a boolean`)
  if (value === '' && NOT_EMPTY.has(name)) throw invalid(`"${name}" may be left out, but not empty`)
  if (NOT_IN_STRINGS.test(value)) throw invalid(`"${name}" has a character that no attribute may have`)
  if (name === 'time' && !TIME.test(value)) throw invalid('"time" must be an RFC 3339 time')
  return value
}

/** `data` in the form that its content type asks for, or `data_base64`; neither is an empty value. */
function dataOf(
  event: Record<string, unknown>,
  text: string,
  span: Span,
): Pick<PublishInput, 'value' | 'valueChecked' | 'contentType'> {
  const type = dataTypeOf(event)
  const isBinary = (event['data_base64'] ?? null) !== null
  const hasData = Object.hasOwn(event, 'data')
  if (isBinary && hasData) throw invalid('give "data" or "data_base64", not both')
  if (isBinary) return { value: base64Of(event['data_base64']), valueChecked: false, contentType: type ?? BYTES }
  if (!hasData) return { value: Buffer.alloc(0), valueChecked: false, contentType: type ?? BYTES }
  const known = type ?? 'application/json'
  if (declaresJson(known)) {
    const { from, to } = memberSpan(text, span.from, 'data') ?? span
    return { value: Buffer.from(text.slice(from, to)), valueChecked: true, contentType: known }
  }
  // Checked: proven to be text, whatever the type is, so that it goes out as "data" again.
  return { value: textOf(event['data'], known), valueChecked: true, contentType: known }
}

const BYTES = 'application/octet-stream'

function dataTypeOf(event: Record<string, unknown>): string | null {
  const type = event['datacontenttype'] ?? null
  if (type === null) return null
  const text = attributeText('datacontenttype', type)
  if (!HEADER_VALUE.test(text)) throw invalid('"datacontenttype" is not a media type')
  return contentType(text)
}

function textOf(data: unknown, type: string): Buffer {
  if (typeof data !== 'string') {
    throw invalid('"data" must be a string, because "datacontenttype" is not JSON; bytes go into "data_base64"')
  }
  const charset = CHARSET.exec(type)?.[1]?.toLowerCase() ?? 'utf-8'
  if (!UTF8.has(charset)) {
    throw invalid(`"data" of charset ${charset} must go into "data_base64", as bytes of that charset`)
  }
  if (/\p{Surrogate}/u.test(data)) throw invalid('"data" has half a surrogate pair, which UTF-8 cannot hold')
  return Buffer.from(data)
}

function base64Of(data: unknown): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'base64') : null
  if (bytes && bytes.toString('base64') === data) return bytes
  throw invalid('"data_base64" is not base64 (the standard alphabet, with padding)')
}
