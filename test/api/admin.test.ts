import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const publish = (topic: string, value: unknown): Promise<unknown> =>
  call(broker, 'POST', `/v1/topics/${topic}/messages`, { value })

describe('a topic', () => {
  it('is created, changed, shown, listed and deleted', async () => {
    const created = await call(broker, 'PUT', '/v1/topics/orders', { partitions: 2 })
    expect(created).toMatchObject({
      status: 201,
      json: { name: 'orders', partitions: 2, durability: 'fsync', maxMessageBytes: 1_048_576 },
    })
    const changed = await call(broker, 'PUT', '/v1/topics/orders', { partitions: 3, retention: { maxAgeMs: 5000 } })
    expect(changed).toMatchObject({
      status: 200,
      json: { partitions: 3, retention: { maxAgeMs: 5000, maxBytes: null, untilAcked: false } },
    })
    await call(broker, 'POST', '/v1/topics/orders/messages', 'x', { 'Tidings-Partition': '2' })
    const shown = await call(broker, 'GET', '/v1/topics/orders')
    expect(shown).toMatchObject({ status: 200, json: { name: 'orders' } })
    const { partitionStates } = shown.json as { partitionStates: Record<string, unknown>[] }
    expect(partitionStates).toHaveLength(3)
    expect(partitionStates[2]).toEqual({
      partition: 2,
      earliestOffset: 0,
      nextOffset: 1,
      highWatermark: 1,
      bytes: expect.any(Number),
      segments: 1,
      leader: expect.any(String),
      replicas: [expect.any(String)],
      isr: [expect.any(String)],
      epoch: expect.any(Number),
      whyRetained: { reason: 'active_segment' },
    })
    const { topics } = (await call(broker, 'GET', '/v1/topics')).json as { topics: { name: string }[] }
    expect(topics.map(({ name }) => name)).toContain('orders')
    const deleted = await call(broker, 'DELETE', '/v1/topics/orders')
    expect(deleted).toMatchObject({ status: 204, text: '' })
    expect(await call(broker, 'GET', '/v1/topics/orders')).toMatchObject({
      status: 404,
      json: { code: 'topic_not_found' },
    })
    expect(await call(broker, 'DELETE', '/v1/topics/orders')).toMatchObject({
      status: 404,
      json: { code: 'topic_not_found' },
    })
  })

  it('is created with the defaults without a body', async () => {
    expect(await call(broker, 'PUT', '/v1/topics/plain')).toMatchObject({ status: 201, json: { partitions: 1 } })
    expect(await call(broker, 'PUT', '/v1/topics/plain', '', { 'content-type': 'application/json' })).toMatchObject({
      status: 200,
    })
  })

  it('never shrinks', async () => {
    await call(broker, 'PUT', '/v1/topics/shrink', { partitions: 2 })
    expect(await call(broker, 'PUT', '/v1/topics/shrink', { partitions: 1 })).toMatchObject({
      status: 409,
      json: { code: 'conflict' },
    })
  })

  it.each([
    [{ partitions: 0 }],
    [{ partitions: 1e9 }],
    [{ partitions: '2' }],
    [{ partions: 2 }],
    [{ durability: 'maybe' }],
    [{ segmentBytes: 5 }],
    [{ retention: { maxAge: 5 } }],
    [[]],
  ])('is refused with %j', async (body) => {
    expect(await call(broker, 'PUT', '/v1/topics/bad', body)).toMatchObject({
      status: 400,
      json: { code: 'invalid_argument' },
    })
    expect((await call(broker, 'GET', '/v1/topics/bad')).status).toBe(404)
  })
})

