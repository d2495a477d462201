/**
 * One publish as a record's bytes: the value and what goes with it, checked against the protocol's limits before
 * anything is sent, written straight into the frame in which it travels. A codec; called by outbox.ts for every
 * publish, so texts are encoded once and not looked through before.
 */
import { integer, invalid } from './option-checks.ts'
import { TidingsError } from './protocol/errors.ts'
import * as LIMITS from './protocol/limits.ts'
import { parseTimestamp, valueKind } from './protocol/message.ts'
import type { KeyedEntry } from './protocol/publish-frames.ts'
import {
  CONTENT_TYPE_NAMED,
  CONTENT_TYPES,
  EXPIRES,
  encodeHeaders,
  HAS_KEY,
  putU16,
  putU32,
  putU64,
  RECORD_HEADER_BYTES,
} from './protocol/record.ts'

/** What goes with a published value. All of it may be left out. */
export interface PublishOptions {
  /** Messages of one key stay in order, in one partition. */
  key?: string
  /** Texts by name; names arrive in lower case. */
  headers?: Record<string, string>
  /** Instead of the one that the key chooses. */
  partition?: number
  /** Default: `application/json`, for a Uint8Array `application/octet-stream`. */
  contentType?: string
  /** Not delivered after so long. */
  ttlMs?: number
  /** Published so much later: the receipt has `scheduled`. */
  delayMs?: number
  /** A Date or an RFC 3339 text. */
  deliverAt?: Date | string
  /** Of yours, to publish the same again later, from another client too. The client's own repetitions need none. */
  idempotencyKey?: string
  /** Takes the publish back while it has not been sent; see docs/SDK.md for what it means afterwards. */
  signal?: AbortSignal
  /** Longest wait for the receipt. Keep it under five minutes, or the topic's `deduplicationWindowMs`. */
  timeoutMs?: number
}

export const PUBLISH_KNOWN: Readonly<Record<keyof PublishOptions, 1>> = {
  key: 1,
  headers: 1,
  partition: 1,
  contentType: 1,
  ttlMs: 1,
  delayMs: 1,
  deliverAt: 1,
  idempotencyKey: 1,
  signal: 1,
  timeoutMs: 1,
}

/** A publish that was found good, but for what only its bytes show. */
export interface Draft {
  value: string | Uint8Array
  contentType: string
  key: string | null
  headers: Uint8Array | null
  ttlMs: number | null
  /** Null, but for keyed drafts: those that ask for more than a place in a numbered frame. */
  idempotencyKey: string | null
  partition: number | null
  due: KeyedEntry['due']
}

const encoder = new TextEncoder()
const JSON_TYPE = 'application/json'
const BYTES_TYPE = 'application/octet-stream'
/** Texts that are longer are encoded apart, so that no room is kept for bytes that they will not have. */
const SHORT_CHARS = 4096

/** Throws `invalid_argument` or `message_too_large`. */
export function draftOf(value: unknown, options: PublishOptions): Draft {
  const { key, headers, partition, ttlMs, idempotencyKey } = options
  const isBytes = value instanceof Uint8Array
  const given = options.contentType
  const contentType = given === undefined ? (isBytes ? BYTES_TYPE : JSON_TYPE) : checkType(given)
  const isNamed = given !== undefined && !CONTENT_TYPES.includes(contentType)
  return {
    value: isBytes ? checkSize(value) : textOf(value, contentType),
    contentType,
    key: key === undefined ? null : checkText('key', key, LIMITS.keyBytes),
    headers: headers !== undefined || isNamed ? headerBytes(headers ?? {}, isNamed ? contentType : null) : null,
    ttlMs: ttlMs === undefined ? null : integer('ttlMs', ttlMs, 1),
    idempotencyKey: idempotencyKey === undefined ? null : checkKey(idempotencyKey),
    partition: partition === undefined ? null : integer('partition', partition, 0, LIMITS.partitions - 1),
    due: dueOf(options),
  }
}

/** Whether it has to travel in a keyed frame. */
export function isKeyed({ idempotencyKey, partition, due }: Draft): boolean {
  return idempotencyKey !== null || partition !== null || due !== null
}

/** More bytes than its record will have. */
export function draftRoom({ value, key, headers, idempotencyKey }: Draft): number {
  const valueBytes = typeof value === 'string' ? 3 * value.length : value.length
  const keyChars = (key?.length ?? 0) + (idempotencyKey?.length ?? 0)
  return RECORD_HEADER_BYTES + 8 + 3 * keyChars + (headers?.length ?? 0) + valueBytes
}

/** Writes the record at `at`, where `draftRoom` is; answers where it ends. Throws `invalid_argument`, `message_too_large`. */
export function writeDraft(bytes: Uint8Array, at: number, draft: Draft): number {
  const { value, key, headers, ttlMs, idempotencyKey } = draft
  let end = at + RECORD_HEADER_BYTES
  if (ttlMs !== null) {
    putU64(bytes, end, ttlMs)
    end += 8
  }
  const keyBytes = key === null ? 0 : writeText('key', key, 0, LIMITS.keyBytes, bytes, end)
  end += keyBytes
  const idempotencyBytes =
    idempotencyKey === null ? 0 : writeText('idempotencyKey', idempotencyKey, 1, LIMITS.idempotencyKeyBytes, bytes, end)
  end += idempotencyBytes
  if (headers) bytes.set(headers, end)
  end += headers?.length ?? 0
  if (typeof value === 'string') end += encoder.encodeInto(value, bytes.subarray(end)).written
  else {
    bytes.set(value, end)
    end += value.length
  }
  const code = CONTENT_TYPES.indexOf(draft.contentType)
  putU32(bytes, at, end - at - 4)
  bytes[at + 4] = (key === null ? 0 : HAS_KEY) | (ttlMs === null ? 0 : EXPIRES)
  bytes[at + 5] = code === -1 ? CONTENT_TYPE_NAMED : code
  putU16(bytes, at + 6, keyBytes)
  putU16(bytes, at + 8, headers?.length ?? 0)
  bytes[at + 10] = idempotencyBytes
  bytes[at + 11] = 0
  return end
}

