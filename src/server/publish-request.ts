/**
 * What a publish request says, as a message to store: the request's headers read and checked against
 * the limits, the body taken as it is. Pure: called by publish-routes.ts for every single publish, so
 * it looks at each header once and allocates only what the message keeps.
 */
import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import {
  CLOUDEVENTS_PREFIX,
  HEADER,
  KEPT_HEADERS,
  LIMITS,
  MESSAGE_HEADER_PREFIX,
  REDRIVEN_TO_HEADER,
} from '@tidings/sdk/protocol'
import type { PublishInput } from '../partition/topic.ts'
import { integerText, invalid, timestampText } from './json-request.ts'

/** Longest time to live: a hundred years, which keeps every expiry a safe integer. */
export const TTL_MS_MAX = 3_155_760_000_000

const DEFAULT_CONTENT_TYPE = 'application/octet-stream'
const NO_VALUE = new Uint8Array(0)
const NO_HEADERS: PublishInput['headers'] = []

/**
 * Everything but the value, which is still on its way; `now` (wall time) is asked for a delay alone. Throws
 * `invalid_argument`.
 */
export function parsePublishHeaders(headers: IncomingHttpHeaders, now: () => number): PublishInput {
  const input: PublishInput = {
    key: null,
    value: NO_VALUE,
    contentType: DEFAULT_CONTENT_TYPE,
    headers: NO_HEADERS,
    idempotencyKey: null,
    partition: null,
    ttlMs: null,
    deliverAt: null,
    valueChecked: false,
  }
  let kept: [string, string][] | undefined
  for (const name in headers) {
    const value = headers[name]
    if (typeof value !== 'string') continue
    // First letters tell most headers apart at once: content-type and ce-*, tidings-* and trace*, …
    switch (name.charCodeAt(0)) {
      case 0x74:
        if (name.startsWith('tidings-')) {
          if (name.startsWith(MESSAGE_HEADER_PREFIX)) {
            kept ??= []
            kept.push([headerName(name), headerText(name, value)])
          } else readTidingsHeader(input, name, value, now)
          continue
        }
        break
      case 0x63:
        if (name === 'content-type') {
          if (value !== '') input.contentType = contentType(headerText(name, value))
          continue
        }
        break
      case 0x69:
        if (name === HEADER.idempotencyKey) input.idempotencyKey = idempotencyKey(headerBytes(name, value))
        continue
      default:
    }
    if (isKept(name)) {
      kept ??= []
      kept.push([name, headerText(name, value)])
    }
  }
  if (kept) {
    checkHeaders(kept)
    input.headers = kept
  }
  return input
}

function readTidingsHeader(input: PublishInput, name: string, value: string, now: () => number): void {
  switch (name) {
    case HEADER.key:
      input.key = messageKey(headerBytes(name, value))
      return
    case HEADER.partition:
      input.partition = integerText(name, value, 0, 0xffff_ffff)
      return
    case HEADER.ttlMs:
      input.ttlMs = integerText(name, value, 1, TTL_MS_MAX)
      return
    case HEADER.delayMs:
      schedule(input, name, delayed(integerText(name, value, 0, LIMITS.scheduleAheadMs), now))
      return
    case HEADER.deliverAt:
      schedule(input, name, dueAt(name, value, now))
      return
    default:
      // A misspelt header must not silently lose what it asked for.
      throw invalid(`unknown request header "${name}"`)
  }
}

function schedule(input: PublishInput, name: string, deliverAt: number): void {
  if (input.deliverAt !== null) throw invalid(`${name}: give ${HEADER.delayMs} or ${HEADER.deliverAt}, not both`)
  input.deliverAt = deliverAt
}

/** A time at which a message may be due: not more than ten years ahead. */
export function dueAt(name: string, text: string, now: () => number): number {
  const time = timestampText(name, text)
  if (time - now() <= LIMITS.scheduleAheadMs) return time
  throw invalid(`"${name}": a message can be scheduled for ${LIMITS.scheduleAheadMs} ms (ten years) ahead at most`)
}

/** When a message that is delayed from now on is due. */
export function delayed(delayMs: number, now: () => number): number {
  return Math.floor(now()) + delayMs
}

function isKept(name: string): boolean {
  return name.startsWith(CLOUDEVENTS_PREFIX) || KEPT_HEADERS.includes(name)
}

function headerName(name: string): string {
  const kept = name.slice(MESSAGE_HEADER_PREFIX.length)
  if (kept === '') throw invalid(`"${name}": the header has no name`)
  return kept
}

/** The bytes that came over the wire: Node hands them out as latin1. */
function headerBytes(name: string, value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  if (!isUtf8(bytes)) throw invalid(`"${name}" is not UTF-8`)
  return bytes
}

function headerText(name: string, value: string): string {
  for (let i = 0; i < value.length; i++) {
    if (value.charCodeAt(i) > 0x7f) return headerBytes(name, value).toString('utf8')
  }
  return value
}

export function messageKey(bytes: Buffer): Buffer {
  if (bytes.length > LIMITS.keyBytes) throw invalid(`the key is longer than ${LIMITS.keyBytes} bytes`)
  return bytes
}

export function idempotencyKey(bytes: Buffer): Buffer {
  const max = LIMITS.idempotencyKeyBytes
  if (bytes.length === 0 || bytes.length > max) throw invalid(`the idempotency key must have 1 to ${max} bytes`)
  if (bytes[0] === 0) throw invalid("an idempotency key that begins with a zero byte is the broker's own")
  return bytes
}

export function contentType(text: string): string {
  if (text === DEFAULT_CONTENT_TYPE || text === 'application/json') return text
  const bytes = Buffer.byteLength(text)
  if (bytes === 0 || bytes > LIMITS.contentTypeBytes) {
    throw invalid(`the content type must have 1 to ${LIMITS.contentTypeBytes} bytes`)
  }
  return text
}

/** Headers that a message keeps: their number, each length, all lengths together. */
export function checkHeaders(headers: readonly (readonly [string, string])[]): void {
  if (headers.length > LIMITS.headerCount) throw invalid(`a message may have at most ${LIMITS.headerCount} headers`)
  let total = 0
  for (const [name, value] of headers) {
    const nameBytes = Buffer.byteLength(name)
    if (nameBytes === 0 || nameBytes > 255) throw invalid('a header name must have 1 to 255 bytes')
    if (name === REDRIVEN_TO_HEADER) throw invalid(`the header "${name}" is the broker's own`)
    total += nameBytes + Buffer.byteLength(value)
  }
  if (total > LIMITS.headersBytes) {
    throw invalid(`the headers of a message may have at most ${LIMITS.headersBytes} bytes`)
  }
}