describe('a subscription', () => {
  it('is created, changed, shown, listed and deleted', async () => {
    const created = await call(broker, 'PUT', '/v1/topics/subscribed/subscriptions/billing', { start: 'earliest' })
    expect(created).toMatchObject({
      status: 201,
      json: {
        name: 'billing',
        type: 'shared',
        start: 'earliest',
        ackDeadlineMs: 30_000,
        maxUnacked: 10_000,
        backoff: { minMs: 500, maxMs: 60_000 },
        deadLetter: null,
        filter: null,
        dispatch: 'least_outstanding',
        expireAfterMs: null,
      },
    })
    const changed = await call(broker, 'PUT', '/v1/topics/subscribed/subscriptions/billing', { ackDeadlineMs: 5 })
    expect(changed).toMatchObject({ status: 200, json: { ackDeadlineMs: 5, start: 'earliest' } })
    await publish('subscribed', 1)
    const shown = await call(broker, 'GET', '/v1/topics/subscribed/subscriptions/billing')
    expect(shown).toMatchObject({
      status: 200,
      json: { name: 'billing', state: { backlog: 1, unacked: 0, consumers: [] } },
    })
    const list = await call(broker, 'GET', '/v1/topics/subscribed/subscriptions')
    expect(list.json).toMatchObject({ subscriptions: [{ name: 'billing', state: { backlog: 1 } }] })
    expect(await call(broker, 'DELETE', '/v1/topics/subscribed/subscriptions/billing')).toMatchObject({
      status: 204,
      text: '',
    })
    const gone = { status: 404, json: { code: 'subscription_not_found' } }
    expect(await call(broker, 'GET', '/v1/topics/subscribed/subscriptions/billing')).toMatchObject(gone)
    expect(await call(broker, 'DELETE', '/v1/topics/subscribed/subscriptions/billing')).toMatchObject(gone)
    expect(await call(broker, 'POST', '/v1/topics/subscribed/subscriptions/billing/pull')).toMatchObject(gone)
  })

  it('keeps its type and start', async () => {
    const path = '/v1/topics/fixed/subscriptions/s'
    await call(broker, 'PUT', path, { type: 'exclusive' })
    for (const body of [{ type: 'shared' }, { start: 'earliest' }]) {
      expect(await call(broker, 'PUT', path, body)).toMatchObject({ status: 409, json: { code: 'conflict' } })
    }
  })

  it.each([
    [{ type: 'queue' }],
    [{ start: 'now' }],
    [{ ackDeadlineMs: -1 }],
    [{ nope: 1 }],
    [{ start: { timestamp: 'x' } }],
  ])('is refused with %j', async (body) => {
    const answer = await call(broker, 'PUT', '/v1/topics/subs/subscriptions/bad', body)
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
  })

  it('moves on seek', async () => {
    await call(broker, 'PUT', '/v1/topics/sought')
    await publish('sought', 1)
    await call(broker, 'PUT', '/v1/topics/sought/subscriptions/s')
    const state = async (): Promise<unknown> => (await call(broker, 'GET', '/v1/topics/sought/subscriptions/s')).json
    expect(await state()).toMatchObject({ state: { backlog: 0 } })
    expect(await call(broker, 'POST', '/v1/topics/sought/subscriptions/s/seek', { to: 'earliest' })).toMatchObject({
      status: 200,
    })
    expect(await state()).toMatchObject({ state: { backlog: 1 } })
    for (const body of [
      {},
      { to: 'x' },
      { to: { offsets: { a: 1 } } },
      { to: { offsets: { 0: -1 } } },
      { to: 'latest', x: 1 },
    ]) {
      const answer = await call(broker, 'POST', '/v1/topics/sought/subscriptions/s/seek', body)
      expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
    }
  })

  it('cannot be redriven where it has no dead letters', async () => {
    await call(broker, 'PUT', '/v1/topics/redriven/subscriptions/s')
    const answer = await call(broker, 'POST', '/v1/topics/redriven/subscriptions/s/redrive')
    expect(answer).toMatchObject({
      status: 400,
      json: { code: 'invalid_argument', detail: expect.stringMatching(/deadLetter/) },
    })
  })
})

