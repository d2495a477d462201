import { readFileSync } from 'node:fs'
import {
  decodePublishAnswer,
  decodePublisherFrame,
  encodeOpen,
  encodeProbe,
  encodePublishAnswer,
  encodePublisherAuth,
  encodeRecord,
  KEYED_ENTRY_BYTES,
  KEYED_HEADER_BYTES,
  type KeyedEntry,
  type KeyedFrame,
  PUBLISH_HEADER_BYTES,
  type PublishAnswer,
  putKeyedEntry,
  putKeyedHeader,
  putPublishHeader,
  readKeyedEntries,
  TidingsError,
} from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const u32 = fc.integer({ min: 0, max: 0xffff_fffe })
const u64 = fc.maxSafeNat()
const partitionCount = fc.integer({ min: 1, max: 1024 })
const numbers = { handle: u32, sequence: u64 }
const text = fc.string({ unit: 'grapheme', maxLength: 20 })

function record(value: string): Uint8Array {
  const plain = { key: null, headers: [], idempotencyKey: null, expiresAt: null, valueChecked: false }
  return encodeRecord({ ...plain, value: Buffer.from(value), contentType: 'application/json' })
}

function outcome(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    if (TidingsError.is(error) && error.code === 'invalid_argument') return error
    throw error
  }
}

const answers: fc.Arbitrary<PublishAnswer> = fc.oneof(
  fc.record({ type: fc.constant('opened' as const), handle: u32, partitionCount, maxMessageBytes: u32 }),
  fc
    .record({
      ...numbers,
      partitionCount,
      duplicate: fc.boolean(),
      counts: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 300 }),
      place: fc.record({ baseOffset: u64, timestamp: u64 }),
    })
    .map(({ counts, place, ...rest }) => {
      const parts = counts.map((count, partition) => ({ partition, count, ...place }))
      const indexes = parts.flatMap(({ partition, count }) => Array<number>(count).fill(partition))
      const partOf =
        parts.length === 1 ? null : parts.length > 256 ? Uint16Array.from(indexes) : Uint8Array.from(indexes)
      return { type: 'stored' as const, ...rest, parts, partOf }
    }),
  fc.record({
    type: fc.constant('receipts' as const),
    ...numbers,
    partitionCount,
    receipts: fc.array(
      fc.oneof(
        fc.record({ partition: u32, offset: u64, timestamp: u64, duplicate: fc.boolean() }),
        fc.record({ scheduled: fc.string({ maxLength: 16 }), deliverAt: u64, duplicate: fc.boolean() }),
      ),
      { minLength: 1, maxLength: 20 },
    ),
  }),
  fc.record({
    type: fc.constant('refused' as const),
    frame: fc.constantFrom('open', 'publish', 'keyed'),
    ...numbers,
    entry: fc.option(u32),
    mayBeStored: fc.boolean(),
    retryAfterMs: u32,
    code: text,
    detail: text,
  }),
  fc.record({ type: fc.constant('error' as const), code: text, detail: text }),
  fc.constant({ type: 'alive' as const }),
)

describe('a publisher’s frame', () => {
  it('comes back as what it was', () => {
    expect(decodePublisherFrame(encodeOpen(7, 'orders'))).toEqual({ type: 'open', handle: 7, topic: 'orders' })
    expect(decodePublisherFrame(encodePublisherAuth('t.o.k'))).toEqual({ type: 'auth', token: 't.o.k' })
    expect(decodePublisherFrame(encodeProbe())).toEqual({ type: 'probe' })
    const header = fc.record({
      ...numbers,
      producerId: u64,
      partitionCount,
      count: fc.integer({ min: 1, max: 65_536 }),
    })
    fc.assert(
      fc.property(header, fc.uint8Array(), (fields, records) => {
        const bytes = new Uint8Array(PUBLISH_HEADER_BYTES + records.length)
        bytes.set(records, PUBLISH_HEADER_BYTES)
        putPublishHeader(bytes, fields)
        expect(decodePublisherFrame(bytes)).toEqual({ type: 'publish', ...fields, records })
      }),
    )
  })

  it('brings keyed entries', () => {
    const entry: fc.Arbitrary<KeyedEntry> = fc.record({
      partition: fc.option(u32),
      due: fc.option(fc.record({ kind: fc.constantFrom('delay', 'at'), ms: u64 })),
      record: fc.string().map(record),
    })
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 9 }), (entries) => {
        const frame = new Uint8Array(
          entries.reduce((sum, { record: { length } }) => sum + KEYED_ENTRY_BYTES + length, KEYED_HEADER_BYTES),
        )
        putKeyedHeader(frame, { handle: 1, sequence: 2, count: entries.length })
        let at = KEYED_HEADER_BYTES
        for (const one of entries) {
          putKeyedEntry(frame, at, one)
          frame.set(one.record, at + KEYED_ENTRY_BYTES)
          at += KEYED_ENTRY_BYTES + one.record.length
        }
        const decoded = decodePublisherFrame(frame) as KeyedFrame
        expect(decoded).toMatchObject({ type: 'keyed', handle: 1, sequence: 2, count: entries.length })
        expect(readKeyedEntries(decoded)).toEqual(entries)
      }),
    )
  })

  it('is read or refused, whatever its bytes are', () => {
    const types = fc.constantFrom(0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0)
    let read = 0
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 90 }), (type, rest) => {
        const result = outcome(() => decodePublisherFrame(Uint8Array.of(type, ...rest)))
        if (result instanceof Error) return
        read++
        if ((result as { type: string }).type === 'keyed') outcome(() => readKeyedEntries(result as KeyedFrame))
      }),
      { numRuns: 3000 },
    )
    expect(read).toBeGreaterThan(0)
    expect(outcome(() => decodePublisherFrame(new Uint8Array(0)))).toBeInstanceOf(Error)
  })

  it('is refused when it is cut short or runs on, entries too', () => {
    const frame = new Uint8Array(KEYED_HEADER_BYTES + KEYED_ENTRY_BYTES + record('1').length)
    putKeyedHeader(frame, { handle: 1, sequence: 2, count: 1 })
    putKeyedEntry(frame, KEYED_HEADER_BYTES, { partition: null, due: null })
    frame.set(record('1'), KEYED_HEADER_BYTES + KEYED_ENTRY_BYTES)
    const read = (bytes: Uint8Array): unknown =>
      outcome(() => readKeyedEntries(decodePublisherFrame(bytes) as KeyedFrame))
    expect(read(frame)).toHaveLength(1)
    for (let length = 0; length < frame.length; length++) expect(read(frame.subarray(0, length))).toBeInstanceOf(Error)
    expect(read(Uint8Array.of(...frame, 0))).toBeInstanceOf(Error)
    for (const bytes of [encodeOpen(7, 'orders'), encodeProbe()]) {
      expect(outcome(() => decodePublisherFrame(Uint8Array.of(...bytes, 0)))).toBeInstanceOf(Error)
    }
  })
})

