import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StreamClient } from '../support/stream-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker()
})
afterAll(() => broker.stop())

const at = (topic: string, more = ''): string => `/v1/topics/${topic}/subscriptions/s${more}`

async function create(topic: string, patch: object = {}): Promise<void> {
  const settings = {
    type: 'key_shared',
    start: 'earliest',
    backoff: { minMs: 0, maxMs: 0 },
    deadLetter: { mode: 'park', topic: `${topic}.dlq`, maxDeliveries: 1 },
    ...patch,
  }
  expect((await call(broker, 'PUT', at(topic), settings)).status).toBe(201)
}

const publish = (topic: string, key: string, value: unknown): Promise<unknown> =>
  call(broker, 'POST', `/v1/topics/${topic}/messages/batch`, { messages: [{ key, value }] })

/** A stream whose first message, of this key, has failed for the last time. */
async function parked(topic: string, key: string, patch: object = {}): Promise<StreamClient> {
  await create(topic, patch)
  const client = await StreamClient.open(broker, topic, 's')
  await publish(topic, key, 'bad')
  const { id } = await client.next()
  client.send({ type: 'nack', ids: [id], reason: 'no such street' })
  await client.barrier()
  return client
}

describe('parked keys', () => {
  it('are listed with what waits for them, while other keys flow', async () => {
    const client = await parked('listed', 'a/ö')
    await publish('listed', 'a/ö', 1)
    await publish('listed', 'other', 2)
    expect(await client.next()).toMatchObject({ key: 'other', value: 2 })
    const { json } = await call(broker, 'GET', at('listed', '/parked'))
    expect(json).toEqual({
      parked: [
        {
          key: 'a/ö',
          partition: 0,
          id: '0:0',
          attempts: 1,
          parkedAt: expect.stringMatching(/Z$/),
          waiting: 1,
          reason: 'no such street',
        },
      ],
      count: 1,
      fellBack: 0,
    })
    expect((await call(broker, 'GET', at('listed'))).json).toMatchObject({ state: { parked: 1, backlog: 3 } })
    const answer = await call(broker, 'POST', at('listed', `/parked/${encodeURIComponent('a/ö')}`), {
      action: 'resume',
    })
    expect(answer).toMatchObject({ status: 200, json: { key: 'a/ö', action: 'resume', id: '0:0', waiting: 1 } })
    expect(await client.next()).toMatchObject({ id: '0:0', attempt: 1 })
    await client.end()
  })

  it.each([
    ['discard', 0],
    ['skip', 1],
  ])('go on after %s', async (action, letters) => {
    const topic = `after-${action}`
    const client = await parked(topic, 'k')
    await publish(topic, 'k', 1)
    expect((await call(broker, 'POST', at(topic, '/parked/k'), { action })).status).toBe(200)
    expect(await client.next()).toMatchObject({ id: '0:1', attempt: 1, value: 1 })
    const { json } = await call(broker, 'GET', `/v1/topics/${topic}.dlq/partitions/0/messages`)
    const letter = {
      value: 'bad',
      headers: { 'tidings-original-id': '0:0', 'tidings-reason': 'skipped: no such street' },
    }
    expect(json).toMatchObject({ messages: Array.from({ length: letters }, () => letter) })
    await client.end()
  })

  it('go on with another value, byte for byte, in any form that a publish takes', async () => {
    const client = await parked('replaced', 'k')
    const body = '{"action":"replace","value": {"n":12345678901234567890, "again":1e999}}'
    const headers = { 'content-type': 'application/json' }
    expect((await call(broker, 'POST', at('replaced', '/parked/k'), body, headers)).status).toBe(200)
    const frame = await client.next()
    expect(frame).toMatchObject({ id: '0:0', key: 'k', attempt: 1, contentType: 'application/json' })
    client.send({ type: 'release', ids: ['0:0'] })
    await client.next()
    client.send({ type: 'nack', ids: ['0:0'] })
    await client.barrier()
    const bytes = { action: 'replace', base64: 'AAEC', contentType: 'image/png' }
    expect((await call(broker, 'POST', at('replaced', '/parked/k'), bytes)).status).toBe(200)
    expect(await client.next()).toMatchObject({ base64: 'AAEC', contentType: 'image/png', attempt: 1 })
    client.send({ type: 'nack', ids: ['0:0'] })
    await client.barrier()
    const text = { action: 'replace', value: 'hello', contentType: 'text/plain' }
    expect((await call(broker, 'POST', at('replaced', '/parked/k'), text)).status).toBe(200)
    expect(await client.next()).toMatchObject({ value: 'hello', contentType: 'text/plain' })
    client.send({ type: 'reject', ids: ['0:0'], reason: 'still bad', request: 1 })
    await client.next()
    const { json } = await call(broker, 'GET', '/v1/topics/replaced.dlq/partitions/0/messages')
    expect(json).toMatchObject({ messages: [{ value: 'hello', headers: { 'tidings-reason': 'still bad' } }] })
    await client.end()
  })

  it.each(['.', '..', 'k', 'a/../b', '%2e'])('go on by a key in the body, also %j, which no path has', async (key) => {
    const topic = `body${Buffer.from(key).toString('hex')}`
    const client = await parked(topic, key)
    const answer = await call(broker, 'POST', at(topic, '/parked'), { key, action: 'resume', id: '0:0' })
    expect(answer).toMatchObject({ status: 200, json: { key, action: 'resume', id: '0:0' } })
    expect(await client.next()).toMatchObject({ key, id: '0:0', attempt: 1 })
    await client.end()
  })

  it('go to dead letters past maxParked, which is said', async () => {
    const client = await parked('full', 'a', {
      deadLetter: { mode: 'park', topic: 'full.dlq', maxDeliveries: 1, maxParked: 1 },
    })
    await publish('full', 'b', 'bad')
    client.send({ type: 'nack', ids: [(await client.next())['id']] })
    await expect
      .poll(async () => (await call(broker, 'GET', at('full', '/parked'))).json)
      .toMatchObject({ parked: [{ key: 'b' }], count: 1, fellBack: 1 })
    await expect
      .poll(async () => (await call(broker, 'GET', '/v1/topics/full.dlq/partitions/0/messages')).json)
      .toMatchObject({ messages: [{ key: 'a', headers: { 'tidings-reason': 'parking_full: no such street' } }] })
    expect((await call(broker, 'GET', '/metrics')).text).toMatch(/tidings_parking_full_total 1\n/)
    await client.end()
  })

  it.each([
    ['/parked/none', { action: 'resume' }, 404, 'not_found'],
    ['/parked/k', { action: 'dance' }, 400, 'invalid_argument'],
    ['/parked/k', {}, 400, 'invalid_argument'],
    ['/parked/k', undefined, 400, 'invalid_argument'],
    ['/parked/k', { action: 'resume', value: 1 }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'resume', more: 1 }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'replace' }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'replace', value: 1, base64: '' }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'replace', value: 1, contentType: 'image/png' }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'discard', partition: 7 }, 404, 'not_found'],
    ['/parked/k', { action: 'discard', id: '0:7' }, 409, 'conflict'],
    ['/parked/k', { action: 'discard', id: '0' }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'discard', id: '0:0', partition: 0 }, 400, 'invalid_argument'],
    ['/parked/k', { action: 'discard', key: 'k' }, 400, 'invalid_argument'],
    ['/parked', { action: 'discard' }, 400, 'invalid_argument'],
    ['/parked', { action: 'discard', key: 'none' }, 404, 'not_found'],
  ])('stay as they are when %s is asked %j', async (path, body, status, code) => {
    if ((await call(broker, 'GET', at('asked'))).status === 404) await (await parked('asked', 'k')).end()
    expect(await call(broker, 'POST', at('asked', path), body)).toMatchObject({ status, json: { code } })
    expect((await call(broker, 'GET', at('asked', '/parked'))).json).toMatchObject({ count: 1 })
  })

  it('are none where keys are not parked', async () => {
    await call(broker, 'PUT', at('plain'), {})
    expect((await call(broker, 'GET', at('plain', '/parked'))).json).toEqual({ parked: [], count: 0, fellBack: 0 })
    expect((await call(broker, 'POST', at('plain', '/parked/k'), { action: 'skip' })).status).toBe(404)
    expect((await call(broker, 'GET', at('plain', '/parked?limit=0'))).status).toBe(400)
  })

  it('cannot be switched on or off on an exclusive subscription that is there', async () => {
    await create('fixed', { type: 'exclusive' })
    for (const deadLetter of [null, { mode: 'topic' }]) {
      expect(await call(broker, 'PUT', at('fixed'), { deadLetter })).toMatchObject({
        status: 409,
        json: { code: 'conflict' },
      })
    }
    expect((await call(broker, 'PUT', at('fixed'), { deadLetter: { maxDeliveries: 9 } })).status).toBe(200)
  })
})
