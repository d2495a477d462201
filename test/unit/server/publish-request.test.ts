import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as batchRequest from '../../../src/server/batch-request.ts'
import * as publishRequest from '../../../src/server/publish-request.ts'

const NOW = Date.UTC(2026, 0, 1)
const now = (): number => NOW + 0.5
const parsePublishHeaders = (headers: Parameters<typeof publishRequest.parsePublishHeaders>[0]) =>
  publishRequest.parsePublishHeaders(headers, now)
const parseJsonBatch = (body: Buffer) => batchRequest.parseJsonBatch(body, now)
const parseNdjsonBatch = (body: Buffer) => batchRequest.parseNdjsonBatch(body, now)

/** A header value as Node hands it out: the bytes as latin1. */
const wire = (text: string): string => Buffer.from(text).toString('latin1')
const bad = (detail: RegExp): object =>
  expect.objectContaining({ code: 'invalid_argument', message: expect.stringMatching(detail) })
const caught = (run: () => unknown): unknown => {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}

describe('the headers of a publish', () => {
  it('take their defaults', () => {
    expect(parsePublishHeaders({ host: 'x', 'content-length': '3' })).toEqual({
      key: null,
      value: new Uint8Array(0),
      contentType: 'application/octet-stream',
      headers: [],
      idempotencyKey: null,
      partition: null,
      ttlMs: null,
      deliverAt: null,
      valueChecked: false,
    })
  })

  it('become the message', () => {
    const input = parsePublishHeaders({
      'content-type': 'text/plain; charset=utf-8',
      'tidings-key': wire('schlüssel'),
      'tidings-partition': '3',
      'idempotency-key': 'once',
      'tidings-ttl-ms': '5000',
      'tidings-header-region': wire('düsseldorf'),
      traceparent: '00-1',
      tracestate: 'a=b',
      baggage: 'c=d',
      'ce-type': 'order.placed',
      cookie: 'not kept',
      authorization: 'not kept',
    })
    expect(input).toMatchObject({ contentType: 'text/plain; charset=utf-8', partition: 3, ttlMs: 5000 })
    expect(Buffer.from(input.key!).toString()).toBe('schlüssel')
    expect(Buffer.from(input.idempotencyKey!).toString()).toBe('once')
    expect(input.headers).toEqual([
      ['region', 'düsseldorf'],
      ['traceparent', '00-1'],
      ['tracestate', 'a=b'],
      ['baggage', 'c=d'],
      ['ce-type', 'order.placed'],
    ])
  })

  it.each([
    [{ 'tidings-key': '\xff' }, /"tidings-key" is not UTF-8/],
    [{ 'tidings-header-a': '\xc3' }, /"tidings-header-a" is not UTF-8/],
    [{ 'idempotency-key': '' }, /idempotency key/],
    [{ 'idempotency-key': 'x'.repeat(256) }, /idempotency key/],
    [{ 'tidings-key': 'x'.repeat(1025) }, /key is longer/],
    [{ 'tidings-partition': '-1' }, /whole number/],
    [{ 'tidings-partition': '1.5' }, /whole number/],
    [{ 'tidings-partition': '9007199254740993' }, /whole number/],
    [{ 'tidings-partition': '' }, /whole number/],
    [{ 'tidings-ttl-ms': '0' }, /whole number from 1/],
    [{ 'tidings-ttl-ms': 'soon' }, /whole number/],
    [{ 'tidings-delay-ms': '-5' }, /whole number from 0/],
    [{ 'tidings-delay-ms': '315576000001' }, /whole number from 0 to 315576000000/],
    [{ 'tidings-deliver-at': 'tomorrow' }, /RFC 3339/],
    [{ 'tidings-delay-ms': '5', 'tidings-deliver-at': '2030-01-01T00:00:00Z' }, /not both/],
    [{ 'tidings-partion': '5' }, /unknown request header "tidings-partion"/],
    [{ 'tidings-header-': '5' }, /no name/],
    [{ 'content-type': 'x'.repeat(256) }, /content type/],
    [Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`tidings-header-${i}`, ''])), /at most 64 headers/],
    [{ 'tidings-header-a': 'x'.repeat(16_384) }, /16384 bytes/],
  ])('are refused: %j', (headers, detail) => {
    expect(caught(() => parsePublishHeaders(headers as Record<string, string>))).toEqual(bad(detail))
  })
})

