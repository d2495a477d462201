/**
 * The bytes of one record: what a producer builds once and what then lies on disk, on followers and
 * at binary consumers unchanged. Integers are big-endian. A record knows neither its offset nor its
 * time: those belong to the batch around it.
 *
 *    0  u32  length            bytes of the record after this field
 *    4  u8   attributes        bit 0 has a key, bit 1 value checked, bit 2 expires
 *    5  u8   content type      a code of CONTENT_TYPES, or 255: first header entry, with an empty name
 *    6  u16  key length
 *    8  u16  headers length    bytes of the header entries
 *   10  u8   idempotency key length (0: none)
 *   11  u8   0
 *   12  [u64 expiresAt]        milliseconds since the epoch; only with bit 2
 *       key · idempotency key · headers · value (the rest)
 *
 * A header entry: u8 name length, u16 value length, name, value, all UTF-8.
 * "Value checked" says that whoever wrote the record proved that the value is what its content type
 * claims (JSON parses, text is UTF-8), so that a JSON reader need not prove it again.
 */

export const RECORD_HEADER_BYTES = 12

export const HAS_KEY = 1
export const VALUE_CHECKED = 2
export const EXPIRES = 4

/** Content types common enough to be one byte. Append only: the position is on disk. */
export const CONTENT_TYPES: readonly string[] = [
  'application/octet-stream',
  'application/json',
  'text/plain',
  'text/plain; charset=utf-8',
  'application/json; charset=utf-8',
]
export const CONTENT_TYPE_NAMED = 255

export interface RecordInput {
  key: Uint8Array | null
  value: Uint8Array
  contentType: string
  /** Lower-case name and value, in order. */
  headers: readonly (readonly [string, string])[]
  idempotencyKey: Uint8Array | null
  /** Milliseconds since the epoch, or null. */
  expiresAt: number | null
  valueChecked: boolean
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The record's bytes. Lengths were checked before (LIMITS); a longer part is a RangeError here. */
export function encodeRecord(input: RecordInput): Uint8Array {
  const { key, value, idempotencyKey, expiresAt } = input
  const code = CONTENT_TYPES.indexOf(input.contentType)
  const headers = encodeHeaders(code === -1 ? [['', input.contentType], ...input.headers] : input.headers)
  const keyLength = key?.length ?? 0
  const idempotencyLength = idempotencyKey?.length ?? 0
  if (keyLength > 0xffff || headers.length > 0xffff || idempotencyLength > 0xff) {
    throw new RangeError('record part too long')
  }
  const valueAt = RECORD_HEADER_BYTES + (expiresAt === null ? 0 : 8) + keyLength + idempotencyLength + headers.length
  const bytes = new Uint8Array(valueAt + value.length)
  putU32(bytes, 0, bytes.length - 4)
  bytes[4] = (key ? HAS_KEY : 0) | (input.valueChecked ? VALUE_CHECKED : 0) | (expiresAt === null ? 0 : EXPIRES)
  bytes[5] = code === -1 ? CONTENT_TYPE_NAMED : code
  putU16(bytes, 6, keyLength)
  putU16(bytes, 8, headers.length)
  bytes[10] = idempotencyLength
  let at = RECORD_HEADER_BYTES
  if (expiresAt !== null) {
    putU64(bytes, at, expiresAt)
    at += 8
  }
  if (key) bytes.set(key, at)
  at += keyLength
  if (idempotencyKey) bytes.set(idempotencyKey, at)
  at += idempotencyLength
  bytes.set(headers, at)
  bytes.set(value, valueAt)
  return bytes
}

/** Header entries as they stand in a record. Lengths were checked before. */
export function encodeHeaders(entries: readonly (readonly [string, string])[]): Uint8Array {
  if (entries.length === 0) return new Uint8Array(0)
  const parts: Uint8Array[] = []
  let total = 0
  for (const [name, value] of entries) {
    const nameBytes = encoder.encode(name)
    const valueBytes = encoder.encode(value)
    if (nameBytes.length > 0xff || valueBytes.length > 0xffff) throw new RangeError('header too long')
    const entry = new Uint8Array(3 + nameBytes.length + valueBytes.length)
    entry[0] = nameBytes.length
    putU16(entry, 1, valueBytes.length)
    entry.set(nameBytes, 3)
    entry.set(valueBytes, 3 + nameBytes.length)
    parts.push(entry)
    total += entry.length
  }
  if (parts.length === 1) return parts[0]!
  const all = new Uint8Array(total)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/**
 * Whether the bytes from `at` to `end` begin with a whole, well-formed record: every inner length
 * fits. Answers the position after it, or -1.
 */
export function recordEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at + RECORD_HEADER_BYTES > end) return -1
  const next = at + 4 + getU32(bytes, at)
  if (next > end || recordValueAt(bytes, at) > next) return -1
  return next
}

