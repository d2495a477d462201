import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ allowedOrigins: ['https://app.example'], consumerWriteTimeoutMs: 300 })
})
afterAll(() => broker.stop())

const publish = (topic: string, value: unknown): Promise<unknown> =>
  call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages: [{ value }] })
const state = async (topic: string): Promise<unknown> =>
  (await call(broker, 'GET', `/v1/topics/${topic}/subscriptions/s`)).json

describe('a stream', () => {
  it('creates its subscription, and delivers what is published', async () => {
    const client = await StreamClient.open(broker, 'live', 's', '?type=failover&ackDeadlineMs=5000&consumer=me')
    expect(client.socket.protocol).toBe('')
    expect(await state('live')).toMatchObject({
      type: 'failover',
      ackDeadlineMs: 5000,
      start: 'latest',
      state: { consumers: [{ name: 'me' }] },
    })
    await call(broker, 'POST', '/v1/topics/live/messages', '{"a":1e999}', {
      'content-type': 'application/json',
      'tidings-key': 'k',
      'tidings-header-region': 'eu',
    })
    expect(await client.next()).toEqual({
      type: 'message',
      id: '0:0',
      topic: 'live',
      partition: 0,
      offset: 0,
      key: 'k',
      value: { a: Infinity },
      contentType: 'application/json',
      headers: { region: 'eu' },
      timestamp: expect.stringMatching(/Z$/),
      attempt: 1,
    })
    await client.end()
  })

  it('begins where its creation says', async () => {
    await publish('started', 1)
    const client = await StreamClient.open(broker, 'started', 's', '?start=earliest')
    expect(await client.next()).toMatchObject({ value: 1 })
    await client.end()
  })

  it('answers acks that ask', async () => {
    const client = await StreamClient.open(broker, 'acked', 's', '?type=failover')
    for (let i = 0; i < 4; i++) await publish('acked', i)
    await client.take(4)
    client.send({ type: 'ack', ids: ['0:0'] })
    client.send({ type: 'ack', ids: ['0:1'], request: 'a' })
    expect(await client.next()).toEqual({ type: 'acked', request: 'a', ids: ['0:1'] })
    client.send({ type: 'ack', upTo: '0:3', request: 2 })
    expect(await client.next()).toMatchObject({ type: 'acked', request: 2, upTo: '0:3' })
    expect(await state('acked')).toMatchObject({ state: { backlog: 0, unacked: 0 } })
    await client.end()
  })

  it('gets again what it hands back', async () => {
    const client = await StreamClient.open(broker, 'again', 's')
    await publish('again', 1)
    await client.next()
    client.send({ type: 'nack', ids: ['0:0'], delayMs: 0 })
    expect(await client.next()).toMatchObject({ id: '0:0', attempt: 2 })
    client.send({ type: 'release', ids: ['0:0'] })
    expect(await client.next()).toMatchObject({ id: '0:0', attempt: 2 })
    client.send({ type: 'reject', ids: ['0:0'], reason: 'bad' })
    await client.barrier()
    expect(await state('again')).toMatchObject({ state: { backlog: 0 } })
    await client.end()
  })

  it('gives what it held to others when it ends', async () => {
    const first = await StreamClient.open(broker, 'handed', 's')
    await publish('handed', 1)
    await first.next()
    await first.end()
    const second = await StreamClient.open(broker, 'handed', 's')
    expect(await second.next()).toMatchObject({ id: '0:0', attempt: 2 })
    await second.end()
  })

  it('holds no more than its prefetch', async () => {
    const client = await StreamClient.open(broker, 'bounded', 's', '?prefetch=2')
    for (let i = 0; i < 5; i++) await publish('bounded', i)
    await client.take(2)
    await client.barrier()
    expect(client.left).toBe(0)
    client.send({ type: 'ack', ids: ['0:0', '0:1'] })
    expect(await client.take(2)).toMatchObject([{ offset: 2 }, { offset: 3 }])
    await client.end()
  })

  it('stays open through what it should not have sent', async () => {
    const client = await StreamClient.open(broker, 'patient', 's')
    client.send('nonsense')
    client.send('[]')
    client.send({ type: 'dance', request: 5 })
    client.send({ type: 'ack', ids: ['x:y'] })
    client.send({ type: 'ack', upTo: '0:1', request: 6 })
    client.socket.send(Buffer.from('{"type":"pause"}'), { binary: true })
    client.send(`{"type":"ack","ids":[],"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)
    client.send({ type: 'auth', token: 'ignored' })
    const errors = await client.take(6)
    expect(errors.map(({ type, code, request }) => [type, code, request])).toEqual(
      [undefined, undefined, 5, undefined, 6, undefined].map((request) => ['error', 'invalid_argument', request]),
    )
    await publish('patient', 1)
    expect(await client.next()).toMatchObject({ type: 'message' })
    await client.end()
  })

  it('ends with 4413 for a frame above the limit', async () => {
    const client = await StreamClient.open(broker, 'large', 's')
    client.send('x'.repeat(1_048_577))
    expect(await client.closed).toMatchObject({ code: 4413 })
  })

  it('is closed with 4409 when the subscription is taken', async () => {
    const first = await StreamClient.open(broker, 'taken', 's', '?type=exclusive')
    const second = await StreamClient.open(broker, 'taken', 's')
    expect(await second.closed).toMatchObject({ code: 4409 })
    await publish('taken', 1)
    expect(await first.next()).toMatchObject({ type: 'message' })
    await first.end()
  })

  it.each(['/v1/topics/deleted/subscriptions/s', '/v1/topics/deleted'])(
    'is closed with 4410 on DELETE %s',
    async (path) => {
      const client = await StreamClient.open(broker, 'deleted', 's')
      await call(broker, 'DELETE', path)
      expect(await client.closed).toMatchObject({ code: 4410 })
    },
  )

  it('speaks the subprotocol that is asked for', async () => {
    const { WebSocket } = await import('ws')
    const url = `${broker.url.replace('http', 'ws')}/v1/topics/spoken/subscriptions/s/stream`
    const socket = new WebSocket(url, ['other', 'tidings.json.v1'])
    await once(socket, 'open')
    expect(socket.protocol).toBe('tidings.json.v1')
    socket.close()
  })
})

describe('an upgrade', () => {
  it.each([
    ['/v1/topics/up/subscriptions/s/stream?prefetch=0', 400, 'invalid_argument'],
    ['/v1/topics/up/subscriptions/s/stream?nope=1', 400, 'invalid_argument'],
    ['/v1/topics/up/subscriptions/s/stream?type=queue', 400, 'invalid_argument'],
    ['/v1/topics/_up/subscriptions/s/stream', 400, 'invalid_argument'],
    ['/v1/topics/up/subscriptions/a%2Fb/stream', 400, 'invalid_argument'],
    ['/v1/topics/up/subscriptions/s', 404, 'not_found'],
    ['/healthz', 404, 'not_found'],
  ])('is refused before it happens: %s', async (path, status, code) => {
    expect(await StreamClient.refusal(broker, path)).toMatchObject({ status, problem: { status, code } })
    expect((await call(broker, 'GET', '/v1/topics/up')).status).toBe(404)
  })

  it('is refused for a subprotocol that nobody speaks', async () => {
    const path = '/v1/topics/up/subscriptions/s/stream'
    const refused = await StreamClient.refusal(broker, path, {}, ['tidings.binary.v2'])
    expect(refused).toMatchObject({ status: 400, problem: { code: 'invalid_argument' } })
  })

  it('is refused for a page of another origin', async () => {
    const path = '/v1/topics/up/subscriptions/s/stream'
    for (const origin of ['https://evil', 'null', 'https://app.example.evil', 'http://127.0.0.1']) {
      expect(await StreamClient.refusal(broker, path, { origin })).toMatchObject({
        status: 403,
        problem: { code: 'permission_denied' },
      })
    }
    const client = await StreamClient.open(broker, 'page', 's', '', { origin: 'https://app.example' })
    await client.end()
  })

  it('is refused for a missing topic when topics are not created by themselves', async () => {
    const strict = await startTestBroker({ autoCreateTopics: false })
    const refused = await StreamClient.refusal(strict, '/v1/topics/none/subscriptions/s/stream')
    expect(refused).toMatchObject({ status: 404, problem: { code: 'topic_not_found' } })
    await strict.stop()
  })

  it('to something else is refused, and a plain GET too', async () => {
    const socket = connect(broker.port, '127.0.0.1')
    socket.write(
      'POST /v1/topics/h2c/messages HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\nContent-Length: 0\r\n\r\n',
    )
    const [data] = (await once(socket, 'data')) as [Buffer]
    // Newer versions of Node let us serve the request as if the upgrade had not been asked for.
    expect(data.toString()).toMatch(/^HTTP\/1\.1 (200|400) /)
    socket.destroy()
    const plain = await call(broker, 'GET', '/v1/topics/up/subscriptions/s/stream')
    expect(plain).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
  })
})

describe('a consumer that does not read', () => {
  it('is closed with 1013, and holds up nobody', async () => {
    const stalled = await StreamClient.open(broker, 'stalled', 's', '?prefetch=1000')
    stalled.socket.pause()
    const healthy = await StreamClient.open(broker, 'stalled', 'other')
    const value = 'x'.repeat(500_000)
    const count = 40
    for (let i = 0; i < count; i++) {
      await publish('stalled', value)
      expect(await healthy.next()).toMatchObject({ offset: i })
    }
    await expect
      .poll(async () => await state('stalled'), { timeout: 5000 })
      .toMatchObject({ state: { unacked: 0, consumers: [] } })
    stalled.socket.resume()
    expect((await stalled.closed).code).toBe(1013)
    const next = await StreamClient.open(broker, 'stalled', 's')
    expect(await next.next()).toMatchObject({ offset: 0, attempt: 2 })
    await Promise.all([next.end(), healthy.end()])
  })
})
