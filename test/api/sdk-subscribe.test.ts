import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, type Message, type TidingsError } from '@tidings/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../../sdk/src/client.ts'
import { nodePlatform } from '../../sdk/src/node-platform.ts'
import type { Platform } from '../../sdk/src/platform.ts'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
let client: ReturnType<typeof createClient>
beforeAll(async () => {
  broker = await startTestBroker()
  client = createClient({ url: broker.url })
})
afterAll(async () => {
  await client.close()
  await broker.stop()
})
afterEach(stopAll)

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(5)
}

interface State {
  backlog: number
  unacked: number
  consumers: unknown[]
}

async function stateOf(url: string, topic: string, name: string): Promise<State> {
  const answer = await fetch(`${url}/v1/topics/${topic}/subscriptions/${name}`)
  return ((await answer.json()) as { state: State }).state
}

async function publish(topic: string, count: number, key?: (i: number) => string): Promise<void> {
  const target = client.topic(topic)
  await Promise.all(numbers(count).map((i) => target.publish(i, key ? { key: key(i) } : {})))
}

/** Node, with time twenty times as fast: what takes half a minute can be waited for. */
const fastPlatform: Platform = {
  ...nodePlatform,
  clock: {
    ...nodePlatform.clock,
    monotonic: () => nodePlatform.clock.monotonic() * 20,
    after: (delayMs, fire) => nodePlatform.clock.after(delayMs / 20, fire),
  },
}

describe('a subscription with a handler', () => {
  it('gets every message as it was published, and acknowledges it', async () => {
    const seen: Message<number>[] = []
    const subscription = client
      .topic<number>('handled')
      .subscribe('s', { start: 'earliest', concurrency: 8 }, (message) => {
        seen.push(message)
      })
    await publish('handled', 500, (i) => `k${i % 7}`)
    await until(() => seen.length === 500)
    expect(seen.map(({ value }) => value)).toEqual(numbers(500))
    expect(seen[3]).toMatchObject({ id: '0:3', topic: 'handled', key: 'k3', attempt: 1, headers: {} })
    await subscription.drain()
    expect(await stateOf(broker.url, 'handled', 's')).toMatchObject({ backlog: 0, unacked: 0, consumers: [] })
    expect(subscription.state).toBe('closed')
  })

  it('gets again what its handler failed on', async () => {
    const attempts: number[] = []
    await call(broker, 'PUT', '/v1/topics/failing/subscriptions/s', { backoff: { minMs: 1, maxMs: 1 } })
    const subscription = client.topic('failing').subscribe('s', ({ attempt }) => {
      attempts.push(attempt)
      if (attempt < 3) throw new Error(`attempt ${attempt}`)
    })
    await publish('failing', 1)
    await until(() => attempts.length === 3)
    expect(attempts).toEqual([1, 2, 3])
    await subscription.drain()
    expect(await stateOf(broker.url, 'failing', 's')).toMatchObject({ backlog: 0 })
  })

  it('keeps a message for as long as its handler runs, past the deadline', async () => {
    const begun: number[] = []
    const options = { start: 'earliest', ackDeadlineMs: 900 } as const
    const handler = async ({ attempt }: Message<unknown>): Promise<void> => {
      begun.push(attempt)
      await sleep(3000)
    }
    const subscription = client.topic('long').subscribe('s', options, handler)
    await publish('long', 1)
    await until(() => begun.length === 1)
    await sleep(2500)
    await subscription.drain()
    expect(begun).toEqual([1])
    expect(await stateOf(broker.url, 'long', 's')).toMatchObject({ backlog: 0 })
  })

  it.each(['exclusive', 'key_shared'])('keeps the order of each key over failures on %s', async (type) => {
    const name = `ordered-${type}`
    await publish(name, 100, (i) => `k${i % 5}`)
    const settings = { type, start: 'earliest', backoff: { minMs: 1, maxMs: 1 } }
    await call(broker, 'PUT', `/v1/topics/${name}/subscriptions/s`, settings)
    const done: Message<number>[] = []
    const subscription = client.topic<number>(name).subscribe('s', { concurrency: 4 }, async (message) => {
      await sleep(message.offset % 3)
      if (message.offset % 10 === 4 && message.attempt === 1) throw new Error('once')
      done.push(message)
    })
    await until(async () => (await stateOf(broker.url, name, 's')).backlog === 0)
    for (const key of ['k0', 'k1', 'k2', 'k3', 'k4']) {
      const values = done.filter((message) => message.key === key).map(({ value }) => value)
      expect(values).toEqual([...values].sort((a, b) => a - b))
    }
    expect(new Set(done.map(({ value }) => value)).size).toBe(100)
    await subscription.drain()
  })

  it('ends when it is deleted, and is told why', async () => {
    const subscription = client.topic('deleted').subscribe('s', () => undefined)
    await until(() => subscription.state === 'open')
    await call(broker, 'DELETE', '/v1/topics/deleted/subscriptions/s')
    await expect(subscription.closed).rejects.toMatchObject({ code: 'subscription_not_found' })
  })

  it('is told what is wrong with what it asks for', async () => {
    const subscription = client.topic('wrong').subscribe('s', { consumer: 'x'.repeat(300) }, () => undefined)
    await expect(subscription.closed).rejects.toMatchObject({ code: 'invalid_argument', retryable: false })
  })

  it('takes over an exclusive subscription when the consumer before it has gone', async () => {
    const topic = client.topic<number>('standby')
    const seen: string[] = []
    const errors: string[] = []
    const first = topic.subscribe('s', { type: 'exclusive' }, ({ value }) => void seen.push(`first ${value}`))
    await until(() => first.state === 'open')
    const onError = (error: TidingsError): void => void errors.push(error.code)
    const second = topic.subscribe('s', { onError }, ({ value }) => void seen.push(`second ${value}`))
    await topic.publish(1)
    await until(() => seen.length === 1 && errors.length > 0)
    await first.drain()
    await topic.publish(2)
    await until(() => seen.length === 2)
    expect(seen).toEqual(['first 1', 'second 2'])
    expect(errors[0]).toBe('subscription_busy')
    await second.drain()
  })
})

