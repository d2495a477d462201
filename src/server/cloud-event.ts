/**
 * A stored message as a CloudEvent, in all forms of an answer: JSON, or headers and body. One that was
 * published as an event, in whatever mode, comes out as that event; any other gets the attributes that
 * every event needs from where it lies. Added to both are the attributes that a consumer acknowledges
 * by. Pure; called by the pull and event routes.
 */
import { isUtf8 } from 'node:buffer'
import {
  CLOUDEVENTS_PREFIX,
  formatMessageId,
  formatTimestamp,
  recordEnd,
  recordHeaders,
  recordKey,
  recordValueAt,
  recordValueChecked,
  valueKind,
} from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import { declaresJson, decodeAttribute, encodeAttribute } from './cloud-event-text.ts'
import { type Place, valueMember } from './message-json.ts'

/** Of messages that were not published as events. */
const TYPE = 'tidings.message'
const REQUIRED = ['id', 'source', 'type']
const BYTES = 'application/octet-stream'
/** What cannot stand in a header, and so in no `Content-Type` of ours. */
const NOT_IN_HEADERS = /[^\x20-\x7e]/

type Attributes = Map<string, string | number>

interface CloudEvent {
  attributes: Attributes
  contentType: string
  value: Buffer
  isChecked: boolean
}

/** The event in the JSON format; `attempt` is null where nothing is delivered. */
export function eventJson(place: Place, batch: RecordBatch, offset: number, attempt: number | null): string {
  const { attributes, contentType, value, isChecked } = eventOf(place, batch, offset, attempt)
  let text = '{'
  for (const [name, attribute] of attributes) text += `"${name}":${JSON.stringify(attribute)},`
  if (value.length > 0 || contentType !== BYTES) text += `"datacontenttype":${JSON.stringify(contentType)},`
  if (value.length > 0) text += `${dataMember(value, contentType, isChecked)},`
  return `${text.slice(0, -1)}}`
}

/** The event in binary mode: its attributes as headers, its data as the body. */
export function eventMessage(
  place: Place,
  batch: RecordBatch,
  offset: number,
  attempt: number | null,
): { headers: Record<string, string>; body: Buffer } {
  const { attributes, contentType, value } = eventOf(place, batch, offset, attempt)
  const headers: Record<string, string> = { 'content-type': NOT_IN_HEADERS.test(contentType) ? BYTES : contentType }
  for (const [name, attribute] of attributes) {
    headers[`${CLOUDEVENTS_PREFIX}${name}`] = encodeAttribute(String(attribute))
  }
  return { headers, body: value }
}

function eventOf(place: Place, batch: RecordBatch, offset: number, attempt: number | null): CloudEvent {
  const { bytes } = batch
  const at = batch.positionOf(offset)
  const { contentType, headers } = recordHeaders(bytes, at)
  const key = recordKey(bytes, at)
  const attributes = published(headers) ?? placed(place, batch, offset)
  if (key && !attributes.has('partitionkey')) attributes.set('partitionkey', Buffer.from(key).toString('utf8'))
  // Other headers come along under the nearest name that an attribute may have.
  for (const [name, value] of headers) {
    const near = name.startsWith(CLOUDEVENTS_PREFIX) ? '' : name.replace(/[^a-z0-9]/g, '')
    if (near !== '' && !isTaken(near, attributes)) attributes.set(near, value)
  }
  attributes.set('tidingstopic', place.topic)
  attributes.set('tidingsid', (place.idPrefix ?? '') + formatMessageId(place.partition, offset))
  if (attempt !== null) attributes.set('tidingsattempt', attempt)
  return {
    attributes,
    contentType,
    value: bytes.subarray(recordValueAt(bytes, at), recordEnd(bytes, at, bytes.length)),
    isChecked: recordValueChecked(bytes, at),
  }
}

/** The attributes of a message whose headers make it an event; null when they do not. */
function published(headers: readonly (readonly [string, string])[]): Attributes | null {
  const attributes: Attributes = new Map()
  for (const [header, value] of headers) {
    if (!header.startsWith(CLOUDEVENTS_PREFIX)) continue
    const name = header.slice(CLOUDEVENTS_PREFIX.length)
    if (/^[a-z0-9]+$/.test(name) && name !== 'data' && name !== 'datacontenttype') {
      attributes.set(name, decodeAttribute(value))
    }
  }
  const isWhole = attributes.get('specversion') === '1.0' && REQUIRED.every((name) => attributes.get(name))
  return isWhole ? attributes : null
}

function placed({ topic, partition }: Place, batch: RecordBatch, offset: number): Attributes {
  return new Map([
    ['specversion', '1.0'],
    ['id', `${topic}/${formatMessageId(partition, offset)}`],
    ['source', `/v1/topics/${topic}`],
    ['type', TYPE],
    ['time', formatTimestamp(batch.timestamp)],
  ])
}

function isTaken(name: string, attributes: Attributes): boolean {
  return attributes.has(name) || name === 'data' || name === 'datacontenttype'
}

/** `"data":…` or `"data_base64":"…"`. */
function dataMember(value: Buffer, contentType: string, isChecked: boolean): string {
  const kind = valueKind(contentType)
  const isJson = declaresJson(contentType)
  // Text of a type that is not text/* was proven to be text when it came as an event.
  if (isChecked && kind === 'binary' && !isJson && isUtf8(value)) {
    return `"data":${JSON.stringify(value.toString('utf8'))}`
  }
  const member = valueMember(value, isJson ? 'application/json' : contentType, isChecked && kind === 'json')
  return member.startsWith('"value":') ? `"data":${member.slice(8)}` : `"data_base64":${member.slice(9)}`
}
