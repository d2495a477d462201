/**
 * What a publisher's records must be before anything is stored: as docs/PROTOCOL.md says, within the same bounds as
 * messages that come over HTTP. Turns times to live into times. Pure, and hot: no object for a record of a usual kind.
 */
import { isUtf8 } from 'node:buffer'
import {
  CONTENT_TYPE_NAMED,
  CONTENT_TYPES,
  EXPIRES,
  getU16,
  HAS_KEY,
  type KeyedEntry,
  LIMITS,
  putU64,
  RECORD_HEADER_BYTES,
  REDRIVEN_TO_HEADER,
  recordEnd,
  recordExpiresAt,
  recordHeaders,
  recordIdempotencyKey,
  recordKey,
  recordValueAt,
  TidingsError,
  VALUE_CHECKED,
} from '@tidings/sdk/protocol'
import { EntryError, type PublishInput, type Topic } from '../partition/topic.ts'
import { delayed, idempotencyKey, TTL_MS_MAX } from './publish-request.ts'

const KNOWN_BITS = HAS_KEY | VALUE_CHECKED | EXPIRES
const REDRIVEN_TO = Buffer.from(REDRIVEN_TO_HEADER)

/** Checks the records of a numbered frame, and turns their times to live into times. Throws EntryError. */
export function checkRecords(records: Uint8Array, count: number, maxMessageBytes: number, now: () => number): void {
  let at = 0
  for (let i = 0; i < count; i++) {
    const end = recordEnd(records, at, records.length)
    const wrong = end === -1 ? 'the frame ends in it' : records[at + 10] !== 0 ? KEY_OF_ITS_OWN : flaw(records, at)
    if (wrong !== null) throw bad(i, wrong)
    if (end - at > maxMessageBytes) checkSize(end - recordValueAt(records, at), i, maxMessageBytes)
    if (records[at + 4]! & EXPIRES) putU64(records, at + RECORD_HEADER_BYTES, Math.floor(now()) + ttl(records, at, i))
    at = end
  }
  if (at !== records.length) {
    throw new TidingsError('invalid_argument', `${records.length - at} bytes stand behind the last record`)
  }
}

/** An entry of a keyed frame as a message that the topic would take. Throws EntryError. */
export function readEntry(
  { partition, due, record }: KeyedEntry,
  index: number,
  maxMessageBytes: number,
  now: () => number,
  topic: Pick<Topic, 'check'>,
): PublishInput {
  const wrong = flaw(record, 0)
  if (wrong !== null) throw bad(index, wrong)
  const key = recordIdempotencyKey(record, 0)
  try {
    if (key !== null) {
      // Keys that are not UTF-8 are the broker's own: one that a client made up would be taken for a message fired.
      if (!isText(key, 0, key.length)) throw bad(index, 'the idempotency key is not UTF-8')
      idempotencyKey(Buffer.from(key.buffer, key.byteOffset, key.length))
    }
    const input: PublishInput = {
      ...recordHeaders(record, 0),
      key: recordKey(record, 0),
      value: record.subarray(recordValueAt(record, 0)),
      idempotencyKey: key,
      partition,
      ttlMs: record[4]! & EXPIRES ? ttl(record, 0, index) : null,
      deliverAt: due === null ? null : dueTime(due, now),
      valueChecked: false,
    }
    checkSize(input.value.length, index, maxMessageBytes)
    topic.check(input)
    return input
  } catch (error) {
    throw error instanceof EntryError ? error : new EntryError(index, TidingsError.from(error))
  }
}

function checkSize(valueBytes: number, entry: number, maxMessageBytes: number): void {
  if (valueBytes <= maxMessageBytes) return
  throw new EntryError(
    entry,
    new TidingsError(
      'message_too_large',
      `the value has ${valueBytes} bytes, this broker takes at most ${maxMessageBytes}`,
    ),
  )
}

const KEY_OF_ITS_OWN = 'a message with an idempotency key goes into a keyed frame'

function dueTime({ kind, ms }: { kind: 'delay' | 'at'; ms: number }, now: () => number): number {
  const time = kind === 'delay' ? delayed(ms, now) : ms
  if (time - now() <= LIMITS.scheduleAheadMs) return time
  throw new TidingsError(
    'invalid_argument',
    `a message can be scheduled for ${LIMITS.scheduleAheadMs} ms (ten years) ahead at most`,
  )
}

