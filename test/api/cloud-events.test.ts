import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EventClient } from '../support/event-client.ts'
import { type Answer, call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

const EVENT = 'application/cloudevents+json'
const BATCH = 'application/cloudevents-batch+json'
const BINARY = 'application/cloudevents'
const ORDER = {
  specversion: '1.0',
  id: 'o-1',
  source: '/shop',
  type: 'order.placed',
  partitionkey: 'ada',
  data: { total: 3 },
}

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ maxMessageBytes: 500_000 })
})
afterAll(() => broker.stop())

const publish = (topic: string, event: unknown, headers: Record<string, string> = {}, path = ''): Promise<Answer> =>
  call(
    broker,
    'POST',
    `/v1/topics/${topic}/messages${path}`,
    typeof event === 'string' ? event : JSON.stringify(event),
    {
      'content-type': Array.isArray(event) ? BATCH : EVENT,
      ...headers,
    },
  )
const read = async (topic: string): Promise<Record<string, unknown>[]> => {
  const { json } = await call(broker, 'GET', `/v1/topics/${topic}/partitions/0/messages`)
  return (json as { messages: Record<string, unknown>[] }).messages
}
const subscribe = (topic: string): Promise<Answer> =>
  call(broker, 'PUT', `/v1/topics/${topic}/subscriptions/s`, { start: 'earliest' })
const pull = (topic: string, accept: string, body: object = {}): Promise<Answer> =>
  call(broker, 'POST', `/v1/topics/${topic}/subscriptions/s/pull`, body, { accept })

