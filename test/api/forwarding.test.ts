/** What one broker passes on to another that leads the topic: requests, events, WebSockets, frames of publishers. */
import { once } from 'node:events'
import { createServer as createEdge, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { createClient } from '@tidings/sdk'
import { TidingsError } from '@tidings/sdk/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { systemClock } from '../../src/base/clock.ts'
import type { Elsewhere, Route, Routing } from '../../src/cluster/routing.ts'
import { Forwarding } from '../../src/server/forwarding.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

/** Topics whose name begins with `far` are led by the other broker. */
class TwoBrokers implements Routing {
  readonly nodeId = 'near'
  url = ''
  /** Topics that are looked up before they are known. */
  unknown = new Set<string>()
  isLeaderless = false

  known(topic: string): Route | null {
    return this.isLeaderless || this.unknown.has(topic) ? null : this.#route(topic)
  }

  /** What a look-up waits for. */
  lookedUp: Promise<void> = Promise.resolve()

  async find(topic: string): Promise<Route> {
    await this.lookedUp
    if (this.isLeaderless) throw new TidingsError('no_leader', `nobody leads ${topic}`)
    return this.#route(topic)
  }

  /** Those that look out, by topic. */
  readonly watching = new Map<string, Set<() => void>>()

  watch(topic: string, _route: Elsewhere, moved: () => void): () => void {
    const watching = this.watching.get(topic) ?? new Set()
    this.watching.set(topic, watching.add(moved))
    return () => void watching.delete(moved)
  }

  /** Another broker leads it now. */
  move(topic: string): void {
    for (const moved of this.watching.get(topic) ?? []) moved()
  }

  #route(topic: string): Route {
    return topic.startsWith('far') ? { isHere: false, nodeId: 'far', url: this.url } : { isHere: true }
  }
}

let routing: TwoBrokers
let near: TestBroker
let far: TestBroker

beforeEach(async () => {
  routing = new TwoBrokers()
  far = await startTestBroker()
  near = await startTestBroker({}, systemClock, routing)
  routing.url = far.url
})

afterEach(async () => {
  await near.stop()
  await far.stop()
})

describe('a request for a topic that another broker leads', () => {
  it('is answered by that broker', async () => {
    const made = await call(near, 'PUT', '/v1/topics/far.orders', { partitions: 2 })
    expect(made.status).toBe(201)
    const published = await call(near, 'POST', '/v1/topics/far.orders/messages', 'hello', {
      'content-type': 'text/plain',
      'tidings-key': 'k',
    })
    expect(published.json).toMatchObject({ topic: 'far.orders', offset: 0 })
    expect((await call(far, 'GET', '/v1/topics/far.orders')).json).toMatchObject({ partitions: 2 })
    expect((await call(near, 'GET', '/v1/topics')).json).toEqual({ topics: [] })
    const read = await call(near, 'GET', '/v1/topics/far.orders/partitions/1/messages')
    const other = await call(near, 'GET', '/v1/topics/far.orders/partitions/0/messages')
    const values = [read, other].flatMap(({ json }) => (json as { messages: { value: string }[] }).messages)
    expect(values.map(({ value }) => value)).toEqual(['hello'])
  })

  it('is answered the same when its topic has to be looked up first', async () => {
    routing.unknown.add('far.late').add('close.late')
    expect((await call(near, 'POST', '/v1/topics/far.late/messages', 'x')).status).toBe(200)
    expect((await call(near, 'POST', '/v1/topics/close.late/messages', 'x')).status).toBe(200)
    expect((await call(far, 'GET', '/v1/topics/close.late')).status).toBe(404)
  })

  it('is passed on no more, nor looked out for, when its client went while its topic was looked up', async () => {
    routing.unknown.add('far.slow')
    let found = (): void => undefined
    routing.lookedUp = new Promise((resolve) => {
      found = resolve
    })
    const forwarding = new Forwarding(routing, systemClock)
    const edge = createEdge((request, response) => forwarding.request(request, response, () => response.end()))
    edge.listen(0, '127.0.0.1')
    await once(edge, 'listening')
    const socket = connect((edge.address() as AddressInfo).port, '127.0.0.1')
    socket.write('GET /v1/topics/far.slow HTTP/1.1\r\nHost: near\r\n\r\n')
    const [, response] = (await once(edge, 'request')) as [unknown, ServerResponse]
    socket.destroy()
    await once(response, 'close')
    found()
    await routing.find('far.slow')
    expect(routing.watching.get('far.slow')?.size ?? 0).toBe(0)
    forwarding.close()
    edge.close()
  })

  it('keeps the status and the problem of a refusal', async () => {
    const refused = await call(near, 'GET', '/v1/topics/far.nothing')
    expect(refused.status).toBe(404)
    expect(refused.headers.get('content-type')).toContain('application/problem+json')
    expect(refused.json).toMatchObject({ code: 'topic_not_found' })
  })

  it('takes a large body and a large answer', async () => {
    const value = 'x'.repeat(900_000)
    await call(near, 'POST', '/v1/topics/far.big/messages', value, { 'content-type': 'text/plain' })
    const read = await call(near, 'GET', '/v1/topics/far.big/partitions/0/messages')
    expect((read.json as { messages: { value: string }[] }).messages[0]?.value).toBe(value)
  })

  it('is refused with no_leader while nobody leads it', async () => {
    routing.isLeaderless = true
    const refused = await call(near, 'POST', '/v1/topics/far.orders/messages', 'x')
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(refused.json).toMatchObject({ code: 'no_leader' })
  })

  it('is refused when the leader cannot be reached, saying what is not known', async () => {
    const { url } = far
    await far.stop()
    const refused = await call(near, 'POST', '/v1/topics/far.orders/messages', 'x')
    expect(refused.status).toBe(503)
    expect(refused.json).toMatchObject({ code: 'no_leader', detail: expect.stringContaining('Idempotency-Key') })
    expect((await call(near, 'GET', '/v1/topics/far.orders')).status).toBe(503)
    expect(url).toBe(routing.url)
  })

  it('is passed on once, never round in a circle', async () => {
    routing.url = near.url
    const refused = await call(near, 'POST', '/v1/topics/far.orders/messages', 'x')
    expect(refused.json).toMatchObject({ code: 'no_leader' })
  })

  it('streams events as they come, and ends at the leader when the reader leaves', async () => {
    await call(near, 'PUT', '/v1/topics/far.news', {})
    const leaving = new AbortController()
    const events = await fetch(`${near.url}/v1/topics/far.news/events?start=earliest`, { signal: leaving.signal })
    const reader = events.body!.getReader()
    await call(near, 'POST', '/v1/topics/far.news/messages', 'one', { 'content-type': 'text/plain' })
    let text = ''
    while (!text.includes('"one"')) text += new TextDecoder().decode((await reader.read()).value)
    leaving.abort()
    const isGone = async (): Promise<boolean> =>
      (await call(far, 'GET', '/metrics')).text.includes('\ntidings_event_readers 0')
    await expect.poll(isGone).toBe(true)
  })
})

