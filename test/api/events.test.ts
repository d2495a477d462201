import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EventClient } from '../support/event-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

const PAGE = 'https://app.example'
let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ allowedOrigins: [PAGE], consumerWriteTimeoutMs: 500 })
})
afterAll(() => broker.stop())

const open = (topic: string, query = '', headers = {}): Promise<EventClient> =>
  EventClient.open(broker.url, topic, query, headers)
const make = (topic: string, settings: object = {}): Promise<unknown> =>
  call(broker, 'PUT', `/v1/topics/${topic}`, settings)
const publish = async (topic: string, ...messages: object[]): Promise<void> => {
  const { status, text } = await call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages })
  if (status !== 200) throw new Error(text)
}
const values = (count: number, first = 0): object[] => Array.from({ length: count }, (_, i) => ({ value: first + i }))
const ids = (messages: Record<string, unknown>[]): string[] => messages.map(({ id }) => id as string)

const readers = async (): Promise<string | undefined> =>
  /^tidings_event_readers (\d+)$/m.exec((await call(broker, 'GET', '/metrics')).text)?.[1]

describe('a stream of events', () => {
  it('begins at the latest message, and brings what is published as one line of JSON each', async () => {
    await publish('live', { value: 'before' })
    const client = await open('live')
    expect(client.response.statusCode).toBe(200)
    expect(client.response.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    })
    await publish('live', { key: 'k', value: { a: 'line\nbreak' }, headers: { region: 'eu' } })
    const { event, id, data } = await client.next()
    expect([event, id]).toEqual(['message', '0:1'])
    expect(data).not.toContain('\n')
    const read = await call(broker, 'GET', '/v1/topics/live/partitions/0/messages?offset=1')
    expect(JSON.parse(data)).toEqual((read.json as { messages: unknown[] }).messages[0])
    expect(client.parser.retry).toBeGreaterThan(0)
    client.close()
  })

  it('shows a value with raw line breaks, text and bytes so that every parser finds one line of JSON', async () => {
    await make('raw')
    const client = await open('raw', '?start=earliest')
    const pretty = '{\n  "a": [1,\r\n 2],\r  "b": "x\\ny"\n}\n'
    await call(broker, 'POST', '/v1/topics/raw/messages', pretty, { 'content-type': 'application/json' })
    await call(broker, 'POST', '/v1/topics/raw/messages', 'one\ntwo\r', { 'content-type': 'text/plain' })
    await call(broker, 'POST', '/v1/topics/raw/messages', new Uint8Array([10, 13, 0, 255]))
    const messages = await client.messages(3)
    expect(messages).toMatchObject([
      { value: { a: [1, 2], b: 'x\ny' } },
      { value: 'one\ntwo\r' },
      { base64: 'Cg0A/w==' },
    ])
    expect(client.text.match(/^data: \{.*\}$/gm)).toHaveLength(3)
    expect(client.text).not.toContain('\r')
    client.close()
  })

  it('begins at the earliest message, or at a time', async () => {
    await publish('started', { value: 1 })
    const answer = await call(broker, 'POST', '/v1/topics/started/messages', 'x')
    const earliest = await open('started', '?start=earliest')
    expect(await earliest.messages(2)).toMatchObject([{ value: 1 }, { offset: 1 }])
    earliest.close()
    const { timestamp } = answer.json as { timestamp: string }
    const timed = await open('started', `?start=${encodeURIComponent(timestamp)}`)
    expect((await timed.messages(1))[0]).toMatchObject({ timestamp })
    timed.close()
    const future = await open('started', '?start=2100-01-01T00:00:00Z')
    await publish('started', { value: 'later' })
    expect(await future.messages(1)).toMatchObject([{ value: 'later' }])
    future.close()
  })

  it('resumes after any of its ids with every message once, whichever partition was ahead', async () => {
    await make('resumed', { partitions: 4 })
    await publish(
      'resumed',
      ...values(40).map((message, i) => ({ ...message, partition: [0, 0, 0, 2, 2, 3][i % 6] as number })),
    )
    const whole = await open('resumed', '?start=earliest')
    const events = await whole.take(40)
    whole.close()
    const all = events.map(({ data }) => (JSON.parse(data) as { id: string }).id)
    expect(new Set(all).size).toBe(40)
    for (const [index, { id }] of events.entries()) {
      expect(id.split(',')[0]).toBe(all[index])
      const rest = await open('resumed', '?start=latest', { 'last-event-id': id })
      const more = ids(await rest.messages(39 - index))
      expect([...all.slice(0, index + 1), ...more].toSorted()).toEqual([...all].toSorted())
      rest.close()
    }
  })

  it('resumes from before the first event, where it stood when it began', async () => {
    await make('silent', { partitions: 2 })
    await publish('silent', { value: 0, partition: 1 })
    const client = await open('silent')
    await client.until(() => client.lastId !== '')
    client.close()
    await publish('silent', { value: 1, partition: 1 }, { value: 2, partition: 0 })
    const again = await open('silent', '', { 'last-event-id': client.lastId })
    expect(ids(await again.messages(2)).toSorted()).toEqual(['0:0', '1:1'])
    again.close()
  })

  it('takes lastEventId as a parameter, which the header overrules', async () => {
    await publish('queried', ...values(5))
    const byQuery = await open('queried', '?lastEventId=0:1')
    expect(ids(await byQuery.messages(3))).toEqual(['0:2', '0:3', '0:4'])
    byQuery.close()
    const byHeader = await open('queried', '?lastEventId=0:1&start=earliest', { 'last-event-id': '0:3' })
    expect(ids(await byHeader.messages(1))).toEqual(['0:4'])
    byHeader.close()
  })

  it('reads partitions that come later from their beginning', async () => {
    await make('grown', { partitions: 1 })
    await publish('grown', { value: 0 })
    const client = await open('grown')
    await make('grown', { partitions: 3 })
    await publish('grown', { value: 1, partition: 2 })
    expect(await client.next()).toMatchObject({ id: '2:0,1' })
    client.close()
    const resumed = await open('grown', '', { 'last-event-id': '0:0' })
    expect(ids(await resumed.messages(1))).toEqual(['2:0'])
    resumed.close()
  })

  it('passes over expired messages, and a resume does not come back to them', async () => {
    await publish('expiring', ...values(3).map((message) => ({ ...message, ttlMs: 1 })))
    await new Promise((resolve) => setTimeout(resolve, 20))
    const client = await open('expiring', '?start=earliest')
    await client.until(() => client.lastId === ',3')
    await publish('expiring', { value: 'kept' })
    expect(ids(await client.messages(1))).toEqual(['0:3'])
    client.close()
  })

  it('tells of history that is gone, and goes on after it', async () => {
    await make('gone', { segmentBytes: 4096, retention: { maxBytes: 4096 } })
    for (let i = 0; i < 12; i++) await publish('gone', { value: 'x'.repeat(1500) })
    const earliestOffset = async (): Promise<number> => {
      const { json } = await call(broker, 'GET', '/v1/topics/gone')
      return (json as { partitionStates: { earliestOffset: number }[] }).partitionStates[0]!.earliestOffset
    }
    await expect.poll(earliestOffset, { timeout: 15_000, interval: 100 }).toBeGreaterThan(2)
    const earliest = await earliestOffset()
    const client = await open('gone', '', { 'last-event-id': '0:0' })
    const gap = await client.next()
    expect(gap.event).toBe('gap')
    expect(JSON.parse(gap.data)).toEqual({ topic: 'gone', partition: 0, from: 1, to: earliest - 1 })
    expect(gap.id).toBe(`0:${earliest - 1}`)
    expect(ids(await client.messages(1))).toEqual([`0:${earliest}`])
    client.close()
    const after = await open('gone', '', { 'last-event-id': gap.id })
    expect(ids(await after.messages(1))).toEqual([`0:${earliest}`])
    after.close()
    const start = await open('gone', '?start=earliest')
    expect(ids(await start.messages(1))).toEqual([`0:${earliest}`])
    start.close()
  })

  it('says that its topic was deleted, and ends', async () => {
    await make('deleted')
    const client = await open('deleted')
    await call(broker, 'DELETE', '/v1/topics/deleted')
    expect(await client.next()).toMatchObject({ event: 'deleted', data: '{"topic":"deleted"}' })
    expect(await client.ended).toBe('end')
    expect((await call(broker, 'GET', '/v1/topics/deleted/events')).status).toBe(404)
  })

  it('serves a thousand readers of one topic', async () => {
    await make('crowded')
    const clients = await Promise.all(Array.from({ length: 1000 }, () => open('crowded')))
    for (let i = 0; i < 10; i++) await publish('crowded', { value: i })
    const expected = Array.from({ length: 10 }, (_, i) => `0:${i}`)
    for (const client of clients) expect(ids(await client.messages(10))).toEqual(expected)
    await expect.poll(readers, { timeout: 10_000 }).toBe('1000')
    for (const client of clients) client.close()
  })

  it('cuts off a reader that does not read, and delivers to the others meanwhile', async () => {
    await make('slow')
    const slow = await open('slow', '?start=earliest')
    slow.response.pause()
    const quick = await open('slow', '?start=earliest')
    for (let i = 0; i < 30; i++) await publish('slow', { value: 'x'.repeat(900_000) })
    expect(await quick.messages(30)).toHaveLength(30)
    quick.close()
    // The one that does not read cannot see it: the broker has let go of it.
    await expect.poll(readers, { timeout: 10_000 }).toBe('0')
    slow.close()
  })
})

