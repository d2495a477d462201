/** What a test makes go wrong with its broker: refusals, lost answers and connections, crashes. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestBroker, type TestBroker } from '../../../src/testing/test-broker.ts'
import { noting, type Order } from '../../support/noting.ts'

let broker: TestBroker
beforeEach(async () => {
  broker = await createTestBroker()
})
afterEach(() => broker.close())

describe('what goes wrong', () => {
  it('drops connections: clients come again, and what was not acknowledged too', async () => {
    const held: string[] = []
    const errors: string[] = []
    const onError = (error: { code: string }): void => void errors.push(error.code)
    const options = { start: 'earliest' as const, concurrency: 4, onError }
    broker.client.topic<Order>('orders').subscribe('billing', options, (message) => {
      held.push(`${message.value.n}/${message.attempt}`)
      return message.attempt === 1 ? new Promise(() => undefined) : undefined
    })
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.settle()
    broker.dropConnections()
    await broker.settle()
    expect(errors).toEqual(['unavailable'])
    await broker.advance('5s')
    await broker.client.topic<Order>('orders').publish({ n: 2 })
    await broker.settle()
    expect(held).toContain('2/1')
  })

  it('refuses the next publish, and only that', async () => {
    const orders = broker.client.topic<Order>('orders')
    broker.refuseNextPublish('schema_violation')
    await expect(orders.publish({ n: 1 })).rejects.toMatchObject({ code: 'schema_violation' })
    await orders.publish({ n: 2 })
    expect(await broker.topic('orders').published()).toMatchObject([{ value: { n: 2 } }])
  })

  it('refuses with codes that there are', () => {
    expect(() => broker.refuseNextPublish('nonsense' as never)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('storage_full') }),
    )
  })

  it('refuses a publish to one topic, and the client tries again where that helps', async () => {
    broker.refuseNextPublish('overloaded', { topic: 'orders' })
    await broker.client.topic<Order>('other').publish({ n: 1 })
    const published = broker.client.topic<Order>('orders').publish({ n: 2 })
    await broker.advance('1m')
    expect(await published).toMatchObject({ offset: 0 })
    expect(await broker.topic('orders').published()).toHaveLength(1)
  })

  it('loses the answer to the next publish, which is stored once all the same', async () => {
    const orders = broker.client.topic<Order>('orders')
    broker.loseNextAnswer()
    const published = orders.publish({ n: 1 })
    await broker.advance('1m')
    expect((await published).id).toBe('0:0')
    await orders.publish({ n: 2 })
    expect((await broker.topic<Order>('orders').published()).map(({ value }) => value.n)).toEqual([1, 2])
  })

  it('goes wrong under load: every message is stored once, those of a key in order', async () => {
    await broker.topic('orders').put({ partitions: 3 })
    const orders = broker.client.topic<Order>('orders')
    const published: Promise<unknown>[] = []
    for (let n = 0; n < 600; n++) {
      published.push(orders.publish({ n }, { key: `k${n % 7}` }))
      if (n % 40 === 5) broker.refuseNextPublish('overloaded')
      if (n % 40 === 15) broker.loseNextAnswer()
      if (n % 100 === 70) broker.dropConnections()
      if (n % 20 === 0) await broker.advance('100ms')
      if (n === 300) {
        broker.crash()
        await broker.advance('1s')
        await broker.restart()
      }
    }
    await broker.advance('2m')
    await Promise.all(published)
    const stored = await broker.topic<Order>('orders').published()
    expect(stored.map(({ value }) => value.n).sort((a, b) => a - b)).toEqual(published.map((_, n) => n))
    for (let k = 0; k < 7; k++) {
      const values = stored.filter(({ key }) => key === `k${k}`).map(({ value }) => value.n)
      expect(values).toEqual([...values].sort((a, b) => a - b))
    }
  })

  it('crashes and restarts: what was answered is there, and clients go on', async () => {
    const { seen, handler } = noting()
    broker.client.topic<Order>('orders').subscribe('billing', { start: 'earliest' }, handler)
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.topic('orders').subscription('billing').settled()
    broker.crash()
    const published = broker.client.topic<Order>('orders').publish({ n: 2 })
    await broker.advance('3s')
    await expect(broker.topic('orders').published()).rejects.toMatchObject({ code: 'unavailable' })
    await broker.restart()
    await broker.advance('10s')
    expect(await published).toMatchObject({ offset: 1 })
    expect(seen.at(-1)).toBe('2/1')
    expect(await broker.topic('orders').published()).toHaveLength(2)
  })

  it.each([
    ['power', 0],
    ['process', 1],
  ] as const)('loses on a crash of the %s what was only buffered: %i left', async (kind, left) => {
    await broker.topic('orders').put({ durability: 'buffered' })
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    broker.crash(kind)
    await broker.restart()
    expect(await broker.topic('orders').published()).toHaveLength(left)
  })

  it('restarts in order a broker that runs', async () => {
    const { seen, handler } = noting()
    broker.client.topic<Order>('orders').subscribe('billing', { start: 'earliest' }, handler)
    await broker.client.topic<Order>('orders').publish({ n: 1 })
    await broker.settle()
    await broker.restart()
    await broker.client.topic<Order>('orders').publish({ n: 2 })
    await broker.advance('10s')
    expect(seen).toEqual(['1/1', '2/1'])
  })
})
