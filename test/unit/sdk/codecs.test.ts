import { Buffer } from 'node:buffer'
import { LIMITS, TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Backoff, retryAfterMs } from '../../../sdk/src/backoff.ts'
import { fromBase64, toBase64 } from '../../../sdk/src/base64.ts'
import { Endpoints, webSocketUrl } from '../../../sdk/src/endpoints.ts'
import { verdictOf } from '../../../sdk/src/publish-answer.ts'
import { encodeEntry, type PublishOptions } from '../../../sdk/src/publish-entry.ts'
import { verdictOfEnd } from '../../../sdk/src/socket-end.ts'
import { checkedOptions, type SubscribeOptions, streamPath } from '../../../sdk/src/subscribe-options.ts'
import { parseJsonBatch } from '../../../src/server/batch-request.ts'
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
  const input = (value: unknown, options: PublishOptions = {}) => {
    const text = `{"messages":[${encodeEntry(value, options, options.idempotencyKey ?? 'generated')}]}`
    return parseJsonBatch(Buffer.from(text), () => 0).inputs[0]!
  }

  it('is read by the broker as what it was', () => {
    const wellFormed = fc.string({ unit: 'grapheme', maxLength: 40 })
    const options = fc.record(
      {
        key: wellFormed,
        headers: fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/), wellFormed, { maxKeys: 5 }),
        partition: fc.nat(1023),
        ttlMs: fc.integer({ min: 1, max: 1e9 }),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.jsonValue(), options, (value, given) => {
        const read = input(value, given)
        expect(JSON.stringify(JSON.parse(read.value.toString()))).toBe(JSON.stringify(value))
        expect(read.contentType).toBe('application/json')
        expect(read.key === null ? undefined : Buffer.from(read.key).toString()).toBe(given.key)
        expect(Object.fromEntries(read.headers)).toEqual({ ...given.headers })
        expect([read.partition, read.ttlMs]).toEqual([given.partition ?? null, given.ttlMs ?? null])
        expect(Buffer.from(read.idempotencyKey!).toString()).toBe('generated')
      }),
    )
  })

  it('keeps bytes and text as they are', () => {
    const bytes = Uint8Array.of(0, 255, 128)
    expect(input(bytes)).toMatchObject({ contentType: 'application/octet-stream', value: Buffer.from(bytes) })
    expect(input(bytes, { contentType: 'image/png' })).toMatchObject({ contentType: 'image/png' })
    expect(input('grüße', { contentType: 'text/plain' }).value.toString()).toBe('grüße')
    expect(input('a string', {})).toMatchObject({ contentType: 'application/json', value: Buffer.from('"a string"') })
    expect(input({ a: 1 }, { contentType: 'application/cloudevents+json' }).value.toString()).toBe('{"a":1}')
  })

  it('carries a delay or a time', () => {
    expect(encodeEntry(1, { delayMs: 5 }, 'k')).toContain('"delayMs":5')
    expect(encodeEntry(1, { deliverAt: new Date(0) }, 'k')).toContain('"deliverAt":"1970-01-01T00:00:00.000Z"')
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
    ['a key that is no string', 1, { key: 5 as unknown as string }],
    ['too many headers', 1, { headers: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h${i}`, 'x'])) }],
    ['headers too long', 1, { headers: { a: 'x'.repeat(9000), b: 'x'.repeat(9000) } }],
    ['a header that is no string', 1, { headers: { a: 1 as unknown as string } }],
    ['half a partition', 1, { partition: 0.5 }],
    ['no time to live', 1, { ttlMs: 0 }],
    ['two times', 1, { delayMs: 1, deliverAt: new Date(0) }],
    ['no time', 1, { deliverAt: 'tomorrow' }],
    ['no time', 1, { deliverAt: new Date(Number.NaN) }],
  ])('is refused before it is sent: %s', (_, value, options) => {
    expect(codeOf(() => encodeEntry(value, options, options.idempotencyKey ?? 'k'))).toBe('invalid_argument')
  })

  it('that no broker would take is refused as too large', () => {
    expect(codeOf(() => encodeEntry(new Uint8Array(LIMITS.messageBytesCeiling + 1), {}, 'k'))).toBe('message_too_large')
  })
})

describe('the answer to a batch', () => {
  const answer = (status: number, body: unknown, retryAfter: string | null = null) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return verdictOf({ kind: 'answer', status, body: text, retryAfter }, 't', 2, 0)
  }
  const receipt = { partition: 1, offset: 2, id: '1:2' }

  it('is receipts', () => {
    const scheduled = { scheduled: { id: 's', deliverAt: 'then' } }
    expect(answer(200, { receipts: [receipt, scheduled] })).toEqual({
      kind: 'stored',
      receipts: [
        { ...receipt, topic: 't' },
        { ...scheduled, topic: 't', id: 's', partition: -1, offset: -1 },
      ],
    })
  })

  it.each<[number, unknown, string]>([
    [400, { code: 'invalid_argument' }, 'refused invalid_argument'],
    [422, { code: 'schema_violation' }, 'refused schema_violation'],
    [500, { code: 'internal' }, 'refused internal'],
    [404, '<html>', 'refused not_found'],
    [400, 'null', 'refused invalid_argument'],
    [418, '', 'refused invalid_argument'],
    [429, { code: 'rate_limited' }, 'again rate_limited false'],
    [503, { code: 'overloaded' }, 'again overloaded true'],
    [507, { code: 'storage_full' }, 'again storage_full true'],
    [502, '<html>', 'again outcome_unknown true'],
    [504, '', 'again outcome_unknown true'],
    [500, { code: 'toString' }, 'again outcome_unknown true'],
    [200, '<html>', 'again outcome_unknown true'],
    [200, {}, 'again outcome_unknown true'],
    [200, 'null', 'again outcome_unknown true'],
    [200, { receipts: [receipt] }, 'again outcome_unknown true'],
    [200, { receipts: [receipt, null] }, 'again outcome_unknown true'],
    [200, { receipts: [receipt, { id: 'x' }] }, 'again outcome_unknown true'],
    [301, '', 'again outcome_unknown true'],
  ])('of status %i with %j means %s', (status, body, expected) => {
    const verdict = answer(status, body)
    const said = verdict.kind === 'again' ? [verdict.error.code, verdict.isInDoubt] : []
    if (verdict.kind === 'refused') said.push(verdict.error.code)
    expect([verdict.kind, ...said].join(' ')).toBe(expected)
  })

  it('that never came leaves a doubt only when the request was sent', () => {
    const lost = (sent: boolean) => verdictOf({ kind: 'lost', sent, cause: 0 }, 't', 1, 0)
    expect(lost(true)).toMatchObject({ kind: 'again', isInDoubt: true, error: { code: 'outcome_unknown' } })
    expect(lost(false)).toMatchObject({ kind: 'again', isInDoubt: false, error: { code: 'unavailable' } })
  })

  it('is one of the three for any bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), fc.oneof(fc.string(), fc.json()), (status, body) => {
        expect(['stored', 'refused', 'again']).toContain(answer(status, body).kind)
      }),
    )
  })
})

describe('the end of a socket', () => {
  it('that a proxy brought about passes', () => {
    const refused = (status: number) => verdictOfEnd({ kind: 'refused', status, retryAfter: null, body: '<html>' }, 0)
    expect([502, 503, 504, 429, 500].map((status) => refused(status).event)).toEqual(Array(5).fill('lost'))
    expect([400, 401, 403, 404].map((status) => refused(status).event)).toEqual(Array(4).fill('refused'))
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
