/** Filters over real sockets: refused on the way in, applied on the way out, the same after a change. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

interface Pulled {
  messages: { offset: number; value: unknown; topic: string }[]
}

const subscriptionPath = (topic: string): string => `/v1/topics/${topic}/subscriptions/s`

async function subscribe(topic: string, filter: string | null): Promise<void> {
  const answer = await call(broker, 'PUT', subscriptionPath(topic), { start: 'earliest', filter })
  expect([200, 201]).toContain(answer.status)
  expect(answer.json).toMatchObject({ filter })
}

async function publish(topic: string, messages: object[]): Promise<void> {
  expect((await call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages })).status).toBe(200)
}

async function pull(topic: string): Promise<number[]> {
  const { json } = await call(broker, 'POST', `${subscriptionPath(topic)}/pull`, { max: 100 })
  return (json as Pulled).messages.map(({ offset }) => offset)
}

describe('a filter', () => {
  it('lets through what its expression says, over every part of a message', async () => {
    const cases: [string, number[]][] = [
      ['headers.region == "eu" && value.total > 100', [0]],
      ['value.total == 100', [1]],
      ['key == "k"', [0]],
      ['key == null', [1, 2, 3, 4]],
      ['contentType == "text/plain"', [2]],
      ['topic == "parts-5" && timestamp > timestamp("2020-01-01T00:00:00Z")', [0, 1, 2, 3, 4]],
      ['"region" in headers', [0, 1]],
      ['value.items.exists(i, i.sku == "x")', [3]],
      ['value == 7', [4]],
      ['!has(value.total)', [3]],
    ]
    for (const [index, [filter, expected]] of cases.entries()) {
      const topic = `parts-${index}`
      await subscribe(topic, filter)
      await publish(topic, [
        { key: 'k', value: { total: 250 }, headers: { region: 'eu' } },
        { value: { total: 100 }, headers: { region: 'us' } },
        { value: 'plain', contentType: 'text/plain' },
        { value: { items: [{ sku: 'x' }] } },
        { value: 7 },
      ])
      expect(await pull(topic), filter).toEqual(expected)
    }
  })

  it('counts what it refuses as acknowledged', async () => {
    await subscribe('counted', 'value.n > 7')
    await publish(
      'counted',
      Array.from({ length: 10 }, (_, n) => ({ value: { n } })),
    )
    expect(await pull('counted')).toEqual([8, 9])
    expect((await call(broker, 'POST', `${subscriptionPath('counted')}/ack`, { ids: ['0:8', '0:9'] })).json).toEqual({
      count: 2,
    })
    const { json } = await call(broker, 'GET', subscriptionPath('counted'))
    expect(json).toMatchObject({ state: { backlog: 0, cursors: [{ ackedThrough: 10 }] } })
    const why = async (id: string): Promise<unknown> =>
      (await call(broker, 'GET', `${subscriptionPath('counted')}/messages/${id}/explain`)).json
    expect(await why('0:3')).toMatchObject({ state: 'filtered' })
    expect(await why('0:8')).toMatchObject({ state: 'acked' })
    const metrics = await (await fetch(`${broker.url}/metrics`)).text()
    expect(Number(/^tidings_filtered_total(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1])).toBeGreaterThanOrEqual(8)
  })

  it('is refused with filter_invalid and the place of the mistake, and nothing is changed or made', async () => {
    const refusal = await call(broker, 'PUT', subscriptionPath('unmade'), { filter: 'value.total >' })
    expect(refusal.status).toBe(400)
    expect(refusal.json).toMatchObject({ code: 'filter_invalid', status: 400 })
    expect((refusal.json as { detail: string }).detail).toMatch(/^filter, line 1, column \d+: /)
    expect((await call(broker, 'GET', '/v1/topics/unmade')).status).toBe(404)

    await subscribe('kept', 'value.n == 1')
    for (const filter of ['valeu.n == 1', 'value.n + 1', 'key.matches(topic)', 'lower(key) == "a"']) {
      const answer = await call(broker, 'PUT', subscriptionPath('kept'), { ackDeadlineMs: 5, filter })
      expect(answer.json).toMatchObject({ code: 'filter_invalid' })
    }
    expect((await call(broker, 'GET', subscriptionPath('kept'))).json).toMatchObject({
      filter: 'value.n == 1',
      ackDeadlineMs: 30_000,
    })
    for (const filter of [7, '', 'x'.repeat(5000)]) {
      const answer = await call(broker, 'PUT', subscriptionPath('kept'), { filter })
      expect(answer.json).toMatchObject({ code: 'invalid_argument' })
    }
  })

  it('is kept by a PUT that leaves it out, and taken away by null', async () => {
    await subscribe('changed', 'value == 1')
    await call(broker, 'PUT', subscriptionPath('changed'), { ackDeadlineMs: 1000 })
    await publish('changed', [{ value: 1 }, { value: 2 }])
    expect(await pull('changed')).toEqual([0])
    await subscribe('changed', null)
    await publish('changed', [{ value: 3 }])
    expect(await pull('changed')).toEqual([2])
  })

  it('passes over 200,000 messages while other clients are answered', async () => {
    const batch = Array.from({ length: 50_000 }, (_, n) => JSON.stringify({ value: { n, wanted: false } })).join('\n')
    for (let i = 0; i < 4; i++) {
      const answer = await fetch(`${broker.url}/v1/topics/long/messages/batch`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-ndjson' },
        body: batch,
      })
      expect(answer.status).toBe(200)
    }
    await publish('long', [{ value: { wanted: true } }])
    await subscribe('long', 'value.wanted')
    const client = await StreamClient.open(broker, 'long', 's')
    const wanted = client.next()
    const answered: number[] = []
    let isThere = false
    void wanted.then(() => {
      isThere = true
    })
    while (!isThere) {
      answered.push((await call(broker, 'GET', subscriptionPath('kept'))).status)
    }
    expect(await wanted).toMatchObject({ type: 'message', offset: 200_000 })
    expect(answered.length).toBeGreaterThan(3)
    client.socket.close()
  })
})