describe('publishing a CloudEvent', () => {
  it('as JSON stores what binary mode would have stored', async () => {
    const structured = await publish('modes', ORDER)
    expect(structured.json).toMatchObject({ topic: 'modes', id: '0:0', timestamp: expect.any(String) })
    await call(broker, 'POST', '/v1/topics/modes/messages', '{"total":3}', {
      'content-type': 'application/json',
      'ce-specversion': '1.0',
      'ce-id': 'o-1',
      'ce-source': '/shop',
      'ce-type': 'order.placed',
      'ce-partitionkey': 'ada',
    })
    const [first, second] = await read('modes')
    expect(first).toMatchObject({ key: 'ada', value: { total: 3 }, contentType: 'application/json' })
    const facts = ({ key, value, contentType, headers }: Record<string, unknown>): unknown[] => [
      key,
      value,
      contentType,
      headers,
    ]
    expect(facts(second!)).toEqual(facts(first!))
  })

  it('in binary mode checks no attribute: headers are kept as they come', async () => {
    const answer = await call(broker, 'POST', '/v1/topics/loose/messages', 'x', {
      'ce-id': '',
      'ce-Odd_Name': '100%',
      'ce-time': 'never',
    })
    expect(answer.status).toBe(200)
    expect((await read('loose'))[0]).toMatchObject({ headers: { 'ce-odd_name': '100%', 'ce-time': 'never' } })
  })

  it('takes the headers of a publish beside it', async () => {
    const headers = { 'tidings-key': 'bob', 'idempotency-key': 'once', 'tidings-header-region': 'eu' }
    await publish('headed', ORDER, headers)
    expect((await publish('headed', ORDER, headers)).json).toMatchObject({ duplicate: true, offset: 0 })
    await publish('headed', ORDER)
    const messages = await read('headed')
    expect(messages).toHaveLength(2)
    expect(messages[0]).toMatchObject({ key: 'bob', headers: { region: 'eu', 'ce-id': 'o-1' } })
  })

  it('holds one back that is to be delayed', async () => {
    const answer = await publish('delayed', ORDER, { 'tidings-delay-ms': '3600000' })
    expect(answer.json).toEqual({ topic: 'delayed', scheduled: { id: '0', deliverAt: expect.stringMatching(/Z$/) } })
    expect(await read('delayed')).toEqual([])
  })

  it.each(['', '/batch'])('as a list answers with receipts: …/messages%s', async (path) => {
    const topic = `listed${path.length}`
    const answer = await publish(topic, [ORDER, { ...ORDER, id: 'o-2', data: undefined }], {}, path)
    expect(answer.json).toEqual({
      receipts: [
        { partition: 0, offset: 0, id: '0:0' },
        { partition: 0, offset: 1, id: '0:1' },
      ],
    })
    expect(await read(topic)).toMatchObject([{ value: { total: 3 } }, { base64: '', headers: { 'ce-id': 'o-2' } }])
    expect((await publish(topic, [], {}, path)).json).toEqual({ receipts: [] })
  })

  it('stores nothing of a list with one that is invalid, and names it', async () => {
    await call(broker, 'PUT', '/v1/topics/strict', {})
    const answer = await publish('strict', [ORDER, { ...ORDER, source: undefined }])
    expect(answer.json).toMatchObject({
      status: 400,
      code: 'invalid_argument',
      detail: expect.stringMatching(/event 1.*"source"/),
    })
    expect(await read('strict')).toEqual([])
  })

  it('refuses what is no event, and makes no topic for it', async () => {
    const answer = await publish('unborn', { ...ORDER, specversion: '0.3' })
    expect(answer.json).toMatchObject({ status: 400, code: 'invalid_argument' })
    expect((await call(broker, 'GET', '/v1/topics/unborn')).status).toBe(404)
  })

  it('refuses data above the limits of the topic and of the broker', async () => {
    const large = (bytes: number): object => ({
      ...ORDER,
      data_base64: Buffer.alloc(bytes).toString('base64'),
      data: undefined,
    })
    await call(broker, 'PUT', '/v1/topics/small', { maxMessageBytes: 1000 })
    expect((await publish('small', large(1000))).status).toBe(200)
    expect((await publish('small', large(1001))).json).toMatchObject({ code: 'message_too_large' })
    expect((await publish('wide', large(500_000))).status).toBe(200)
    expect((await publish('wide', large(500_001))).json).toMatchObject({ code: 'message_too_large' })
    expect((await publish('wide', [large(500_001)])).json).toMatchObject({ code: 'message_too_large' })
    expect((await publish('small', `"${'x'.repeat(200_000)}"`)).json).toMatchObject({ code: 'message_too_large' })
  })

  it.each(['application/cloudevents+xml', `${EVENT}; charset=utf-16`, 'application/cloudevents-batch+xml'])(
    'refuses what it cannot read, and stores nothing (%s)',
    async (type) => {
      for (const path of ['', '/batch']) {
        const answer = await publish('unread', ORDER, { 'content-type': type }, path)
        expect(answer).toMatchObject({ status: 415, json: { code: 'unsupported_media_type' } })
      }
      expect((await call(broker, 'GET', '/v1/topics/unread')).status).toBe(404)
    },
  )

  it('refuses one event where lists go, and one message’s headers on a list', async () => {
    expect((await publish('placed', ORDER, {}, '/batch')).status).toBe(415)
    expect((await publish('placed', [ORDER], { 'tidings-key': 'k' })).status).toBe(400)
  })
})

