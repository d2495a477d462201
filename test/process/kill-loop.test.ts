/**
 * kill -9 again and again under single publishes and confirmed acknowledgements. What was answered stays, what was
 * confirmed stays confirmed, attempts only grow, and a publish repeated with its key is in the log once.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk } from '../support/admin-client.ts'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'
import { identify, judgeDrained, recordEnds } from '../support/drained-run.ts'
import { History, machineTime } from '../support/history.ts'
import { type ConsumerOptions, RecordingConsumer } from '../support/recording-consumer.ts'
import { RecordingPublisher } from '../support/recording-publisher.ts'

const ROUNDS = Number(process.env['TIDINGS_KILL_ROUNDS'] ?? 8)
const PUBLISHERS = 12
const ACK_DEADLINE_MS = 60_000

afterEach(stopAll)

describe('a broker that is killed in a loop', () => {
  it('keeps every answered publish and every confirmed acknowledgement', async () => {
    const broker = await BrokerProcess.start()
    const history = new History(machineTime)
    await callOk('PUT', `${broker.url}/v1/topics/orders`, { partitions: 3, segmentBytes: 65_536 })
    const subscriptions = [
      { name: 'work', type: 'shared', consumers: 2, ordered: false },
      { name: 'ledger', type: 'exclusive', consumers: 1, ordered: true },
    ]
    const consumers: RecordingConsumer[] = []
    const attach = (decide: ConsumerOptions['decide'] = () => 'ack'): void => {
      for (const { name: subscription, consumers: count } of subscriptions) {
        for (let n = 0; n < count; n++) {
          const options = {
            url: broker.webSocketUrl,
            topic: 'orders',
            subscription,
            name: `${subscription}-${n}`,
            history,
            identify,
          }
          consumers.push(new RecordingConsumer({ ...options, decide, query: { prefetch: '64' } }))
        }
      }
    }
    for (const { name, type } of subscriptions) {
      const settings = { type, start: 'earliest', ackDeadlineMs: ACK_DEADLINE_MS, backoff: { minMs: 10, maxMs: 50 } }
      await callOk('PUT', `${broker.url}/v1/topics/orders/subscriptions/${name}`, settings)
    }
    // Some messages are still held when the kill comes, some come back at once: attempts have something to remember.
    attach(({ offset, attempt }, kept) => {
      if (attempt <= 3 && offset % 8 === 3 && kept < 20) return 'keep'
      return attempt < 3 && offset % 32 === 0 ? 'nack' : 'ack'
    })
    const publisher = new RecordingPublisher(broker.url, 'orders', history, PUBLISHERS)
    let stopping = false
    const publishing = Array.from({ length: PUBLISHERS }, async (_, proc) => {
      for (let n = 0; !stopping; n++) {
        const name = `${proc}-${n}`
        const entry = { name, key: `k${n % 7}`, value: { proc, n, text: 'x'.repeat((n * 37) % 400) } }
        await publisher.publishOne(entry, undefined, n % 10 === 0 ? 2 : undefined)
      }
    })

    for (let round = 0; round < ROUNDS; round++) {
      await sleep(250 + 130 * (round % 6))
      await recordEnds(broker.url, 'orders', history)
      history.record({ op: 'fault', kind: 'kill' })
      await broker.kill()
      await broker.restart()
      await recordEnds(broker.url, 'orders', history)
    }
    await sleep(300)
    stopping = true
    await Promise.all(publishing)
    // What is still held comes to consumers that acknowledge everything.
    for (const consumer of consumers) consumer.kill()
    attach()

    const facts = {
      subscriptions: subscriptions.map(({ name, ordered }) => ({ name, ordered, ackDeadlineMs: ACK_DEADLINE_MS })),
      flightMs: 2000,
      minPublished: 100 * ROUNDS,
      faults: ['kill'],
    }
    const verdict = await judgeDrained({ url: broker.url, topic: 'orders', history, facts })
    for (const consumer of consumers) consumer.stop()
    await publisher.close()
    expect(verdict.anomalies).toEqual({})
    expect(verdict).toMatchObject({ invalid: [], unanswered: 0 })
    // The run proves something only when repetitions met what was stored, and deliveries what was held.
    const duplicates = history.events.filter((event) => event.op === 'pub' && event.ph === 'ok' && event.duplicate)
    expect(duplicates.length).toBeGreaterThan(0)
    expect(verdict.redelivered['work']).toBeGreaterThan(0)
    expect(verdict.redelivered['ledger']).toBeGreaterThan(0)
    expect(consumers.flatMap((consumer) => consumer.complaints)).toEqual([])
  })
})
