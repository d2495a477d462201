/** What no well-meaning client sends: rows 55 to 62 and 65 of the fault matrix. After each the broker still serves. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RawSocket } from '../support/raw-socket.ts'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ requestTimeoutMs: 700, headersTimeoutMs: 400 })
  await call(broker, 'PUT', '/v1/topics/target', { maxMessageBytes: 100_000 })
})
afterAll(() => broker.stop())
afterEach(async () => {
  expect((await call(broker, 'GET', '/healthz')).status).toBe(200)
  expect(Object.keys(Object.prototype)).toEqual([])
})

const stored = async (): Promise<unknown> =>
  ((await call(broker, 'GET', '/v1/topics/target')).json as { partitionStates: { nextOffset: number }[] })
    .partitionStates[0]!.nextOffset
const head = (extra: string): string => `POST /v1/topics/target/messages HTTP/1.1\r\nHost: x\r\n${extra}\r\n\r\n`

describe('a body', () => {
  it('that never ends is cut off while it streams', async () => {
    const raw = new RawSocket(broker.port)
    raw.write(head('Transfer-Encoding: chunked'))
    const chunk = Buffer.concat([Buffer.from('4000\r\n'), Buffer.alloc(0x4000, 0x61), Buffer.from('\r\n')])
    const sent = await raw.pour(chunk, 1_000_000_000)
    expect(sent).toBeLessThan(100_000_000)
    expect(await raw.answer()).toMatchObject({
      status: 413,
      head: expect.stringContaining('connection: close'),
      body: expect.stringContaining('message_too_large'),
    })
    await raw.closed
    expect(await stored()).toBe(0)
  })

  it('whose length says too much is refused before it comes', async () => {
    const raw = new RawSocket(broker.port)
    raw.write(head('Content-Length: 100001'))
    expect(await raw.answer()).toMatchObject({ status: 413 })
    await raw.closed
    expect(await stored()).toBe(0)
  })

  it.each([
    'Content-Length: -1',
    'Content-Length: 1e3',
    'Content-Length: 5\r\nContent-Length: 6',
    'Content-Length: 5\r\nTransfer-Encoding: chunked',
    'Transfer-Encoding: gzip',
    'Content-Length: 99999999999999999999999',
  ])('whose length is a lie is refused: %s', async (header) => {
    const raw = new RawSocket(broker.port)
    raw.write(`${head(header)}hello`)
    const { status } = await raw.answer()
    expect(status).toBeGreaterThanOrEqual(400)
    expect(status).toBeLessThan(500)
    await raw.closed
    expect(await stored()).toBe(0)
  })

  it('that stops half way is given up, and nothing of it stored', async () => {
    const raw = new RawSocket(broker.port)
    raw.write(`${head('Content-Length: 50')}half`)
    expect(await raw.answer()).toMatchObject({ status: 408 })
    await raw.closed
    const cut = new RawSocket(broker.port)
    cut.write(`${head('Content-Length: 50')}half`)
    cut.socket.end()
    await cut.closed
    expect(await stored()).toBe(0)
  })
})

describe('slow senders', () => {
  it('of headers are all closed in time', async () => {
    const slow = Array.from({ length: 100 }, () => new RawSocket(broker.port))
    for (const raw of slow) raw.write('POST /v1/topics/target/messages HTTP/1.1\r\nHost: x\r\nX-')
    await Promise.all(slow.map((raw) => raw.closed))
    expect(slow.every((raw) => raw.received === '' || raw.received.startsWith('HTTP/1.1 408'))).toBe(true)
  })
})

describe('a request that is none', () => {
  it.each([
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'hello\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    'GET /\x00 HTTP/1.1\r\n\r\n',
  ])('is answered or dropped: %j', async (text) => {
    const raw = new RawSocket(broker.port)
    raw.write(Buffer.from(text, 'latin1'))
    const { status } = await raw.answer()
    expect([400, 404, 505].includes(status) || raw.received === '').toBe(true)
    raw.end()
  })

  it('with too many headers gets 431', async () => {
    const raw = new RawSocket(broker.port)
    raw.write(head(`X-Big: ${'x'.repeat(20_000)}`))
    expect(await raw.answer()).toMatchObject({ status: 431 })
    await raw.closed
  })

  it('says nothing of the broker itself', async () => {
    for (const path of ['/%', '/%zz', `/v1/topics/${'x'.repeat(5000)}`, '/v1/topics/%00', '//']) {
      const raw = new RawSocket(broker.port)
      raw.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
      const { status, body } = await raw.answer()
      expect(status).toBeGreaterThanOrEqual(400)
      expect(status).toBeLessThan(500)
      expect(body).not.toMatch(/node_modules|at .*\.[jt]s|\/src\//)
      raw.end()
    }
  })
})

describe('a name', () => {
  const names = [
    'a/b',
    '../x',
    '%2e%2e%2f',
    'CON:',
    '\u0000',
    '_internal',
    '😀',
    '-a',
    '~a',
    'x'.repeat(201),
    'x'.repeat(300),
    '__proto__',
    ' ',
    'a b',
    '*',
    '**',
  ]

  it.each(['.', '..', '%2e', '%2E%2e', '..%2f..%2fx', '%00'])(
    'that clients tidy away is refused where it comes through: %s',
    async (name) => {
      for (const line of [
        `PUT /v1/topics/${name}`,
        `POST /v1/topics/${name}/messages`,
        `GET /v1/topics/${name}/subscriptions/s`,
      ]) {
        const raw = new RawSocket(broker.port)
        raw.write(`${line} HTTP/1.1\r\nHost: x\r\n\r\n`)
        expect(await raw.answer()).toMatchObject({ status: 400, body: expect.stringContaining('invalid_argument') })
        raw.end()
      }
    },
  )

  it.each(names)('that could be anything but a name is refused: %j', async (name) => {
    const escaped = encodeURIComponent(name).replace(/\./g, '%2E')
    const refused = { status: 400, json: { code: 'invalid_argument' } }
    expect(await call(broker, 'PUT', `/v1/topics/${escaped}`)).toMatchObject(refused)
    expect(await call(broker, 'POST', `/v1/topics/${escaped}/messages`, 'x')).toMatchObject(refused)
    expect(await call(broker, 'POST', `/v1/topics/${escaped}/messages/batch`, { messages: [] })).toMatchObject(refused)
    expect(await call(broker, 'PUT', `/v1/topics/target/subscriptions/${escaped}`)).toMatchObject(refused)
    expect(await call(broker, 'GET', `/v1/topics/${escaped}/partitions/0/messages`)).toMatchObject(refused)
  })

  it.each(['constructor', 'toString', 'hasOwnProperty', 'a..b', 'a~._-', '0', 'CON'])(
    'that looks odd but is one is a name: %s',
    async (name) => {
      expect(await call(broker, 'GET', `/v1/topics/${name}`)).toMatchObject({
        status: 404,
        json: { code: 'topic_not_found' },
      })
      expect(await call(broker, 'PUT', `/v1/topics/${name}`)).toMatchObject({ status: 201, json: { name } })
      expect(await call(broker, 'GET', `/v1/topics/${name}/subscriptions/constructor`)).toMatchObject({
        status: 404,
        json: { code: 'subscription_not_found' },
      })
    },
  )
})

describe('JSON', () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  const many = `{${Array.from({ length: 50_000 }, (_, i) => `"k${i}":1`).join(',')}}`

  it.each([
    ['a prototype', '{"__proto__":{"x":1}}'],
    ['a constructor', '{"constructor":{"prototype":{"x":1}}}'],
    ['a great depth', deep],
    ['a great depth in a field', `{"partitions":${deep}}`],
    ['many keys', many],
    ['1e999', '{"partitions":1e999}'],
    ['a lone surrogate', '{"\\ud800":1}'],
    ['no JSON', '{"partitions":1'],
    ['nothing but a number', '5'],
  ])('with %s is refused by the routes', async (_, text) => {
    const headers = { 'content-type': 'application/json' }
    const refused = { status: 400, json: { code: 'invalid_argument' } }
    expect(await call(broker, 'PUT', '/v1/topics/hostile', text, headers)).toMatchObject(refused)
    expect(await call(broker, 'PUT', '/v1/topics/target/subscriptions/hostile', text, headers)).toMatchObject(refused)
    expect(await call(broker, 'POST', '/v1/topics/target/subscriptions/hostile/pull', text, headers)).toMatchObject({
      json: { code: expect.stringMatching(/invalid_argument|subscription_not_found/) },
    })
    expect(({} as { x?: number }).x).toBeUndefined()
  })

  it('that is not UTF-8 is refused', async () => {
    const answer = await call(broker, 'PUT', '/v1/topics/hostile', Buffer.from([0x7b, 0xff, 0x7d]), {
      'content-type': 'application/json',
    })
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
  })

  it('as a value is stored as it is, whatever its depth', async () => {
    await call(broker, 'PUT', '/v1/topics/values', { maxMessageBytes: 1_000_000 })
    const values = [deep, many, '{"__proto__":{"x":1},"a":1,"a":2}', '"\\ud800"']
    const body = `{"messages":[${values.map((text) => `{"value":${text}}`).join(',')}]}`
    expect(
      (await call(broker, 'POST', '/v1/topics/values/messages/batch', body, { 'content-type': 'application/json' }))
        .status,
    ).toBe(200)
    const { text } = await call(broker, 'GET', '/v1/topics/values/partitions/0/messages')
    for (const value of values) expect(text).toContain(`"value":${value},`)
  })

  it('bodies that are too large are refused', async () => {
    const answer = await call(broker, 'PUT', '/v1/topics/hostile', ' '.repeat(1_100_000), {
      'content-type': 'application/json',
    })
    expect(answer).toMatchObject({ status: 413, json: { code: 'message_too_large' } })
  })

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/xml'])(
    'as %s is unsupported',
    async (type) => {
      const answer = await call(broker, 'PUT', '/v1/topics/hostile', '{}', { 'content-type': type })
      expect(answer).toMatchObject({ status: 415, json: { code: 'unsupported_media_type' } })
    },
  )
})

describe('a browser page of another origin', () => {
  it.each([
    ['POST', '/v1/topics/target/messages', 'x'],
    ['POST', '/v1/topics/target/messages/batch', { messages: [] }],
    ['PUT', '/v1/topics/paged', {}],
    ['DELETE', '/v1/topics/target', undefined],
    ['POST', '/v1/topics/target/subscriptions/s/pull', {}],
  ])('may not %s %s', async (method, path, body) => {
    const answer = await call(broker, method, path, body, { origin: 'https://evil' })
    expect(answer).toMatchObject({ status: 403, json: { code: 'permission_denied' } })
    expect((await call(broker, 'GET', '/v1/topics/target')).status).toBe(200)
  })
})

describe('a broken WebSocket', () => {
  const HANDSHAKE =
    'GET /v1/topics/target/subscriptions/raw/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  const open = async (extra = ''): Promise<RawSocket> => {
    const raw = new RawSocket(broker.port)
    raw.write(`${HANDSHAKE}${extra}\r\n`)
    expect(await raw.answer()).toMatchObject({ status: 101 })
    raw.received = ''
    return raw
  }
  /** The code in the close frame that was sent. */
  const closeCode = async (raw: RawSocket): Promise<number> => {
    await raw.closed
    const bytes = Buffer.from(raw.received, 'latin1')
    expect(bytes[0]).toBe(0x88)
    return bytes.readUInt16BE(2)
  }
  const masked = (first: number, payload: Buffer): Buffer => {
    expect(payload.length).toBeLessThan(126)
    return Buffer.concat([Buffer.from([first, 0x80 | payload.length, 0, 0, 0, 0]), payload])
  }

  it('of endless fragments is closed', async () => {
    const raw = await open()
    const fragments = Buffer.concat([
      masked(0x01, Buffer.from('x')),
      ...Array.from({ length: 5000 }, () => masked(0x00, Buffer.from('x'))),
    ])
    raw.write(fragments)
    expect(await closeCode(raw)).toBe(1008)
  })

  it('gets no compression, and so has no bomb', async () => {
    const raw = new RawSocket(broker.port)
    raw.write(`${HANDSHAKE}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n`)
    const { head } = await raw.answer()
    expect(head).not.toContain('sec-websocket-extensions')
    raw.received = ''
    raw.write(masked(0xc1, Buffer.from('x')))
    expect(await closeCode(raw)).toBe(1002)
  })

  it.each([
    ['invalid UTF-8', masked(0x81, Buffer.from([0xff, 0xfe])), 1007],
    ['a reserved bit', masked(0x91, Buffer.from('x')), 1002],
    ['an unknown opcode', masked(0x83, Buffer.from('x')), 1002],
    ['an unmasked frame', Buffer.from([0x81, 0x01, 0x78]), 1002],
    ['a fragmented ping', masked(0x09, Buffer.from('x')), 1002],
    ['an oversized ping', Buffer.from([0x89, 0xfe, 0x00, 0x7e, 0, 0, 0, 0]), 1002],
    [
      'a length of 2^63',
      Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
      [1009, 4413],
    ],
    ['a length just above the limit', Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0]), 4413],
  ])('is closed for %s', async (_, frame, code) => {
    const raw = await open()
    raw.write(frame)
    expect([code].flat()).toContain(await closeCode(raw))
  })

  it.each(['Sec-WebSocket-Key: short', 'Sec-WebSocket-Version: 7', 'Sec-WebSocket-Protocol: ,,'])(
    'handshake is refused: %s',
    async (header) => {
      const raw = new RawSocket(broker.port)
      const [name] = header.split(':')
      const lines = HANDSHAKE.split('\r\n').filter((line) => !line.startsWith(`${name}:`))
      raw.write(`${lines.join('\r\n')}${header}\r\n\r\n`)
      expect(await raw.answer()).toMatchObject({ status: 400, body: expect.stringContaining('invalid_argument') })
      await raw.closed
    },
  )

  it('leaves others alone', async () => {
    const client = await StreamClient.open(broker, 'target', 'healthy')
    const raw = await open()
    raw.write(masked(0x83, Buffer.from('x')))
    await raw.closed
    await client.barrier()
    await client.end()
  })
})
