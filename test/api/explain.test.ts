/** Asking a running broker why nothing comes, over real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { type Answer, call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const path = (topic: string): string => `/v1/topics/${topic}/subscriptions/s`
const explain = (topic: string, of = ''): Promise<Answer> => call(broker, 'GET', `${path(topic)}${of}/explain`)

async function publish(topic: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await call(broker, 'POST', `/v1/topics/${topic}/messages`, String(i))
}

describe('explaining a subscription', () => {
  it('says what a person needs to know, step by step', async () => {
    await call(broker, 'PUT', path('t'), { start: 'earliest', ackDeadlineMs: 60_000 })
    expect((await explain('t')).json).toMatchObject({ subscription: 's', topic: 't', reasons: [{ code: 'caught_up' }] })
    await publish('t', 3)
    expect((await explain('t')).json).toMatchObject({
      verdict: 'No consumer is connected and no pull waits.',
      reasons: [{ code: 'no_consumer' }],
      backlog: 3,
    })
    const client = await StreamClient.open(broker, 't', 's', '?prefetch=2&consumer=ada')
    await client.take(2)
    expect((await explain('t')).json).toMatchObject({
      reasons: [{ code: 'no_credit', detail: expect.stringContaining('"ada"') }],
      consumers: [{ name: 'ada', unacked: 2, prefetch: 2, paused: false, ready: true, active: true }],
    })
    client.send({ type: 'nack', ids: ['0:0'], delayMs: 60_000, reason: 'later' })
    client.send({ type: 'pause' })
    await client.barrier()
    expect((await explain('t')).json).toMatchObject({
      reasons: [{ code: 'consumers_paused' }, { code: 'waiting_backoff' }],
    })
    expect((await explain('t', '/messages/0:0')).json).toMatchObject({
      id: '0:0',
      state: 'waiting',
      attempt: 1,
      nextAttemptAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      lastFailure: { kind: 'nack', reason: 'later' },
    })
    expect((await explain('t', '/messages/0:1')).json).toMatchObject({
      state: 'outstanding',
      consumer: 'ada',
      deadline: expect.stringMatching(/Z$/),
    })
    await client.end()
  })

  it('tells a message that a pull holds', async () => {
    await call(broker, 'PUT', path('pulled'), { start: 'earliest' })
    await publish('pulled', 1)
    await call(broker, 'POST', `${path('pulled')}/pull`, {})
    expect((await explain('pulled', '/messages/0:0')).json).toMatchObject({ state: 'outstanding', consumer: 'a pull' })
    await call(broker, 'POST', `${path('pulled')}/ack`, { ids: ['0:0'] })
    expect((await explain('pulled', '/messages/0:0')).json).toMatchObject({ state: 'acked' })
  })

  it.each([
    ['/messages/0:99', 416, 'offset_out_of_range'],
    ['/messages/5:0', 404, 'partition_not_found'],
    ['/messages/zero', 400, 'invalid_argument'],
    ['?why=1', 400, 'invalid_argument'],
  ])('refuses %s', async (of, status, code) => {
    await call(broker, 'PUT', path('refused'), {})
    const url = of.startsWith('?') ? `${path('refused')}/explain${of}` : `${path('refused')}${of}/explain`
    expect(await call(broker, 'GET', url)).toMatchObject({ status, json: { code } })
  })

  it('knows no subscription that is not there', async () => {
    expect(await explain('nowhere')).toMatchObject({ status: 404, json: { code: 'topic_not_found' } })
  })
})
