/**
 * A decoder of segments as a stranger would write it, from docs/FORMAT.md and nothing else: it imports nothing of
 * ours, and knows no more of the broker than that page says.
 */
import { crc32 } from 'node:zlib'

export interface StrangeMessage {
  offset: number
  timestamp: number
  key: Buffer | null
  value: Buffer
  contentType: string
  headers: [string, string][]
  idempotencyKey: string | null
  expiresAt: number | null
}

export interface StrangeSegment {
  baseOffset: number
  nextOffset: number
  messages: StrangeMessage[]
}

const CONTENT_TYPES = [
  'application/octet-stream',
  'application/json',
  'text/plain',
  'text/plain; charset=utf-8',
  'application/json; charset=utf-8',
]

export function decodeSegment(bytes: Buffer): StrangeSegment {
  expectText(bytes, 0, 'TDSG')
  expectNumber('version', bytes.readUInt16BE(4), 2)
  expectNumber('CRC of the header', bytes.readUInt32BE(60), crc32(bytes.subarray(0, 60)))
  const nonce = bytes.subarray(28, 44)
  const footer = footerOf(bytes)
  if (!footer.subarray(64, 80).equals(nonce)) throw new Error('the footer has another nonce')
  const segment = { baseOffset: u64(bytes, 8), nextOffset: u64(bytes, 8), messages: [] as StrangeMessage[] }
  const dataEnd = u64(footer, 8)
  let batches = 0
  let digest = 0
  for (let at = 64; at < dataEnd; batches++) {
    const batch = bytes.subarray(at, at + bytes.readUInt32BE(at + 4))
    if (!batch.subarray(72, 80).equals(nonce.subarray(0, 8))) throw new Error('a batch of another segment')
    expectNumber('base offset', u64(batch, 16), segment.nextOffset)
    readBatch(batch, segment.messages)
    segment.nextOffset += batch.readUInt32BE(52)
    digest = crc32(batch.subarray(0, 16), digest)
    at += batch.length
  }
  expectNumber('end of the data', bytes.length - footer.length - 12, dataEnd)
  expectNumber('next offset', u64(footer, 16), segment.nextOffset)
  expectNumber('records', u64(footer, 32), segment.messages.length)
  expectNumber('batches', footer.readUInt32BE(40), batches)
  expectNumber('digest', footer.readUInt32BE(44), digest)
  return segment
}

/** Without the twelve bytes by which it is found. */
function footerOf(bytes: Buffer): Buffer {
  expectText(bytes, bytes.length - 4, 'TDFE')
  const length = bytes.readUInt32BE(bytes.length - 8)
  const footer = bytes.subarray(bytes.length - length, bytes.length - 12)
  expectNumber('CRC of the footer', bytes.readUInt32BE(bytes.length - 12), crc32(footer))
  expectText(footer, 0, 'TDFT')
  return footer
}

function readBatch(batch: Buffer, into: StrangeMessage[]): void {
  expectText(batch, 0, 'TDB1')
  expectNumber('header CRC', batch.readUInt32BE(8), crc32(batch.subarray(12, 80)))
  expectNumber('body CRC', batch.readUInt32BE(12), crc32(batch.subarray(80)))
  const baseOffset = u64(batch, 16)
  const count = batch.readUInt32BE(48)
  const span = batch.readUInt32BE(52)
  const hasRemovals = (batch.readUInt16BE(66) & 4) !== 0
  const bitmap = hasRemovals && count > 0 ? batch.subarray(80, 80 + Math.ceil(span / 8)) : null
  let at = 80 + (bitmap?.length ?? 0)
  let read = 0
  for (let i = 0; i < span; i++) {
    const isThere = hasRemovals ? bitmap !== null && ((bitmap[i >> 3]! >> (i & 7)) & 1) === 1 : true
    if (!isThere) continue
    const end = at + 4 + batch.readUInt32BE(at)
    into.push(readRecord(batch.subarray(at, end), baseOffset + i, u64(batch, 24)))
    at = end
    read++
  }
  expectNumber('count', read, count)
  expectNumber('end of the batch', at, batch.length)
}

function readRecord(record: Buffer, offset: number, timestamp: number): StrangeMessage {
  const attributes = record[4]!
  let at = 12
  const take = (length: number): Buffer => record.subarray(at, (at += length))
  const expiresAt = attributes & 4 ? u64(take(8), 0) : null
  const key = take(record.readUInt16BE(6))
  const idempotencyKey = take(record[10]!)
  const block = take(record.readUInt16BE(8))
  const headers: [string, string][] = []
  for (let from = 0; from < block.length; ) {
    const nameEnd = from + 3 + block[from]!
    const valueEnd = nameEnd + block.readUInt16BE(from + 1)
    headers.push([block.subarray(from + 3, nameEnd).toString(), block.subarray(nameEnd, valueEnd).toString()])
    from = valueEnd
  }
  const contentType = record[5] === 255 ? headers.shift()![1] : CONTENT_TYPES[record[5]!]!
  return {
    offset,
    timestamp,
    key: attributes & 1 ? key : null,
    value: record.subarray(at),
    contentType,
    headers,
    idempotencyKey: idempotencyKey.length === 0 ? null : idempotencyKey.toString(),
    expiresAt,
  }
}

function u64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64BE(at))
}

function expectText(bytes: Buffer, at: number, text: string): void {
  const found = bytes.subarray(at, at + 4).toString('latin1')
  if (found !== text) throw new Error(`${JSON.stringify(found)} where ${text} was expected`)
}

function expectNumber(what: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${what}: ${found} instead of ${expected}`)
}