describe('a loop over a subscription', () => {
  it('gets messages, confirms them, and hands back the rest uncounted when it is left', async () => {
    await publish('looped', 20)
    const subscription = client.topic<number>('looped').subscribe('s', { start: 'earliest', prefetch: 8 })
    const seen: number[] = []
    for await (const message of subscription) {
      seen.push(message.value)
      expect(await message.ack()).toBe(true)
      expect(await message.ack()).toBe(true)
      if (seen.length === 5) break
    }
    expect(seen).toEqual(numbers(5))
    expect(await stateOf(broker.url, 'looped', 's')).toMatchObject({ backlog: 15, unacked: 0, consumers: [] })
    for await (const { offset, attempt } of client.topic('looped').subscribe('s')) {
      expect([offset, attempt]).toEqual([5, 1])
      break
    }
  })

  it('ends when the subscription is drained elsewhere', async () => {
    const subscription = client.topic('drained').subscribe('s')
    const loop = (async () => {
      let count = 0
      for await (const message of subscription) {
        count++
        await message.ack()
      }
      return count
    })()
    await until(() => subscription.state === 'open')
    await publish('drained', 3)
    await until(async () => (await stateOf(broker.url, 'drained', 's')).backlog === 0)
    await subscription.drain()
    expect(await loop).toBe(3)
  })

  it('throws what ended the subscription', async () => {
    await call(broker, 'PUT', '/v1/topics/thrown/subscriptions/s', {})
    const loop = async (): Promise<void> => {
      for await (const message of client.topic('thrown').subscribe('s')) await message.ack()
    }
    const ended = expect(loop()).rejects.toMatchObject({ code: 'subscription_not_found' })
    await until(async () => (await stateOf(broker.url, 'thrown', 's')).consumers.length === 1)
    await call(broker, 'DELETE', '/v1/topics/thrown')
    await ended
  })
})