describe('pulling CloudEvents', () => {
  it('as a list gives back the events, with what acknowledges them', async () => {
    await subscribe('pulled')
    await publish('pulled', [ORDER, { ...ORDER, id: 'o-2', subject: 'a b', data: '€', datacontenttype: 'text/plain' }])
    await call(broker, 'POST', '/v1/topics/pulled/messages', new Uint8Array([0, 255]))
    const { json, headers } = await pull('pulled', BATCH)
    expect(headers.get('content-type')).toBe(`${BATCH}; charset=utf-8`)
    const extra = (id: string): object => ({ tidingstopic: 'pulled', tidingsid: id, tidingsattempt: 1 })
    expect(json).toEqual([
      { ...ORDER, datacontenttype: 'application/json', ...extra('0:0') },
      { ...ORDER, id: 'o-2', subject: 'a b', data: '€', datacontenttype: 'text/plain', ...extra('0:1') },
      {
        specversion: '1.0',
        id: 'pulled/0:2',
        source: '/v1/topics/pulled',
        type: 'tidings.message',
        time: expect.stringMatching(/Z$/),
        datacontenttype: 'application/octet-stream',
        data_base64: 'AP8=',
        ...extra('0:2'),
      },
    ])
    const ids = (json as { tidingsid: string }[]).map(({ tidingsid }) => tidingsid)
    expect((await call(broker, 'POST', '/v1/topics/pulled/subscriptions/s/ack', { ids })).json).toEqual({ count: 3 })
    expect((await pull('pulled', BATCH)).json).toEqual([])
  })

  it('one by one, as JSON or in binary mode, and 204 when there is none', async () => {
    await subscribe('single')
    await publish('single', [
      { ...ORDER, subject: 'Zoë 1' },
      { ...ORDER, id: 'o-2' },
    ])
    const binary = await pull('single', `${BINARY}, application/json;q=0.5`, { max: 1 })
    expect(binary.status).toBe(200)
    expect(binary.text).toBe('{"total":3}')
    expect(Object.fromEntries(binary.headers)).toMatchObject({
      'content-type': 'application/json',
      'ce-specversion': '1.0',
      'ce-id': 'o-1',
      'ce-subject': 'Zo%C3%AB%201',
      'ce-partitionkey': 'ada',
      'ce-tidingsid': '0:0',
      'ce-tidingsattempt': '1',
    })
    expect(binary.headers.get('ce-datacontenttype')).toBeNull()
    const structured = await pull('single', EVENT)
    expect(structured.headers.get('content-type')).toBe(`${EVENT}; charset=utf-8`)
    expect(structured.json).toMatchObject({ id: 'o-2', data: { total: 3 }, tidingsid: '0:1' })
    for (const accept of [BINARY, EVENT]) {
      const none = await pull('single', accept, { waitMs: 1 })
      expect([none.status, none.text]).toEqual([204, ''])
    }
  })

  it('keeps every byte of a body in binary mode', async () => {
    await subscribe('bytes')
    const sent = Uint8Array.from({ length: 256 }, (_, i) => i)
    await call(broker, 'POST', '/v1/topics/bytes/messages', sent, {
      'content-type': 'image/png',
      'ce-specversion': '1.0',
    })
    const response = await fetch(`${broker.url}/v1/topics/bytes/subscriptions/s/pull`, {
      method: 'POST',
      headers: { accept: BINARY },
    })
    expect(response.headers.get('content-type')).toBe('image/png')
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(sent)
  })

  it('refuses several in a form that holds one', async () => {
    await subscribe('several')
    for (const accept of [EVENT, BINARY]) {
      expect((await pull('several', accept, { max: 2 })).json).toMatchObject({ status: 400, code: 'invalid_argument' })
    }
  })

  it.each(['application/json', '*/*', `${BATCH};q=0.5, application/json`, `${EVENT};q=0`, 'text/html'])(
    'leaves a pull with Accept: %s as it is',
    async (accept) => {
      await subscribe('plain')
      expect((await pull('plain', accept)).json).toEqual({ messages: [] })
    },
  )
})

describe('a stream of CloudEvents', () => {
  it.each([
    ['?start=earliest&format=cloudevents', {}],
    ['?start=earliest', { accept: `text/event-stream, ${EVENT}` }],
  ])('has the event in its data: %s %j', async (query, headers) => {
    const topic = `streamed${query.length}`
    await publish(topic, { ...ORDER, data: 'two\nlines' })
    const client = await EventClient.open(broker.url, topic, query, headers)
    const { id, data, event } = await client.next()
    expect([id, event]).toEqual(['0:0', 'message'])
    expect(JSON.parse(data)).toEqual({
      ...ORDER,
      data: 'two\nlines',
      datacontenttype: 'application/json',
      tidingstopic: topic,
      tidingsid: '0:0',
    })
    client.close()
  })

  it('is refused in another format', async () => {
    expect((await call(broker, 'GET', '/v1/topics/modes/events?format=xml')).status).toBe(400)
  })
})
