/** From a failing consumer to the dead-letter topic, over real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { type Answer, call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const subscription = (topic: string): string => `/v1/topics/${topic}/subscriptions/billing`

function put(topic: string, settings: object): Promise<Answer> {
  return call(broker, 'PUT', subscription(topic), { start: 'earliest', backoff: { minMs: 0, maxMs: 0 }, ...settings })
}

async function publish(topic: string, value: string, headers: Record<string, string> = {}): Promise<void> {
  const answer = await call(broker, 'POST', `/v1/topics/${topic}/messages`, value, {
    'content-type': 'text/plain',
    'tidings-key': 'ada',
    ...headers,
  })
  expect(answer.status).toBe(200)
}

/** What the dead-letter topic holds, once it holds so many. */
async function letters(topic: string, count: number): Promise<Record<string, unknown>[]> {
  for (;;) {
    const { status, json } = await call(broker, 'GET', `/v1/topics/${topic}/partitions/0/messages`)
    expect(status).toBe(200)
    const { messages } = json as { messages: Record<string, unknown>[] }
    if (messages.length >= count) return messages
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

async function stateOf(topic: string): Promise<Record<string, unknown>> {
  return ((await call(broker, 'GET', subscription(topic))).json as { state: Record<string, unknown> }).state
}

describe('a message that fails again and again', () => {
  it('goes to the dead-letter topic after its last attempt, and is acknowledged', async () => {
    expect(await put('orders', { deadLetter: { topic: 'orders.dead', maxDeliveries: 3 } })).toMatchObject({
      status: 201,
      json: { deadLetter: { mode: 'topic', topic: 'orders.dead', maxDeliveries: 3, maxParked: 1000 } },
    })
    expect((await call(broker, 'GET', '/v1/topics/orders.dead')).status).toBe(200)
    await publish('orders', 'poison', { 'tidings-header-color': 'red', 'tidings-ttl-ms': '3600000' })
    const client = await StreamClient.open(broker, 'orders', 'billing')
    const attempts: unknown[] = []
    for (let i = 0; i < 3; i++) {
      const frame = await client.next()
      attempts.push(frame['attempt'])
      client.send({ type: 'nack', ids: [frame['id']], ...(i === 1 ? { reason: 'no such customer' } : {}) })
    }
    expect(attempts).toEqual([1, 2, 3])
    expect(await letters('orders.dead', 1)).toEqual([
      expect.objectContaining({
        key: 'ada',
        value: 'poison',
        contentType: 'text/plain',
        headers: {
          color: 'red',
          'tidings-original-topic': 'orders',
          'tidings-original-id': '0:0',
          'tidings-subscription': 'billing',
          'tidings-subscription-topic': 'orders',
          'tidings-attempts': '3',
          'tidings-reason': 'no such customer',
        },
      }),
    ])
    await publish('orders', 'good')
    const next = await client.next()
    expect(next).toMatchObject({ id: '0:1', attempt: 1 })
    client.send({ type: 'ack', ids: ['0:1'], request: 1 })
    await client.next()
    expect(await stateOf('orders')).toMatchObject({ backlog: 0, deadLettering: 0, cursors: [{ ackedThrough: 2 }] })
    await client.end()
  })

  it('goes there at once when it is rejected, before the answer', async () => {
    await put('rejects', { deadLetter: {} })
    await publish('rejects', 'one')
    await publish('rejects', 'two')
    const pulled = await call(broker, 'POST', `${subscription('rejects')}/pull`, { max: 1 })
    expect(pulled.json).toMatchObject({ messages: [{ id: '0:0' }] })
    const rejected = await call(broker, 'POST', `${subscription('rejects')}/reject`, { ids: ['0:0'], reason: 'bad' })
    expect(rejected).toMatchObject({ status: 200, json: { count: 1 } })
    const { json } = await call(broker, 'GET', '/v1/topics/rejects.billing.dlq/partitions/0/messages')
    expect(json).toMatchObject({
      messages: [{ value: 'one', headers: { 'tidings-reason': 'bad', 'tidings-attempts': '1' } }],
    })
    const client = await StreamClient.open(broker, 'rejects', 'billing')
    const frame = await client.next()
    client.send({ type: 'reject', ids: [frame['id']], request: 7 })
    expect(await client.next()).toEqual({ type: 'acked', request: 7, ids: ['0:1'] })
    expect(await letters('rejects.billing.dlq', 2)).toHaveLength(2)
    await client.end()
  })

  it('counts a lost connection and a passed deadline, and no release', async () => {
    await put('counts', { deadLetter: { maxDeliveries: 3 }, ackDeadlineMs: 100 })
    await publish('counts', 'x')
    const first = await StreamClient.open(broker, 'counts', 'billing')
    for (let i = 0; i < 5; i++) {
      const frame = await first.next()
      expect(frame['attempt']).toBe(1)
      first.send({ type: 'release', ids: [frame['id']] })
    }
    await first.next()
    await first.end()
    const second = await StreamClient.open(broker, 'counts', 'billing')
    expect(await second.next()).toMatchObject({ attempt: 2 })
    expect(await second.next()).toMatchObject({ attempt: 3 })
    expect(await letters('counts.billing.dlq', 1)).toMatchObject([{ headers: { 'tidings-reason': 'deadline' } }])
    await second.end()
  })

  it('is tried for ever without a dead-letter topic, and dropped when it is rejected', async () => {
    await put('forever', {})
    await publish('forever', 'x')
    const client = await StreamClient.open(broker, 'forever', 'billing')
    for (let attempt = 1; attempt <= 20; attempt++) {
      const frame = await client.next()
      expect(frame['attempt']).toBe(attempt)
      client.send({ type: 'nack', ids: [frame['id']] })
    }
    const last = await client.next()
    client.send({ type: 'reject', ids: [last['id']], request: 1 })
    expect(await client.next()).toMatchObject({ type: 'acked', ids: ['0:0'] })
    expect((await call(broker, 'GET', '/v1/topics/forever.billing.dlq')).status).toBe(404)
    await client.end()
  })
})

describe('the settings of dead letters', () => {
  it.each([
    ['its own topic', { topic: 'own' }],
    ['no attempts', { maxDeliveries: 0 }],
    ['a bad name', { topic: '_x' }],
    ['parking without an order', { mode: 'park' }],
    ['an unknown key', { retries: 5 }],
  ])('refuse %s', async (_, deadLetter) => {
    const answer = await put('own', { deadLetter })
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
    expect((await call(broker, 'GET', subscription('own'))).status).toBe(404)
  })

  it('refuse a default name that is too long', async () => {
    const topic = 't'.repeat(195)
    expect(await put(topic, { deadLetter: {} })).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
    expect((await put(topic, { deadLetter: { topic: 'short' } })).status).toBe(201)
  })

  it('keep what a PUT leaves out', async () => {
    await put('kept', { deadLetter: { topic: 'kept.dead', maxDeliveries: 9 } })
    expect((await put('kept', { deadLetter: { maxDeliveries: 2 } })).json).toMatchObject({
      deadLetter: { topic: 'kept.dead', maxDeliveries: 2 },
    })
    expect((await put('kept', { ackDeadlineMs: 1 })).json).toMatchObject({ deadLetter: { maxDeliveries: 2 } })
    expect((await put('kept', { deadLetter: null })).json).toMatchObject({ deadLetter: null })
  })
})