describe('over a bad network a subscription gets everything', () => {
  it('when its connection is reset again and again', async () => {
    const proxy = await TcpProxy.start(broker.port)
    const far = createClient({ url: proxy.url })
    const seen = new Set<number>()
    const subscription = far
      .topic<number>('cut')
      .subscribe('s', { start: 'earliest', concurrency: 4 }, async ({ value }) => {
        await sleep(1)
        seen.add(value)
      })
    await publish('cut', 1000)
    for (let blow = 0; blow < 15; blow++) {
      const before = seen.size
      await until(() => seen.size >= before + 40)
      // In the middle of a frame, or wherever it happens to be.
      if (blow % 2 === 0) proxy.answersToTruncate = 1
      else proxy.cut()
    }
    await until(async () => (await stateOf(broker.url, 'cut', 's')).backlog === 0)
    expect(seen.size).toBe(1000)
    await subscription.drain()
    await far.close()
    await proxy.stop()
  })

  it('when what the broker says is garbage for a while', async () => {
    const proxy = await TcpProxy.start(broker.port)
    const far = createClient({ url: proxy.url })
    const seen = new Set<number>()
    const errors: string[] = []
    const onError = (error: TidingsError): void => void errors.push(error.code)
    const options = { start: 'earliest', onError } as const
    const subscription = far.topic<number>('noise').subscribe('s', options, ({ value }) => void seen.add(value))
    await publish('noise', 1)
    await until(() => seen.size === 1)
    proxy.chunksToGarble = 1
    await Promise.all(numbers(99).map((i) => client.topic('noise').publish(i + 1)))
    await until(() => seen.size === 100)
    expect(errors.length).toBeGreaterThan(0)
    await subscription.drain()
    await far.close()
    await proxy.stop()
  })

  it('when its connection is half open: the silence is noticed', async () => {
    const proxy = await TcpProxy.start(broker.port)
    const far = new Client(fastPlatform, { url: [proxy.url, broker.url] })
    const seen = new Set<number>()
    // The broker thinks for a while that the silent consumer has the messages, and gives them to it again.
    const settings = { ackDeadlineMs: 300, backoff: { minMs: 10, maxMs: 10 } }
    await call(broker, 'PUT', '/v1/topics/silent/subscriptions/s', settings)
    const subscription = far.topic<number>('silent').subscribe('s', ({ value }) => void seen.add(value))
    await until(() => subscription.state === 'open')
    proxy.isFrozen = true
    await publish('silent', 10)
    await until(() => seen.size === 10)
    await subscription.drain()
    proxy.isFrozen = false
    await far.close()
    await proxy.stop()
  })

  it('when the broker is killed and started again while it handles', async () => {
    const process = await BrokerProcess.start()
    const far = createClient({ url: process.url })
    const topic = far.topic<number>('killed')
    const runs = new Map<number, number>()
    const subscription = topic.subscribe('s', { start: 'earliest', concurrency: 16 }, async ({ value }) => {
      await sleep(2)
      runs.set(value, (runs.get(value) ?? 0) + 1)
    })
    const published = Promise.all(numbers(3000).map((i) => topic.publish(i)))
    for (let i = 0; i < 2; i++) {
      const before = runs.size
      await until(() => runs.size > before + 300)
      await process.kill()
      await process.restart()
    }
    await published
    await until(async () => (await stateOf(process.url, 'killed', 's')).backlog === 0)
    expect(runs.size).toBe(3000)
    await subscription.drain()
    await far.close()
  }, 60_000)

  it('when the broker is restarted in order', async () => {
    const process = await BrokerProcess.start()
    const far = createClient({ url: process.url })
    const topic = far.topic<number>('restarted')
    const seen: number[] = []
    let connected = 0
    const options = { start: 'earliest', onConnect: () => void connected++ } as const
    const loop = (async () => {
      for await (const message of topic.subscribe('s', options)) {
        seen.push(message.value)
        await message.ack()
      }
    })()
    await topic.publish(1)
    await until(() => seen.length === 1)
    await process.terminate()
    await process.restart()
    await topic.publish(2)
    await until(() => seen.includes(2) && connected === 2)
    await far.close()
    await loop
  }, 60_000)
})

describe('closing a client', () => {
  it('drains its subscriptions: what runs is finished, the rest is another’s', async () => {
    await publish('closing', 50)
    const far = createClient({ url: broker.url })
    const done: number[] = []
    far.topic<number>('closing').subscribe('s', { start: 'earliest', concurrency: 3 }, async ({ value }) => {
      await sleep(100)
      done.push(value)
    })
    await until(() => done.length >= 3)
    await far.close()
    const state = await stateOf(broker.url, 'closing', 's')
    expect(state).toMatchObject({ backlog: 50 - done.length, unacked: 0, consumers: [] })
    for await (const { attempt, value } of client.topic<number>('closing').subscribe('s')) {
      expect([attempt, done.includes(value)]).toEqual([1, false])
      break
    }
  })
})
