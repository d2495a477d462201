import {
  type ConsumeEvent,
  type ConsumeRequest,
  consumeRequestNumber,
  encodeConsumeEvent,
  encodeConsumeRequest,
  encodeRecord,
  LIMITS,
  MESSAGES_HEADER_BYTES,
  type MessagesEvent,
  putMessagesHeader,
  readConsumeEvent,
  readConsumeRequest,
  recordValueAt,
  SUBSCRIPTION_TYPES,
  TidingsError,
  utf8,
} from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

const u32 = fc.integer({ min: 0, max: 0xffffffff })
const offset = fc.maxSafeNat()
const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const word = fc.string({ minLength: 1, maxLength: 40 })
const range = fc
  .record({ topic: u32, partition: u32, from: fc.nat(1e9), length: fc.integer({ min: 1, max: 100 }) })
  .map(({ length, ...rest }) => ({ ...rest, to: rest.from + length }))
const ranges = fc.array(range, { maxLength: 20 })
const ms = fc.integer({ min: 0, max: LIMITS.delayMs })
const orNone = <T>(some: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(some, { nil: undefined })

const requests: fc.Arbitrary<ConsumeRequest> = fc.oneof(
  fc.record({ type: fc.constantFrom('ack' as const, 'release' as const), request: u32, ranges }),
  fc.record({
    type: fc.constant('nack' as const),
    request: u32,
    delayMs: orNone(ms),
    reason: orNone(word),
    ranges,
  }),
  fc.record({ type: fc.constant('reject' as const), request: u32, reason: orNone(word), ranges }),
  fc.record({ type: fc.constant('extend' as const), request: u32, ms, ranges }),
  fc.record({ type: fc.constant('ack_up_to' as const), request: u32, topic: u32, partition: u32, offset }),
  fc.record({ type: fc.constantFrom('pause' as const, 'resume' as const), request: u32 }),
  fc.record({ type: fc.constant('auth' as const), request: u32, token: text }),
  fc.record({ type: fc.constant('name' as const), request: u32, name: fc.constant('orders.eu') }),
)

const events: fc.Arbitrary<Exclude<ConsumeEvent, MessagesEvent>> = fc.oneof(
  fc.record({
    type: fc.constant('welcome' as const),
    subscriptionType: fc.constantFrom(...SUBSCRIPTION_TYPES),
    isPattern: fc.boolean(),
    ackDeadlineMs: fc.integer({ min: 1, max: LIMITS.delayMs }),
    prefetch: u32,
    maxUnacked: u32,
    maxDeliveries: fc.option(fc.integer({ min: 1, max: LIMITS.maxDeliveries })),
  }),
  fc.record({ type: fc.constant('topic' as const), topic: u32, name: fc.stringMatching(/^[a-z]{1,50}$/) }),
  fc.record({ type: fc.constant('acked' as const), request: u32, ranges }),
  range.map((one) => ({ type: 'gap' as const, ...one })),
  fc.record({ type: fc.constant('error' as const), request: u32, code: fc.constant('internal'), detail: text }),
)

function records(values: readonly string[]): Uint8Array[] {
  return values.map((value) =>
    encodeRecord({
      key: null,
      value: new TextEncoder().encode(value),
      contentType: 'text/plain',
      headers: [],
      idempotencyKey: null,
      expiresAt: null,
      valueChecked: false,
    }),
  )
}

interface Place {
  topic: number
  partition: number
  baseOffset: number
  timestamp: number
  attempt: number
}

function messagesFrame(place: Place, values: readonly string[], count = values.length): Uint8Array {
  const body = Buffer.concat(records(values))
  const bytes = new Uint8Array(MESSAGES_HEADER_BYTES + body.length)
  putMessagesHeader(bytes, 0, place, count)
  bytes.set(body, MESSAGES_HEADER_BYTES)
  return bytes
}

const place = { topic: 3, partition: 1, baseOffset: 2 ** 40, timestamp: 1_800_000_000_000, attempt: 2 }

/** Reads bytes that nobody vouches for: a frame, or an error with the right code, and never anything else. */
function tried(read: (bytes: Uint8Array) => unknown, bytes: Uint8Array): unknown {
  try {
    return read(bytes)
  } catch (error) {
    if (TidingsError.is(error) && error.code === 'invalid_argument') return error
    throw error
  }
}

describe('a request of a consumer', () => {
  it('is read as what was written', () => {
    fc.assert(
      fc.property(requests, (request) => {
        const bytes = encodeConsumeRequest(request)
        expect(readConsumeRequest(bytes)).toEqual(request)
        expect(consumeRequestNumber(bytes)).toBe(request.request)
      }),
    )
  })

  it('is refused with bytes missing or too many, whatever it is', () => {
    fc.assert(
      fc.property(requests, fc.nat(), (request, cut) => {
        const bytes = encodeConsumeRequest(request)
        expect(tried(readConsumeRequest, bytes.subarray(0, cut % bytes.length))).toBeInstanceOf(TidingsError)
        expect(tried(readConsumeRequest, Buffer.concat([bytes, Buffer.of(0)]))).toBeInstanceOf(TidingsError)
      }),
    )
  })

  it('is whole or refused, whatever bytes it is made of', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0x4e, max: 0x5b }), fc.uint8Array({ maxLength: 120 }), (type, rest) => {
        const frame = tried(readConsumeRequest, Buffer.concat([Buffer.of(type), rest]))
        if (!TidingsError.is(frame)) expect(encodeConsumeRequest(frame as ConsumeRequest)[0]).toBe(type)
      }),
      { numRuns: 2000 },
    )
  })

  it('cuts a reason that is too long between two characters', () => {
    const frame = { type: 'reject', request: 0, reason: 'é'.repeat(1000), ranges: [] } as const
    expect(readConsumeRequest(encodeConsumeRequest(frame))).toMatchObject({ reason: 'é'.repeat(512) })
  })

  it('names no more ranges and messages than its bound', () => {
    const ack = (all: { topic: number; partition: number; from: number; to: number }[]): unknown =>
      tried(readConsumeRequest, encodeConsumeRequest({ type: 'ack', request: 7, ranges: all }))
    const one = { topic: 0, partition: 0, from: 0, to: 1 }
    const many = Array.from({ length: LIMITS.rangesPerFrame + 1 }, () => one)
    expect(ack(many)).toMatchObject({ code: 'invalid_argument' })
    expect(ack(many.slice(1))).toMatchObject({ request: 7 })
    expect(ack([{ ...one, to: LIMITS.offsetsPerFrame + 1 }])).toMatchObject({ code: 'invalid_argument' })
    expect(ack([{ ...one, to: LIMITS.offsetsPerFrame }])).toMatchObject({ request: 7 })
    expect(ack([{ ...one, from: 1 }])).toMatchObject({ code: 'invalid_argument' })
  })
})

