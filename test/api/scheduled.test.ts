import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

interface Scheduled {
  id: string
  deliverAt: string
}

const HOUR_MS = 3_600_000
const at = (ms: number): string => new Date(Date.now() + ms).toISOString()

const publish = async (topic: string, headers: Record<string, string>, value = 'v'): Promise<Record<string, unknown>> =>
  (await call(broker, 'POST', `/v1/topics/${topic}/messages`, value, { 'content-type': 'text/plain', ...headers }))
    .json as Record<string, unknown>
const batch = async (topic: string, messages: object[]): Promise<{ status: number; json: unknown }> =>
  call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages })
const list = async (topic: string, query = ''): Promise<{ scheduled: Scheduled[]; nextCursor: string | null }> =>
  (await call(broker, 'GET', `/v1/topics/${topic}/scheduled${query}`)).json as never
const cancel = (topic: string, id: string): Promise<{ status: number; json: unknown }> =>
  call(broker, 'DELETE', `/v1/topics/${topic}/scheduled/${id}`)
const read = async (topic: string): Promise<Record<string, unknown>[]> =>
  ((await call(broker, 'GET', `/v1/topics/${topic}/partitions/0/messages`)).json as { messages: never[] }).messages
/** The messages of a topic once a subscription has seen so many. */
const received = async (topic: string, count: number): Promise<Record<string, unknown>[]> => {
  const path = `/v1/topics/${topic}/subscriptions/s`
  await call(broker, 'PUT', path, { start: 'earliest' })
  const messages: Record<string, unknown>[] = []
  while (messages.length < count) {
    const answer = await call(broker, 'POST', `${path}/pull`, { max: count, waitMs: 10_000 })
    messages.push(...(answer.json as { messages: never[] }).messages)
  }
  return messages
}

