/**
 * A stored record as JSON text, made once and shared by everybody who reads it: consumers, pulls and
 * reads. What is kept with the batch is the text after the id; each reader puts its own beginning
 * before it, for ids differ: a pattern's begin with the topic. A value that is the JSON or the text it claims to be goes in as it is, byte
 * for byte; anything else is base64. Pure, except for the memo in the batch.
 */
import { isUtf8 } from 'node:buffer'
import {
  formatTimestamp,
  recordEnd,
  recordHeaders,
  recordKey,
  recordValueAt,
  recordValueChecked,
  valueKind,
} from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'

/** Where the record belongs: a batch knows its offsets only. */
export interface Place {
  topic: string
  partition: number
  /** What the id begins with; nothing outside of pattern subscriptions. */
  idPrefix?: string
}

/** The message as read without a subscription. */
export function messageJson(place: Place, batch: RecordBatch, offset: number): string {
  return `{${idMember(place, offset)}${messageTail(place, batch, offset)}`
}

/** The message as an element of a pull's answer. */
export function pulledJson(place: Place, batch: RecordBatch, offset: number, attempt: number): string {
  return `{"attempt":${attempt},${idMember(place, offset)}${messageTail(place, batch, offset)}`
}

/** The message as a frame of `tidings.json.v1`. */
export function messageFrame(place: Place, batch: RecordBatch, offset: number, attempt: number): string {
  return `{"type":"message","attempt":${attempt},${idMember(place, offset)}${messageTail(place, batch, offset)}`
}

function idMember({ idPrefix = '', partition }: Place, offset: number): string {
  return `"id":"${idPrefix}${partition}:${offset}",`
}

function messageTail(place: Place, batch: RecordBatch, offset: number): string {
  const index = offset - batch.baseOffset
  return (batch.json[index] ??= makeTail(place, batch, offset))
}

function makeTail(place: Place, batch: RecordBatch, offset: number): string {
  const { bytes } = batch
  const at = batch.positionOf(offset)
  const key = recordKey(bytes, at)
  const { contentType, headers } = recordHeaders(bytes, at)
  const value = bytes.subarray(recordValueAt(bytes, at), recordEnd(bytes, at, bytes.length))
  const { topic, partition } = place
  return (
    `"topic":${JSON.stringify(topic)},"partition":${partition},"offset":${offset},` +
    `"key":${key === null ? 'null' : JSON.stringify(Buffer.from(key).toString('utf8'))},` +
    `${valueMember(value, contentType, recordValueChecked(bytes, at))},` +
    `"contentType":${JSON.stringify(contentType)},"headers":${headersJson(headers)},` +
    `"timestamp":"${formatTimestamp(batch.timestamp)}"}`
  )
}

/** `"value":…` or `"base64":"…"`. */
export function valueMember(value: Buffer, contentType: string, isChecked: boolean): string {
  const kind = valueKind(contentType)
  if (kind !== 'binary' && (isChecked || isUtf8(value))) {
    const text = value.toString('utf8')
    if (kind === 'text') return `"value":${JSON.stringify(text)}`
    if (isChecked || isJson(text)) return `"value":${text}`
  }
  return `"base64":"${value.toString('base64')}"`
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function headersJson(headers: readonly (readonly [string, string])[]): string {
  if (headers.length === 0) return '{}'
  let text = '{'
  for (const [name, value] of headers) {
    text += `${text.length === 1 ? '' : ','}${JSON.stringify(name)}:${JSON.stringify(value)}`
  }
  return `${text}}`
}
