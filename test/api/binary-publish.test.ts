import { encodeProbe } from '@tidings/sdk/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'
import { keyedFrame, PublishClient, publishFrame, recordOf } from '../support/publish-client.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ maxMessageBytes: 6_000_000 })
})
afterAll(() => broker.stop())
afterEach(stopAll)

interface Stored {
  value: unknown
  key: string | null
  headers: Record<string, string>
  contentType: string
}

async function read({ url }: { url: string }, topic: string, partition = 0): Promise<Stored[]> {
  const answer = await fetch(`${url}/v1/topics/${topic}/partitions/${partition}/messages?limit=1000`)
  return ((await answer.json()) as { messages: Stored[] }).messages
}

const values = async (of: { url: string }, topic: string): Promise<unknown[]> =>
  (await read(of, topic)).map(({ value }) => value)

async function opened(topic: string): Promise<PublishClient> {
  const client = await PublishClient.connect(broker.url)
  expect(await client.open(topic)).toMatchObject({ type: 'opened', handle: 1 })
  return client
}

describe('a publisher on the binary protocol', () => {
  it('opens a topic, which comes into being, and stores what any reader sees as it was', async () => {
    const client = await PublishClient.connect(broker.url)
    expect(await client.open('orders', 5)).toEqual({
      type: 'opened',
      handle: 5,
      partitionCount: 1,
      maxMessageBytes: 1_048_576,
    })
    const record = recordOf({ total: 5 }, { key: Buffer.from('ada'), headers: [['region', 'eu']] })
    const text = recordOf(0, { value: Buffer.from('grüße'), contentType: 'text/markdown' })
    expect(await client.ask(publishFrame([record, text], { handle: 5 }))).toMatchObject({
      type: 'stored',
      handle: 5,
      sequence: 0,
      partitionCount: 1,
      duplicate: false,
      parts: [{ partition: 0, baseOffset: 0, count: 2 }],
      partOf: null,
    })
    expect(await read(broker, 'orders')).toMatchObject([
      { value: { total: 5 }, key: 'ada', headers: { region: 'eu' }, contentType: 'application/json' },
      { value: 'grüße', key: null, headers: {}, contentType: 'text/markdown' },
    ])
    client.socket.close()
  })

  it('repeats a frame over another connection, and it is there once', async () => {
    const first = await opened('repeated')
    const answer = await first.ask(publishFrame([recordOf(1), recordOf(2)]))
    first.socket.terminate()
    const second = await opened('repeated')
    expect(await second.ask(publishFrame([recordOf(1), recordOf(2)]))).toEqual({ ...answer, duplicate: true })
    expect(await second.ask(publishFrame([recordOf(3)], { sequence: 1 }))).toMatchObject({ type: 'stored' })
    expect(await values(broker, 'repeated')).toEqual([1, 2, 3])
    second.socket.close()
  })

  it('is told the record to blame, and sends the rest under the same number', async () => {
    await call(broker, 'PUT', '/v1/topics/small', { maxMessageBytes: 20 })
    const client = await opened('small')
    client.socket.send(publishFrame([recordOf(1), recordOf('x'.repeat(50)), recordOf(3)]))
    client.socket.send(publishFrame([recordOf(4)], { sequence: 1 }))
    expect(await client.next()).toMatchObject({
      type: 'refused',
      frame: 'publish',
      sequence: 0,
      code: 'message_too_large',
      entry: 1,
      mayBeStored: false,
    })
    expect(await client.next()).toMatchObject({ type: 'refused', sequence: 1, code: 'overloaded', mayBeStored: false })
    client.socket.send(publishFrame([recordOf(1), recordOf(3)]))
    client.socket.send(publishFrame([recordOf(4)], { sequence: 1 }))
    expect([await client.next(), await client.next()]).toMatchObject([{ type: 'stored' }, { type: 'stored' }])
    expect(await values(broker, 'small')).toEqual([1, 3, 4])
    client.socket.close()
  })

  it('is told the record that no topic would take, and what it sent behind that waits for it all the same', async () => {
    const client = await opened('door')
    client.socket.send(publishFrame([recordOf(1), recordOf(2, { key: Uint8Array.of(0xff) })]))
    client.socket.send(publishFrame([recordOf(3)], { sequence: 1 }))
    expect([await client.next(), await client.next()]).toMatchObject([
      { type: 'refused', sequence: 0, code: 'invalid_argument', entry: 1, mayBeStored: false },
      { type: 'refused', sequence: 1, code: 'overloaded', mayBeStored: false },
    ])
    client.socket.send(publishFrame([recordOf(1)]))
    client.socket.send(publishFrame([recordOf(3)], { sequence: 1 }))
    expect([await client.next(), await client.next()]).toMatchObject([{ type: 'stored' }, { type: 'stored' }])
    expect(await values(broker, 'door')).toEqual([1, 3])
    client.socket.close()
  })

  it('learns that the topic has grown, and spreads by the count that it says', async () => {
    const client = await opened('growing')
    await client.ask(publishFrame([recordOf(1)]))
    await call(broker, 'PUT', '/v1/topics/growing', { partitions: 3 })
    expect(await client.ask(publishFrame([recordOf(2)], { sequence: 1 }))).toMatchObject({ partitionCount: 3 })
    const keyed = 'abcdef'.split('').map((key) => recordOf(key, { key: Buffer.from(key) }))
    const answer = await client.ask(publishFrame(keyed, { sequence: 2, partitionCount: 3 }))
    if (answer.type !== 'stored') throw new Error(answer.type)
    const places = [...answer.partOf!].map((part) => answer.parts[part]!.partition)
    const found = await Promise.all([0, 1, 2].map((partition) => read(broker, 'growing', partition)))
    places.forEach((partition, i) => {
      expect(found[partition]!.map(({ key }) => key)).toContain('abcdef'[i])
    })
    client.socket.close()
  })

  it('publishes entries with keys, delays and partitions of its own', async () => {
    await call(broker, 'PUT', '/v1/topics/keyed', { partitions: 2 })
    const client = await opened('keyed')
    const idempotencyKey = Buffer.from('mine')
    const frame = keyedFrame(
      [
        { record: recordOf(1, { idempotencyKey }), partition: 1 },
        { record: recordOf(2), due: { kind: 'delay', ms: 3_000_000 } },
        { record: recordOf(3, { expiresAt: 60_000 }), partition: 0 },
      ],
      9,
    )
    const answer = await client.ask(frame)
    expect(answer).toMatchObject({
      type: 'receipts',
      sequence: 9,
      partitionCount: 2,
      receipts: [
        { partition: 1, offset: 0, duplicate: false },
        { scheduled: expect.any(String) as string, duplicate: false },
        { partition: 0, offset: 0, duplicate: false },
      ],
    })
    expect(await client.ask(keyedFrame([{ record: recordOf(1, { idempotencyKey }) }]))).toMatchObject({
      receipts: [{ partition: 1, offset: 0, duplicate: true }],
    })
    expect(
      await client.ask(keyedFrame([{ record: recordOf(1) }, { record: recordOf(2), partition: 7 }])),
    ).toMatchObject({ type: 'refused', frame: 'keyed', code: 'partition_not_found', entry: 1, mayBeStored: false })
    client.socket.close()
  })

  it('is refused what is no record of a client’s, and nothing of the frame is stored', async () => {
    const client = await opened('hostile')
    const own = recordOf(1, { headers: [['tidings-redriven-to', 's']] })
    const badKey = recordOf(1, { key: Uint8Array.of(0xff) })
    const keyless = recordOf(1, { key: Buffer.from('k') })
    keyless[4] = 0
    const wrongType = recordOf(1)
    wrongType[5] = 99
    const wrongBits = recordOf(1)
    wrongBits[4] = 64
    const cut = recordOf(1).subarray(0, -1)
    for (const bad of [own, badKey, keyless, wrongType, wrongBits, recordOf(1, { idempotencyKey: badKey }), cut]) {
      const answer = await client.ask(publishFrame([recordOf(0), bad]))
      expect(answer).toMatchObject({ type: 'refused', code: 'invalid_argument', entry: 1, mayBeStored: false })
    }
    // One of the broker's own for a scheduled message: it would be taken for published after a crash.
    const fired = Uint8Array.of(0xff, 0x73, 0, 0, 0, 0, 0, 0, 0, 0)
    for (const idempotencyKey of [fired, Uint8Array.of(0xc3), Buffer.from('\0x')]) {
      const forged = recordOf(1, { idempotencyKey })
      expect(await client.ask(keyedFrame([{ record: recordOf(0) }, { record: forged }]))).toMatchObject({
        type: 'refused',
        frame: 'keyed',
        code: 'invalid_argument',
        entry: 1,
      })
    }
    expect(await client.ask(publishFrame([recordOf(0)], { count: 3 }))).toMatchObject({ code: 'invalid_argument' })
    expect(await client.ask(publishFrame([recordOf(0)], { handle: 8 }))).toMatchObject({ code: 'invalid_argument' })
    expect(await client.ask('text')).toMatchObject({ type: 'error', code: 'invalid_argument' })
    expect(await client.ask(Uint8Array.of(1, 2, 3))).toMatchObject({ type: 'error', code: 'invalid_argument' })
    expect(await client.ask(encodeProbe())).toEqual({ type: 'alive' })
    expect(await values(broker, 'hostile')).toEqual([])
    client.socket.close()
  })

  it('stores a message of the largest size, and is closed with 4413 for a longer frame', async () => {
    await call(broker, 'PUT', '/v1/topics/large', { maxMessageBytes: 6_000_000 })
    const client = await opened('large')
    expect(await client.ask(publishFrame([recordOf('x'.repeat(5_900_000))]))).toMatchObject({ type: 'stored' })
    const isClosed = client.closed()
    client.socket.send(Buffer.alloc(7_000_000))
    expect(await isClosed).toBe(4413)
  })

  it('loses nothing that was answered when its connection is reset in the middle of a frame', async () => {
    const client = await opened('reset')
    await client.ask(publishFrame([recordOf(1)]))
    const isClosed = client.closed()
    const whole = publishFrame([recordOf('x'.repeat(500_000))], { sequence: 1 })
    const raw = (client.socket as unknown as { _socket: { write(bytes: Buffer): void; resetAndDestroy(): void } })
      ._socket
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    head.writeUInt32BE(whole.length, 6)
    raw.write(Buffer.concat([head, whole.subarray(0, 100_000)]))
    await new Promise((resolve) => setImmediate(resolve))
    raw.resetAndDestroy()
    await isClosed
    const next = await opened('reset')
    expect(await next.ask(publishFrame([recordOf(2)], { sequence: 1 }))).toMatchObject({ type: 'stored' })
    expect(await values(broker, 'reset')).toEqual([1, 2])
    next.socket.close()
  })

  it('may not create topics where nobody may, and has to open one again that was deleted', async () => {
    const strict = await startTestBroker({ autoCreateTopics: false })
    const client = await PublishClient.connect(strict.url)
    expect(await client.open('none')).toMatchObject({ type: 'refused', frame: 'open', code: 'topic_not_found' })
    expect(await client.open('_x')).toMatchObject({ type: 'refused', frame: 'open', code: 'invalid_argument' })
    await call(strict, 'PUT', '/v1/topics/gone', {})
    expect(await client.open('gone')).toMatchObject({ type: 'opened' })
    await call(strict, 'DELETE', '/v1/topics/gone')
    const gone = { type: 'refused', code: 'topic_not_found', mayBeStored: false }
    expect(await client.ask(publishFrame([recordOf(1)]))).toMatchObject(gone)
    await call(strict, 'PUT', '/v1/topics/gone', {})
    // What was sent behind it, before it was answered.
    expect(await client.ask(publishFrame([recordOf(2)], { sequence: 1 }))).toMatchObject(gone)
    expect(await client.open('gone')).toMatchObject({ type: 'opened' })
    expect(await client.ask(publishFrame([recordOf(1)]))).toMatchObject({ type: 'stored' })
    client.socket.close()
    await strict.stop()
  })

  it('is closed where frames that are still coming in hold too much together', async () => {
    const narrow = await startTestBroker({ maxReceivingBytes: 1_048_576 })
    const [first, second] = await Promise.all([PublishClient.connect(narrow.url), PublishClient.connect(narrow.url)])
    await second.open('t')
    const isClosed = first.closed()
    const raw = (first.socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x3f, 0, 0, 0, 0, 0, 0])
    raw.write(Buffer.concat([head, Buffer.alloc(2_000_000)]))
    expect(await isClosed).toBe(1013)
    expect(await second.ask(publishFrame([recordOf('x'.repeat(900_000))]))).toMatchObject({ type: 'stored' })
    second.socket.close()
    await narrow.stop()
  })

  it('must ask for the subprotocol', async () => {
    const answer = await call(broker, 'GET', '/v1/publish')
    expect([answer.status, answer.json]).toMatchObject([400, { code: 'invalid_argument' }])
  })
})

describe('a broker that is told to stop', () => {
  it('answers the publishes under way and closes with 1012', async () => {
    const process = await BrokerProcess.start()
    const client = await PublishClient.connect(process.url)
    await client.open('t')
    const isClosed = client.closed()
    for (let sequence = 0; sequence < 8; sequence++)
      client.socket.send(publishFrame([recordOf(sequence)], { sequence }))
    const first = await client.next()
    const stopped = process.terminate()
    let stored = first.type === 'stored' ? 1 : 0
    for (let i = 1; i < 8; i++) if ((await client.next()).type === 'stored') stored++
    expect(await isClosed).toBe(1012)
    await stopped
    await process.restart()
    expect(await values(process, 't')).toEqual(Array.from({ length: stored }, (_, i) => i))
  }, 60_000)
})
