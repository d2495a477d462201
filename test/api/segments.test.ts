import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { eventually } from '../support/admin-client.ts'
import { type CachingProxy, startCachingProxy } from '../support/caching-proxy.ts'
import { decodeSegment, type StrangeMessage } from '../support/stranger.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker

beforeAll(async () => {
  broker = await startTestBroker()
})

afterAll(() => broker.stop())

interface Listed {
  baseOffset: number
  nextOffset: number
  bytes: number
  sealed: boolean
}

const SEGMENTS = (topic: string): string => `/v1/topics/${topic}/partitions/0/segments`

async function segmentsOf(topic: string): Promise<Listed[]> {
  return ((await call(broker, 'GET', SEGMENTS(topic))).json as { segments: Listed[] }).segments
}

/** A topic with several sealed segments. */
async function filled(topic: string, settings: object = {}): Promise<Listed[]> {
  await call(broker, 'PUT', `/v1/topics/${topic}`, { segmentBytes: 4096, ...settings })
  for (let i = 0; i < 12; i++) {
    await call(broker, 'POST', `/v1/topics/${topic}/messages`, `${i} `.padEnd(1000, 'x'), {
      'content-type': 'text/plain',
    })
  }
  return segmentsOf(topic)
}

async function bytesOf(
  url: string,
  headers: Record<string, string> = {},
): Promise<{ answer: Response; bytes: Buffer }> {
  const answer = await fetch(url, { headers })
  return { answer, bytes: Buffer.from(await answer.arrayBuffer()) }
}

/** What the broker counted of requests for bytes of segments. */
async function counted(): Promise<string[]> {
  const { text } = await call(broker, 'GET', '/metrics')
  return text.split('\n').filter((line) => line.startsWith('tidings_segment_'))
}