describe('a batch', () => {
  const json = (text: string): object[] => parseJsonBatch(Buffer.from(text)).inputs
  const valueOf = (input: object): string => Buffer.from((input as { value: Uint8Array }).value).toString()

  it('keeps the bytes of every value', () => {
    const texts = [
      '12345678901234567890',
      '1e999',
      '{"b":1, "a":2,"b":3}',
      '"\\ud800"',
      'null',
      '[1.10]',
      '{"__proto__":{"x":1}}',
    ]
    const entries = texts.map((text) => `{"key":"k","value": ${text} ,"ttlMs":5}`)
    expect(json(`{"messages":[${entries.join(', ')}]}`).map(valueOf)).toEqual(texts)
    expect(parseNdjsonBatch(Buffer.from(entries.join('\r\n'))).inputs.map(valueOf)).toEqual(texts)
    expect(({} as { x?: number }).x).toBeUndefined()
  })

  it('keeps the bytes of any value, as a property', () => {
    fc.assert(
      fc.property(fc.array(fc.json(), { maxLength: 5 }), (texts) => {
        const body = `{"messages":[${texts.map((text) => `{"value":${text}}`).join(',')}]}`
        expect(json(body).map(valueOf)).toEqual(texts)
      }),
    )
  })

  it('reads every field of an entry', () => {
    const [input] = json(
      '{"messages":[{"key":"ü","base64":"AP8=","contentType":"image/png","headers":{"Region":"eu"},"partition":2,"idempotencyKey":"once","ttlMs":9}]}',
    )
    expect(input).toEqual({
      key: Buffer.from('ü'),
      value: Buffer.from([0, 255]),
      contentType: 'image/png',
      headers: [['region', 'eu']],
      idempotencyKey: Buffer.from('once'),
      partition: 2,
      ttlMs: 9,
      deliverAt: null,
      valueChecked: false,
    })
  })

  it('say when they are to be delivered', () => {
    const at = '2030-01-01T01:00:00.250+01:00'
    const inputs = json(
      `{"messages":[{"value":1,"delayMs":0},{"value":1,"delayMs":1500},{"value":1,"deliverAt":"${at}"}]}`,
    )
    expect(inputs).toMatchObject(
      [NOW, NOW + 1500, Date.UTC(2030, 0, 1, 0, 0, 0, 250)].map((deliverAt) => ({ deliverAt })),
    )
    expect(parsePublishHeaders({ 'tidings-delay-ms': '1500' }).deliverAt).toBe(NOW + 1500)
    expect(parsePublishHeaders({ 'tidings-deliver-at': at }).deliverAt).toBe(Date.UTC(2030, 0, 1, 0, 0, 0, 250))
  })

  it('takes null for what is left out', () => {
    const [input] = json('{"messages":[{"key":null,"value":null,"headers":null,"partition":null,"delayMs":null}]}')
    expect(input).toMatchObject({ key: null, partition: null, contentType: 'application/json', valueChecked: true })
    expect(valueOf(input!)).toBe('null')
  })

  it('takes text as a string, and any bytes as base64', () => {
    const inputs = json(
      '{"messages":[{"contentType":"text/plain","value":"a\\nb"},{"contentType":"text/plain","base64":"gA=="}]}',
    )
    expect(valueOf(inputs[0]!)).toBe('a\nb')
    expect(inputs[1]).toMatchObject({ value: Buffer.from([0x80]), valueChecked: false })
  })

  it('may be empty', () => {
    expect(json('{"messages":[]}')).toEqual([])
    expect(parseNdjsonBatch(Buffer.from('\n \r\n')).inputs).toEqual([])
  })

  it.each([
    ['{}', /one of the two/],
    ['{"value":1,"base64":""}', /one of the two/],
    ['{"value":1,"nope":2}', /unknown key "nope"/],
    ['{"value":1,"__proto__":{"x":1}}', /unknown key "__proto__"/],
    ['{"value":1,"contentType":"text/plain"}', /"value" must be a string/],
    ['{"value":1,"contentType":"image/png"}', /needs "base64"/],
    ['{"base64":"a"}', /not base64/],
    ['{"base64":"AP8"}', /not base64/],
    ['{"base64":5}', /must be a string/],
    ['{"value":1,"key":5}', /"key" must be a string/],
    ['{"value":1,"key":"\\ud800"}', /surrogate/],
    ['{"value":1,"idempotencyKey":"\\u0000dead-letter:a:b:0:0"}', /zero byte is the broker's own/],
    ['{"value":1,"headers":{"a":1}}', /header "a" must be a string/],
    ['{"value":1,"headers":[]}', /"headers" must be an object/],
    ['{"value":1,"partition":-1}', /partition: expected a whole number/],
    ['{"value":1,"partition":1e999}', /partition: expected a whole number/],
    ['{"value":1,"delayMs":-1}', /delayMs: expected a whole number/],
    ['{"value":1,"delayMs":315576000001}', /delayMs: expected a whole number/],
    ['{"value":1,"deliverAt":5}', /"deliverAt" must be a string/],
    ['{"value":1,"deliverAt":"2030-02-30T00:00:00Z"}', /RFC 3339/],
    ['{"value":1,"delayMs":5,"deliverAt":"2030-01-01T00:00:00Z"}', /not both/],
    ['{"value":1,"contentType":""}', /content type/],
    ['[]', /must be a JSON object/],
    ['null', /must be a JSON object/],
  ])('is refused whole for the entry %s, which it names', (entry, detail) => {
    const inJson = caught(() => json(`{"messages":[{"value":1},${entry}]}`))
    expect(inJson).toEqual(bad(detail))
    expect((inJson as Error).message).toMatch(/^messages\[1\]: /)
    const inLines = caught(() => parseNdjsonBatch(Buffer.from(`{"value":1}\n\n${entry}\n`)))
    expect(inLines).toEqual(bad(detail))
    expect((inLines as Error).message).toMatch(/^message 1 \(line 3\): /)
  })

  it.each([
    ['', /not JSON/],
    ['[]', /list "messages"/],
    ['{}', /"messages" must be a list/],
    ['{"messages":{}}', /"messages" must be a list/],
    ['{"messages":[],"more":1}', /unknown key "more"/],
    ['{"messages":[}', /not JSON/],
  ])('is refused as a whole: %s', (text, detail) => {
    expect(caught(() => json(text))).toEqual(bad(detail))
  })

  it('is refused for bytes that are no UTF-8', () => {
    expect(caught(() => parseJsonBatch(Buffer.from([0x7b, 0xff])))).toEqual(bad(/not UTF-8/))
  })

  it('is refused for too many entries', () => {
    const body = Buffer.from('{"value":1}\n'.repeat(100_001))
    expect(caught(() => parseNdjsonBatch(body))).toEqual(bad(/at most 100000/))
  })
})
