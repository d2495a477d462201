import { BINARY_SUBPROTOCOL, encodeConsumeRequest, JSON_SUBPROTOCOL, LIMITS } from '@tidings/sdk/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { BinaryClient, rangeOf, shownOf } from '../support/binary-client.ts'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const publish = (topic: string, ...values: unknown[]): Promise<unknown> =>
  call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages: values.map((value) => ({ value })) })
const stateOf = async (topic: string): Promise<unknown> =>
  (await call(broker, 'GET', `/v1/topics/${topic}/subscriptions/s`)).json

describe('a binary stream', () => {
  it('is welcomed with the settings, and gets a batch as one frame', async () => {
    const { client, welcome } = await BinaryClient.open(
      broker,
      'batch',
      's',
      '?type=failover&ackDeadlineMs=5000&prefetch=7',
    )
    expect(client.socket.protocol).toBe(BINARY_SUBPROTOCOL)
    expect(welcome).toEqual({
      type: 'welcome',
      subscriptionType: 'failover',
      isPattern: false,
      ackDeadlineMs: 5000,
      prefetch: 7,
      maxUnacked: 10_000,
      maxDeliveries: null,
    })
    await publish('batch', 'a', 'b', 'c')
    const messages = await client.next('messages')
    expect(shownOf(messages)).toEqual(['0 1 "a"', '1 1 "b"', '2 1 "c"'])
    expect(messages).toMatchObject({ topic: 0, partition: 0 })
    expect(Math.abs(messages.timestamp - Date.now())).toBeLessThan(60_000)
    await client.end()
  })

  it('is chosen by the order of what a client offers, and JSON where nothing is', async () => {
    const url = `${broker.url.replace('http', 'ws')}/v1/topics/chosen/subscriptions/s/stream`
    const chosen = (protocols: string[]): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(url, protocols)
        socket.on('error', reject)
        socket.on('open', () => {
          resolve(socket.protocol)
          socket.close()
        })
      })
    expect(await chosen([])).toBe('')
    expect(await chosen(['other', BINARY_SUBPROTOCOL, JSON_SUBPROTOCOL])).toBe(BINARY_SUBPROTOCOL)
    expect(await chosen([JSON_SUBPROTOCOL, BINARY_SUBPROTOCOL])).toBe(JSON_SUBPROTOCOL)
    const refused = await StreamClient.refusal(broker, '/v1/topics/chosen/subscriptions/s/stream', {}, ['other'])
    expect(refused).toMatchObject({ status: 400, problem: { code: 'invalid_argument' } })
  })

  it('confirms ranges when they are durable, and only what is acknowledged', async () => {
    const { client } = await BinaryClient.open(broker, 'acked', 's')
    await publish('acked', 0, 1, 2, 3, 4, 5)
    await client.take(6)
    client.send({ type: 'ack', request: 0, ranges: [rangeOf(0, 2)] })
    client.send({ type: 'ack', request: 1, ranges: [rangeOf(1, 3), rangeOf(4, 5), rangeOf(0, 9, 77)] })
    expect(await client.next('acked')).toEqual({ type: 'acked', request: 1, ranges: [rangeOf(1, 3), rangeOf(4, 5)] })
    client.send({ type: 'ack', request: 2, ranges: [rangeOf(0, 100)] })
    expect(await client.next('acked')).toMatchObject({ ranges: [rangeOf(0, 6)] })
    expect(await stateOf('acked')).toMatchObject({ state: { backlog: 0, unacked: 0 } })
    await client.end()
  })

  it('acknowledges everything up to a message where order allows it', async () => {
    const { client } = await BinaryClient.open(broker, 'upto', 's', '?type=exclusive')
    await publish('upto', 0, 1, 2)
    await client.take(3)
    client.send({ type: 'ack_up_to', request: 5, topic: 0, partition: 0, offset: 1 })
    expect(await client.next('acked')).toEqual({ type: 'acked', request: 5, ranges: [rangeOf(1, 2)] })
    expect(await stateOf('upto')).toMatchObject({ state: { backlog: 1 } })
    client.send({ type: 'ack_up_to', request: 6, topic: 4, partition: 0, offset: 1 })
    expect(await client.next('error')).toMatchObject({ request: 6, code: 'invalid_argument' })
    await client.end()
  })

  it('gets again what it hands back, with the attempt that each way means', async () => {
    const { client } = await BinaryClient.open(broker, 'again', 's')
    await publish('again', 'x', 'y')
    await client.take(2)
    client.send({ type: 'nack', request: 0, delayMs: 0, reason: 'why', ranges: [rangeOf(0, 2)] })
    expect(await client.take(2)).toEqual(['0 2 "x"', '1 2 "y"'])
    client.send({ type: 'release', request: 0, ranges: [rangeOf(0, 1)] })
    expect(await client.take(1)).toEqual(['0 2 "x"'])
    client.send({ type: 'reject', request: 3, reason: 'bad', ranges: [rangeOf(0, 2)] })
    expect(await client.next('acked')).toMatchObject({ request: 3, ranges: [rangeOf(0, 2)] })
    expect(await stateOf('again')).toMatchObject({ state: { backlog: 0 } })
    await client.end()
  })

  it('stays after a frame that is none, and says what was wrong with it', async () => {
    const { client } = await BinaryClient.open(broker, 'wrong', 's')
    await publish('wrong', 1)
    await client.take(1)
    client.socket.send('{"type":"ack","ids":["0:0"]}')
    expect(await client.next('error')).toMatchObject({ request: 0, code: 'invalid_argument' })
    const empty = encodeConsumeRequest({ type: 'ack', request: 8, ranges: [rangeOf(3, 3)] })
    for (const bytes of [empty, Buffer.of(0x7f, 0, 0, 0, 8), Buffer.of(0x50, 0, 0, 0, 8)]) {
      client.socket.send(bytes)
      expect(await client.next('error')).toMatchObject({ request: 8, code: 'invalid_argument' })
    }
    client.socket.send(Buffer.alloc(0))
    expect(await client.next('error')).toMatchObject({ request: 0 })
    client.send({ type: 'ack', request: 9, ranges: [rangeOf(0, 1)] })
    expect(await client.next('acked')).toMatchObject({ request: 9, ranges: [rangeOf(0, 1)] })
    client.socket.send(Buffer.alloc(LIMITS.frameBytes + 1))
    expect((await client.closed).code).toBe(4413)
  })

  it('numbers the topics of a pattern, each told before its first message', async () => {
    const { client, welcome } = await BinaryClient.open(broker, 'many.*', 's', '?start=earliest')
    expect(welcome.isPattern).toBe(true)
    await publish('many.a', 1)
    expect(await client.next('topic')).toMatchObject({ topic: 0, name: 'many.a' })
    await client.take(1)
    for (let i = 0; i < 2; i++) client.send({ type: 'name', request: 0, name: 'many.b' })
    expect(await client.next('topic')).toMatchObject({ topic: 1, name: 'many.b' })
    await publish('many.b', 2)
    expect(await client.next('messages')).toMatchObject({ topic: 1, baseOffset: 0 })
    client.send({ type: 'ack', request: 4, ranges: [rangeOf(0, 1, 1), rangeOf(0, 1, 0)] })
    expect(await client.next('acked')).toMatchObject({ ranges: [rangeOf(0, 1, 1), rangeOf(0, 1, 0)] })
    await client.end()
  })

  it('parts a batch into frames that are not too long, and a consumer gets the slices it is due', async () => {
    const { client } = await BinaryClient.open(broker, 'long', 's', '?prefetch=3')
    const value = 'v'.repeat(12_000)
    await publish('long', value, value, value, value, value, value, value)
    const frames = [await client.next('messages'), await client.next('messages')]
    expect(frames.map(({ positions }) => positions.length - 1)).toEqual([2, 1])
    client.send({ type: 'ack', request: 0, ranges: [rangeOf(0, 3)] })
    expect((await client.take(3)).map((shown) => shown.slice(0, 3))).toEqual(['3 1', '4 1', '5 1'])
    await client.end()
  })

  it('is refused with 4409 where the subscription has its consumer, and ended with 4410 when it is deleted', async () => {
    const { client } = await BinaryClient.open(broker, 'taken', 's', '?type=exclusive')
    const url = `${broker.url.replace('http', 'ws')}/v1/topics/taken/subscriptions/s/stream`
    const second = new WebSocket(url, BINARY_SUBPROTOCOL)
    const code = await new Promise((resolve) => second.once('close', resolve))
    expect(code).toBe(4409)
    await call(broker, 'DELETE', '/v1/topics/taken/subscriptions/s')
    expect((await client.closed).code).toBe(4410)
  })

  it('pauses and resumes, and ignores a token while access is open', async () => {
    const { client } = await BinaryClient.open(broker, 'paused', 's')
    client.send({ type: 'pause', request: 0 })
    client.send({ type: 'auth', request: 0, token: 'whatever' })
    await client.barrier()
    await publish('paused', 1)
    expect(await stateOf('paused')).toMatchObject({ state: { unacked: 0, consumers: [{ paused: true }] } })
    client.send({ type: 'resume', request: 0 })
    expect(await client.take(1)).toEqual(['0 1 1'])
    client.send({ type: 'extend', request: 0, ms: 60_000, ranges: [rangeOf(0, 1)] })
    await client.barrier()
    await client.end()
  })
})
