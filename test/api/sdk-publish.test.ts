import { createClient, type PublishError } from '@tidings/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { BrokerProcess, freePort, stopAll } from '../support/broker-process.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
let proxy: TcpProxy
beforeAll(async () => {
  broker = await startTestBroker()
  proxy = await TcpProxy.start(broker.port)
})
afterAll(async () => {
  await proxy.stop()
  await broker.stop()
})
afterEach(stopAll)

type Stored = Record<string, unknown> & { value: number }

async function read(url: string, topic: string, partition = 0): Promise<Stored[]> {
  const all: Stored[] = []
  for (;;) {
    const path = `/v1/topics/${topic}/partitions/${partition}/messages?limit=10000&offset=${all.length}`
    const { messages } = (await (await fetch(url + path)).json()) as { messages: Stored[] }
    if (messages.length === 0) return all
    all.push(...messages)
  }
}

function said(result: object): string {
  const { code, outcome, retryable } = result as PublishError
  return `${code} ${outcome} ${retryable}`
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

describe('the client publishes', () => {
  it('and gets a receipt when the message is there as it was given', async () => {
    const client = createClient({ url: broker.url })
    const orders = client.topic<{ total: number }>('orders')
    const receipt = await orders.publish({ total: 5 }, { key: 'k', headers: { Region: 'eu' } })
    expect(receipt).toEqual({
      topic: 'orders',
      partition: 0,
      offset: 0,
      id: '0:0',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    })
    const [message] = await read(broker.url, 'orders')
    expect(message).toMatchObject({
      ...receipt,
      key: 'k',
      headers: { region: 'eu' },
      value: { total: 5 },
      contentType: 'application/json',
    })
    await client.close()
  })

  it('bytes, text and other types', async () => {
    const client = createClient({ url: broker.url })
    const kinds = client.topic('kinds')
    await kinds.publish(Uint8Array.of(0, 255))
    await kinds.publish('grüße', { contentType: 'text/plain' })
    await kinds.publish('"')
    expect(await read(broker.url, 'kinds')).toMatchObject([
      { contentType: 'application/octet-stream', base64: 'AP8=' },
      { contentType: 'text/plain', value: 'grüße' },
      { contentType: 'application/json', value: '"' },
    ])
    await client.close()
  })

  it('once under a key of the user’s, and says so', async () => {
    const client = createClient({ url: broker.url })
    const once = client.topic('once')
    const first = await once.publish(1, { idempotencyKey: 'same' })
    expect(await once.publish(2, { idempotencyKey: 'same' })).toEqual({ ...first, duplicate: true })
    await client.close()
  })

  it('for later, and once', async () => {
    const client = createClient({ url: broker.url })
    const later = client.topic('later')
    const [far, soon] = await Promise.all([
      later.publish(1, { delayMs: 3_000_000_000 }),
      later.publish(2, { delayMs: 1500 }),
    ])
    expect(far).toMatchObject({
      topic: 'later',
      offset: -1,
      scheduled: { id: expect.any(String), deliverAt: expect.any(String) },
    })
    expect(soon.scheduled).toBeDefined()
    for await (const message of later.subscribe('s', { start: 'earliest' })) {
      expect([message.value, await message.ack()]).toEqual([2, true])
      break
    }
    await client.close()
  })

  it('the neighbours of an entry that only the broker can refuse', async () => {
    await call(broker, 'PUT', '/v1/topics/small', { maxMessageBytes: 100 })
    const client = createClient({ url: broker.url })
    const small = client.topic('small')
    const results = await Promise.allSettled(
      numbers(50).map((i) => small.publish(i === 20 || i === 33 ? 'x'.repeat(200) : i)),
    )
    const failed = results.flatMap((result, i) =>
      result.status === 'rejected'
        ? [[i, (result.reason as PublishError).code, (result.reason as PublishError).outcome]]
        : [],
    )
    expect(failed).toEqual([
      [20, 'message_too_large', 'not_stored'],
      [33, 'message_too_large', 'not_stored'],
    ])
    expect((await read(broker.url, 'small')).map(({ value }) => value)).toEqual(
      numbers(50).filter((i) => i !== 20 && i !== 33),
    )
    await client.close()
  })

  it('to the topic that has the name by now, with fewer partitions than the one before it', async () => {
    await call(broker, 'PUT', '/v1/topics/anew', { partitions: 4 })
    const client = createClient({ url: broker.url })
    const topic = client.topic('anew')
    await topic.publish(0)
    await call(broker, 'DELETE', '/v1/topics/anew')
    await call(broker, 'PUT', '/v1/topics/anew', { partitions: 1 })
    await Promise.all(numbers(20).map((i) => topic.publish(i)))
    expect((await read(broker.url, 'anew')).map(({ value }) => value)).toEqual(numbers(20))
    await client.close()
  })

  it('nothing to a topic that it may not create, and says why', async () => {
    const strict = await startTestBroker({ autoCreateTopics: false })
    const client = createClient({ url: strict.url })
    await expect(client.topic('none').publish(1)).rejects.toMatchObject({ code: 'topic_not_found', retryable: false })
    await client.close()
    await strict.stop()
  })

  it('and says within its time that nobody is there', async () => {
    const client = createClient({ url: `http://127.0.0.1:${await freePort()}` })
    const outcome = await client
      .topic('t')
      .publish(1, { timeoutMs: 200 })
      .catch((error: unknown) => error as PublishError)
    // The second where the time is over in the middle of an attempt.
    expect(['unavailable not_stored true', 'outcome_unknown unknown true']).toContain(said(outcome))
    await client.close()
  })
})

describe('over a bad network the client publishes each message once and in order', () => {
  it('when answers are lost, or end in their middle', async () => {
    const client = createClient({ url: proxy.url })
    const topic = client.topic('lost-answers')
    for (let round = 0; round < 10; round++) {
      proxy.answersToLose = round % 3
      proxy.answersToTruncate = 2
      await Promise.all(numbers(10).map((i) => topic.publish(round * 10 + i)))
    }
    expect((await read(broker.url, 'lost-answers')).map(({ value }) => value)).toEqual(numbers(100))
    await client.close()
  })

  it('when connections are reset again and again', async () => {
    const client = createClient({ url: proxy.url })
    const topic = client.topic('resets')
    let cuts = 0
    const storm = setInterval(() => {
      cuts++
      proxy.cut()
    }, 60)
    const offsets: number[] = []
    while (cuts < 20) {
      const batch = await Promise.all(numbers(100).map((i) => topic.publish(offsets.length + i)))
      offsets.push(...batch.map(({ offset }) => offset))
    }
    clearInterval(storm)
    expect(offsets).toEqual(numbers(offsets.length))
    expect((await read(broker.url, 'resets')).map(({ value }) => value)).toEqual(numbers(offsets.length))
    await client.close()
  })

  it('when the broker’s answers are garbage for a while', async () => {
    const client = createClient({ url: proxy.url })
    const topic = client.topic('garbled')
    proxy.chunksToGarble = 5
    await Promise.all(numbers(20).map((i) => topic.publish(i)))
    proxy.chunksToGarble = 0
    expect((await read(broker.url, 'garbled')).map(({ value }) => value)).toEqual(numbers(20))
    await client.close()
  })

  it('when a connection is half open, by another URL', async () => {
    const half = await TcpProxy.start(broker.port)
    const client = createClient({ url: [half.url, broker.url], requestTimeoutMs: 300 })
    const topic = client.topic('half-open')
    await topic.publish(0)
    half.isFrozen = true
    await topic.publish(1)
    await topic.publish(2)
    half.isFrozen = false
    expect((await read(broker.url, 'half-open')).map(({ value }) => value)).toEqual([0, 1, 2])
    await client.close()
    await half.stop()
  })
})

describe('while the broker is killed and started again', () => {
  it('10,000 publishes wait, and each is stored once', async () => {
    const process = await BrokerProcess.start()
    const client = createClient({ url: process.url })
    const topic = client.topic('queued')
    await topic.publish(-1)
    const early = numbers(2000).map((i) => topic.publish(i))
    await early[100]
    await process.kill()
    const late = numbers(8000).map((i) => topic.publish(2000 + i))
    const settled = Promise.allSettled([...early, ...late])
    await process.restart()
    const results = await settled
    expect(results.filter(({ status }) => status === 'rejected')).toEqual([])
    const stored = await read(process.url, 'queued')
    expect(stored.map(({ value }) => value)).toEqual([-1, ...numbers(10_000)])
    for (const [i, result] of results.entries()) {
      if (result.status === 'fulfilled') expect(result.value.offset).toBe(i + 1)
    }
    await client.close()
  }, 60_000)

  it('a publish goes to another broker meanwhile', async () => {
    const process = await BrokerProcess.start()
    const client = createClient({ url: [process.url, broker.url] })
    const topic = client.topic('failover')
    await topic.publish(1)
    await process.kill()
    await topic.publish(2)
    expect((await read(broker.url, 'failover')).map(({ value }) => value)).toEqual([2])
    await client.close()
  }, 60_000)
})

describe('a client that is closed', () => {
  it('has settled everything, the unfinished as such', async () => {
    const client = createClient({ url: `http://127.0.0.1:${await freePort()}` })
    const pending = client.topic('t').publish(1)
    const outcome = pending.catch((error: unknown) => error as PublishError)
    await client.close({ timeoutMs: 100 })
    expect(['aborted not_stored false', 'outcome_unknown unknown true']).toContain(said(await outcome))
    await expect(client.topic('t').publish(2)).rejects.toMatchObject({ code: 'aborted' })
    expect(() => client.topic('t').subscribe('s')).toThrow('closed')
  })
})
