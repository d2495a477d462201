/** Dead letters back to their subscription, over real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { type Answer, call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const path = (topic: string): string => `/v1/topics/${topic}/subscriptions/s`
const redrive = (topic: string, body?: unknown): Promise<Answer> => call(broker, 'POST', `${path(topic)}/redrive`, body)

/** A subscription whose messages 0 to `count` have all been given up on. */
async function dead(topic: string, count: number): Promise<void> {
  await call(broker, 'PUT', path(topic), { start: 'earliest', deadLetter: { maxDeliveries: 3 } })
  const messages = Array.from({ length: count }, (_, value) => ({ value, headers: { odd: String(value % 2) } }))
  await call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages })
  const ids = messages.map((_, offset) => `0:${offset}`)
  await call(broker, 'POST', `${path(topic)}/pull`, { max: count })
  const rejected = await call(broker, 'POST', `${path(topic)}/reject`, { ids, reason: 'dead' })
  expect(rejected.json).toEqual({ count })
}

async function pulled(topic: string): Promise<unknown[][]> {
  const { json } = await call(broker, 'POST', `${path(topic)}/pull`, { max: 1000 })
  return (json as { messages: Record<string, unknown>[] }).messages.map(({ id, attempt }) => [id, attempt])
}

describe('a redrive', () => {
  it('moves dead letters back as first attempts, and says how many', async () => {
    await dead('plain', 3)
    expect(await pulled('plain')).toEqual([])
    expect(await redrive('plain', { dryRun: true })).toMatchObject({ status: 200, json: { moved: 0, matched: 3 } })
    expect(await redrive('plain')).toMatchObject({ status: 200, json: { moved: 3 } })
    expect(await pulled('plain')).toEqual([
      ['0:0', 1],
      ['0:1', 1],
      ['0:2', 1],
    ])
    expect((await redrive('plain', {})).json).toEqual({ moved: 0 })
    await call(broker, 'POST', `${path('plain')}/ack`, { ids: ['0:0', '0:1', '0:2'] })
    expect((await call(broker, 'GET', path('plain'))).json).toMatchObject({ state: { backlog: 0 } })
  })

  it('moves the oldest first, `max` at most', async () => {
    await dead('some', 5)
    expect((await redrive('some', { max: 2 })).json).toEqual({ moved: 2 })
    expect(await pulled('some')).toEqual([
      ['0:0', 1],
      ['0:1', 1],
    ])
    expect((await redrive('some', { max: 100 })).json).toEqual({ moved: 3 })
  })

  it('moves what a filter admits, and leaves the others', async () => {
    await dead('chosen', 6)
    const filter = 'headers.odd == "1" && value > 1 && headers["tidings-reason"] == "dead"'
    expect((await redrive('chosen', { filter, dryRun: true })).json).toEqual({ moved: 0, matched: 2 })
    expect((await redrive('chosen', { filter })).json).toEqual({ moved: 2 })
    expect(await pulled('chosen')).toEqual([
      ['0:3', 1],
      ['0:5', 1],
    ])
    expect((await redrive('chosen')).json).toEqual({ moved: 4 })
    const invalid = await redrive('chosen', { filter: 'value >' })
    expect(invalid).toMatchObject({ status: 400, json: { code: 'filter_invalid' } })
  })

  it('reaches a connected consumer, and nobody else on the topic', async () => {
    await dead('two', 2)
    const other = await StreamClient.open(broker, 'two', 'other', '?start=latest')
    const client = await StreamClient.open(broker, 'two', 's')
    await redrive('two')
    expect((await client.take(2)).map(({ id, attempt }) => [id, attempt])).toEqual([
      ['0:0', 1],
      ['0:1', 1],
    ])
    await other.barrier()
    expect(other.left).toBe(0)
    await Promise.all([client.end(), other.end()])
  })

  it('goes on with what died again', async () => {
    await dead('again', 1)
    for (let round = 0; round < 3; round++) {
      expect((await redrive('again')).json).toEqual({ moved: 1 })
      expect(await pulled('again')).toEqual([['0:0', 1]])
      await call(broker, 'POST', `${path('again')}/reject`, { ids: ['0:0'] })
    }
    const { json } = await call(broker, 'GET', '/v1/topics/again.s.dlq/partitions/0/messages')
    expect((json as { messages: unknown[] }).messages).toHaveLength(4)
  })

  it('is over with the subscription: another of the same name starts anew', async () => {
    await dead('gone', 2)
    await redrive('gone', { max: 1 })
    expect((await call(broker, 'DELETE', path('gone'))).status).toBe(204)
    await call(broker, 'PUT', path('gone'), { start: 'latest', deadLetter: {} })
    expect((await redrive('gone', { dryRun: true })).json).toEqual({ moved: 0, matched: 2 })
  })

  it('keeps subscriptions of one name apart: of the topic, and of patterns that match it', async () => {
    const places = ['twin.main', 'twin.*', '*.main'].map((topic) => path(topic))
    await call(broker, 'PUT', '/v1/topics/twin.main', {})
    for (const place of places)
      await call(broker, 'PUT', place, { start: 'earliest', deadLetter: { topic: 'twin-letters' } })
    await call(broker, 'POST', '/v1/topics/twin.main/messages', { n: 1 })
    const [, pattern] = places as [string, string]
    for (const place of places) await call(broker, 'POST', `${place}/pull`, {})
    await call(broker, 'POST', `${pattern}/reject`, { ids: ['twin.main/0:0'] })
    const { json } = await call(broker, 'GET', '/v1/topics/twin-letters/partitions/0/messages')
    expect(json).toMatchObject({
      messages: [{ headers: { 'tidings-subscription': 's', 'tidings-subscription-topic': 'twin.*' } }],
    })
    const moved = []
    for (const place of places) moved.push((await call(broker, 'POST', `${place}/redrive`)).json)
    expect(moved).toEqual([{ moved: 0 }, { moved: 1 }, { moved: 0 }])
  })

  it.each([
    [{ max: 0 }, 400],
    [{ max: 'all' }, 400],
    [{ dryRun: 'yes' }, 400],
    [{ filter: 5 }, 400],
    [{ everything: true }, 400],
  ])('refuses %j', async (body, status) => {
    await call(broker, 'PUT', path('refused'), { deadLetter: {} })
    expect(await redrive('refused', body)).toMatchObject({ status, json: { code: 'invalid_argument' } })
  })

  it('is refused where there are no dead letters to speak of', async () => {
    await call(broker, 'PUT', path('none'), {})
    expect(await redrive('none')).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
    expect(await redrive('nowhere')).toMatchObject({ status: 404, json: { code: 'topic_not_found' } })
  })
})

describe('the header of a redriven copy', () => {
  it('is the broker’s own', async () => {
    const single = await call(broker, 'POST', '/v1/topics/own/messages', 'x', {
      'tidings-header-tidings-redriven-to': 's',
    })
    expect(single).toMatchObject({ status: 400, json: { code: 'invalid_argument' } })
    const messages = [{ value: 1, headers: { 'Tidings-Redriven-To': 's' } }]
    expect(await call(broker, 'POST', '/v1/topics/own/messages/batch', { messages })).toMatchObject({ status: 400 })
  })
})
