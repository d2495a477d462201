/**
 * kill -9 while messages die and while they are brought back. Whatever was published is acknowledged by a
 * consumer or has a dead letter, one and not two; and what was redriven comes again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk, eventually } from '../support/admin-client.ts'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'
import { History, machineTime } from '../support/history.ts'
import { type ConsumerOptions, RecordingConsumer } from '../support/recording-consumer.ts'

const ROUNDS = 6
const BATCH = 40

afterEach(stopAll)

interface Letter {
  offset: number
  headers: Record<string, string>
}

async function lettersOf(url: string): Promise<Letter[]> {
  const letters: Letter[] = []
  for (let offset = 0; ; ) {
    const path = `/v1/topics/orders.work.dlq/partitions/0/messages?offset=${offset}&limit=1000`
    const { messages, nextOffset } = await callOk('GET', `${url}${path}`)
    if (messages.length === 0) return letters
    letters.push(...messages)
    offset = nextOffset
  }
}

describe('dead letters under kill -9', () => {
  it('lose nothing and double nothing, and come back when they are redriven', { timeout: 240_000 }, async () => {
    const broker = await BrokerProcess.start()
    const subscription = `${broker.url}/v1/topics/orders/subscriptions/work`
    const backoff = { minMs: 0, maxMs: 20 }
    await callOk('PUT', subscription, { start: 'earliest', deadLetter: { maxDeliveries: 3 }, backoff })
    const acked = new Set<number>()
    const attach = (decide: NonNullable<ConsumerOptions['decide']>): RecordingConsumer =>
      new RecordingConsumer({
        url: broker.webSocketUrl,
        topic: 'orders',
        subscription: 'work',
        name: 'c',
        history: new History(machineTime),
        identify: () => ({ value: '', hash: '' }),
        query: { prefetch: '100' },
        decide: (message, kept) => {
          const decision = decide(message, kept)
          if (decision === 'ack') acked.add(message.offset)
          return decision
        },
      })
    const settled = (): Promise<unknown> =>
      eventually(
        'backlog',
        async () => (await callOk('GET', subscription)).state.backlog,
        (backlog) => backlog === 0,
      )

    const killer = attach(({ offset }) => (offset % 2 === 1 ? 'nack' : 'ack'))
    let published = 0
    for (let round = 0; round < ROUNDS; round++) {
      const until = performance.now() + 200 + 90 * round
      while (performance.now() < until) {
        const messages = Array.from({ length: BATCH }, (_, value) => ({ value }))
        await callOk('POST', `${broker.url}/v1/topics/orders/messages/batch`, { messages })
        published += BATCH
      }
      await broker.kill()
      await broker.restart()
    }
    await settled()
    killer.stop()
    const letters = await lettersOf(broker.url)
    const dead = letters.map(({ headers }) => Number(headers['tidings-original-id']!.slice(2)))
    expect(new Set(dead).size).toBe(dead.length)
    const isAccounted = (offset: number): boolean => acked.has(offset) || dead.includes(offset)
    expect(Array.from({ length: published }, (_, offset) => offset).filter((offset) => !isAccounted(offset))).toEqual(
      [],
    )
    for (let offset = 1; offset < published; offset += 2) expect(dead).toContain(offset)

    acked.clear()
    const heir = attach(() => 'ack')
    for (let round = 0; round < ROUNDS - 2; round++) {
      const redriven = callOk('POST', `${subscription}/redrive`, { max: Math.ceil(dead.length / 4) }).catch(() => null)
      await sleep(5 + 15 * round)
      await broker.kill()
      await redriven
      await broker.restart()
    }
    await callOk('POST', `${subscription}/redrive`)
    expect(await callOk('POST', `${subscription}/redrive`)).toEqual({ moved: 0 })
    await settled()
    heir.stop()
    expect(dead.filter((offset) => !acked.has(offset))).toEqual([])
    expect((await lettersOf(broker.url)).length).toBe(letters.length)
    expect([...killer.complaints, ...heir.complaints]).toEqual([])
  })
})
