/** Subscriptions that follow a pattern, over real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Frame, StreamClient } from '../support/stream-client.ts'
import { type Answer, call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

interface Pulled {
  messages: { id: string; topic: string; partition: number; offset: number; value: unknown }[]
}

const path = (pattern: string, name = 's'): string => `/v1/topics/${pattern}/subscriptions/${name}`

async function publish(topic: string, value: unknown): Promise<void> {
  expect((await call(broker, 'POST', `/v1/topics/${topic}/messages`, value)).status).toBe(200)
}

async function subscribe(pattern: string, settings: object = {}): Promise<Answer> {
  return call(broker, 'PUT', path(pattern), { start: 'earliest', ...settings })
}

async function pull(pattern: string, name = 's'): Promise<Pulled['messages']> {
  const { json, status } = await call(broker, 'POST', `${path(pattern, name)}/pull`, { max: 100 })
  expect(status).toBe(200)
  return (json as Pulled).messages
}

const idsOf = (messages: Pulled['messages']): string[] => messages.map(({ id }) => id).sort()

describe('a pattern subscription', () => {
  it('reads the topics that match, and those that come later from their beginning', async () => {
    await publish('a.one', 1)
    await publish('a.one.deep', 2)
    await publish('b.one', 3)
    await publish('a', 4)
    for (const pattern of ['a.*', 'a.**', '*.one', '**']) expect((await subscribe(pattern)).status).toBe(201)
    await publish('a.two', 5)
    await publish('c.one', 6)
    expect(idsOf(await pull('a.*'))).toEqual(['a.one/0:0', 'a.two/0:0'])
    expect(idsOf(await pull('a.**'))).toEqual(['a.one.deep/0:0', 'a.one/0:0', 'a.two/0:0'])
    expect(idsOf(await pull('*.one'))).toEqual(['a.one/0:0', 'b.one/0:0', 'c.one/0:0'])
    expect(idsOf(await pull('**'))).toHaveLength(6)
    for (const pattern of ['a.**', '*.one', '**']) {
      expect((await call(broker, 'DELETE', path(pattern))).status).toBe(204)
      expect((await call(broker, 'GET', path(pattern))).json).toMatchObject({ code: 'subscription_not_found' })
    }
    const { json } = await call(broker, 'GET', path('a.*'))
    expect(json).toMatchObject({
      topic: 'a.*',
      name: 's',
      state: {
        unacked: 2,
        cursors: [
          { topic: 'a.one', partition: 0, ackedThrough: 0, ackedAhead: 0 },
          { topic: 'a.two', partition: 0, ackedThrough: 0, ackedAhead: 0 },
        ],
      },
    })
  })

  it('shows its messages with their topic and an id that names it, and plain readers of the same messages theirs', async () => {
    await publish('shape.x', { n: 1 })
    await subscribe('shape.*')
    await subscribe('shape.x')
    expect(await pull('shape.*')).toMatchObject([{ id: 'shape.x/0:0', topic: 'shape.x', partition: 0, offset: 0 }])
    expect(await pull('shape.x')).toMatchObject([{ id: '0:0', topic: 'shape.x' }])
    const read = await call(broker, 'GET', '/v1/topics/shape.x/partitions/0/messages')
    expect((read.json as Pulled).messages).toMatchObject([{ id: '0:0' }])
  })

  it('takes its verbs with such ids, and refuses ids without a topic', async () => {
    for (const topic of ['verb.a', 'verb.b']) for (const n of [0, 1]) await publish(topic, n)
    await subscribe('verb.*', { backoff: { minMs: 0, maxMs: 0 } })
    expect(idsOf(await pull('verb.*'))).toEqual(['verb.a/0:0', 'verb.a/0:1', 'verb.b/0:0', 'verb.b/0:1'])
    const verb = (name: string, body: object): Promise<Answer> =>
      call(broker, 'POST', `${path('verb.*')}/${name}`, body)
    expect((await verb('ack', { ids: ['verb.a/0:0', 'verb.b/0:1'] })).json).toEqual({ count: 2 })
    expect((await verb('nack', { ids: ['verb.a/0:1'], delayMs: 0 })).json).toEqual({ count: 1 })
    expect((await verb('release', { ids: ['verb.b/0:0'] })).json).toEqual({ count: 1 })
    expect((await verb('ack', { ids: ['verb.c/0:0', 'other/0:1'] })).json).toEqual({ count: 0 })
    expect((await verb('ack', { ids: ['verb.a/0:1', '0:0'] })).json).toMatchObject({ code: 'invalid_argument' })
    expect(idsOf(await pull('verb.*'))).toEqual(['verb.a/0:1', 'verb.b/0:0'])
    const state = (await call(broker, 'GET', path('verb.*'))).json
    expect(state).toMatchObject({ state: { backlog: 2, unacked: 2 } })
  })

  it('streams, acknowledges and is told what is gone, by WebSocket', async () => {
    await publish('live.a', 1)
    const client = await StreamClient.open(broker, 'live.*', 'w', '?start=earliest&type=exclusive')
    expect(await client.next()).toMatchObject({ type: 'message', id: 'live.a/0:0', topic: 'live.a', attempt: 1 })
    await publish('live.b', 2)
    expect(await client.next()).toMatchObject({ type: 'message', id: 'live.b/0:0', topic: 'live.b' })
    client.send({ type: 'ack', ids: ['live.a/0:0'], request: 1 })
    expect(await client.next()).toEqual({ type: 'acked', request: 1, ids: ['live.a/0:0'] })
    client.send({ type: 'ack', upTo: 'live.b/0:0', request: 2 })
    expect(await client.next()).toEqual({ type: 'acked', request: 2, ids: ['live.b/0:0'], upTo: 'live.b/0:0' })
    client.send({ type: 'ack', upTo: '0:0', request: 3 })
    expect(await client.next()).toMatchObject({ type: 'error', code: 'invalid_argument', request: 3 })
    expect((await call(broker, 'GET', path('live.*', 'w'))).json).toMatchObject({
      type: 'exclusive',
      state: { backlog: 0 },
    })
    const second = await StreamClient.open(broker, 'live.*', 'w')
    expect(await second.closed).toMatchObject({ code: 4409 })
    await call(broker, 'DELETE', path('live.*', 'w'))
    expect(await client.closed).toMatchObject({ code: 4410 })
  })

  it('forgets a topic that is deleted, and reads its successor from the beginning', async () => {
    await publish('gone.a', 1)
    await publish('gone.b', 2)
    await subscribe('gone.*')
    expect(await pull('gone.*')).toHaveLength(2)
    expect((await call(broker, 'DELETE', '/v1/topics/gone.a')).status).toBe(204)
    const { json } = await call(broker, 'GET', path('gone.*'))
    expect(json).toMatchObject({ state: { unacked: 1, backlog: 1, cursors: [{ topic: 'gone.b' }] } })
    await publish('gone.a', 3)
    expect(await pull('gone.*')).toMatchObject([{ id: 'gone.a/0:0', value: 3 }])
  })

  it('reads partitions that a topic gains later', async () => {
    await call(broker, 'PUT', '/v1/topics/grow.a', { partitions: 1 })
    await subscribe('grow.*')
    await call(broker, 'PUT', '/v1/topics/grow.a', { partitions: 3 })
    const headers = { 'tidings-partition': '2' }
    expect((await call(broker, 'POST', '/v1/topics/grow.a/messages', 'x', headers)).status).toBe(200)
    expect(await pull('grow.*')).toMatchObject([{ id: 'grow.a/2:0' }])
  })

  it('starts where it is told in the topics that are there, and seeks in all of them', async () => {
    await publish('seek.a', 1)
    expect((await call(broker, 'PUT', path('seek.*'), { start: 'latest' })).status).toBe(201)
    await publish('seek.b', 2)
    expect(idsOf(await pull('seek.*'))).toEqual(['seek.b/0:0'])
    expect((await call(broker, 'POST', `${path('seek.*')}/seek`, { to: 'earliest' })).status).toBe(200)
    expect(idsOf(await pull('seek.*'))).toEqual(['seek.a/0:0', 'seek.b/0:0'])
    const refusal = await call(broker, 'POST', `${path('seek.*')}/seek`, { to: { offsets: { 0: 0 } } })
    expect(refusal.json).toMatchObject({ code: 'invalid_argument' })
    const put = await call(broker, 'PUT', path('seek.x.*'), { start: { offsets: { 0: 0 } } })
    expect(put.json).toMatchObject({ code: 'invalid_argument' })
    expect((await call(broker, 'GET', path('seek.x.*'))).status).toBe(404)
  })

  it('creates no topic and needs none, and is listed under its pattern only', async () => {
    const before = (await call(broker, 'GET', '/v1/topics')).text
    expect((await subscribe('nothing.here.*')).status).toBe(201)
    expect((await subscribe('nothing.here.*', { ackDeadlineMs: 1000 })).status).toBe(200)
    expect(await pull('nothing.here.*')).toEqual([])
    expect((await call(broker, 'GET', '/v1/topics')).text).toBe(before)
    const list = await call(broker, 'GET', '/v1/topics/nothing.here.*/subscriptions')
    expect(list.json).toMatchObject({ subscriptions: [{ topic: 'nothing.here.*', name: 's', ackDeadlineMs: 1000 }] })
    expect((await call(broker, 'GET', '/v1/topics/nothing.*.*/subscriptions')).json).toEqual({ subscriptions: [] })
    await publish('nothing.here.now', 1)
    expect((await call(broker, 'GET', '/v1/topics/nothing.here.now/subscriptions')).json).toEqual({ subscriptions: [] })
  })

  it('bounds what is unsettled over all topics together', async () => {
    for (let n = 0; n < 6; n++) await publish(`many.${n}`, n)
    await subscribe('many.*', { maxUnacked: 4 })
    const first = await pull('many.*')
    expect(first).toHaveLength(4)
    expect(await pull('many.*')).toEqual([])
    await call(broker, 'POST', `${path('many.*')}/ack`, { ids: first.map(({ id }) => id) })
    expect(await pull('many.*')).toHaveLength(2)
  })

  it('never reads its own dead letters', async () => {
    const deadLetter = { topic: 'loop.dead', maxDeliveries: 1 }
    expect((await subscribe('loop.*', { deadLetter })).status).toBe(201)
    await publish('loop.a', 1)
    const client = await StreamClient.open(broker, 'loop.*', 's')
    expect(await client.next()).toMatchObject({ id: 'loop.a/0:0' })
    client.send({ type: 'reject', ids: ['loop.a/0:0'], reason: 'bad', request: 1 })
    expect(await client.next()).toMatchObject({ type: 'acked' })
    const letters = await call(broker, 'GET', '/v1/topics/loop.dead/partitions/0/messages')
    expect((letters.json as { messages: Frame[] }).messages).toMatchObject([
      { headers: { 'tidings-original-topic': 'loop.a', 'tidings-original-id': '0:0' } },
    ])
    const { json } = await call(broker, 'GET', path('loop.*'))
    expect(json).toMatchObject({ state: { backlog: 0, cursors: [{ topic: 'loop.a' }] } })
    await call(broker, 'PUT', path('loop.*'), { deadLetter: null })
    expect(await client.next()).toMatchObject({ id: 'loop.dead/0:0' })
    client.socket.close()
    expect((await subscribe('unnamed.*', { deadLetter: {} })).json).toMatchObject({ code: 'invalid_argument' })
  })

  it('brings dead letters back to the topic that they came from', async () => {
    await subscribe('redrive.*', { deadLetter: { topic: 'letters', maxDeliveries: 1 } })
    for (const topic of ['redrive.a', 'redrive.b']) await publish(topic, topic)
    expect(idsOf(await pull('redrive.*'))).toEqual(['redrive.a/0:0', 'redrive.b/0:0'])
    const rejected = { ids: ['redrive.a/0:0', 'redrive.b/0:0'], reason: 'no' }
    expect((await call(broker, 'POST', `${path('redrive.*')}/reject`, rejected)).json).toEqual({ count: 2 })
    expect(await pull('redrive.*')).toEqual([])
    expect((await call(broker, 'POST', `${path('redrive.*')}/redrive`, {})).json).toMatchObject({ moved: 2 })
    expect(await pull('redrive.*')).toMatchObject([{ topic: expect.any(String) }, { attempt: 1 }])
  })

  it('says of a message what became of it', async () => {
    await subscribe('why.*', { filter: 'value > 1' })
    for (const n of [1, 2]) await publish('why.a', n)
    await pull('why.*')
    const why = async (id: string): Promise<unknown> =>
      (await call(broker, 'GET', `${path('why.*')}/messages/${encodeURIComponent(id)}/explain`)).json
    expect(await why('why.a/0:0')).toMatchObject({ id: 'why.a/0:0', state: 'filtered' })
    expect(await why('why.a/0:1')).toMatchObject({ id: 'why.a/0:1', state: 'outstanding' })
    expect(await why('0:1')).toMatchObject({ code: 'invalid_argument' })
    expect((await call(broker, 'GET', `${path('why.*')}/explain`)).status).toBe(200)
  })

  it('keeps keys in order within each topic', async () => {
    await subscribe('keys.*', { type: 'key_shared' })
    for (const topic of ['keys.a', 'keys.b']) {
      for (const n of [1, 2]) {
        await call(broker, 'POST', `/v1/topics/${topic}/messages`, n, { 'tidings-key': 'k' })
      }
    }
    const take = async (): Promise<string[]> => {
      const { json } = await call(broker, 'POST', `${path('keys.*')}/pull`, { max: 1 })
      return idsOf((json as Pulled).messages)
    }
    const [first] = await take()
    const [second] = await take()
    // Each pull is a consumer of its own: the key of the first topic is taken, that of the other is another key.
    expect(new Set([first, second])).toEqual(new Set(['keys.a/0:0', 'keys.b/0:0']))
    expect(await take()).toEqual([])
  })

  it('filters by topic', async () => {
    await subscribe('by.*', { filter: 'topic.endsWith(".eu") && value > 1' })
    for (const topic of ['by.eu', 'by.us']) for (const n of [1, 2]) await publish(topic, n)
    expect(idsOf(await pull('by.*'))).toEqual(['by.eu/0:1'])
  })

  it.each(['ord*', 'a.**.b', '*.', '_*', 'a b.*', '***', `${'a'.repeat(250)}.*`])(
    'is refused where the pattern is none: %s',
    async (pattern) => {
      const answer = await subscribe(encodeURIComponent(pattern))
      if (pattern === '*.') expect(answer.status).toBe(201)
      else expect(answer.json).toMatchObject({ status: 400, code: 'invalid_argument' })
    },
  )

  it('is no topic: it cannot be made, read, published to or deleted', async () => {
    for (const [method, suffix] of [
      ['PUT', ''],
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/messages'],
      ['POST', '/messages/batch'],
      ['GET', '/partitions/0/messages'],
      ['GET', '/events'],
      ['GET', '/scheduled'],
    ] as const) {
      const answer = await call(broker, method, `/v1/topics/a.*${suffix}`, method === 'GET' ? undefined : {})
      expect(answer.json, `${method} ${suffix}`).toMatchObject({ status: 400, code: 'invalid_argument' })
    }
  })
})