describe('a scheduled message', () => {
  it('is answered with its id, and delivered when it is due, like any other', async () => {
    const answer = await publish('due', {
      'tidings-delay-ms': '300',
      'tidings-key': 'k',
      'tidings-header-region': 'eu',
      'tidings-ttl-ms': '60000',
    })
    const { scheduled } = answer as { scheduled: Scheduled }
    expect(answer).toEqual({ topic: 'due', scheduled: { id: expect.any(String), deliverAt: expect.any(String) } })
    expect(await read('due')).toEqual([])
    const [message] = await received('due', 1)
    expect(message).toMatchObject({
      value: 'v',
      key: 'k',
      headers: { region: 'eu' },
      contentType: 'text/plain',
      attempt: 1,
    })
    expect(String(message!['timestamp']) >= scheduled.deliverAt).toBe(true)
    expect((await list('due')).scheduled).toEqual([])
    expect((await cancel('due', scheduled.id)).status).toBe(404)
  })

  it('is stored at once when its time is past, or its delay 0', async () => {
    expect(await publish('past', { 'tidings-delay-ms': '0' })).toMatchObject({ offset: 0 })
    expect(await publish('past', { 'tidings-deliver-at': '2001-01-01T00:00:00Z' })).toMatchObject({ offset: 1 })
    expect((await read('past')).length).toBe(2)
  })

  it('is listed in order of its time, page by page, until it is cancelled', async () => {
    const { json } = await batch(
      'listed',
      [5, 3, 1, 4, 2].map((hours) => ({ value: hours, deliverAt: at(hours * HOUR_MS) })),
    )
    const ids = (json as { receipts: { scheduled: Scheduled }[] }).receipts.map(({ scheduled }) => scheduled)
    const ordered = [ids[2], ids[4], ids[1], ids[3], ids[0]]
    expect(await list('listed')).toEqual({ scheduled: ordered, nextCursor: null })
    const first = await list('listed', '?limit=2')
    expect(first.scheduled).toEqual(ordered.slice(0, 2))
    const second = await list('listed', `?limit=2&cursor=${first.nextCursor}`)
    expect(second.scheduled).toEqual(ordered.slice(2, 4))
    const gone = ordered[1]!.id
    expect((await cancel('listed', gone)).status).toBe(204)
    expect(await cancel('listed', gone)).toMatchObject({ status: 404, json: { code: 'not_found' } })
    expect((await list('listed')).scheduled).toEqual([ordered[0], ...ordered.slice(2)])
  })

  it('stands beside others in a batch, each with its own receipt', async () => {
    const { json } = await batch('mixed', [{ value: 1 }, { value: 2, delayMs: HOUR_MS }, { value: 3 }])
    expect(json).toEqual({
      receipts: [
        { partition: 0, offset: 0, id: '0:0' },
        { scheduled: { id: '0', deliverAt: expect.any(String) } },
        { partition: 0, offset: 1, id: '0:1' },
      ],
    })
  })

  it('is one message for one Idempotency-Key, answered with the same id', async () => {
    const headers = { 'idempotency-key': 'once', 'tidings-delay-ms': String(HOUR_MS) }
    const [first, second] = await Promise.all([publish('keyed', headers), publish('keyed', headers)])
    const answers = [
      first,
      second,
      await publish('keyed', headers),
      await publish('keyed', { 'idempotency-key': 'once' }),
    ]
    const { scheduled } = answers.find((answer) => !('duplicate' in answer)) as { scheduled: Scheduled }
    expect(answers.filter((answer) => 'duplicate' in answer)).toEqual(
      Array.from({ length: 3 }, () => ({ topic: 'keyed', scheduled, duplicate: true })),
    )
    const { json } = await batch('keyed', [
      { value: 1, idempotencyKey: 'once', delayMs: 5000 },
      { value: 1, idempotencyKey: 'new', delayMs: 5000 },
      { value: 1, idempotencyKey: 'new', delayMs: 5000 },
    ])
    const { receipts } = json as { receipts: unknown[] }
    expect(receipts[0]).toEqual({ scheduled, duplicate: true })
    expect(receipts[2]).toEqual({ ...(receipts[1] as object), duplicate: true })
    expect((await list('keyed')).scheduled).toHaveLength(2)
    expect(await read('keyed')).toEqual([])
  })

  it('is known by its key for as long as it is pending, even without a window', async () => {
    await call(broker, 'PUT', '/v1/topics/windowless', { deduplicationWindowMs: 0 })
    const headers = { 'idempotency-key': 'once', 'tidings-delay-ms': String(HOUR_MS) }
    const first = await publish('windowless', headers)
    expect(await publish('windowless', headers)).toEqual({ ...first, duplicate: true })
  })

  it('goes to the partition that it names, or its key', async () => {
    await call(broker, 'PUT', '/v1/topics/spread', { partitions: 3 })
    await batch('spread', [
      { value: 1, delayMs: 50, partition: 2, key: 'k' },
      { value: 2, delayMs: 50, key: 'k' },
      { value: 3, key: 'k' },
    ])
    const messages = await received('spread', 3)
    const partitionOf = (value: number): unknown => messages.find((message) => message['value'] === value)!['partition']
    expect(partitionOf(1)).toBe(2)
    expect(partitionOf(2)).toBe(partitionOf(3))
  })

  it('goes with its topic', async () => {
    await publish('deleted', { 'tidings-delay-ms': '60000' })
    expect((await call(broker, 'DELETE', '/v1/topics/deleted')).status).toBe(204)
    expect((await call(broker, 'GET', '/v1/topics/deleted/scheduled')).status).toBe(404)
    await call(broker, 'PUT', '/v1/topics/deleted')
    expect((await list('deleted')).scheduled).toEqual([])
  })

  it('is counted', async () => {
    await publish('counted', { 'tidings-delay-ms': '60000' })
    const { text } = await call(broker, 'GET', '/metrics')
    expect(Number(/^tidings_scheduled_messages (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(0)
    expect(Number(/^tidings_scheduled_fired_total (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(0)
  })
})

describe('scheduling', () => {
  it.each([
    [{ 'tidings-delay-ms': '5', 'tidings-deliver-at': '2030-01-01T00:00:00Z' }, /not both/],
    [{ 'tidings-delay-ms': '1.5' }, /whole number/],
    [{ 'tidings-deliver-at': '2030-01-01' }, /RFC 3339/],
    [{ 'tidings-deliver-at': '2900-01-01T00:00:00Z' }, /ten years/],
  ])('refuses %j, and makes no topic', async (headers, detail) => {
    const answer = await publish('refused', headers as Record<string, string>)
    expect(answer).toMatchObject({ code: 'invalid_argument', detail: expect.stringMatching(detail) })
    expect((await call(broker, 'GET', '/v1/topics/refused')).status).toBe(404)
  })

  it('stores nothing of a batch with a bad entry, and names the entry', async () => {
    const { status, json } = await batch('half', [
      { value: 1, delayMs: 1000 },
      { value: 2 },
      { value: 3, deliverAt: '2900-01-01T00:00:00Z' },
    ])
    expect(status).toBe(400)
    expect(json).toMatchObject({ detail: expect.stringMatching(/^messages\[2\]: .*ten years/) })
    expect((await call(broker, 'GET', '/v1/topics/half/scheduled')).status).toBe(404)
  })

  it('refuses its headers on a batch request, where they would be lost', async () => {
    const answer = await call(
      broker,
      'POST',
      '/v1/topics/half/messages/batch',
      { messages: [] },
      { 'tidings-delay-ms': '5' },
    )
    expect(answer).toMatchObject({ status: 400, json: { detail: expect.stringMatching(/tidings-delay-ms/) } })
  })

  it.each(['?limit=0', '?limit=10001', '?cursor=', '?cursor=1', '?cursor=1-2-3', '?page=2'])(
    'refuses the list %s',
    async (query) => {
      expect((await call(broker, 'GET', `/v1/topics/listed/scheduled${query}`)).status).toBe(400)
    },
  )

  it.each(['x', '-1', '01', '9007199254740993', '99999'])('knows no message %s', async (id) => {
    expect(await cancel('listed', id)).toMatchObject({ status: 404, json: { code: 'not_found' } })
  })

  it('says that there is no such topic', async () => {
    expect(await cancel('nowhere', '1')).toMatchObject({ status: 404, json: { code: 'topic_not_found' } })
  })
})
