import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { eventJson, eventMessage } from '../../../src/server/cloud-event.ts'
import { eventMode, keyOfHeaders, parseEventBatch, readEvent } from '../../../src/server/cloud-event-request.ts'
import { decodeAttribute, encodeAttribute } from '../../../src/server/cloud-event-text.ts'
import { parsePublishHeaders } from '../../../src/server/publish-request.ts'
import { batchOf } from '../../support/batch-of.ts'

type Event = Record<string, unknown>

const MINIMAL = { specversion: '1.0', id: 'a', source: '/s', type: 't' }
const PLACE = { topic: 'orders', partition: 1 }

/** One event in, as a message with a time to be read back by. */
function stored(text: string, headers: Record<string, string> = {}): ReturnType<typeof batchOf> {
  const input = parsePublishHeaders({ 'content-type': 'application/cloudevents+json', ...headers }, () => 0)
  readEvent(Buffer.from(text), input)
  return batchOf(input, 7)
}

const OWN = ['tidingstopic', 'tidingsid', 'tidingsattempt']
/** What comes out again, without what the broker adds. */
function again(event: Event, headers: Record<string, string> = {}): Event {
  const out = JSON.parse(eventJson(PLACE, stored(JSON.stringify(event), headers), 7, 3)) as Event
  expect(OWN.map((name) => out[name])).toEqual(['orders', '1:7', 3])
  return Object.fromEntries(Object.entries(out).filter(([name]) => !OWN.includes(name)))
}

const letters = fc.stringMatching(/^[a-z0-9]{1,12}$/).filter((name) => !name.startsWith('data') && name !== 'time')
/** Any text that an attribute may be, the odd characters often. */
const text = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom('%', '"', ' ', '\\', '%41', 'é', '€', '😀', '~'),
      fc.string({ unit: 'binary', size: 'small' }),
    ),
    maxLength: 20,
  })
  .map((value) => value.replace(/[\p{Cc}\p{Surrogate}\p{Noncharacter_Code_Point}]/gu, '-'))
const filled = text.filter((value) => value !== '')
const data = fc.oneof(
  fc.constant({}),
  fc.jsonValue().map((value) => ({ data: value, datacontenttype: 'application/json' })),
  fc.jsonValue().map((value) => ({ data: value, datacontenttype: 'application/vnd.x+json; charset=utf-8' })),
  fc.jsonValue().map((value) => ({ data: value, datacontenttype: 'text/json' })),
  filled.map((value) => ({ data: value, datacontenttype: 'text/plain' })),
  filled.map((value) => ({ data: value, datacontenttype: 'application/xml' })),
  fc.uint8Array({ minLength: 1 }).map((bytes) => ({
    data_base64: Buffer.from(bytes).toString('base64'),
    datacontenttype: 'image/png',
  })),
)
const event: fc.Arbitrary<Event> = fc
  .tuple(
    fc.dictionary(letters, text, { maxKeys: 6 }),
    fc.record({ id: filled, source: filled, type: filled }),
    fc.record(
      { subject: filled, time: fc.constant('2026-02-03T04:05:06.789+01:00'), dataschema: filled },
      { requiredKeys: [] },
    ),
    data,
  )
  .map(([extensions, required, optional, content]) => ({
    ...extensions,
    specversion: '1.0',
    ...required,
    ...optional,
    ...content,
  }))

