import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { messageJson } from '../../../src/cli/message-text.ts'
import { numberedLines } from '../../../src/cli/numbered-lines.ts'
import { readMessageLine, readValue } from '../../../src/cli/publish-line.ts'

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

describe('a line of a file of messages', () => {
  it('becomes a value with its options, byte for byte', () => {
    const line = '{"key":"ada","headers":{"a":"1"},"value":{"n": 12345678901234567890, "e":1e999},"ttlMs":5}'
    const { value, options } = readMessageLine(line)
    expect(text(value)).toBe('{"n": 12345678901234567890, "e":1e999}')
    expect(options).toEqual({ key: 'ada', headers: { a: '1' }, ttlMs: 5, contentType: 'application/json' })
    expect(text(readMessageLine('{"value":"hi","contentType":"text/plain"}').value)).toBe('hi')
    expect(readMessageLine('{"base64":"/wA="}')).toEqual({ value: Buffer.from([255, 0]), options: {} })
  })

  it('may be one that subscribe printed: where it lay does not count', () => {
    const message = {
      id: '3:7',
      topic: 'a',
      partition: 3,
      offset: 7,
      key: null,
      value: 'x',
      headers: {},
      contentType: 'text/plain',
      timestamp: '2026-05-01T12:00:00.000Z',
      attempt: 1,
    }
    expect(readMessageLine(messageJson(message)).options).toEqual({ headers: {}, contentType: 'text/plain' })
    expect(readMessageLine('{"partition":3,"value":1}').options).toMatchObject({ partition: 3 })
  })

  it.each([
    ['nope', 'not JSON'],
    ['[1]', '--lines'],
    ['{}', 'no "value"'],
    ['{"value":1,"base64":"aa"}', 'not both'],
    ['{"base64":"*"}', 'not base64'],
    ['{"value":1,"kye":"a"}', '"kye"'],
    ['{"value":1,"key":5}', '"key"'],
    ['{"value":1,"headers":{"a":1}}', '"headers"'],
    ['{"value":1,"contentType":"image/png"}', '"base64"'],
    ['{"value":1,"contentType":"text/plain"}', 'not a text'],
    ['{"value":1,"offset":1}', '"offset"'],
  ])('is refused: %s', (line, named) => {
    expect(() => readMessageLine(line)).toThrow(named)
  })
})

describe('a value', () => {
  it.each([
    ['{"a":1}', undefined, 'application/json'],
    ['5', undefined, 'application/json'],
    ['hello', undefined, 'text/plain'],
    ['{"a":1}', 'text/plain', 'text/plain'],
  ])('%s of type %s goes as %s', (value, given, contentType) => {
    expect(readValue(Buffer.from(value), given).options).toEqual({ contentType })
  })

  it('goes as bytes when it is no text, and is refused when it claims to be JSON and is not', () => {
    expect(readValue(Buffer.from([255]), undefined).options.contentType).toBe('application/octet-stream')
    expect(() => readValue(Buffer.from('x'), 'application/json')).toThrow('not JSON')
  })
})

describe('numbered lines', () => {
  async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }

  it('are the same however the stream is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom('a', 'é', ' ', '"') })),
        fc.integer({ min: 1, max: 7 }),
        fc.boolean(),
        async (lines, size, hasEnd) => {
          const whole = lines.map((line) => `${line}\n`).join('') + (hasEnd ? '' : 'end')
          const found: string[] = []
          let through = 0
          for await (const line of numberedLines(chunked(Buffer.from(whole), size), 1000)) {
            expect(line.number).toBe(found.length + 1)
            found.push(text(line.bytes!))
            through = line.through
          }
          expect(found).toEqual(hasEnd ? lines : [...lines, 'end'])
          expect(through).toBe(Buffer.byteLength(whole))
        },
      ),
    )
  })

  it('keep the number of one that is too long, and what comes after it; ends may have a return', async () => {
    const found: [number, string | null][] = []
    for await (const { number, bytes } of numberedLines(chunked(Buffer.from('a\r\nlonger\nb\r\n'), 2), 4))
      found.push([number, bytes && text(bytes)])
    expect(found).toEqual([
      [1, 'a'],
      [2, null],
      [3, 'b'],
    ])
  })
})