describe('an event of the broker', () => {
  it('is read as what was written', () => {
    fc.assert(
      fc.property(events, (event) => {
        expect(readConsumeEvent(encodeConsumeEvent(event))).toEqual(event)
      }),
    )
  })

  it('carries records as they are', () => {
    const event = readConsumeEvent(messagesFrame(place, ['a', '', 'ccc'])) as MessagesEvent
    const { bytes, positions, ...rest } = event
    expect(rest).toEqual({ type: 'messages', ...place })
    const values = Array.from({ length: 3 }, (_, i) =>
      utf8(bytes, recordValueAt(bytes, positions[i]!), positions[i + 1]!),
    )
    expect(values).toEqual(['a', '', 'ccc'])
  })

  it('is refused when its count and its records differ, or half a record is there', () => {
    const frame = messagesFrame(place, ['a', 'b'])
    for (let length = 0; length < frame.length; length++) {
      expect(tried(readConsumeEvent, frame.subarray(0, length))).toBeInstanceOf(TidingsError)
    }
    for (const count of [0, 1, 3, 0xffffffff]) {
      expect(tried(readConsumeEvent, messagesFrame(place, ['a', 'b'], count))).toBeInstanceOf(TidingsError)
    }
    const wrong = [{ attempt: 0 }, { timestamp: 2 ** 53 - 1 }, { baseOffset: Number.MAX_SAFE_INTEGER }]
    for (const one of wrong) {
      expect(tried(readConsumeEvent, messagesFrame({ ...place, ...one }, ['a']))).toBeInstanceOf(TidingsError)
    }
  })

  it('is whole, unknown or refused, whatever bytes it is made of', () => {
    const noise = fc.tuple(fc.integer({ min: 0x3e, max: 0x48 }), fc.uint8Array({ maxLength: 120 }))
    fc.assert(
      fc.property(noise, ([type, rest]) => {
        tried(readConsumeEvent, Buffer.concat([Buffer.of(type), rest]))
      }),
      { numRuns: 2000 },
    )
  })

  it('is whole or refused when bytes of a good one are changed', () => {
    const change = fc.record({ at: fc.nat(), to: fc.integer({ min: 0, max: 255 }) })
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), change, (values, { at, to }) => {
        const frame = messagesFrame(place, values)
        frame[at % frame.length] = to
        const event = tried(readConsumeEvent, frame) as MessagesEvent | TidingsError | null
        if (event === null || TidingsError.is(event) || event.type !== 'messages') return
        for (let i = 0; i + 1 < event.positions.length; i++) {
          expect(recordValueAt(event.bytes, event.positions[i]!)).toBeLessThanOrEqual(event.positions[i + 1]!)
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('may be longer than a welcome is today, and of a type that is not known', () => {
    const welcome = encodeConsumeEvent({
      type: 'welcome',
      subscriptionType: 'shared',
      isPattern: false,
      ackDeadlineMs: 30_000,
      prefetch: 256,
      maxUnacked: 10_000,
      maxDeliveries: null,
    })
    expect(readConsumeEvent(Buffer.concat([welcome, Buffer.of(1, 2, 3)]))).toMatchObject({ ackDeadlineMs: 30_000 })
    expect(readConsumeEvent(Buffer.of(0x7f, 1, 2))).toBeNull()
  })
})