function textOf(value: unknown, contentType: string): string | Uint8Array {
  switch (contentType === JSON_TYPE ? 'json' : valueKind(contentType)) {
    case 'json':
      return jsonText(value)
    case 'text':
      if (typeof value !== 'string') throw invalid(`a value of type ${contentType} must be a string or a Uint8Array`)
      if (isBroken(value)) throw halved('value')
      return long(value)
    case 'binary':
      throw invalid(`a value of type ${contentType} must be a Uint8Array`)
  }
}

function jsonText(value: unknown): string | Uint8Array {
  // Their JSON is `{}`, or an object with a key for each number.
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) throw invalid('bytes are given as a Uint8Array')
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw invalid('the value cannot be written as JSON', { cause })
  }
  if (text === undefined) throw invalid(`a value of type ${typeof value} has no JSON`)
  return long(text)
}

function long(text: string): string | Uint8Array {
  return text.length <= SHORT_CHARS ? text : checkSize(encoder.encode(text))
}

function headerBytes(headers: Record<string, string>, contentType: string | null): Uint8Array {
  // A Map or a Headers has no keys of its own.
  if (Symbol.iterator in Object(headers)) throw invalid('headers must be an object of texts by name')
  const names = Object.keys(headers)
  if (names.length > LIMITS.headerCount) throw invalid(`a message may have at most ${LIMITS.headerCount} headers`)
  let total = 0
  const byName = new Map<string, string>()
  for (const name of names) {
    const value = checkText(`header ${name}`, headers[name], LIMITS.headersBytes)
    const lower = checkText('header name', name.toLowerCase(), 255)
    const nameBytes = utf8Bytes(lower)
    if (nameBytes === 0 || nameBytes > 255) throw invalid(`a header name must have 1 to 255 bytes, not ${nameBytes}`)
    total += nameBytes + utf8Bytes(value)
    byName.set(lower, value)
  }
  if (total > LIMITS.headersBytes) {
    throw invalid(`the headers of a message may have at most ${LIMITS.headersBytes} bytes`)
  }
  return encodeHeaders(contentType === null ? [...byName] : [['', contentType], ...byName])
}

function dueOf({ delayMs, deliverAt }: PublishOptions): KeyedEntry['due'] {
  if (delayMs !== undefined) {
    if (deliverAt !== undefined) throw invalid('give delayMs or deliverAt, not both')
    return { kind: 'delay', ms: integer('delayMs', delayMs, 0, LIMITS.scheduleAheadMs) }
  }
  if (deliverAt === undefined) return null
  const ms = deliverAt instanceof Date ? deliverAt.getTime() : parseTimestamp(deliverAt)
  if (ms === null || !(ms >= 0)) throw invalid('deliverAt must be a Date or an RFC 3339 time')
  return { kind: 'at', ms }
}

function checkType(text: unknown): string {
  const type = checkText('contentType', text, LIMITS.contentTypeBytes)
  const bytes = utf8Bytes(type)
  if (bytes >= 1 && bytes <= LIMITS.contentTypeBytes) return type
  throw invalid(`contentType must have 1 to ${LIMITS.contentTypeBytes} bytes, not ${bytes}`)
}

function checkKey(text: unknown): string {
  const key = checkText('idempotencyKey', text, LIMITS.idempotencyKeyBytes)
  if (key.startsWith('\0')) throw invalid('an idempotencyKey that begins with a zero byte is the broker’s own')
  return key
}

/** A string that UTF-8 can hold, and that has no more characters than it may have bytes. */
function checkText(name: string, text: unknown, max: number): string {
  if (typeof text !== 'string') throw invalid(`${name} must be a string`)
  if (text.length > max) throw invalid(`${name} must have at most ${max} bytes, not ${utf8Bytes(text)}`)
  return text
}

/** Writes a text; answers its bytes. Only one that is not ASCII has to be looked through. */
function writeText(name: string, text: string, min: number, max: number, bytes: Uint8Array, at: number): number {
  const { written } = encoder.encodeInto(text, bytes.subarray(at))
  if (written < min || written > max) throw invalid(`${name} must have ${min} to ${max} bytes, not ${written}`)
  if (written !== text.length && isBroken(text)) throw halved(name)
  return written
}

function utf8Bytes(text: string): number {
  const { length } = encoder.encode(text)
  if (length !== text.length && isBroken(text)) throw halved('a text')
  return length
}

function isBroken(text: string): boolean {
  return /\p{Surrogate}/u.test(text)
}

function halved(name: string): TidingsError {
  return invalid(`${name} has half a surrogate pair, which UTF-8 cannot hold`)
}

function checkSize(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= LIMITS.messageBytesCeiling) return bytes
  throw new TidingsError(
    'message_too_large',
    `no broker takes a value of more than ${LIMITS.messageBytesCeiling} bytes`,
  )
}