describe('a CloudEvent', () => {
  it('comes out as it went in', () => {
    fc.assert(
      fc.property(event, (one) => {
        expect(again(one)).toEqual(JSON.parse(JSON.stringify(one)))
      }),
    )
  })

  it('goes through binary mode unchanged', () => {
    fc.assert(
      fc.property(event, (one) => {
        const { headers, body } = eventMessage(PLACE, stored(JSON.stringify(one)), 7, null)
        for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/)
        const input = parsePublishHeaders(headers, () => 0)
        input.value = body
        const back = batchOf(input, 7)
        const first = eventJson(PLACE, stored(JSON.stringify(one)), 7, null)
        // That text of other types was text is not told in binary mode: it comes as bytes.
        if (one['datacontenttype'] !== 'application/xml') {
          expect(JSON.parse(eventJson(PLACE, back, 7, null))).toEqual(JSON.parse(first))
        }
      }),
    )
  })

  it('keeps the bytes of its JSON data, and booleans and numbers as their texts', () => {
    const json =
      '{"specversion":"1.0","id":"1","source":"s","type":"t","flag":true,"count":-5,"none":null,"d\\u0061ta": {"n" : 12345678901234567890, "e":1e999} }'
    const batch = stored(json)
    expect(eventJson(PLACE, batch, 7, null)).toContain('"data":{"n" : 12345678901234567890, "e":1e999}')
    const { headers, body } = eventMessage(PLACE, batch, 7, null)
    expect(body.toString()).toBe('{"n" : 12345678901234567890, "e":1e999}')
    expect(headers).toMatchObject({ 'ce-flag': 'true', 'ce-count': '-5', 'content-type': 'application/json' })
    expect(headers['ce-none']).toBeUndefined()
  })

  it.each([
    [{}, {}],
    [{ data: null }, { data: null, datacontenttype: 'application/json' }],
    [{ data: 'text' }, { data: 'text', datacontenttype: 'application/json' }],
    [{ data_base64: 'AP8=' }, { data_base64: 'AP8=', datacontenttype: 'application/octet-stream' }],
    [
      { data_base64: 'eyJhIjoxfQ==', datacontenttype: 'application/json' },
      { data: { a: 1 }, datacontenttype: 'application/json' },
    ],
    [
      { data_base64: 'ew==', datacontenttype: 'application/json' },
      { data_base64: 'ew==', datacontenttype: 'application/json' },
    ],
    [{ datacontenttype: 'text/plain' }, { datacontenttype: 'text/plain' }],
    [{ data: '', datacontenttype: 'text/plain' }, { datacontenttype: 'text/plain' }],
  ])('with data %j comes out with %j', (given, expected) => {
    expect(again({ ...MINIMAL, ...given })).toEqual({ ...MINIMAL, ...expected })
  })

  it('takes its key from partitionkey, unless the request names another', () => {
    const keyed = JSON.stringify({ ...MINIMAL, partitionkey: 'ada é' })
    const input = parsePublishHeaders({}, () => 0)
    readEvent(Buffer.from(keyed), input)
    expect(Buffer.from(input.key!).toString()).toBe('ada é')
    const named = parsePublishHeaders({ 'tidings-key': 'bob' }, () => 0)
    readEvent(Buffer.from(keyed), named)
    expect(Buffer.from(named.key!).toString()).toBe('bob')
    expect(again({ ...MINIMAL, partitionkey: 'ada' }, { 'tidings-key': 'bob' })['partitionkey']).toBe('ada')
    expect(again(MINIMAL, { 'tidings-key': 'bob' })['partitionkey']).toBe('bob')
  })

  it('in binary mode takes its key from the header, where the headers are an event', () => {
    const key: [string, string] = ['ce-partitionkey', 'a%20b']
    expect(keyOfHeaders([['ce-specversion', '1.0'], key])?.toString()).toBe('a b')
    expect(keyOfHeaders([key])).toBeNull()
    expect(keyOfHeaders([['ce-specversion', '1.0']])).toBeNull()
  })

  it('is what its body says, whatever ce- headers come with it', () => {
    const out = again(MINIMAL, {
      'ce-id': 'other',
      'ce-extra': 'x',
      'tidings-header-region': 'eu',
      traceparent: '00-1-2-01',
    })
    expect(out).toEqual({ ...MINIMAL, region: 'eu', traceparent: '00-1-2-01' })
  })
})

describe('a message that was not published as an event', () => {
  const plain = (headers: [string, string][], contentType = 'application/json', value = '{"a":1}'): Event => {
    const input = parsePublishHeaders({ 'content-type': contentType, 'tidings-key': 'k' }, () => 0)
    const batch = batchOf({ ...input, headers, value: Buffer.from(value) }, 7)
    return JSON.parse(eventJson({ ...PLACE, idPrefix: 'orders/' }, batch, 7, null)) as Event
  }

  it('gets the attributes that it needs from where it lies', () => {
    expect(
      plain([
        ['x-region', 'eu'],
        ['id', 'taken'],
        ['é', '?'],
      ]),
    ).toEqual({
      specversion: '1.0',
      id: 'orders/1:7',
      source: '/v1/topics/orders',
      type: 'tidings.message',
      time: '2026-01-01T00:00:00.000Z',
      partitionkey: 'k',
      xregion: 'eu',
      tidingstopic: 'orders',
      tidingsid: 'orders/1:7',
      datacontenttype: 'application/json',
      data: { a: 1 },
    })
  })

  it.each([[['ce-id', 'x']], [['ce-specversion', '0.3']]] as [string, string][][])(
    'also when its headers are no whole event: %j',
    (...headers) => {
      expect(plain(headers)['id']).toBe('orders/1:7')
    },
  )

  it('shows what is not what it claims to be as base64', () => {
    expect(plain([], 'application/json', '{')).toMatchObject({ data_base64: 'ew==' })
    expect(plain([], 'text/json', '{')).toMatchObject({ data_base64: 'ew==' })
    expect(plain([], 'text/json', '[1]')).toMatchObject({ data: [1] })
  })

  it('has a content type that a header can hold', () => {
    const input = parsePublishHeaders({}, () => 0)
    const batch = batchOf({ ...input, contentType: 'a/b\r\nx: y' }, 0)
    expect(eventMessage(PLACE, batch, 0, null).headers['content-type']).toBe('application/octet-stream')
  })
})

