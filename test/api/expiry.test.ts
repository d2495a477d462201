import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const path = '/v1/topics/orders/subscriptions/s'
const status = async (): Promise<number> => (await call(broker, 'GET', path)).status

describe('a subscription with expireAfterMs', () => {
  it('is there while a consumer is connected, and gone some time after', async () => {
    expect((await call(broker, 'PUT', path, { expireAfterMs: 1000 })).json).toMatchObject({ expireAfterMs: 1000 })
    const client = await StreamClient.open(broker, 'orders', 's')
    await sleep(2500)
    expect(await status()).toBe(200)
    client.socket.close()
    await client.closed
    while ((await status()) === 200) await sleep(50)
    expect(await status()).toBe(404)
    expect((await call(broker, 'POST', `${path}/pull`)).json).toMatchObject({ code: 'subscription_not_found' })
  })
})