function ttl(bytes: Uint8Array, at: number, entry: number): number {
  const ms = recordExpiresAt(bytes, at)!
  if (ms >= 1 && ms <= TTL_MS_MAX) return ms
  throw bad(entry, `its time to live is not 1 to ${TTL_MS_MAX} ms`)
}

/** What is wrong with a record whose lengths fit, or null. */
function flaw(bytes: Uint8Array, at: number): string | null {
  const bits = bytes[at + 4]!
  if ((bits & ~KNOWN_BITS) !== 0 || bytes[at + 11] !== 0) return 'it has bits that mean nothing'
  const keyBytes = getU16(bytes, at + 6)
  if (keyBytes > 0) {
    if (!(bits & HAS_KEY)) return 'it has the bytes of a key, and says that it has none'
    if (keyBytes > LIMITS.keyBytes) return `the key is longer than ${LIMITS.keyBytes} bytes`
    const keyAt = at + RECORD_HEADER_BYTES + (bits & EXPIRES ? 8 : 0)
    if (!isText(bytes, keyAt, keyAt + keyBytes)) return 'the key is not UTF-8'
  }
  const code = bytes[at + 5]!
  if (getU16(bytes, at + 8) > 0) return headersFlaw(bytes, at, code === CONTENT_TYPE_NAMED)
  return code < CONTENT_TYPES.length ? null : `there is no content type ${code}`
}

function headersFlaw(bytes: Uint8Array, at: number, hasNamedType: boolean): string | null {
  const to = recordValueAt(bytes, at)
  let position = to - getU16(bytes, at + 8)
  if (!isText(bytes, position, to)) return 'the headers are not UTF-8'
  let count = 0
  let total = 0
  for (let isFirst = true; position < to; isFirst = false) {
    if (position + 3 > to) return 'the headers end in the middle of one'
    const nameBytes = bytes[position]!
    const valueBytes = getU16(bytes, position + 1)
    const nameAt = position + 3
    position = nameAt + nameBytes + valueBytes
    if (position > to) return 'the headers end in the middle of one'
    const isType = nameBytes === 0
    if (isType !== (isFirst && hasNamedType)) {
      return 'a content type of its own, and nothing else, is a header without a name, the first one'
    }
    if (isType) {
      if (valueBytes === 0 || valueBytes > LIMITS.contentTypeBytes) {
        return `the content type must have 1 to ${LIMITS.contentTypeBytes} bytes`
      }
      continue
    }
    count++
    if (count > LIMITS.headerCount) return `a message may have at most ${LIMITS.headerCount} headers`
    total += nameBytes + valueBytes
    if (!isLowerCase(bytes, nameAt, nameAt + nameBytes)) return 'the name of a header is not in lower case'
    if (count > 1 && isRepeated(bytes, to - getU16(bytes, at + 8), nameAt, nameBytes))
      return 'two headers have one name'
    if (nameBytes === REDRIVEN_TO.length && REDRIVEN_TO.equals(bytes.subarray(nameAt, nameAt + nameBytes))) {
      return `the header "${REDRIVEN_TO_HEADER}" is the broker's own`
    }
  }
  if (total > LIMITS.headersBytes) return `the headers of a message may have at most ${LIMITS.headersBytes} bytes`
  return null
}

function isLowerCase(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!
    if (byte >= 0x41 && byte <= 0x5a) return false
    if (byte <= 0x7f) continue
    const text = Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('utf8')
    return text === text.toLowerCase()
  }
  return true
}

/** Whether a header from `from` on, before this one, has its name. */
function isRepeated(bytes: Uint8Array, from: number, nameAt: number, nameBytes: number): boolean {
  for (let at = from; at + 3 < nameAt; ) {
    const length = bytes[at]!
    if (length === nameBytes && isSame(bytes, at + 3, nameAt, nameBytes)) return true
    at += 3 + length + getU16(bytes, at + 1)
  }
  return false
}

function isSame(bytes: Uint8Array, one: number, other: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[one + i] !== bytes[other + i]) return false
  return true
}

/** Whether the bytes are UTF-8; short ASCII, the common case, without a call outside. */
function isText(bytes: Uint8Array, from: number, to: number): boolean {
  if (to - from > 64) return isUtf8(bytes.subarray(from, to))
  for (let i = from; i < to; i++) if (bytes[i]! > 0x7f) return isUtf8(bytes.subarray(from, to))
  return true
}

function bad(entry: number, wrong: string): EntryError {
  return new EntryError(entry, new TidingsError('invalid_argument', wrong))
}
