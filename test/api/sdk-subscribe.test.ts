import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, type Message, type TidingsError } from '@tidings/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { nodePlatform } from '../../sdk/src/node-platform.ts'
import { createClientOn } from '../../sdk/src/on-platform.ts'
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
    const far = createClientOn(fastPlatform, { url: [proxy.url, broker.url] })
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
