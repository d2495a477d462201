/** The client as a browser has it, over fetch and a WebSocket of the web's shape: what it loads later, it finds. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { createClient } from '../../sdk/dist/browser.js'
import { startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  // Node 20 has none of its own; where there is one, that is used.
  const web: { WebSocket?: unknown } = globalThis
  web.WebSocket ??= WebSocket
  broker = await startTestBroker()
})
afterAll(async () => {
  await broker.stop()
})

describe('the client in a browser', () => {
  it('publishes, consumes, asks, answers, and says how far all is acknowledged', async () => {
    const client = createClient({ url: broker.url })
    const orders = client.topic<number>('orders')
    const seen: number[] = []
    const subscription = orders.subscribe('s', { start: 'earliest' }, ({ value }) => void seen.push(value))
    for (const value of [1, 2, 3]) await orders.publish(value)
    await expect.poll(() => seen, { timeout: 10_000 }).toEqual([1, 2, 3])
    await expect
      .poll(() => subscription.acknowledgedThrough(), { timeout: 10_000 })
      .toEqual([{ topic: 'orders', partition: 0, offset: 3 }])
    client.topic<number>('doubles').reply('s', { start: 'earliest' }, ({ value }) => 2 * value)
    expect(await client.topic<number>('doubles').request<number>(21)).toBe(42)
    await client.close()
  })
})