/** Where the value begins; it ends where the record does. */
export function recordValueAt(bytes: Uint8Array, at: number): number {
  return recordHeadersAt(bytes, at) + getU16(bytes, at + 8)
}

function recordHeadersAt(bytes: Uint8Array, at: number): number {
  return recordKeyAt(bytes, at) + getU16(bytes, at + 6) + bytes[at + 10]!
}

/** Where the key begins, or would: it ends `recordKeyLength` later. */
export function recordKeyAt(bytes: Uint8Array, at: number): number {
  return at + RECORD_HEADER_BYTES + (bytes[at + 4]! & EXPIRES ? 8 : 0)
}

/** Bytes of the key; 0 where there is none. */
export function recordKeyLength(bytes: Uint8Array, at: number): number {
  return getU16(bytes, at + 6)
}

export function recordKey(bytes: Uint8Array, at: number): Uint8Array | null {
  if (!(bytes[at + 4]! & HAS_KEY)) return null
  const from = recordKeyAt(bytes, at)
  return bytes.subarray(from, from + getU16(bytes, at + 6))
}

export function recordIdempotencyKey(bytes: Uint8Array, at: number): Uint8Array | null {
  const length = bytes[at + 10]!
  if (length === 0) return null
  const from = recordKeyAt(bytes, at) + getU16(bytes, at + 6)
  return bytes.subarray(from, from + length)
}

/** Milliseconds since the epoch after which the record is not delivered, or null. */
export function recordExpiresAt(bytes: Uint8Array, at: number): number | null {
  return bytes[at + 4]! & EXPIRES ? getU64(bytes, at + RECORD_HEADER_BYTES) : null
}

export function recordValueChecked(bytes: Uint8Array, at: number): boolean {
  return (bytes[at + 4]! & VALUE_CHECKED) !== 0
}

export function recordContentType(bytes: Uint8Array, at: number): string {
  return CONTENT_TYPES[bytes[at + 5]!] ?? recordHeaders(bytes, at).contentType
}

/** The content type and the headers, in the order in which they were given. */
export function recordHeaders(bytes: Uint8Array, at: number): { contentType: string; headers: [string, string][] } {
  const headers: [string, string][] = []
  let contentType = CONTENT_TYPES[bytes[at + 5]!] ?? ''
  let position = recordHeadersAt(bytes, at)
  const end = position + getU16(bytes, at + 8)
  while (position + 3 <= end) {
    const valueFrom = position + 3 + bytes[position]!
    const valueEnd = valueFrom + getU16(bytes, position + 1)
    if (valueEnd > end) break
    const name = utf8(bytes, position + 3, valueFrom)
    const value = utf8(bytes, valueFrom, valueEnd)
    if (name === '') contentType = value
    else headers.push([name, value])
    position = valueEnd
  }
  return { contentType, headers }
}

/** UTF-8 bytes as text; short ASCII, the common case, without the decoder's call overhead. */
export function utf8(bytes: Uint8Array, from: number, to: number): string {
  if (to - from > 24) return decoder.decode(bytes.subarray(from, to))
  let text = ''
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!
    if (byte > 0x7f) return decoder.decode(bytes.subarray(from, to))
    text += String.fromCharCode(byte)
  }
  return text
}

export function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}

/** Writes a non-negative safe integer as 64 bits. */
export function putU64(bytes: Uint8Array, at: number, value: number): void {
  putU32(bytes, at, Math.floor(value / 0x1_0000_0000))
  putU32(bytes, at + 4, value >>> 0)
}

export function getU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}

export function getU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

/** Reads 64 bits as a number; above 2^53 it is inexact, which every caller treats as invalid. */
export function getU64(bytes: Uint8Array, at: number): number {
  return getU32(bytes, at) * 0x1_0000_0000 + getU32(bytes, at + 4)
}
