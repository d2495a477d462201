import { Buffer } from 'node:buffer'
import { LIMITS, recordExpiresAt, TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Backoff } from '../../../sdk/src/backoff.ts'
import { fromBase64, toBase64 } from '../../../sdk/src/base64.ts'
import { Endpoints, webSocketUrl } from '../../../sdk/src/endpoints.ts'
import { keyedReceipts, refusalError, storedReceipts } from '../../../sdk/src/publish-answer.ts'
import { draftOf, draftRoom, type PublishOptions, writeDraft } from '../../../sdk/src/publish-entry.ts'
import { retryAfterMs } from '../../../sdk/src/retry-after.ts'
import { checkedOptions, type SubscribeOptions, streamPath } from '../../../sdk/src/subscribe-options.ts'
import { verdictOfRefusal } from '../../../sdk/src/upgrade-refusal.ts'
import type { PublishInput } from '../../../src/partition/topic.ts'
import { checkRecords, readEntry } from '../../../src/server/record-check.ts'
import { parseStreamRequest } from '../../../src/server/stream-request.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (TidingsError.is(error)) return error.code
    throw error
  }
  return 'none'
}

describe('base64', () => {
  it('is what everybody means by it, both ways', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'))
        expect(fromBase64(toBase64(bytes))).toEqual(Uint8Array.from(bytes))
      }),
    )
  })
})

