/** The client's subscriptions against a whole broker on a virtual clock; test/api/sdk-subscribe.test.ts has the sockets. */
import type { Client, Message, TidingsError } from '@tidings/sdk'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestBroker, type TestBroker } from '../../../src/testing/test-broker.ts'

let broker: TestBroker
let client: Client
beforeEach(async () => {
  broker = await createTestBroker()
  client = broker.client
})
afterEach(() => broker.close())

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

async function publish(topic: string, count: number, key?: (i: number) => string): Promise<void> {
  const target = client.topic(topic)
  await Promise.all(numbers(count).map((i) => target.publish(i, key ? { key: key(i) } : {})))
}

async function stateOf(topic: string): Promise<unknown> {
  const { body } = await broker.request('GET', `/v1/topics/${topic}/subscriptions/s`)
  return (body as { state: unknown }).state
}

describe('a subscription with a handler', () => {
  it('gets again what its handler failed on', async () => {
    const attempts: number[] = []
    const subscription = client.topic('failing').subscribe('s', { start: 'earliest' }, ({ attempt }) => {
      attempts.push(attempt)
      if (attempt < 3) throw new Error(`attempt ${attempt}`)
    })
    await publish('failing', 1)
    await broker.topic('failing').subscription('s').settled({ within: '1m' })
    expect(attempts).toEqual([1, 2, 3])
    await subscription.drain()
    expect(await stateOf('failing')).toMatchObject({ backlog: 0, unacked: 0, consumers: [] })
    expect(subscription.state).toBe('closed')
  })

  it('keeps a message for as long as its handler runs, past many deadlines', async () => {
    const begun: number[] = []
    const options = { start: 'earliest', ackDeadlineMs: 30_000 } as const
    client.topic('long').subscribe('s', options, async ({ attempt }) => {
      begun.push(attempt)
      await broker.clock.sleep('20m')
    })
    await publish('long', 1)
    await broker.advance('19m')
    expect(await stateOf('long')).toMatchObject({ unacked: 1 })
    const { acked } = await broker.topic('long').subscription('s').settled({ within: '2m' })
    expect(acked).toHaveLength(1)
    expect(begun).toEqual([1])
  })

  it.each(['exclusive', 'key_shared'] as const)('keeps the order of each key over failures on %s', async (type) => {
    await publish('ordered', 100, (i) => `k${i % 5}`)
    const subscription = broker.topic('ordered').subscription('s')
    await subscription.put({ type, start: 'earliest' })
    const done: Message<number>[] = []
    client.topic<number>('ordered').subscribe('s', { concurrency: 4 }, async (message) => {
      await broker.clock.sleep(message.offset % 3)
      if (message.offset % 10 === 4 && message.attempt === 1) throw new Error('once')
      done.push(message)
    })
    await subscription.settled({ within: '10m' })
    for (const key of ['k0', 'k1', 'k2', 'k3', 'k4']) {
      const values = done.filter((message) => message.key === key).map(({ value }) => value)
      expect(values).toEqual([...values].sort((a, b) => a - b))
    }
    expect(new Set(done.map(({ value }) => value)).size).toBe(100)
  })

  it('ends when it is deleted, and is told why', async () => {
    const subscription = client.topic('deleted').subscribe('s', () => undefined)
    await broker.settle()
    expect(subscription.state).toBe('open')
    await broker.request('DELETE', '/v1/topics/deleted/subscriptions/s')
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
    await broker.settle()
    const onError = (error: TidingsError): void => void errors.push(error.code)
    topic.subscribe('s', { onError }, ({ value }) => void seen.push(`second ${value}`))
    await topic.publish(1)
    await broker.advance('10s')
    expect(new Set(errors)).toEqual(new Set(['subscription_busy']))
    await first.drain()
    await topic.publish(2)
    await broker.advance('10s')
    expect(seen).toEqual(['first 1', 'second 2'])
  })

  it('goes on when its connection is lost again and again', async () => {
    const seen = new Set<number>()
    client.topic<number>('unlucky').subscribe('s', { start: 'earliest', concurrency: 4 }, async ({ value }) => {
      await broker.clock.sleep(50)
      seen.add(value)
    })
    for (const round of numbers(10)) {
      await client.topic<number>('unlucky').publish(round)
      broker.dropConnections()
      await broker.advance(70 * round)
    }
    const { acked } = await broker.topic<number>('unlucky').subscription('s').settled({ within: '10m' })
    expect([...seen].sort((a, b) => a - b)).toEqual(numbers(10))
    expect(acked).toHaveLength(10)
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
    expect(await stateOf('looped')).toMatchObject({ backlog: 15, unacked: 0, consumers: [] })
    for await (const { offset, attempt } of client.topic('looped').subscribe('s')) {
      expect([offset, attempt]).toEqual([5, 1])
      break
    }
  })

  it('ends when the subscription is drained elsewhere', async () => {
    const subscription = client.topic('drained').subscribe('s', { start: 'earliest' })
    const loop = (async () => {
      let count = 0
      for await (const message of subscription) {
        count++
        await message.ack()
      }
      return count
    })()
    await publish('drained', 3)
    await broker.topic('drained').subscription('s').settled()
    await subscription.drain()
    expect(await loop).toBe(3)
  })

  it('throws what ended the subscription', async () => {
    await broker.topic('thrown').subscription('s').put()
    const loop = async (): Promise<void> => {
      for await (const message of client.topic('thrown').subscribe('s')) await message.ack()
    }
    const ended = expect(loop()).rejects.toMatchObject({ code: 'subscription_not_found' })
    await broker.settle()
    await broker.request('DELETE', '/v1/topics/thrown')
    await ended
  })
})

describe('closing a client', () => {
  it('drains its subscriptions: what runs is finished, the rest is another’s', async () => {
    await publish('closing', 50)
    const far = broker.connect()
    const done: number[] = []
    const options = { start: 'earliest', concurrency: 3 } as const
    far.topic<number>('closing').subscribe('s', options, async ({ value }) => {
      await broker.clock.sleep('1s')
      done.push(value)
    })
    await broker.advance('2500ms')
    expect(done).toHaveLength(6)
    const closed = far.close()
    await broker.advance('1s')
    await closed
    expect(done).toHaveLength(9)
    expect(await stateOf('closing')).toMatchObject({ backlog: 41, unacked: 0, consumers: [] })
    for await (const { attempt, value } of client.topic<number>('closing').subscribe('s')) {
      expect([attempt, done.includes(value)]).toEqual([1, false])
      break
    }
  })
})