describe('a body that is no event', () => {
  it.each([
    ['not JSON', 'the body is not JSON'],
    ['[]', 'an event must be a JSON object'],
    ['{}', '"specversion"'],
    [{ ...MINIMAL, specversion: '0.3' }, '"specversion"'],
    [{ ...MINIMAL, specversion: 1 }, '"specversion"'],
    [{ ...MINIMAL, id: undefined }, '"id"'],
    [{ ...MINIMAL, source: null }, '"source"'],
    [{ ...MINIMAL, type: '' }, '"type"'],
    [{ ...MINIMAL, id: 5 }, '"id"'],
    [{ ...MINIMAL, 'my-ext': 'x' }, '"my-ext"'],
    [{ ...MINIMAL, Upper: 'x' }, '"Upper"'],
    [{ ...MINIMAL, ext: { a: 1 } }, '"ext"'],
    [{ ...MINIMAL, ext: 1.5 }, '"ext"'],
    [{ ...MINIMAL, ext: 2 ** 31 }, '"ext"'],
    [{ ...MINIMAL, ext: 'a\nb' }, '"ext"'],
    [{ ...MINIMAL, ext: '\ud800' }, '"ext"'],
    [{ ...MINIMAL, subject: '' }, '"subject"'],
    [{ ...MINIMAL, time: 'yesterday' }, '"time"'],
    [{ ...MINIMAL, partitionkey: 'x'.repeat(1025) }, 'key'],
    [{ ...MINIMAL, long: 'x'.repeat(20_000) }, 'headers'],
    [{ ...MINIMAL, datacontenttype: 'é' }, '"datacontenttype"'],
    [{ ...MINIMAL, datacontenttype: 'text/plain', data: { a: 1 } }, '"data"'],
    [{ ...MINIMAL, datacontenttype: 'text/plain; charset=iso-8859-1', data: 'x' }, 'charset'],
    [{ ...MINIMAL, data: 1, data_base64: '' }, '"data_base64"'],
    [{ ...MINIMAL, data_base64: '!' }, '"data_base64"'],
    ['{"specversion":"1.0","id":"a","source":"/s","type":"t","__proto__":"x"}', '__proto__'],
    [Buffer.from([0xff]), 'UTF-8'],
  ])('is refused with what is wrong: %j', (body, part) => {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
    expect(() =>
      readEvent(
        bytes,
        parsePublishHeaders({}, () => 0),
      ),
    ).toThrow(expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(part) }))
  })

  it('in a list is named by its index', () => {
    const body = Buffer.from(JSON.stringify([MINIMAL, { ...MINIMAL, id: '' }]))
    expect(() => parseEventBatch(body)).toThrow(
      expect.objectContaining({ message: expect.stringContaining('event 1') }),
    )
    expect(() => parseEventBatch(Buffer.from('{}'))).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
    expect(parseEventBatch(Buffer.from(' [ ] ')).inputs).toEqual([])
  })
})

describe('the text of an attribute', () => {
  it('is printable and gives back what it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (value) => {
        const encoded = encodeAttribute(value)
        expect(encoded).toMatch(/^[\x21\x23-\x7e]*$/)
        expect(decodeAttribute(encoded)).toBe(value)
      }),
    )
  })

  it.each([
    ['Euro € 😀', 'Euro%20%E2%82%AC%20%F0%9F%98%80'],
    ['100% "sure"', '100%25%20%22sure%22'],
  ])('is encoded as the specification says: %s', (value, encoded) => {
    expect(encodeAttribute(value)).toBe(encoded)
  })

  it.each([
    ['"a \\"b\\" c"', 'a "b" c'],
    ['a%c3%a9', 'aé'],
    ['100%', '100%'],
    ['%C0%A0', '%C0%A0'],
    ['plain text', 'plain text'],
  ])('is read as others may have written it: %s', (encoded, value) => {
    expect(decodeAttribute(encoded)).toBe(value)
  })
})

describe('the mode of a body', () => {
  it.each([
    ['application/cloudevents+json', 'structured'],
    ['Application/CloudEvents+JSON; charset=UTF-8', 'structured'],
    ['application/cloudevents-batch+json', 'batched'],
    ['application/cloudevents+json;charset="utf8"', 'structured'],
    ['application/cloudeventstore', null],
    ['application/json', null],
    [undefined, null],
  ])('of %s is %s', (contentType, mode) => {
    expect(eventMode(contentType)).toBe(mode)
  })

  it.each([
    'application/cloudevents+xml',
    'Application/CloudEvents+Avro',
    'application/cloudevents-batch+avro; charset=utf-8',
    'application/cloudevents',
    'application/cloudevents+json; charset=utf-16',
    'application/cloudevents-batch+json; Charset="iso-8859-1"',
  ])('of %s cannot be read', (contentType) => {
    expect(() => eventMode(contentType)).toThrow(expect.objectContaining({ code: 'unsupported_media_type' }))
  })
})
