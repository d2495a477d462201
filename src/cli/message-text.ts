/** A delivered message as a line: for a person, or as JSON for a program. Pure. */
import { printable } from './printable.ts'

export interface Shown {
  id: string
  topic: string
  partition: number
  offset: number
  key: string | null
  value: unknown
  headers: Readonly<Record<string, string>>
  contentType: string
  timestamp: string
  attempt: number
}

/** The JSON form of API.md: `value`, or `base64` for bytes. */
export function messageJson(message: Shown): string {
  const { id, topic, partition, offset, key, value, headers, contentType, timestamp, attempt } = message
  const carried = value instanceof Uint8Array ? { base64: base64Of(value) } : { value }
  return `${JSON.stringify({ id, topic, partition, offset, key, ...carried, contentType, headers, timestamp, attempt })}\n`
}

/** `withTopic`: of a pattern, where the id says it. */
export function messageLine(message: Shown): string {
  const { id, key, value, headers, timestamp, attempt } = message
  const named = Object.entries(headers).map(([name, text]) => `${name}=${text}`)
  const parts = [
    id,
    timestamp,
    ...(key === null ? [] : [`[${key}]`]),
    valueText(value),
    ...named,
    ...(attempt > 1 ? [`attempt ${attempt}`] : []),
  ]
  return `${parts.map(printable).join('  ')}\n`
}

function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes ${base64Of(value)}`
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}
