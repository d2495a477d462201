/** The test broker as a user's test sees it: the real client, the real broker, and time that the test moves. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestBroker, type TestBroker } from '../../../src/testing/test-broker.ts'
import { noting, type Order } from '../../support/noting.ts'

const START = Date.UTC(2026, 0, 1)

let broker: TestBroker
beforeEach(async () => {
  broker = await createTestBroker({ now: START })
})
afterEach(() => broker.close())

describe('a publish', () => {
  it('is answered without time passing, and can be read back', async () => {
    const orders = broker.client.topic<Order | string | Uint8Array>('orders')
    const receipt = await orders.publish({ n: 1 }, { key: 'ada', headers: { region: 'eu' } })
    expect(receipt).toMatchObject({ partition: 0, offset: 0, id: '0:0', timestamp: '2026-01-01T00:00:00.000Z' })
    await orders.publish('text', { contentType: 'text/plain' })
    await orders.publish(Uint8Array.of(0, 255), { contentType: 'application/octet-stream' })
    expect(await broker.topic('orders').published()).toMatchObject([
      { id: '0:0', key: 'ada', value: { n: 1 }, headers: { region: 'eu' }, contentType: 'application/json' },
      { offset: 1, key: null, value: 'text' },
      { offset: 2, value: Uint8Array.of(0, 255) },
    ])
    expect(await broker.topic('orders').published({ key: 'ada' })).toHaveLength(1)
    expect(broker.clock.now()).toBe(START)
  })

  it('that never came leaves nothing to read back, also where there is no topic', async () => {
    expect(await broker.topic('orders').published()).toEqual([])
    await expect(broker.topic('_orders').published()).rejects.toMatchObject({ code: 'invalid_argument' })
  })

  it('that is delayed comes when its time has come', async () => {
    const orders = broker.client.topic<Order>('orders')
    await orders.publish({ n: 1 }, { delayMs: 60_000 })
    expect(await broker.topic('orders').scheduled()).toMatchObject([{ deliverAt: '2026-01-01T00:01:00.000Z' }])
    await broker.advance('59s')
    expect(await broker.topic('orders').published()).toEqual([])
    await broker.advance('1s')
    expect(await broker.topic('orders').published()).toMatchObject([{ value: { n: 1 } }])
    expect(await broker.topic('orders').scheduled()).toEqual([])
  })

  it('of more than one page is read back whole, partition by partition', async () => {
    const orders = broker.topic<Order>('orders')
    await orders.put({ partitions: 3 })
    const topic = broker.client.topic<Order>('orders')
    await Promise.all(Array.from({ length: 2500 }, (_, n) => topic.publish({ n })))
    const published = await orders.published()
    expect(new Set(published.map(({ value }) => value.n)).size).toBe(2500)
    const places = published.map(({ partition, offset }) => partition * 10_000 + offset)
    expect(places).toEqual([...places].sort((a, b) => a - b))
  })
})

describe('a subscription', () => {
  it('is settled when its handler has handled everything', async () => {
    const { seen, handler } = noting()
    broker.client.topic<Order>('orders').subscribe('billing', { start: 'earliest' }, handler)
    await broker.settle()
    for (const n of [1, 2, 3]) await broker.client.topic<Order>('orders').publish({ n })
    const { acked, deadLettered } = await broker.topic<Order>('orders').subscription('billing').settled()
    expect(seen).toEqual(['1/1', '2/1', '3/1'])
    expect(acked.map(({ value }) => value.n)).toEqual([1, 2, 3])
    expect(deadLettered).toEqual([])
  })

  it('waits for handlers that wait for something outside, in real time', async () => {
    let isDone = false
    broker.client.topic<Order>('orders').subscribe('billing', { start: 'earliest' }, async () => {
      // Turns of the event loop that the broker does not know of.
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
      isDone = true
    })
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.settle()
    expect(isDone).toBe(false)
    await broker.topic('orders').subscription('billing').settled()
    expect(isDone).toBe(true)
  })

  it('redelivers with its backoff when time passes, and gives up in the end', async () => {
    const billing = broker.topic<Order>('orders').subscription('billing')
    await billing.put({ backoff: { minMs: 1000, maxMs: 60_000 }, deadLetter: { maxDeliveries: 3 } })
    const { seen, handler } = noting(({ value }) => value.n === 2)
    broker.client.topic<Order>('orders').subscribe('billing', handler)
    await broker.settle()
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.client.topic<Order>('orders').publish({ n: 2 })
    await broker.settle()
    expect(seen).toEqual(['1/1', '2/1'])
    await broker.advance('900ms')
    expect(seen).toEqual(['1/1', '2/1'])
    await broker.advance('100ms')
    expect(seen).toEqual(['1/1', '2/1', '2/2'])
    await broker.advance('2s')
    expect(seen).toEqual(['1/1', '2/1', '2/2', '2/3'])
    const { acked, deadLettered } = await billing.settled()
    expect(acked.map(({ value }) => value.n)).toEqual([1])
    expect(deadLettered).toMatchObject([
      { topic: 'orders.billing.dlq', value: { n: 2 }, originalId: '0:1', attempts: 3, reason: 'Error: no 2' },
    ])
    expect(await billing.explain('0:1')).toMatchObject({ state: 'dead_lettered' })
  })

  it('says what it waits for when only time can help, and moves the clock on where it may', async () => {
    const billing = broker.topic<Order>('orders').subscription('billing')
    await billing.put({ backoff: { minMs: 60_000, maxMs: 60_000 } })
    const { seen, handler } = noting(({ attempt }) => attempt < 3)
    broker.client.topic<Order>('orders').subscribe('billing', handler)
    await broker.settle()
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await expect(billing.settled()).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('1 to be delivered again'),
    })
    await expect(billing.settled({ within: '30s' })).rejects.toMatchObject({ code: 'conflict' })
    expect(broker.clock.now()).toBe(START + 30_000)
    await billing.settled({ within: '10m' })
    expect(seen).toEqual(['1/1', '1/2', '1/3'])
    expect(broker.clock.now()).toBe(START + 120_000)
  })

  it('does not count what it passed over at its start as acknowledged', async () => {
    const orders = broker.client.topic<Order>('orders')
    await orders.publish({ n: 1 })
    const { handler } = noting()
    orders.subscribe('billing', { start: 'latest' }, handler)
    await broker.settle()
    await orders.publish({ n: 2 })
    const { acked } = await broker.topic<Order>('orders').subscription('billing').settled()
    expect(acked.map(({ value }) => value.n)).toEqual([2])
  })

  it('that follows a pattern is settled over all its topics', async () => {
    const { seen, handler } = noting()
    broker.client.topic<Order>('orders.*').subscribe('audit', { start: 'earliest' }, handler)
    await broker.settle()
    await broker.client.topic<Order>('orders.eu').publish({ n: 1 })
    await broker.client.topic<Order>('orders.us').publish({ n: 2 })
    const { acked } = await broker.topic<Order>('orders.*').subscription('audit').settled()
    expect(acked.map(({ topic, value }) => `${topic} ${value.n}`).sort()).toEqual(['orders.eu 1', 'orders.us 2'])
    expect(seen.sort()).toEqual(['1/1', '2/1'])
  })

  it('is iterated over, message by message', async () => {
    const orders = broker.client.topic<Order>('orders')
    for (const n of [1, 2]) await orders.publish({ n })
    const seen: number[] = []
    for await (const message of orders.subscribe('audit', { start: 'earliest', type: 'exclusive' })) {
      seen.push(message.value.n)
      await message.ack()
      if (seen.length === 2) break
    }
    expect(seen).toEqual([1, 2])
    expect((await broker.topic('orders').subscription('audit').settled()).acked).toHaveLength(2)
  })
})

describe('time', () => {
  it('passes for handlers that sleep by it', async () => {
    const seen: number[] = []
    broker.client.topic<Order>('orders').subscribe('billing', { start: 'earliest' }, async ({ value }) => {
      await broker.clock.sleep('5s')
      seen.push(value.n)
    })
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.advance('4s')
    expect(seen).toEqual([])
    await broker.topic('orders').subscription('billing').settled({ within: '1m' })
    expect(seen).toEqual([1])
    expect(broker.clock.now()).toBe(START + 5000)
  })

  it('ends the time to live of a message', async () => {
    await broker.request('POST', '/v1/topics/orders/messages/batch', { messages: [{ value: { n: 1 }, ttlMs: 5000 }] })
    expect(await broker.topic('orders').published()).toHaveLength(1)
    await broker.advance('5s')
    expect(await broker.topic('orders').published()).toEqual([])
  })

  it('lets retention remove what is old', async () => {
    const orders = broker.topic('orders')
    await orders.put({ retention: { maxAgeMs: 3_600_000 }, segmentBytes: 4096 })
    const topic = broker.client.topic<string>('orders')
    for (let i = 0; i < 20; i++) await topic.publish('x'.repeat(1000))
    await broker.advance('30m')
    expect(await orders.published()).toHaveLength(20)
    await broker.advance('31m')
    const left = await orders.published()
    expect(left.length).toBeLessThan(10)
  })

  it('keeps connections alive over a long quiet stretch', async () => {
    const { seen, handler } = noting()
    const subscription = broker.client.topic<Order>('orders').subscribe('billing', handler)
    await broker.advance('1h')
    expect(subscription.state).toBe('open')
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.settle()
    expect(seen).toEqual(['1/1'])
  })

  it.each(['soon', '10', -1])('does not move by %s', async (duration) => {
    await expect(broker.advance(duration)).rejects.toMatchObject({ code: 'invalid_argument' })
    expect(broker.clock.now()).toBe(START)
  })
})

describe('test brokers', () => {
  it('stand side by side and know nothing of each other', async () => {
    const other = await createTestBroker({ now: 0 })
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    expect((await other.request('GET', '/v1/topics')).body).toEqual({ topics: [] })
    await other.advance('1h')
    expect(other.clock.now()).toBe(3_600_000)
    expect(broker.clock.now()).toBe(START)
    await other.close()
    expect(await broker.topic('orders').published()).toHaveLength(1)
  })

  it('take several clients, each with connections of its own', async () => {
    const first = broker.client.topic<Order>('orders').subscribe('one', { type: 'exclusive' }, () => undefined)
    await broker.settle()
    const errors: string[] = []
    const options = { type: 'exclusive' as const, onError: (error: { code: string }) => void errors.push(error.code) }
    const second = broker
      .connect()
      .topic<Order>('orders')
      .subscribe('one', options, () => undefined)
    await broker.settle()
    expect(errors).toEqual(['subscription_busy'])
    await first.drain()
    await broker.advance('10s')
    expect(second.state).toBe('open')
  })

  it('run alike with the same seed', async () => {
    const run = async (): Promise<string[]> => {
      const lines: string[] = []
      const one = await createTestBroker({ now: START, seed: 7 })
      const topic = one.client.topic<Order>('orders')
      for (const worker of ['a', 'b', 'c']) {
        topic.subscribe('billing', { start: 'earliest', concurrency: 2 }, ({ value, attempt }) => {
          lines.push(`${one.clock.now()} ${worker} ${value.n}/${attempt}`)
          if ((value.n + attempt) % 3 === 0) throw new Error('again')
        })
      }
      for (let n = 0; n < 20; n++) await topic.publish({ n }, { key: String(n % 4) })
      one.dropConnections()
      await one.advance('1m')
      one.crash()
      await one.restart()
      await one.advance('1m')
      await one.close()
      return lines
    }
    const first = await run()
    expect(first.length).toBeGreaterThanOrEqual(20)
    expect(await run()).toEqual(first)
  })

  it('close with publishes and handlers under way, which hear of it', async () => {
    const one = await createTestBroker()
    one.client.topic<Order>('orders').subscribe('billing', { start: 'earliest' }, () => new Promise(() => undefined))
    await one.client.topic<Order>('orders').publish({ n: 1 })
    one.crash()
    const published = one.client.topic<Order>('orders').publish({ n: 2 })
    const outcome = published.then(
      () => 'stored',
      () => 'rejected',
    )
    await one.close()
    expect(await outcome).toBe('rejected')
    await expect(one.restart()).rejects.toMatchObject({ code: 'aborted' })
  })
})