describe('a sealed segment', () => {
  it('comes whole, with a tag of its content, to be kept for ever', async () => {
    const [first] = await filled('whole')
    const { answer, bytes } = await bytesOf(`${broker.url}${SEGMENTS('whole')}/0`)
    expect(answer.status).toBe(200)
    expect(bytes).toHaveLength(first!.bytes)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      etag: `"${createHash('sha256').update(bytes).digest('hex')}"`,
      'cache-control': 'public, max-age=31536000, immutable',
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
      'content-length': String(bytes.length),
    })
    const { answer: head, bytes: none } = await headOf(`${SEGMENTS('whole')}/0`)
    expect(none).toHaveLength(0)
    for (const name of ['etag', 'cache-control', 'content-length', 'content-type', 'accept-ranges']) {
      expect(head.headers.get(name)).toBe(answer.headers.get(name))
    }
  })

  async function headOf(path: string): Promise<{ answer: Response; bytes: Buffer }> {
    const answer = await fetch(`${broker.url}${path}`, { method: 'HEAD' })
    return { answer, bytes: Buffer.from(await answer.arrayBuffer()) }
  }

  it('comes in parts', async () => {
    await filled('parts')
    const url = `${broker.url}${SEGMENTS('parts')}/0`
    const { answer: whole, bytes } = await bytesOf(url)
    const etag = whole.headers.get('etag')!
    const part = async (headers: Record<string, string>, status: number, from: number, to: number): Promise<void> => {
      const got = await bytesOf(url, headers)
      expect(got.answer.status).toBe(status)
      expect(got.bytes.equals(bytes.subarray(from, to))).toBe(true)
      const range = got.answer.headers.get('content-range')
      expect(range).toBe(status === 206 ? `bytes ${from}-${to - 1}/${bytes.length}` : null)
    }
    await part({ range: 'bytes=0-63' }, 206, 0, 64)
    await part({ range: 'bytes=64-' }, 206, 64, bytes.length)
    await part({ range: 'bytes=-12' }, 206, bytes.length - 12, bytes.length)
    await part({ range: 'bytes=64-', 'if-range': etag }, 206, 64, bytes.length)
    await part({ range: 'bytes=64-', 'if-range': '"other"' }, 200, 0, bytes.length)
    await part({ range: 'bytes=0-1,5-6' }, 200, 0, bytes.length)
    const beyond = await call(broker, 'GET', `${SEGMENTS('parts')}/0`, undefined, { range: `bytes=${bytes.length}-` })
    expect(beyond).toMatchObject({ status: 416, json: { code: 'offset_out_of_range' } })
    expect(beyond.headers.get('content-range')).toBe(`bytes */${bytes.length}`)
    expect(beyond.headers.get('cache-control')).toBe('no-store')
  })

  it('does not come to whoever wants other bytes', async () => {
    await filled('wanted')
    const path = `${SEGMENTS('wanted')}/0`
    const etag = (await fetch(`${broker.url}${path}`)).headers.get('etag')!
    for (const tags of [etag, '*', `"x", ${etag}`])
      expect((await bytesOf(`${broker.url}${path}`, { 'if-match': tags, range: 'bytes=0-1' })).bytes).toHaveLength(2)
    for (const tags of ['"x"', `W/${etag}`]) {
      const other = await call(broker, 'GET', path, undefined, { 'if-match': tags, 'if-none-match': etag })
      expect(other).toMatchObject({ status: 412, json: { code: 'precondition_failed' } })
      expect(other.headers.get('cache-control')).toBe('no-store')
      expect((await fetch(`${broker.url}${path}`, { method: 'HEAD', headers: { 'if-match': tags } })).status).toBe(412)
    }
  })

  it('does not come again to whoever has it', async () => {
    await filled('known')
    const url = `${broker.url}${SEGMENTS('known')}/0`
    const etag = (await fetch(url)).headers.get('etag')!
    const { answer, bytes } = await bytesOf(url, { 'if-none-match': `"x", ${etag}`, range: 'bytes=0-1' })
    expect(answer.status).toBe(304)
    expect(bytes).toHaveLength(0)
    expect(answer.headers.get('etag')).toBe(etag)
    expect(answer.headers.get('cache-control')).toContain('immutable')
    expect((await bytesOf(url, { 'if-none-match': '"x"' })).answer.status).toBe(200)
  })

  it('is not there while it is written to, or where none begins', async () => {
    const listed = await filled('missing')
    const active = listed.find(({ sealed }) => !sealed)!
    for (const [offset, what] of [
      [active.baseOffset, 'still written to'],
      [1, 'no segment begins'],
    ] as const) {
      const answer = await call(broker, 'GET', `${SEGMENTS('missing')}/${offset}`)
      expect(answer).toMatchObject({ status: 404, json: { code: 'not_found' } })
      expect((answer.json as { detail: string }).detail).toContain(what)
      expect(answer.headers.get('cache-control')).toBe('no-store')
    }
    for (const [path, status, code] of [
      [`${SEGMENTS('missing')}/x`, 400, 'invalid_argument'],
      [`${SEGMENTS('missing')}/0?raw=1`, 400, 'invalid_argument'],
      ['/v1/topics/missing/partitions/7/segments/0', 404, 'partition_not_found'],
      [`${SEGMENTS('nowhere')}/0`, 404, 'topic_not_found'],
    ] as const) {
      expect(await call(broker, 'GET', path)).toMatchObject({ status, json: { code } })
    }
  })

  it('is read by so many at once and no more, although all waited for its tag together', async () => {
    const topic = '/v1/topics/herd'
    await call(broker, 'PUT', topic, { segmentBytes: 33_554_432, maxMessageBytes: 33_554_432 })
    // More than what lies between two sockets, so that nobody's answer is over before it is read.
    for (const value of [Buffer.alloc(30_000_000, 1), Buffer.alloc(5_000_000, 1)]) {
      await fetch(`${broker.url}${topic}/messages`, { method: 'POST', body: value })
    }
    const answers = await Promise.all(Array.from({ length: 80 }, () => fetch(`${broker.url}${SEGMENTS('herd')}/0`)))
    const refused = answers.filter(({ status }) => status === 503)
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(64)
    expect(refused).toHaveLength(16)
    for (const { headers } of refused) {
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('retry-after')).not.toBeNull()
    }
    await Promise.all(answers.map(async ({ body }) => body?.cancel()))
    await eventually(
      'there is room again',
      () => call(broker, 'HEAD', `${SEGMENTS('herd')}/0`),
      ({ status }) => status === 200,
    )
  })

  it('does not end in space written ahead', async () => {
    for (const { baseOffset, sealed } of await filled('ends')) {
      if (!sealed) continue
      const { bytes } = await bytesOf(`${broker.url}${SEGMENTS('ends')}/${baseOffset}`)
      expect(bytes.subarray(-4).toString()).toBe('TDFE')
    }
  })
})