describe('a WebSocket of a topic that another broker leads', () => {
  it('is a tunnel to that broker', async () => {
    await call(near, 'POST', '/v1/topics/far.orders/messages', 'hello', { 'content-type': 'text/plain' })
    const socket = new WebSocket(
      `${near.url.replace('http', 'ws')}/v1/topics/far.orders/subscriptions/billing/stream?start=earliest`,
    )
    const [frame] = (await once(socket, 'message')) as [Buffer]
    const message = JSON.parse(frame.toString()) as { id: string; value: string }
    expect(message).toMatchObject({ type: 'message', value: 'hello' })
    socket.send(JSON.stringify({ type: 'ack', ids: [message.id], request: 'r1' }))
    const [acked] = (await once(socket, 'message')) as [Buffer]
    expect(JSON.parse(acked.toString())).toMatchObject({ type: 'acked', request: 'r1' })
    socket.terminate()
    const path = '/v1/topics/far.orders/subscriptions/billing'
    const consumers = async (): Promise<unknown> =>
      ((await call(far, 'GET', path)).json as { state: { consumers: unknown[] } }).state.consumers
    await expect.poll(consumers).toEqual([])
  })

  it('is refused like any other where the leader is not reached', async () => {
    await far.stop()
    const socket = new WebSocket(`${near.url.replace('http', 'ws')}/v1/topics/far.orders/subscriptions/billing/stream`)
    const [, response] = await once(socket, 'unexpected-response')
    expect(response.statusCode).toBe(503)
    socket.on('error', () => undefined).terminate()
  })
})

describe('what waits for a leader that stands still', () => {
  it('is told when another one leads', async () => {
    const silent = createServer((socket) => void socket.on('error', () => undefined))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    routing.url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const published = call(near, 'POST', '/v1/topics/far.orders/messages', 'x')
    const socket = new WebSocket(`${near.url.replace('http', 'ws')}/v1/topics/far.orders/subscriptions/billing/stream`)
    const ended = once(socket, 'error')
    await expect.poll(() => routing.watching.get('far.orders')?.size).toBe(2)
    routing.move('far.orders')
    expect((await published).json).toMatchObject({ code: 'no_leader' })
    await ended
    expect(routing.watching.get('far.orders')?.size).toBe(0)
    silent.close()
  })
})

describe('a publisher over one connection', () => {
  it('reaches topics of both brokers, in order and once', async () => {
    const client = createClient({ url: near.url })
    const topics = ['far.a', 'close.b', 'far.c']
    const publishes = topics.flatMap((name) =>
      Array.from({ length: 100 }, (_, i) => client.topic<number>(name).publish(i, { key: 'k' })),
    )
    const receipts = await Promise.all(publishes)
    expect(receipts.map(({ offset }) => offset)).toEqual(topics.flatMap(() => Array.from({ length: 100 }, (_, i) => i)))
    await client.close()
    expect((await call(far, 'GET', '/v1/topics/close.b')).status).toBe(404)
  })

  it('connects again when the broker behind is gone and back, and nothing is doubled', async () => {
    const client = createClient({ url: near.url })
    const orders = client.topic<number>('far.orders')
    await orders.publish(0)
    const port = far.port
    await far.stop()
    const pending = orders.publish(1)
    far = await startTestBroker()
    routing.url = far.url
    expect(far.port).not.toBe(port)
    expect(await pending).toMatchObject({ topic: 'far.orders', offset: 0 })
    const { json } = await call(far, 'GET', '/v1/topics/far.orders/partitions/0/messages')
    expect((json as { messages: { value: number }[] }).messages.map(({ value }) => value)).toEqual([1])
    await client.close()
  })
})
