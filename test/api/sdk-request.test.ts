import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, defineTopic, ReplyError, TidingsError } from '@tidings/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

type Client = ReturnType<typeof createClient>

let broker: TestBroker
let client: Client
let replying: Client
beforeAll(async () => {
  broker = await startTestBroker()
  client = createClient({ url: broker.url })
  replying = createClient({ url: broker.url })
})
afterAll(async () => {
  await Promise.all([client.close(), replying.close()])
  await broker.stop()
})
afterEach(stopAll)

const inboxes = async (url: string): Promise<string[]> => {
  const { topics } = (await (await fetch(`${url}/v1/topics`)).json()) as { topics: { name: string }[] }
  return topics.map(({ name }) => name).filter((name) => name.startsWith('tidings.replies.'))
}

/** A request that is published before there is a subscription is not for it. */
async function subscribed(topic: string): Promise<void> {
  const status = async (): Promise<number> => (await call(broker, 'GET', `/v1/topics/${topic}/subscriptions/s`)).status
  await expect.poll(status, { timeout: 10_000 }).toBe(200)
}

describe('a request', () => {
  it('is answered with what the replier gives back', async () => {
    replying.topic<number[]>('sums').reply('s', { concurrency: 8 }, ({ value }) => value.reduce((a, b) => a + b, 0))
    await subscribed('sums')
    const sums = client.topic<number[]>('sums')
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => sums.request<number>([i, 1])))
    expect(answers).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
  })

  it('carries its key and headers, and any kind of answer comes back', async () => {
    replying.topic('echo').reply('s', ({ key, headers, value }) => {
      if (value === 'bytes') return new Uint8Array([1, 2])
      if (value === 'nothing') return undefined
      return { key, mine: headers['mine'] }
    })
    await subscribed('echo')
    const echo = client.topic('echo')
    expect(await echo.request('x', { key: 'k', headers: { mine: 'h' } })).toEqual({ key: 'k', mine: 'h' })
    expect(await echo.request('bytes')).toEqual(new Uint8Array([1, 2]))
    expect(await echo.request('nothing')).toBeNull()
  })

  it('rejects with what the replier threw', async () => {
    replying.topic<string>('failing').reply('s', ({ value }) => {
      if (value === 'ours') throw new ReplyError('out_of_stock', 'no more of it', { left: 0 })
      if (value === 'tidings') throw new TidingsError('permission_denied', 'not you')
      throw new RangeError('too far')
    })
    await subscribed('failing')
    const failing = client.topic<string>('failing')
    const failure = (value: string): Promise<unknown> => failing.request(value).catch((error: unknown) => error)
    expect(await failure('ours')).toBeInstanceOf(ReplyError)
    expect(await failure('ours')).toMatchObject({
      reason: 'out_of_stock',
      message: 'no more of it',
      details: { left: 0 },
    })
    expect(await failure('tidings')).toMatchObject({ code: 'permission_denied', message: 'not you' })
    expect(await failure('other')).toMatchObject({ code: 'reply_failed', reason: 'RangeError', message: 'too far' })
  })

  it('checks requests and answers where schemas describe them', async () => {
    const definition = defineTopic({
      name: 'typed-requests',
      schema: z.number(),
      answer: z.object({ at: z.iso.datetime().transform((text) => new Date(text)) }),
    })
    replying
      .topic(definition)
      .reply('s', ({ value }) => ({ at: value === 0 ? 'never' : new Date(value).toISOString() }))
    await subscribed('typed-requests')
    const topic = client.topic(definition)
    expect(await topic.request(1)).toEqual({ at: new Date(1) })
    await expect(topic.request('1' as never)).rejects.toMatchObject({ code: 'schema_violation' })
    await expect(topic.request(0)).rejects.toMatchObject({ code: 'schema_violation' })
  })

  it('ends when nobody answers in time, or its signal says so; an answer that comes later is dropped', async () => {
    const slow = client.topic('slow')
    await expect(slow.request('x', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'reply_timeout',
      retryable: true,
    })
    await expect(slow.request('given up', { signal: AbortSignal.timeout(100) })).rejects.toMatchObject({
      code: 'aborted',
    })
    const begun: unknown[] = []
    replying.topic('slow').reply('s', async ({ value }) => {
      begun.push(value)
      await sleep(300)
      return value
    })
    await subscribed('slow')
    const late = slow.request('late', { timeoutMs: 250 })
    await expect(late).rejects.toMatchObject({ code: 'reply_timeout' })
    expect(await slow.request('y', { timeoutMs: 5000 })).toBe('y')
    // Those that nobody waited for any more were not begun.
    expect(begun).not.toContain('x')
  })

  it('leaves no topic behind when its client is closed, also when an answer comes after that', async () => {
    const other = createClient({ url: broker.url })
    let answer: () => void = () => undefined
    const begun = new Promise<void>((resolve) => {
      replying.topic('after').reply('s', { start: 'earliest' }, async () => {
        resolve()
        await new Promise<void>((done) => {
          answer = done
        })
        return 1
      })
    })
    const failed = other
      .topic('after')
      .request(1)
      .catch((error: unknown) => error)
    await begun
    const before = await inboxes(broker.url)
    await other.close()
    expect(await failed).toMatchObject({ code: 'aborted' })
    expect(await inboxes(broker.url)).toHaveLength(before.length - 1)
    answer()
    const state = async (): Promise<unknown> => {
      const { json } = await call(broker, 'GET', '/v1/topics/after/subscriptions/s')
      return (json as { state: { backlog: number } }).state.backlog
    }
    await expect.poll(state, { timeout: 10_000 }).toBe(0)
    await expect.poll(async () => (await inboxes(broker.url)).length, { timeout: 10_000 }).toBe(before.length - 1)
  })

  it('is answered once when a replier is lost on the way and another one takes over', async () => {
    const proxy = await TcpProxy.start(broker.port)
    const lost = createClient({ url: proxy.url })
    let begun = 0
    lost.topic('lost').reply('s', { start: 'earliest' }, () => {
      begun++
      proxy.isRefusing = true
      proxy.cut()
      return 'of the lost one'
    })
    await subscribed('lost')
    const answer = client.topic('lost').request('x')
    await expect.poll(() => begun, { timeout: 10_000 }).toBe(1)
    replying.topic('lost').reply('s', ({ attempt }) => `attempt ${attempt}`)
    expect(await answer).toBe('attempt 2')
    proxy.isRefusing = false
    await lost.close({ timeoutMs: 1000 })
    await proxy.stop()
  })

  it('works on after the broker was killed', { timeout: 60_000 }, async () => {
    const process = await BrokerProcess.start()
    const [asking, answering] = [createClient({ url: process.url }), createClient({ url: process.url })]
    answering.topic('pings').reply('s', { start: 'earliest' }, ({ value }) => value)
    const pings = asking.topic('pings')
    expect(await pings.request(1)).toBe(1)
    await process.kill()
    const second = pings.request(2, { timeoutMs: 30_000 })
    await process.restart()
    expect(await second).toBe(2)
    await process.kill()
    await process.restart()
    expect(await Promise.all([3, 4].map((value) => pings.request(value)))).toEqual([3, 4])
    expect(await inboxes(process.url)).toHaveLength(1)
    await Promise.all([asking.close(), answering.close()])
    expect(await inboxes(process.url)).toEqual([])
  })
})
