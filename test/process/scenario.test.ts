/**
 * The main job on real input through real processes: a batch publisher, two subscriptions with two consumers each,
 * one consumer that dies and one broker that is killed on the way.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { callOk, eventually } from '../support/admin-client.ts'
import { BrokerProcess, ROOT, stopAll } from '../support/broker-process.ts'
import { identify, judgeDrained } from '../support/drained-run.ts'
import { History, machineTime } from '../support/history.ts'
import { realEvents } from '../support/real-events.ts'
import { RecordingConsumer } from '../support/recording-consumer.ts'
import { RecordingPublisher } from '../support/recording-publisher.ts'

const EVENTS = 6000
const BATCH = 100
const ACK_DEADLINE_MS = 30_000

afterEach(stopAll)

describe('a broker with two subscriptions of two consumers each', () => {
  it('loses nothing when a consumer and the broker are killed on the way', async () => {
    const { entries } = realEvents(ROOT, EVENTS)
    expect(entries.length).toBeGreaterThan(1000)
    const broker = await BrokerProcess.start()
    const history = new History(machineTime)
    await callOk('PUT', `${broker.url}/v1/topics/commits`, { partitions: 4 })
    for (const name of ['index', 'audit']) {
      const settings = { type: 'shared', start: 'earliest', ackDeadlineMs: ACK_DEADLINE_MS }
      await callOk('PUT', `${broker.url}/v1/topics/commits/subscriptions/${name}`, settings)
    }
    const consumers = ['index', 'audit'].flatMap((subscription) =>
      [1, 2].map((number) => {
        const name = `${subscription}-${number}`
        return new RecordingConsumer({
          url: broker.webSocketUrl,
          topic: 'commits',
          subscription,
          name,
          history,
          identify,
        })
      }),
    )
    const publisher = new RecordingPublisher(broker.url, 'commits', history)
    const half = Math.floor(entries.length / 2)
    const publishFrom = async (from: number, to: number): Promise<void> => {
      for (let at = from; at < to; at += BATCH)
        await publisher.publishBatch(entries.slice(at, Math.min(at + BATCH, to)))
    }

    await publishFrom(0, half)
    await eventually(
      'the first consumer works',
      () => consumers[0]!.received,
      (count) => count > 0,
    )
    consumers[0]!.kill()
    const rest = publishFrom(half, entries.length)
    await eventually(
      'the others go on',
      () => consumers[1]!.confirmed,
      (count) => count > 0,
    )
    history.record({ op: 'fault', kind: 'kill' })
    await broker.kill()
    await broker.restart()
    await rest

    const facts = {
      subscriptions: ['index', 'audit'].map((name) => ({ name, ordered: false, ackDeadlineMs: ACK_DEADLINE_MS })),
      flightMs: 2000,
      minPublished: entries.length,
      faults: ['kill'],
    }
    const verdict = await judgeDrained({ url: broker.url, topic: 'commits', history, facts })
    for (const consumer of consumers) consumer.stop()
    await publisher.close()
    expect(verdict.anomalies).toEqual({})
    expect(verdict).toMatchObject({ invalid: [], published: entries.length })
    expect(consumers.flatMap((consumer) => consumer.complaints)).toEqual([])
  })
})
