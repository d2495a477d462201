/** Who gets how much of a shared subscription, over real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

async function publish(topic: string, count: number): Promise<void> {
  const messages = Array.from({ length: count }, (_, value) => ({ value }))
  expect((await call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages })).status).toBe(200)
}

/** Consumers that acknowledge each message at once, until all of `count` have come; how many each got. */
async function shares(topic: string, queries: readonly string[], count: number): Promise<number[]> {
  const clients = await Promise.all(queries.map((query) => StreamClient.open(broker, topic, 's', query)))
  const got = queries.map(() => 0)
  const left = { messages: count }
  const everything = clients.map(async (client, i) => {
    for (;;) {
      const frame = await client.next()
      if (frame['type'] !== 'message') return
      got[i]!++
      client.send({ type: 'ack', ids: [frame['id']] })
      // The last one ends all waiting: the answer to a tagged frame is no message.
      if (--left.messages === 0) for (const one of clients) one.send({ type: 'ack', ids: [], request: 'over' })
    }
  })
  for (let sent = 0; sent < count; sent += 10) await publish(topic, 10)
  await Promise.all(everything)
  await Promise.all(clients.map((client) => client.end()))
  return got
}

describe('the dispatch of a shared subscription', () => {
  it('goes round by messages under unequal prefetch', async () => {
    await call(broker, 'PUT', '/v1/topics/round/subscriptions/s', { dispatch: 'round_robin', start: 'earliest' })
    const got = await shares('round', ['?prefetch=20', '?prefetch=1000', '?prefetch=256'], 600)
    for (const count of got) expect(count).toBeGreaterThanOrEqual(180)
    expect(got.reduce((a, b) => a + b, 0)).toBe(600)
  })

  it('shares by weight', async () => {
    await call(broker, 'PUT', '/v1/topics/weigh/subscriptions/s', { dispatch: 'weighted', start: 'earliest' })
    const got = await shares('weigh', ['?prefetch=100&weight=1', '?prefetch=500&weight=4'], 500)
    expect(got[0]).toBeGreaterThanOrEqual(80)
    expect(got[0]).toBeLessThanOrEqual(120)
  })

  it('shows the weights and takes another policy at any time', async () => {
    const path = '/v1/topics/shown/subscriptions/s'
    await call(broker, 'PUT', path, {})
    const client = await StreamClient.open(broker, 'shown', 's', '?weight=7')
    expect((await call(broker, 'PUT', path, { dispatch: 'weighted' })).json).toMatchObject({
      dispatch: 'weighted',
      state: { consumers: [{ weight: 7 }] },
    })
    await client.end()
  })
})
