import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { messageFrame, messageJson, pulledJson } from '../../../src/server/message-json.ts'
import { batchOf } from '../../support/batch-of.ts'

const PLACE = { topic: 'orders', partition: 3 }
const contentTypes = fc.constantFrom(
  'application/json',
  'application/cloudevents+json; charset=utf-8',
  'Application/JSON',
  'text/plain',
  'text/csv; charset=utf-8',
  'application/octet-stream',
  'image/png',
  '',
)
const values = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.json().map((text) => Buffer.from(text)),
  fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
  fc.constantFrom('\ufeff{}', ' {"a":1}\n', '{"a":1e999}', '"\\ud800"', '').map((text) => Buffer.from(text)),
)

/** The same message the slow way: every part made by itself. */
function naive(value: Uint8Array, contentType: string): { value: unknown } | { base64: string } {
  const asBase64 = { base64: Buffer.from(value).toString('base64') }
  const media = contentType.split(';')[0]!.trim().toLowerCase()
  const isJson = media === 'application/json' || media.endsWith('+json')
  if (!isJson && !media.startsWith('text/')) return asBase64
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value)
    return { value: isJson ? JSON.parse(text) : text }
  } catch {
    return asBase64
  }
}

describe('the JSON form of a message', () => {
  it('parses to the message, whatever its bytes, headers and content type', () => {
    const headers = fc.array(fc.tuple(fc.string({ minLength: 1, maxLength: 20 }), fc.string({ unit: 'binary' })), {
      maxLength: 5,
    })
    fc.assert(
      fc.property(
        values,
        contentTypes,
        headers,
        fc.option(fc.string({ unit: 'binary' })),
        (value, contentType, list, key) => {
          const wellFormed = list.map(([name, text]) => [name, Buffer.from(text).toString()] as const)
          const batch = batchOf(
            { value, contentType, headers: wellFormed, key: key === null ? null : Buffer.from(key) },
            7,
          )
          expect(JSON.parse(messageFrame(PLACE, batch, 7, 2))).toEqual({
            type: 'message',
            attempt: 2,
            id: '3:7',
            topic: 'orders',
            partition: 3,
            offset: 7,
            key: key === null ? null : Buffer.from(key).toString(),
            ...naive(value, contentType),
            contentType,
            headers: Object.fromEntries(wellFormed),
            timestamp: '2026-01-01T00:00:00.000Z',
          })
        },
      ),
      { numRuns: 500 },
    )
  })

  it('keeps the bytes of a JSON value', () => {
    const text = '{ "b":12345678901234567890, "a":1.10, "b":1e999 }'
    const batch = batchOf({ value: Buffer.from(text) }, 0)
    expect(messageJson(PLACE, batch, 0)).toContain(`"value":${text},"contentType"`)
  })

  it('is made once and shared by all forms', () => {
    const batch = batchOf({ value: Buffer.from('{"a":1}') }, 0)
    const read = messageJson(PLACE, batch, 0)
    batch.json[0] = batch.json[0]!.replace('"a":1', '"a":2')
    expect(JSON.parse(read)).toMatchObject({ value: { a: 1 } })
    expect(JSON.parse(pulledJson(PLACE, batch, 0, 4))).toMatchObject({ attempt: 4, value: { a: 2 } })
    expect(JSON.parse(messageFrame(PLACE, batch, 0, 5))).toMatchObject({ attempt: 5, value: { a: 2 } })
  })

  it('does not prove again what the writer has proven', () => {
    const batch = batchOf({ value: Buffer.from('not json'), valueChecked: true }, 0)
    expect(messageJson(PLACE, batch, 0)).toContain('"value":not json')
  })
})