describe('a stranger with the page on the format', () => {
  it('brings nothing of ours', () => {
    const text = readFileSync(join(import.meta.dirname, '../support/stranger.ts'), 'utf8')
    expect([...text.matchAll(/from '([^']+)'/g)].map(([, module]) => module)).toEqual(['node:zlib'])
  })

  it('reads what was published', async () => {
    await call(broker, 'PUT', '/v1/topics/strange', { segmentBytes: 4096 })
    const expected: Omit<StrangeMessage, 'offset' | 'timestamp' | 'expiresAt'>[] = []
    const path = '/v1/topics/strange/messages'
    const types = ['application/octet-stream', 'application/json', 'text/plain; charset=utf-8', 'image/x-none']
    for (let i = 0; i < 24; i++) {
      const contentType = types[i % types.length]!
      const value = contentType === 'application/json' ? `{"i":${i}}` : `${i} ${'é'.repeat(300)}`
      const headers: Record<string, string> = { 'content-type': contentType }
      if (i % 2) headers['Tidings-Key'] = `key ${i}`
      if (i % 3) headers['Idempotency-Key'] = `once ${i}`
      if (i % 4 === 3) headers['Tidings-Ttl-Ms'] = '100000'
      if (i % 5) headers['Tidings-Header-Region'] = 'eu'
      await call(broker, 'POST', path, Buffer.from(value), headers)
      expected.push({
        key: i % 2 ? Buffer.from(`key ${i}`) : null,
        value: Buffer.from(value),
        contentType,
        headers: i % 5 ? [['region', 'eu']] : [],
        idempotencyKey: i % 3 ? `once ${i}` : null,
      })
    }
    const listed = (await segmentsOf('strange')).filter(({ sealed }) => sealed)
    expect(listed.length).toBeGreaterThan(2)
    const { messages } = (await call(broker, 'GET', '/v1/topics/strange/partitions/0/messages')).json as {
      messages: { timestamp: string }[]
    }
    for (const { baseOffset, nextOffset } of listed) {
      const { bytes } = await bytesOf(`${broker.url}${SEGMENTS('strange')}/${baseOffset}`)
      const segment = decodeSegment(bytes)
      expect(segment).toMatchObject({ baseOffset, nextOffset })
      expect(segment.messages.map(({ offset }) => offset)).toEqual(
        Array.from({ length: nextOffset - baseOffset }, (_, i) => baseOffset + i),
      )
      for (const { offset, timestamp, expiresAt, ...message } of segment.messages) {
        expect(message).toEqual(expected[offset])
        expect(new Date(timestamp).toISOString()).toBe(messages[offset]!.timestamp)
        // The time to live runs from the arrival, which is not later than the writing.
        if (offset % 4 === 3) expect(expiresAt).toBeLessThanOrEqual(timestamp + 100_000)
        else expect(expiresAt).toBeNull()
      }
    }
  })
})

describe('a segment of a topic that compacts', () => {
  const clock = new SimClock()
  let compacting: TestBroker
  beforeAll(async () => {
    compacting = await startTestBroker({}, clock)
  })
  afterAll(() => compacting.stop())

  it('is to be asked for again, and changes with its tag; what is left keeps its offset', async () => {
    await call(compacting, 'PUT', '/v1/topics/prices', { segmentBytes: 4096, compact: true })
    for (let i = 0; i < 30; i++) {
      await call(compacting, 'POST', '/v1/topics/prices/messages', `${i} `.padEnd(500, 'x'), {
        'content-type': 'text/plain',
        ...(i === 4 ? {} : { 'Tidings-Key': `k${i % 3}` }),
      })
    }
    const url = `${compacting.url}${SEGMENTS('prices')}/0`
    const before = await bytesOf(url)
    const etag = before.answer.headers.get('etag')!
    expect(before.answer.headers.get('cache-control')).toBe('no-cache')
    expect((await fetch(url, { headers: { 'if-none-match': etag } })).status).toBe(304)
    const { nextOffset: end, messages: all } = decodeSegment(before.bytes)
    expect(all).toHaveLength(end)
    expect(end).toBeGreaterThan(4)

    clock.advance(5000)
    const after = await eventually(
      'the segment changes',
      () => bytesOf(url, { 'if-none-match': etag }),
      ({ answer }) => answer.status === 200,
    )
    expect(after.answer.headers.get('etag')).toBe(`"${createHash('sha256').update(after.bytes).digest('hex')}"`)
    const decoded = decodeSegment(after.bytes)
    expect(decoded).toMatchObject({ baseOffset: 0, nextOffset: end })
    expect(decoded.messages.map(({ offset, value }) => [offset, value.toString().trimEnd().slice(0, 2)])).toEqual([
      [4, '4 '],
    ])
    const stale = await bytesOf(url, { range: 'bytes=64-', 'if-range': etag })
    expect(stale.answer.status).toBe(200)

    const { json } = await call(compacting, 'GET', '/v1/topics/prices/partitions/0/messages')
    const { messages, nextOffset } = json as { messages: { offset: number; key: string | null }[]; nextOffset: number }
    expect(nextOffset).toBe(30)
    const sealedEnd = messages.findIndex(({ offset }) => offset > 4)
    expect(messages[0]).toMatchObject({ offset: 4, key: null })
    expect(messages.slice(sealedEnd).map(({ offset }) => offset)).toEqual(
      Array.from({ length: messages.length - sealedEnd }, (_, i) => 30 - messages.length + sealedEnd + i),
    )
  })
})

describe('a caching proxy', () => {
  let proxy: CachingProxy
  beforeAll(async () => {
    proxy = await startCachingProxy(broker.url)
  }, 600_000)
  afterAll(() => proxy?.stop())

  it('serves history to the second reader without a request or a byte from the broker', async () => {
    const sealed = (await filled('cached')).filter((segment) => segment.sealed)
    expect(sealed.length).toBeGreaterThan(2)
    const read = async (from: string): Promise<Buffer[]> => {
      const all: Buffer[] = []
      for (const { baseOffset } of sealed) {
        const { answer, bytes } = await bytesOf(`${proxy.url}${SEGMENTS('cached')}/${baseOffset}`)
        expect(answer.headers.get('x-cache')).toBe(from)
        all.push(bytes)
      }
      return all
    }
    const before = await counted()
    const first = await read('MISS')
    const afterFirst = await counted()
    expect(afterFirst).not.toEqual(before)
    const second = await read('HIT')
    expect(second).toEqual(first)
    expect(first.map((bytes) => decodeSegment(bytes).baseOffset)).toEqual(sealed.map(({ baseOffset }) => baseOffset))
    const part = await bytesOf(`${proxy.url}${SEGMENTS('cached')}/0`, { range: 'bytes=64-163' })
    expect(part.answer.status).toBe(206)
    expect(part.bytes.equals(first[0]!.subarray(64, 164))).toBe(true)
    expect(await counted()).toEqual(afterFirst)
  })
})
