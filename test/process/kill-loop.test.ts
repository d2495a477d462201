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
import { RecordingConsumer } from '../support/recording-consumer.ts'
import { RecordingPublisher } from '../support/recording-publisher.ts'

const ROUNDS = Number(process.env['TIDINGS_KILL_ROUNDS'] ?? 6)
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
    for (const { name: subscription, type, consumers: count } of subscriptions) {
      const settings = { type, start: 'earliest', ackDeadlineMs: ACK_DEADLINE_MS, backoff: { minMs: 10, maxMs: 50 } }
      await callOk('PUT', `${broker.url}/v1/topics/orders/subscriptions/${subscription}`, settings)
      for (let n = 0; n < count; n++) {
        const options = {
          url: broker.webSocketUrl,
          topic: 'orders',
          subscription,
          name: `${subscription}-${n}`,
          history,
          identify,
        }
        // Every 16th message comes back once or more, so that attempts have something to remember.
        const decide = (message: { offset: number; attempt: number }): 'ack' | 'nack' =>
          type === 'shared' && message.offset % 16 === 0 && message.attempt < 3 ? 'nack' : 'ack'
        consumers.push(new RecordingConsumer({ ...options, decide, query: { prefetch: '64' } }))
      }
    }
    const publisher = new RecordingPublisher(broker.url, 'orders', history, PUBLISHERS)
    let stopping = false
    const publishing = Array.from({ length: PUBLISHERS }, async (_, proc) => {
      for (let n = 0; !stopping; n++) {
        const name = `${proc}-${n}`
        await publisher.publishOne({ name, key: `k${n % 7}`, value: { proc, n, text: 'x'.repeat((n * 37) % 400) } })
        await sleep(1)
      }
    })

    for (let round = 0; round < ROUNDS; round++) {
      await sleep(250 + 130 * round)
      await recordEnds(broker.url, 'orders', history)
      history.record({ op: 'fault', kind: 'kill' })
      await broker.kill()
      await broker.restart()
      await recordEnds(broker.url, 'orders', history)
    }
    await sleep(300)
    stopping = true
    await Promise.all(publishing)

    const facts = {
      subscriptions: subscriptions.map(({ name, ordered }) => ({ name, ordered, ackDeadlineMs: ACK_DEADLINE_MS })),
      flightMs: 2000,
      minPublished: 100 * ROUNDS,
      faults: ['kill'],
    }
    const verdict = await judgeDrained({ url: broker.url, topic: 'orders', history, facts })
    for (const consumer of consumers) consumer.stop()
    await publisher.close()
    expect(verdict).toMatchObject({ anomalies: {}, invalid: [], unanswered: 0 })
    expect(consumers.flatMap((consumer) => consumer.complaints)).toEqual([])
  })
})