describe('an entry', () => {
  function written(value: unknown, options: PublishOptions = {}): Uint8Array {
    const draft = draftOf(value, options)
    const bytes = new Uint8Array(draftRoom(draft))
    return bytes.subarray(0, writeDraft(bytes, 0, draft))
  }

  const input = (value: unknown, options: PublishOptions = {}): PublishInput => {
    const { partition, due } = draftOf(value, options)
    const entry = { partition, due, record: written(value, options) }
    return readEntry(entry, 0, LIMITS.messageBytesCeiling, () => 0, { check: () => undefined })
  }

  it('is read by the broker as what it was', () => {
    const wellFormed = fc.string({ unit: 'grapheme', maxLength: 40 })
    const options = fc.record(
      {
        key: wellFormed,
        headers: fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/), wellFormed, { maxKeys: 5 }),
        contentType: fc.constantFrom('application/json', 'application/json; charset=utf-8', 'application/news+json'),
        partition: fc.nat(1023),
        ttlMs: fc.integer({ min: 1, max: 1e9 }),
        idempotencyKey: fc.constant('generated'),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.jsonValue(), options, (value, given) => {
        const read = input(value, given)
        expect(JSON.stringify(JSON.parse(Buffer.from(read.value).toString()))).toBe(JSON.stringify(value))
        expect(read.contentType).toBe(given.contentType ?? 'application/json')
        expect(read.key === null ? undefined : Buffer.from(read.key).toString()).toBe(given.key)
        expect(Object.fromEntries(read.headers)).toEqual({ ...given.headers })
        expect([read.partition, read.ttlMs]).toEqual([given.partition ?? null, given.ttlMs ?? null])
        const key = read.idempotencyKey
        expect(key === null ? undefined : Buffer.from(key).toString()).toBe(given.idempotencyKey)
      }),
    )
  })

  it('goes into a numbered frame as it is, where it has no key of its own', () => {
    const records = Buffer.concat([written(1, { key: 'k', ttlMs: 5 }), written('x'.repeat(9000))])
    checkRecords(records, 2, 1_000_000, () => 1000)
    expect(recordExpiresAt(records, 0)).toBe(1005)
    expect(codeOf(() => checkRecords(written(1, { idempotencyKey: 'k' }), 1, 1000, () => 0))).toBe('invalid_argument')
  })

  it('keeps bytes and text as they are', () => {
    const bytes = Uint8Array.of(0, 255, 128)
    const text = (value: unknown, options: PublishOptions): string =>
      Buffer.from(input(value, options).value).toString()
    expect(input(bytes)).toMatchObject({ contentType: 'application/octet-stream', value: bytes })
    expect(input(bytes, { contentType: 'image/png' })).toMatchObject({ contentType: 'image/png' })
    expect(text('grüße', { contentType: 'text/plain' })).toBe('grüße')
    expect(text('a string', {})).toBe('"a string"')
    expect(text({ a: 1 }, { contentType: 'application/cloudevents+json' })).toBe('{"a":1}')
  })

  it('carries a delay or a time', () => {
    expect(input(1, { delayMs: 5 }).deliverAt).toBe(5)
    expect(input(1, { deliverAt: new Date(7) }).deliverAt).toBe(7)
    expect(input(1, { deliverAt: '1970-01-01T00:00:01Z' }).deliverAt).toBe(1000)
  })

  const circle: unknown[] = []
  circle.push(circle)
  it.each<[string, unknown, PublishOptions]>([
    ['no JSON', undefined, {}],
    ['no JSON', () => 1, {}],
    ['no JSON', 1n, {}],
    ['a circle', circle, {}],
    ['text that is none', 5, { contentType: 'text/plain' }],
    ['bytes that are none', 'x', { contentType: 'image/png' }],
    ['an empty content type', new Uint8Array(1), { contentType: '' }],
    ['half a character', '\ud800', { contentType: 'text/plain' }],
    ['half a character in the key', 1, { key: '\udc00' }],
    ['a key too long', 1, { key: 'ü'.repeat(513) }],
    ['an idempotency key too long', 1, { idempotencyKey: 'x'.repeat(256) }],
    ['an empty idempotency key', 1, { idempotencyKey: '' }],
    ['an idempotency key of the broker’s', 1, { idempotencyKey: '\0x' }],
    ['a key that is no string', 1, { key: 5 as unknown as string }],
    ['too many headers', 1, { headers: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h${i}`, 'x'])) }],
    ['headers too long', 1, { headers: { a: 'x'.repeat(9000), b: 'x'.repeat(9000) } }],
    ['a header that is no string', 1, { headers: { a: 1 as unknown as string } }],
    ['a header without a name', 1, { headers: { '': 'x' } }],
    ['half a partition', 1, { partition: 0.5 }],
    ['no time to live', 1, { ttlMs: 0 }],
    ['two times', 1, { delayMs: 1, deliverAt: new Date(0) }],
    ['no time', 1, { deliverAt: 'tomorrow' }],
    ['no time', 1, { deliverAt: new Date(Number.NaN) }],
  ])('is refused before it is sent: %s', (_, value, options) => {
    expect(codeOf(() => written(value, options))).toBe('invalid_argument')
  })

  it('that no broker would take is refused as too large', () => {
    expect(codeOf(() => draftOf(new Uint8Array(LIMITS.messageBytesCeiling + 1), {}))).toBe('message_too_large')
  })
})

describe('the answer to a frame', () => {
  const part = { partition: 3, baseOffset: 7, count: 2, timestamp: 0 }

  it('is a receipt for each of its messages, in their order', () => {
    const parts = [part, { partition: 5, baseOffset: 0, count: 1, timestamp: 1 }]
    const common = { type: 'stored', handle: 1, sequence: 1, partitionCount: 9, duplicate: false } as const
    const receipts = storedReceipts({ ...common, parts, partOf: Uint8Array.of(0, 1, 0) }, 't', 3)
    expect(receipts?.map(({ id, timestamp }) => [id, timestamp])).toEqual([
      ['3:7', '1970-01-01T00:00:00.000Z'],
      ['5:0', '1970-01-01T00:00:00.001Z'],
      ['3:8', '1970-01-01T00:00:00.000Z'],
    ])
    expect(storedReceipts({ ...common, parts: [part], partOf: null }, 't', 3)).toBeNull()
    const future = { ...part, timestamp: Number.MAX_SAFE_INTEGER }
    expect(storedReceipts({ ...common, parts: [future], partOf: null }, 't', 2)?.[0]?.timestamp).toMatch(/^\+275760/)
  })

  it('says of keyed messages what became of each', () => {
    const receipts = keyedReceipts(
      [
        { partition: 1, offset: 2, timestamp: 0, duplicate: true },
        { scheduled: 's', deliverAt: 0, duplicate: false },
      ],
      't',
      2,
    )
    const time = '1970-01-01T00:00:00.000Z'
    expect(receipts).toEqual([
      { topic: 't', partition: 1, offset: 2, id: '1:2', timestamp: time, duplicate: true },
      { topic: 't', partition: -1, offset: -1, id: 's', scheduled: { id: 's', deliverAt: time } },
    ])
    expect(keyedReceipts([], 't', 1)).toBeNull()
  })

  it('is an error of the table, also when its code is of a later version', () => {
    expect(refusalError({ code: 'storage_full', detail: 'full' })).toMatchObject({
      code: 'storage_full',
      message: 'full',
    })
    expect(refusalError({ code: 'toString', detail: '' }).code).toBe('internal')
  })
})

describe('the end of a socket', () => {
  it('that a proxy brought about passes', () => {
    const refused = (status: number) =>
      verdictOfRefusal({ kind: 'refused', status, retryAfter: null, body: '<html>' }, 0)
    expect([502, 503, 504, 429, 500].map((status) => refused(status).event)).toEqual(Array(5).fill('lost'))
    expect([400, 401, 403, 404].map((status) => refused(status).event)).toEqual(Array(4).fill('refused'))
  })

  it('before it opened leaves no outcome in doubt', () => {
    const refused = (status: number) =>
      verdictOfRefusal({ kind: 'refused', status, retryAfter: null, body: '<html>' }, 0)
    expect([200, 302, 500, 502].map((status) => refused(status).error.code)).toEqual(Array(4).fill('unavailable'))
  })
})

describe('the options of a subscription', () => {
  it('become what the broker reads', () => {
    const options: SubscribeOptions = {
      type: 'key_shared',
      start: new Date(1000),
      ackDeadlineMs: 5,
      prefetch: 7,
      consumer: 'a b&c',
      weight: 3,
    }
    expect(parseStreamRequest(streamPath('orders', 'billing', options))).toMatchObject({
      topic: 'orders',
      subscription: 'billing',
      patch: { type: 'key_shared', start: { timestamp: '1970-01-01T00:00:01.000Z' }, ackDeadlineMs: 5 },
      prefetch: 7,
      consumer: 'a b&c',
      weight: 3,
    })
    expect(streamPath('orders.*.**', 's', {})).toBe('/v1/topics/orders.*.**/subscriptions/s/stream?prefetch=256')
  })

  it.each<SubscribeOptions>([
    { type: 'queue' as 'shared' },
    { prefetch: 0 },
    { concurrency: 0.5 },
    { ackDeadlineMs: -1 },
    { maxExtensionMs: -1 },
  ])('are refused when they make no sense: %j', (options) => {
    expect(codeOf(() => checkedOptions(options))).toBe('invalid_argument')
  })

  it.each<[string, string, SubscribeOptions]>([
    ['a/b', 's', {}],
    ['_a', 's', {}],
    ['a.*.b/c', 's', {}],
    ['t', '', {}],
    ['t', 's', { start: 'soon' }],
    ['t', 's', { start: new Date(Number.NaN) }],
    ['t', 's', { weight: 0 }],
  ])('are refused before anything is sent: %s %s %j', (topic, name, options) => {
    expect(codeOf(() => streamPath(topic, name, options))).toBe('invalid_argument')
  })
})

describe('endpoints', () => {
  it('go on to the next when the one in use fails, and only then', () => {
    const endpoints = new Endpoints(['http://a/', 'https://b/x/'])
    endpoints.failed('http://elsewhere')
    expect(endpoints.current).toBe('http://a')
    endpoints.failed('http://a')
    endpoints.failed('http://a')
    expect([endpoints.current, webSocketUrl(endpoints.current)]).toEqual(['https://b/x', 'wss://b/x'])
    endpoints.failed('https://b/x')
    expect(endpoints.current).toBe('http://a')
  })

  it.each(['', 'nonsense', 'ftp://a', 'http://a?x=1', 'http://u:p@a', 'http://a#x'])('refuse %j', (url) => {
    expect(codeOf(() => new Endpoints(url))).toBe('invalid_argument')
    expect(codeOf(() => new Endpoints([]))).toBe('invalid_argument')
  })
})

describe('a backoff', () => {
  it('lies under a bound that doubles, on top of what was asked', () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(100_000), (seed, askedMs) => {
        const backoff = new Backoff(new SimRandom(seed), 10, 1000)
        for (let i = 0; i < 40; i++) {
          const waitMs = backoff.next(askedMs) - Math.min(askedMs, 60_000)
          expect(waitMs).toBeGreaterThanOrEqual(0)
          expect(waitMs).toBeLessThanOrEqual(Math.min(1000, 10 * 2 ** i))
        }
        backoff.reset()
        expect(backoff.next()).toBeLessThanOrEqual(10)
      }),
    )
  })

  it.each<[string | null, number]>([
    [null, 0],
    ['2', 2000],
    ['Thu, 01 Jan 1970 00:00:05 GMT', 4000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['soon', 0],
    ['-1', 0],
  ])('reads Retry-After %j as %i ms', (header, expected) => {
    expect(retryAfterMs(header, 1000)).toBe(expected)
  })
})
