import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const read = async (topic: string, partition = 0): Promise<Record<string, unknown>[]> => {
  const { json } = await call(broker, 'GET', `/v1/topics/${topic}/partitions/${partition}/messages`)
  return (json as { messages: Record<string, unknown>[] }).messages
}
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

describe('a publish', () => {
  it('answers with where the message lies', async () => {
    const answer = await call(broker, 'POST', '/v1/topics/first/messages', '{"a":1}', {
      'content-type': 'application/json',
    })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
    expect(answer.json).toEqual({
      topic: 'first',
      partition: 0,
      offset: 0,
      id: '0:0',
      timestamp: expect.stringMatching(TIMESTAMP),
    })
    const second = await call(broker, 'POST', '/v1/topics/first/messages', '{"a":2}', {
      'content-type': 'application/json',
    })
    expect(second.json).toMatchObject({ offset: 1, id: '0:1' })
  })

  it.each(['%70laces', 'places?unknown=1', 'places'])(
    'answers on the path of %s as on any other form of it',
    async (form) => {
      const [name, query] = form.split('?')
      const path = `/v1/topics/${name}/messages${query === undefined ? '' : `?${query}`}`
      const answer = await call(broker, 'POST', path, 'x', { 'content-type': 'text/plain' })
      expect(answer.status).toBe(200)
      expect(answer.json).toMatchObject({ topic: 'places', partition: 0 })
      const refused = await call(broker, 'POST', path, 'x', { 'tidings-unheard-of': '1' })
      expect(refused.status).toBe(400)
      expect(refused.json).toMatchObject({ code: 'invalid_argument' })
    },
  )

  it('keeps the value, key and headers', async () => {
    await call(broker, 'POST', '/v1/topics/kept/messages', '{"n":12345678901234567890}', {
      'content-type': 'application/json',
      'Tidings-Key': Buffer.from('schlüssel').toString('latin1'),
      'Tidings-Header-Region': 'eu',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      'ce-type': 'order.placed',
      'x-other': 'not kept',
    })
    const answer = await call(broker, 'GET', '/v1/topics/kept/partitions/0/messages')
    expect(answer.text).toContain('"value":{"n":12345678901234567890}')
    expect(await read('kept')).toMatchObject([
      {
        key: 'schlüssel',
        contentType: 'application/json',
        headers: {
          region: 'eu',
          traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
          'ce-type': 'order.placed',
        },
      },
    ])
  })

  it.each([
    ['text/plain', Buffer.from('hé'), { value: 'hé' }],
    ['text/plain', Buffer.from([0xff, 0xfe]), { base64: '//4=' }],
    ['application/json', Buffer.from('{broken'), { base64: 'e2Jyb2tlbg==' }],
    ['application/octet-stream', Buffer.from('abc'), { base64: 'YWJj' }],
    ['application/problem+json', Buffer.from('[1]'), { value: [1] }],
    ['not a media type', Buffer.from('abc'), { base64: 'YWJj' }],
    ['application/json', Buffer.alloc(0), { base64: '' }],
  ])('takes any body as %s', async (contentType, body, shown) => {
    const topic = `any${Math.abs(body.length * 31 + contentType.length)}-${contentType.replace(/\W/g, '')}`
    const answer = await call(broker, 'POST', `/v1/topics/${topic}/messages`, body, { 'content-type': contentType })
    expect(answer.status).toBe(200)
    expect(await read(topic)).toMatchObject([{ ...shown, contentType }])
  })

  it('takes a body without a content type as bytes, and no body at all', async () => {
    await call(broker, 'POST', '/v1/topics/untyped/messages', Buffer.from('abc'))
    await call(broker, 'POST', '/v1/topics/untyped/messages')
    expect(await read('untyped')).toMatchObject([
      { contentType: 'application/octet-stream', base64: 'YWJj' },
      { contentType: 'application/octet-stream', base64: '' },
    ])
  })

  it('answers a repeated Idempotency-Key with the first position', async () => {
    const headers = { 'Idempotency-Key': 'once' }
    const first = await call(broker, 'POST', '/v1/topics/idem/messages', 'a', headers)
    expect(first.json).not.toHaveProperty('duplicate')
    const again = await call(broker, 'POST', '/v1/topics/idem/messages', 'a', headers)
    expect(again.json).toEqual({ ...(first.json as object), duplicate: true })
    expect(await read('idem')).toHaveLength(1)
  })

  it('goes to the partition of its key, as murmur2 says', async () => {
    await call(broker, 'PUT', '/v1/topics/parted', { partitions: 4 })
    const explicit = await call(broker, 'POST', '/v1/topics/parted/messages', 'a', { 'Tidings-Partition': '3' })
    expect(explicit.json).toMatchObject({ partition: 3 })
    const keyed = await Promise.all(
      [1, 2, 3].map(() => call(broker, 'POST', '/v1/topics/parted/messages', 'a', { 'Tidings-Key': 'customer-7' })),
    )
    expect(new Set(keyed.map(({ json }) => (json as { partition: number }).partition)).size).toBe(1)
    const gone = await call(broker, 'POST', '/v1/topics/parted/messages', 'a', { 'Tidings-Partition': '4' })
    expect(gone).toMatchObject({ status: 404, json: { code: 'partition_not_found' } })
  })

  it.each([
    [{ 'Tidings-Key': '\xff' }],
    [{ 'Tidings-Header-A': '\xc3(' }],
    [{ 'Tidings-Partition': 'x' }],
    [{ 'Tidings-Partition': '-1' }],
    [{ 'Tidings-Ttl-Ms': '-5' }],
    [{ 'Tidings-Delay-Ms': '-5' }],
    [{ 'Tidings-Deliver-At': 'tomorrow' }],
    [{ 'Idempotency-Key': 'x'.repeat(256) }],
    [{ 'Tidings-Unknown': '5' }],
  ])('is refused for the headers %j, and stores nothing', async (headers) => {
    const answer = await call(broker, 'POST', '/v1/topics/refused/messages', 'a', headers as Record<string, string>)
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_argument', status: 400 } })
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect((await call(broker, 'GET', '/v1/topics/refused')).status).toBe(404)
  })

  it('is refused above the limit of its topic', async () => {
    await call(broker, 'PUT', '/v1/topics/small', { maxMessageBytes: 100 })
    expect((await call(broker, 'POST', '/v1/topics/small/messages', Buffer.alloc(100))).status).toBe(200)
    for (const bytes of [101, 5_000_000]) {
      const answer = await call(broker, 'POST', '/v1/topics/small/messages', Buffer.alloc(bytes))
      expect(answer).toMatchObject({ status: 413, json: { code: 'message_too_large' } })
    }
    expect(await read('small')).toHaveLength(1)
  })

  it('is refused for a missing topic when topics are not created by themselves', async () => {
    const strict = await startTestBroker({ autoCreateTopics: false })
    const single = await call(strict, 'POST', '/v1/topics/none/messages', 'a')
    const batch = await call(strict, 'POST', '/v1/topics/none/messages/batch', { messages: [] })
    expect([single, batch]).toMatchObject([404, 404].map((status) => ({ status, json: { code: 'topic_not_found' } })))
    await strict.stop()
  })
})