describe('pull', () => {
  const path = '/v1/topics/pulled/subscriptions/s'
  const pull = async (body = {}): Promise<{ id: string; attempt: number }[]> => {
    const { json } = await call(broker, 'POST', `${path}/pull`, body)
    return (json as { messages: { id: string; attempt: number }[] }).messages
  }

  it('takes messages, and the verbs settle them', async () => {
    await call(broker, 'PUT', path, { start: 'earliest', backoff: { minMs: 0, maxMs: 0 } })
    for (let i = 0; i < 6; i++)
      await call(broker, 'POST', '/v1/topics/pulled/messages', `${i}`, { 'content-type': 'application/json' })
    const messages = await pull({ max: 5 })
    expect(messages).toMatchObject(
      [0, 1, 2, 3, 4].map((offset) => ({ id: `0:${offset}`, offset, value: offset, attempt: 1, topic: 'pulled' })),
    )
    const verb = async (name: string, body: object): Promise<unknown> => {
      const answer = await call(broker, 'POST', `${path}/${name}`, body)
      expect(answer.status).toBe(200)
      return answer.json
    }
    expect(await verb('ack', { ids: ['0:0', '0:99'], request: 1 })).toEqual({ count: 1 })
    expect(await verb('extend', { ids: ['0:1'], ms: 60_000 })).toEqual({ count: 1 })
    expect(await verb('reject', { ids: ['0:1'], reason: 'bad' })).toEqual({ count: 1 })
    expect(await verb('nack', { ids: ['0:2'], delayMs: 0, reason: 'later' })).toEqual({ count: 1 })
    expect(await verb('release', { ids: ['0:3'] })).toEqual({ count: 1 })
    const again = new Map((await pull({ waitMs: 1000 })).map(({ id, attempt }) => [id, attempt]))
    expect(again).toEqual(
      new Map([
        ['0:2', 2],
        ['0:3', 1],
        ['0:5', 1],
      ]),
    )
    expect((await call(broker, 'GET', path)).json).toMatchObject({ state: { backlog: 4, unacked: 4 } })
  })

  it('acknowledges cumulatively where one consumer is active', async () => {
    const failover = '/v1/topics/cumulative/subscriptions/s'
    await call(broker, 'PUT', failover, { type: 'failover', start: 'earliest' })
    for (let i = 0; i < 3; i++) await publish('cumulative', i)
    await call(broker, 'POST', `${failover}/pull`, {})
    expect((await call(broker, 'POST', `${failover}/ack`, { upTo: '0:1' })).json).toEqual({ count: 2 })
    expect((await call(broker, 'GET', failover)).json).toMatchObject({ state: { backlog: 1 } })
    const shared = await call(broker, 'POST', `${path}/ack`, { upTo: '0:1' })
    expect(shared).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
  })

  it('is refused while an exclusive subscription has its consumer', async () => {
    const client = await StreamClient.open(broker, 'busy', 's', '?type=exclusive')
    const answer = await call(broker, 'POST', '/v1/topics/busy/subscriptions/s/pull')
    expect(answer).toMatchObject({ status: 409, json: { code: 'subscription_busy' } })
    await client.end()
  })

  it.each([
    ['pull', { max: 0 }],
    ['pull', { max: -1 }],
    ['pull', { max: 2 ** 53 }],
    ['pull', { max: '5' }],
    ['pull', { waitMs: 1e9 }],
    ['pull', { maximum: 5 }],
    ['pull', []],
    ['ack', {}],
    ['ack', { ids: '0:1' }],
    ['ack', { ids: ['zero'] }],
    ['ack', { ids: ['0:-1'] }],
    ['ack', { ids: ['0:9007199254740993'] }],
    ['ack', { ids: [], upTo: '0:1' }],
    ['ack', { upTo: 5 }],
    ['nack', { ids: [], delayMs: -1 }],
    ['nack', { ids: [], reason: 5 }],
    ['extend', { ids: [] }],
    ['extend', { ids: [], ms: 1e12 }],
    ['release', { ids: [], more: 1 }],
  ])('is refused: %s %j', async (verb, body) => {
    await call(broker, 'PUT', '/v1/topics/strict/subscriptions/s')
    const answer = await call(broker, 'POST', `/v1/topics/strict/subscriptions/s/${verb}`, body)
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
  })
})

describe('reading without a subscription', () => {
  const path = '/v1/topics/readable/partitions/0'
  const read = (query: string) => call(broker, 'GET', `${path}/messages${query}`)

  it('begins where it is told', async () => {
    for (let i = 0; i < 5; i++)
      await call(broker, 'POST', '/v1/topics/readable/messages', `${i}`, { 'content-type': 'application/json' })
    const all = await read('')
    expect(all).toMatchObject({ status: 200, json: { nextOffset: 5 } })
    const { messages } = all.json as { messages: Record<string, unknown>[] }
    expect(messages.map(({ value }) => value)).toEqual([0, 1, 2, 3, 4])
    expect(messages[0]).not.toHaveProperty('attempt')
    expect((await read('?offset=3&limit=1')).json).toMatchObject({ messages: [{ offset: 3 }], nextOffset: 4 })
    expect((await read('?offset=5')).json).toEqual({ messages: [], nextOffset: 5 })
    expect((await read('?offset=99')).json).toMatchObject({ messages: [] })
    expect((await read('?timestamp=2000-01-01T00:00:00Z&limit=2')).json).toMatchObject({
      messages: [{ offset: 0 }, { offset: 1 }],
    })
    expect((await read('?timestamp=2999-01-01T00:00:00Z')).json).toMatchObject({ messages: [] })
  })

  it('lists segments', async () => {
    const { json } = await call(broker, 'GET', `${path}/segments`)
    expect(json).toEqual({ segments: [{ baseOffset: 0, nextOffset: 5, bytes: expect.any(Number), sealed: false }] })
  })

  it.each([
    '?offset=-1',
    '?offset=NaN',
    '?offset=9007199254740993',
    '?limit=0',
    '?limit=99999999',
    '?limit=',
    '?offset=1&offset=2',
    '?ofset=1',
    '?timestamp=yesterday',
    '?offset=1&timestamp=2000-01-01T00:00:00Z',
  ])('is refused: %s', async (query) => {
    expect(await read(query)).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
  })

  it('is refused for partitions that are not there', async () => {
    const of = (partition: string) => call(broker, 'GET', `/v1/topics/readable/partitions/${partition}/messages`)
    expect(await of('1')).toMatchObject({ status: 404, json: { code: 'partition_not_found' } })
    for (const bad of ['-1', 'x', '1e3', '9007199254740993']) expect(await of(bad)).toMatchObject({ status: 400 })
    expect(await call(broker, 'GET', '/v1/topics/unreadable/partitions/0/messages')).toMatchObject({
      status: 404,
      json: { code: 'topic_not_found' },
    })
  })
})
