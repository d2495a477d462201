/**
 * One publish as an entry of a batch request: the value and what goes with it, checked against the protocol's
 * limits before anything is sent, as the JSON text that the broker reads. A codec; called by publisher.ts.
 */
import { toBase64 } from './base64.ts'
import { TidingsError } from './protocol/errors.ts'
import { LIMITS } from './protocol/limits.ts'
import { parseTimestamp, valueKind } from './protocol/message.ts'

export interface PublishOptions {
  /** Messages of one key stay in order, in one partition. */
  key?: string
  headers?: Record<string, string>
  partition?: number
  /** Default: `application/json`, for a Uint8Array `application/octet-stream`. */
  contentType?: string
  /** Not delivered after so long. */
  ttlMs?: number
  delayMs?: number
  /** A Date or an RFC 3339 text. */
  deliverAt?: Date | string
  /** Default: one of its own for every publish, so that repetitions by this client never double. */
  idempotencyKey?: string
  /** Takes the publish back while it has not been sent; see docs/SDK.md for what it means afterwards. */
  signal?: AbortSignal
  /** Longest wait for the receipt. Keep it under the topic's `deduplicationWindowMs`. */
  timeoutMs?: number
}

const encoder = new TextEncoder()
const NOT_ASCII = /[\u0080-\uffff]/

/** UTF-8 bytes of a text. */
export function utf8Bytes(text: string): number {
  return NOT_ASCII.test(text) ? encoder.encode(text).length : text.length
}

/** The entry's JSON text. Throws `invalid_argument` or `message_too_large`. */
export function encodeEntry(value: unknown, options: PublishOptions, idempotencyKey: string): string {
  checkText('idempotencyKey', idempotencyKey, 1, LIMITS.idempotencyKeyBytes)
  let text = `{"idempotencyKey":${JSON.stringify(idempotencyKey)}`
  const { key, headers, partition, ttlMs } = options
  if (key !== undefined) text += `,"key":${checkText('key', key, 0, LIMITS.keyBytes)}`
  if (headers !== undefined) text += headersMember(headers)
  if (partition !== undefined) text += `,"partition":${integer('partition', partition, 0, LIMITS.partitions - 1)}`
  if (ttlMs !== undefined) text += `,"ttlMs":${integer('ttlMs', ttlMs, 1, Number.MAX_SAFE_INTEGER)}`
  text += scheduleMember(options)
  return `${text}${valueMember(value, options.contentType)}}`
}

function valueMember(value: unknown, given: string | undefined): string {
  const isBytes = value instanceof Uint8Array
  const contentType = given ?? (isBytes ? 'application/octet-stream' : 'application/json')
  const type =
    contentType === 'application/json'
      ? ''
      : `,"contentType":${checkText('contentType', contentType, 1, LIMITS.contentTypeBytes)}`
  if (isBytes) {
    checkSize(value.length)
    return `${type},"base64":"${toBase64(value)}"`
  }
  switch (valueKind(contentType)) {
    case 'json':
      return `${type},"value":${jsonText(value)}`
    case 'text':
      if (typeof value !== 'string') throw invalid(`a value of type ${contentType} must be a string or a Uint8Array`)
      return `${type},"value":${checkText('value', value, 0, LIMITS.messageBytesCeiling)}`
    case 'binary':
      throw invalid(`a value of type ${contentType} must be a Uint8Array`)
  }
}

function jsonText(value: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new TidingsError('invalid_argument', 'the value cannot be written as JSON', { cause })
  }
  if (text === undefined) throw invalid(`a value of type ${typeof value} has no JSON`)
  checkSize(text.length)
  return text
}

function headersMember(headers: Record<string, string>): string {
  const names = Object.keys(headers)
  if (names.length > LIMITS.headerCount) throw invalid(`a message may have at most ${LIMITS.headerCount} headers`)
  let bytes = 0
  let text = ''
  for (const name of names) {
    const value = headers[name]
    text += `${text === '' ? '' : ','}${checkText('header name', name.toLowerCase(), 1, 255)}:`
    text += checkText(`header ${name}`, value, 0, LIMITS.headersBytes)
    bytes += utf8Bytes(name) + utf8Bytes(value as string)
  }
  if (bytes > LIMITS.headersBytes) {
    throw invalid(`the headers of a message may have at most ${LIMITS.headersBytes} bytes`)
  }
  return `,"headers":{${text}}`
}

function scheduleMember({ delayMs, deliverAt }: PublishOptions): string {
  if (delayMs !== undefined) {
    if (deliverAt !== undefined) throw invalid('give delayMs or deliverAt, not both')
    return `,"delayMs":${integer('delayMs', delayMs, 0, LIMITS.scheduleAheadMs)}`
  }
  if (deliverAt === undefined) return ''
  const isDate = deliverAt instanceof Date
  if (isDate ? Number.isNaN(deliverAt.getTime()) : parseTimestamp(deliverAt) === null) {
    throw invalid('deliverAt must be a Date or an RFC 3339 time')
  }
  return `,"deliverAt":"${isDate ? deliverAt.toISOString() : deliverAt}"`
}

/** The text as JSON, when it is a string of so many bytes that UTF-8 can hold. */
function checkText(name: string, text: unknown, min: number, max: number): string {
  if (typeof text !== 'string') throw invalid(`${name} must be a string`)
  const bytes = utf8Bytes(text)
  if (bytes < min || bytes > max) throw invalid(`${name} must have ${min} to ${max} bytes, not ${bytes}`)
  if (/\p{Surrogate}/u.test(text)) throw invalid(`${name} has half a surrogate pair, which UTF-8 cannot hold`)
  return JSON.stringify(text)
}

function checkSize(bytes: number): void {
  if (bytes <= LIMITS.messageBytesCeiling) return
  throw new TidingsError(
    'message_too_large',
    `no broker takes a value of more than ${LIMITS.messageBytesCeiling} bytes`,
  )
}

function integer(name: string, value: unknown, min: number, max: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
  throw invalid(`${name} must be a whole number from ${min} to ${max}`)
}

function invalid(detail: string): TidingsError {
  return new TidingsError('invalid_argument', detail)
}
