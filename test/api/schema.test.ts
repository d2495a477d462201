import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
  await call(broker, 'PUT', '/v1/topics/orders', { schema: SCHEMA })
})
afterAll(() => broker.stop())

const SCHEMA = { type: 'object', required: ['id'], properties: { id: { type: 'integer' } } }
const put = (body: object, topic = 'orders'): Promise<Answer> => call(broker, 'PUT', `/v1/topics/${topic}`, body)
const publish = (value: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  call(broker, 'POST', '/v1/topics/orders/messages', JSON.stringify(value), {
    'content-type': 'application/json',
    ...headers,
  })
const batch = (messages: object[]): Promise<Answer> =>
  call(broker, 'POST', '/v1/topics/orders/messages/batch', { messages })
const count = async (): Promise<number> => {
  const { json } = await call(broker, 'GET', '/v1/topics/orders')
  return (json as { partitionStates: { nextOffset: number }[] }).partitionStates[0]!.nextOffset
}

describe('a topic with a schema', () => {
  it('shows it', async () => {
    expect((await call(broker, 'GET', '/v1/topics/orders')).json).toMatchObject({
      schema: SCHEMA,
      schemaCompatibility: 'backward',
    })
  })

  it('takes what satisfies it, and refuses with the path what does not', async () => {
    expect((await publish({ id: 1 })).status).toBe(200)
    const before = await count()
    expect(await publish({ id: 'x' })).toMatchObject({
      status: 422,
      json: { code: 'schema_violation', detail: '/id: must be integer' },
    })
    const plain = await call(broker, 'POST', '/v1/topics/orders/messages', 'hello', { 'content-type': 'text/plain' })
    expect(plain).toMatchObject({ status: 422, json: { code: 'schema_violation' } })
    expect(await count()).toBe(before)
  })

  it('refuses a batch for one entry, and names it', async () => {
    const before = await count()
    expect(await batch([{ value: { id: 1 } }, { value: { id: 2.5 } }])).toMatchObject({
      status: 422,
      json: { code: 'schema_violation', detail: 'messages[1]: /id: must be integer' },
    })
    expect(await count()).toBe(before)
    expect((await batch([{ value: { id: 1 } }, { value: { id: 2 }, delayMs: 60_000 }])).status).toBe(200)
  })

  it('asks scheduled messages when they are accepted', async () => {
    expect((await publish({ id: 'x' }, { 'tidings-delay-ms': '1000' })).status).toBe(422)
    expect((await publish({ id: 5 }, { 'tidings-delay-ms': '60000' })).json).toMatchObject({ scheduled: {} })
  })

  it('lets dead letters and what is moved back through', async () => {
    await put({}, 'plain')
    await put({ schema: { type: 'string' } }, 'letters')
    await call(broker, 'PUT', '/v1/topics/plain/subscriptions/s', {
      start: 'earliest',
      deadLetter: { topic: 'letters', maxDeliveries: 1 },
    })
    await call(broker, 'POST', '/v1/topics/plain/messages', 'not JSON')
    const pulled = await call(broker, 'POST', '/v1/topics/plain/subscriptions/s/pull', { waitMs: 5000 })
    expect((pulled.json as { messages: unknown[] }).messages).toHaveLength(1)
    const rejected = await call(broker, 'POST', '/v1/topics/plain/subscriptions/s/reject', { ids: ['0:0'] })
    expect(rejected).toMatchObject({ status: 200, json: { count: 1 } })
    const { json } = await call(broker, 'GET', '/v1/topics/letters/partitions/0/messages')
    expect((json as { messages: unknown[] }).messages).toHaveLength(1)
  })
})

describe('changing a schema', () => {
  it('is refused where it may shut out what was let in, unless that is wanted', async () => {
    await put({ schema: SCHEMA }, 'changing')
    const narrower = { ...SCHEMA, required: ['id', 'name'] }
    expect(await put({ schema: narrower }, 'changing')).toMatchObject({
      status: 409,
      json: { code: 'conflict', detail: expect.stringMatching(/at \/required: .*"schemaCompatibility":"none"/) },
    })
    expect((await call(broker, 'GET', '/v1/topics/changing')).json).toMatchObject({ schema: SCHEMA })
    const wider = { ...SCHEMA, properties: { id: { type: ['integer', 'string'] } } }
    expect((await put({ schema: wider }, 'changing')).status).toBe(200)
    expect((await put({ schema: narrower, schemaCompatibility: 'none' }, 'changing')).status).toBe(200)
    expect((await put({ schema: null }, 'changing')).json).toMatchObject({ schema: null })
    const free = await call(broker, 'POST', '/v1/topics/changing/messages', 'anything')
    expect(free.status).toBe(200)
  })

  it.each([
    [{ type: 'objekt' }, /^schema at \/type/],
    [{ $ref: 'https://example.org/s.json' }, /^schema at \/\$ref/],
    [{ $schema: 'http://json-schema.org/draft-03/schema#' }, /^schema at \/\$schema/],
    [{ pattern: '(?=x)' }, /RE2/],
    [true, /^schema: expected a JSON Schema/],
  ])('is refused for %j', async (schema, detail) => {
    expect(await put({ schema }, 'bad')).toMatchObject({
      status: 400,
      json: { code: 'invalid_argument', detail: expect.stringMatching(detail) },
    })
    expect((await call(broker, 'GET', '/v1/topics/bad')).status).toBe(404)
  })
})