describe('a request for events', () => {
  beforeAll(() => make('asked', { partitions: 2 }))

  it.each([
    ['', { 'last-event-id': 'nonsense' }],
    ['', { 'last-event-id': '0:1,' }],
    ['', { 'last-event-id': '0:01' }],
    ['', { 'last-event-id': '0:0,0,0' }],
    ['', { 'last-event-id': '2:0' }],
    ['', { 'last-event-id': '0:9999999999999999' }],
    ['?lastEventId=,', {}],
    ['?start=yesterday', {}],
    ['?start=2026-02-30T00:00:00Z', {}],
    ['?start=earliest&start=latest', {}],
    ['?from=1', {}],
  ])('is refused when it is malformed: %s %j', async (query, headers) => {
    const answer = await call(broker, 'GET', `/v1/topics/asked/events${query}`, undefined, headers)
    expect(answer.json).toMatchObject({ status: 400, code: 'invalid_argument' })
  })

  it('is refused for a position that the topic does not have', async () => {
    const answer = await call(broker, 'GET', '/v1/topics/asked/events', undefined, { 'last-event-id': '0:7' })
    expect(answer.json).toMatchObject({ status: 416, code: 'offset_out_of_range' })
  })

  it.each(['/v1/topics/nowhere/events', '/v1/topics/nowhere/events?start=earliest'])(
    'is refused without a topic, and creates none: %s',
    async (path) => {
      expect((await call(broker, 'GET', path)).json).toMatchObject({ status: 404, code: 'topic_not_found' })
      expect((await call(broker, 'GET', '/v1/topics/nowhere')).status).toBe(404)
    },
  )

  it.each(['as*', '**', '_own'])('is refused for a pattern or a name of the broker: %s', async (topic) => {
    expect((await call(broker, 'GET', `/v1/topics/${topic}/events`)).status).toBe(400)
  })

  it.each([
    ['application/json', 406],
    ['text/event-stream;q=0, */*', 406],
    ['text/html, text/*;q=0.5', 200],
    ['*/*', 200],
  ])('with Accept: %s is answered with %i', async (accept, status) => {
    const answer = await call(broker, 'HEAD', '/v1/topics/asked/events', undefined, { accept })
    expect(answer.status).toBe(status)
  })

  it('by HEAD is answered with the headers alone', async () => {
    const answer = await call(broker, 'HEAD', '/v1/topics/asked/events')
    expect([answer.status, answer.headers.get('content-type'), answer.text]).toEqual([200, 'text/event-stream', ''])
    expect((await call(broker, 'POST', '/v1/topics/asked/events')).status).toBe(405)
  })

  it('of a page is readable for the page when its origin is allowed', async () => {
    const allowed = await open('asked', '', { origin: PAGE })
    expect(allowed.response.headers).toMatchObject({ 'access-control-allow-origin': PAGE, vary: 'Origin' })
    allowed.close()
    const other = await open('asked', '', { origin: 'https://evil.example' })
    expect(other.response.headers['access-control-allow-origin']).toBeUndefined()
    other.close()
    const read = await call(broker, 'GET', '/v1/topics/asked', undefined, { origin: PAGE })
    expect(read.headers.get('access-control-allow-origin')).toBe(PAGE)
  })
})

describe('a drain', () => {
  it('ends streams in good order, and at once', async () => {
    const short = await startTestBroker({ drainMs: 10_000 })
    await call(short, 'PUT', '/v1/topics/t')
    const client = await EventClient.open(short.url, 't')
    await call(short, 'POST', '/v1/topics/t/messages', 'x')
    expect(await client.messages(1)).toHaveLength(1)
    await short.stop()
    expect(await client.ended).toBe('end')
    expect(client.left).toBe(0)
  })
})