describe('a batch', () => {
  it('is JSON with any type that says so', async () => {
    const body = JSON.stringify({ messages: [{ value: 1 }] })
    const types = ['application/vnd.orders+json; charset=utf-8', 'text/plain', undefined]
    const answers = await Promise.all(
      types.map((type) =>
        call(
          broker,
          'POST',
          '/v1/topics/typed/messages/batch',
          Buffer.from(body),
          type ? { 'content-type': type } : {},
        ),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual([200, 415, 415])
  })

  it('answers with receipts in its order', async () => {
    await call(broker, 'PUT', '/v1/topics/batched', { partitions: 2 })
    const messages = [
      { value: 1, partition: 1 },
      { value: 2, partition: 0 },
      { value: 3, partition: 1, idempotencyKey: 'k' },
    ]
    const answer = await call(broker, 'POST', '/v1/topics/batched/messages/batch', { messages })
    expect(answer).toMatchObject({ status: 200 })
    expect(answer.json).toEqual({
      receipts: [
        { partition: 1, offset: 0, id: '1:0' },
        { partition: 0, offset: 0, id: '0:0' },
        { partition: 1, offset: 1, id: '1:1' },
      ],
    })
    const again = await call(broker, 'POST', '/v1/topics/batched/messages/batch', { messages: [messages[2]] })
    expect(again.json).toEqual({ receipts: [{ partition: 1, offset: 1, id: '1:1', duplicate: true }] })
  })

  it('may be NDJSON, and keeps the bytes of values', async () => {
    const lines = [
      '{"value":{"z":1,"a":1e999}}',
      '{"contentType":"text/plain","value":"x"}',
      '{"contentType":"a/b","base64":"AP8="}',
    ]
    const answer = await call(broker, 'POST', '/v1/topics/lines/messages/batch', `${lines.join('\n')}\n`, {
      'content-type': 'application/x-ndjson',
    })
    expect((answer.json as { receipts: unknown[] }).receipts).toHaveLength(3)
    const { text } = await call(broker, 'GET', '/v1/topics/lines/partitions/0/messages')
    expect(text).toContain('"value":{"z":1,"a":1e999}')
    expect((await read('lines')).slice(1)).toMatchObject([{ value: 'x' }, { base64: 'AP8=' }])
  })

  it('may be empty', async () => {
    expect((await call(broker, 'POST', '/v1/topics/none-in-it/messages/batch', { messages: [] })).json).toEqual({
      receipts: [],
    })
    const ndjson = { 'content-type': 'application/x-ndjson' }
    expect((await call(broker, 'POST', '/v1/topics/none-in-it/messages/batch', '', ndjson)).json).toEqual({
      receipts: [],
    })
  })

  it.each([
    [{}, /messages\[2\]/, 400, 'invalid_argument'],
    [{ value: 1, partition: 9 }, /messages\[2\]/, 400, 'invalid_argument'],
    [{ value: 1, delayMs: -5 }, /messages\[2\]/, 400, 'invalid_argument'],
    [{ value: 'x'.repeat(200) }, /messages\[2\]/, 413, 'message_too_large'],
  ])('is refused whole for the entry %j', async (entry, named, status, code) => {
    await call(broker, 'PUT', '/v1/topics/whole', { maxMessageBytes: 100 })
    const answer = await call(broker, 'POST', '/v1/topics/whole/messages/batch', {
      messages: [{ value: 1 }, { value: 2 }, entry],
    })
    expect(answer).toMatchObject({ status, json: { code, detail: expect.stringMatching(named) } })
    expect(await read('whole')).toEqual([])
  })

  it.each([
    ['text/plain', '{"messages":[]}', 415, 'unsupported_media_type'],
    ['', '{"messages":[]}', 415, 'unsupported_media_type'],
    ['application/json', '{"messages":', 400, 'invalid_argument'],
    ['application/json', '[]', 400, 'invalid_argument'],
    ['application/json', Buffer.from([0xff]), 400, 'invalid_argument'],
  ])('is refused as %s: %s', async (contentType, body, status, code) => {
    const headers = contentType === '' ? {} : { 'content-type': contentType }
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    const answer = await call(
      broker,
      'POST',
      '/v1/topics/not-made/messages/batch',
      bytes,
      headers as Record<string, string>,
    )
    expect(answer).toMatchObject({ status, json: { code } })
    expect((await call(broker, 'GET', '/v1/topics/not-made')).status).toBe(404)
  })
})
