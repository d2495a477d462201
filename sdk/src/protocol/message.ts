/**
 * A message as both sides see it: its id, its JSON form, the receipt of its publish.
 */
import { TidingsError } from './errors.ts'

/** `"<partition>:<offset>"`, in pattern subscriptions `"<topic>/<partition>:<offset>"`. */
export interface MessageId {
  topic?: string
  partition: number
  offset: number
}

export function formatMessageId(partition: number, offset: number): string {
  return `${partition}:${offset}`
}

const ID = /^(?:([A-Za-z0-9][A-Za-z0-9._~-]{0,199})\/)?(0|[1-9]\d{0,9}):(0|[1-9]\d{0,15})$/

/** The parts of an id, or `invalid_argument`. */
export function parseMessageId(text: unknown): MessageId {
  const match = typeof text === 'string' ? ID.exec(text) : null
  const offset = Number(match?.[3])
  if (!match || !Number.isSafeInteger(offset)) {
    throw new TidingsError('invalid_argument', `message id ${shown(text)}: expected "<partition>:<offset>"`)
  }
  const id: MessageId = { partition: Number(match[2]), offset }
  if (match[1] !== undefined) id.topic = match[1]
  return id
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

/** The JSON form of a message, the same in and out of the broker. */
export interface MessageJson {
  id: string
  topic: string
  partition: number
  offset: number
  key: string | null
  /** The JSON value, or a string for `text/*`; absent when `base64` is there. */
  value?: unknown
  base64?: string
  contentType: string
  headers: Record<string, string>
  /** RFC 3339, UTC, milliseconds. */
  timestamp: string
  /** 1 on the first delivery; only in deliveries. */
  attempt?: number
}

export interface Receipt {
  partition: number
  offset: number
  id: string
  /** The Idempotency-Key was seen before; the position is that of the first. */
  duplicate?: true
}

/** What kind of value a content type claims: decides between `value` and `base64`. */
export function valueKind(contentType: string): 'json' | 'text' | 'binary' {
  if (contentType === 'application/json') return 'json'
  if (contentType === 'application/octet-stream') return 'binary'
  const semicolon = contentType.indexOf(';')
  const media = (semicolon === -1 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase()
  if (media === 'application/json' || media.endsWith('+json')) return 'json'
  return media.startsWith('text/') ? 'text' : 'binary'
}

const TIMESTAMP = /^(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/i

/** Milliseconds since the epoch of an RFC 3339 time, or null when it is none. */
export function parseTimestamp(text: string): number | null {
  const date = TIMESTAMP.exec(text)?.[1]
  if (date === undefined) return null
  // Date.parse rolls a day that its month does not have over into the next month: 30 February is a typing error.
  const midnight = Date.parse(`${date}T00:00:00Z`)
  if (Number.isNaN(midnight) || !new Date(midnight).toISOString().startsWith(date)) return null
  const time = Date.parse(text)
  return Number.isFinite(time) && time >= 0 ? time : null
}

let shownMs = Number.NaN
let shownTime = ''

/**
 * RFC 3339, UTC, milliseconds. The last answer is kept: the records of one batch, and the receipts of
 * one group commit, share their millisecond.
 */
export function formatTimestamp(ms: number): string {
  if (ms !== shownMs) {
    shownTime = new Date(ms).toISOString()
    shownMs = ms
  }
  return shownTime
}