describe('a broker’s answer', () => {
  it('comes back as what it was', () => {
    fc.assert(
      fc.property(answers, (answer) => {
        expect(decodePublishAnswer(encodePublishAnswer(answer))).toEqual(answer)
      }),
    )
  })

  it('is refused wherever it is cut short, and when it runs on', () => {
    fc.assert(
      fc.property(answers, (answer) => {
        const bytes = encodePublishAnswer(answer)
        for (let length = 0; length < bytes.length; length += 1 + (length >> 4)) {
          expect(outcome(() => decodePublishAnswer(bytes.subarray(0, length)))).toBeInstanceOf(Error)
        }
        expect(outcome(() => decodePublishAnswer(Uint8Array.of(...bytes, 0)))).toBeInstanceOf(Error)
      }),
      { numRuns: 50 },
    )
  })

  it('is read, passed over or refused, whatever its bytes are', () => {
    const types = fc.constantFrom(0x20, 0x21, 0x22, 0x23, 0x24, 0x25)
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 90 }), (type, rest) => {
        outcome(() => decodePublishAnswer(Uint8Array.of(type, ...rest)))
      }),
      { numRuns: 3000 },
    )
    expect(decodePublishAnswer(Uint8Array.of(0x3f, 1, 2))).toBe(null)
  })

  it('keeps texts that are too long short', () => {
    const long = { type: 'error' as const, code: 'c'.repeat(100), detail: 'ü'.repeat(70_000) }
    expect(decodePublishAnswer(encodePublishAnswer(long))).toEqual({
      type: 'error',
      code: 'c'.repeat(64),
      detail: 'ü'.repeat(2048),
    })
  })
})

describe('docs/PROTOCOL.md', () => {
  const page = readFileSync(new URL('../../../docs/PROTOCOL.md', import.meta.url), 'utf8')

  it('shows frames of a publisher as they are', () => {
    const shown = /```hex publishing\n([^`]*)```/.exec(page)?.[1] ?? ''
    const frames = shown.split('\n\n').map((block) =>
      Buffer.from(
        block
          .split('\n')
          .map((line) => line.split('#')[0]!)
          .join('')
          .replaceAll(' ', ''),
        'hex',
      ),
    )
    const value = record('{"total":5}')
    const publish = new Uint8Array(PUBLISH_HEADER_BYTES + value.length)
    publish.set(value, PUBLISH_HEADER_BYTES)
    putPublishHeader(publish, { handle: 1, producerId: 0xfeed_beef, sequence: 0, partitionCount: 1, count: 1 })
    const part = { partition: 0, baseOffset: 41, count: 1, timestamp: 1_767_225_600_000 }
    expect(frames.map((bytes) => bytes.toString('hex'))).toEqual(
      [
        encodeOpen(1, 'orders'),
        encodePublishAnswer({ type: 'opened', handle: 1, partitionCount: 1, maxMessageBytes: 1_048_576 }),
        publish,
        encodePublishAnswer({
          type: 'stored',
          handle: 1,
          sequence: 0,
          partitionCount: 1,
          duplicate: false,
          parts: [part],
          partOf: null,
        }),
      ].map((bytes) => Buffer.from(bytes).toString('hex')),
    )
  })
})
