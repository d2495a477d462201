/**
 * What is measured. A scenario runs one round at a time and gives rows of figures; run.ts repeats the rounds and takes
 * medians. Each round has a broker of its own on a fresh directory, unless it says otherwise.
 */
import { callOk } from '../test/support/admin-client.ts'
import { BrokerProcess, stopAll } from '../test/support/broker-process.ts'
import type { Figures } from './client.ts'
import { BareServer, diskBytes, residentBytes, runJob } from './harness/processes.ts'

export type Rows = Record<string, Figures>

export interface Scenario {
  what: string
  round: () => Promise<Rows>
}

const TOPIC = 'bench'
const SUBSCRIPTION = 'reader'
const RATE = 5000
const SDK_LOADS = [
  { atOnce: 1, valueBytes: 256 },
  { atOnce: 1000, valueBytes: 256 },
  { atOnce: 1000, valueBytes: 1024 },
]

async function withBroker<T>(use: (broker: BrokerProcess) => Promise<T>): Promise<T> {
  const broker = await BrokerProcess.start()
  await callOk('PUT', `${broker.url}/v1/topics/${TOPIC}`, {})
  try {
    return await use(broker)
  } finally {
    await stopAll()
  }
}

async function subscribe(broker: BrokerProcess): Promise<void> {
  const path = `${broker.url}/v1/topics/${TOPIC}/subscriptions/${SUBSCRIPTION}`
  await callOk('PUT', path, { type: 'shared', start: 'earliest', maxUnacked: 100_000 })
}

/** The bare route and the broker in turn, in one round, so that both see the same machine. */
async function single(): Promise<Rows> {
  const rows: Rows = {}
  for (const connections of [64, 256]) {
    const job = { kind: 'single', topic: TOPIC, connections, ratePerSecond: RATE, seconds: 4 } as const
    const bareServer = await BareServer.start()
    const bare = await runJob({ ...job, url: bareServer.url })
    await bareServer.stop()
    const broker = await withBroker(({ url }) => runJob({ ...job, url }))
    rows[`bare fastify, ${connections} connections`] = bare
    rows[`broker, ${connections} connections`] = { ...broker, ofBare: broker['perSecond']! / bare['perSecond']! }
  }
  return rows
}

async function batch(): Promise<Rows> {
  const rows: Rows = {}
  for (const connections of [4, 16, 64]) {
    const job = { kind: 'batch', topic: TOPIC, connections, batch: 100, seconds: 4 } as const
    rows[`100 a POST, ${connections} connections`] = await withBroker(({ url }) => runJob({ ...job, url }))
  }
  return rows
}

async function deliver(): Promise<Rows> {
  const job = { topic: TOPIC, subscription: SUBSCRIPTION } as const
  const atRate = await withBroker(async (broker) => {
    await subscribe(broker)
    return runJob({ ...job, kind: 'deliver', url: broker.url, connections: 64, ratePerSecond: RATE, seconds: 6 })
  })
  const most = await withBroker(async (broker) => {
    await subscribe(broker)
    return runJob({ ...job, kind: 'stream', url: broker.url, connections: 4, batch: 100, seconds: 6 })
  })
  return {
    [`single publishes at ${RATE}/s, due → delivered`]: atRate,
    'batches of 100, published → acknowledged': most,
  }
}

async function replay(): Promise<Rows> {
  const count = 500_000
  return withBroker(async (broker) => {
    await subscribe(broker)
    await runJob({ kind: 'fill', url: broker.url, topic: TOPIC, count, batch: 1000 })
    const figures = await runJob({ kind: 'replay', url: broker.url, topic: TOPIC, subscription: SUBSCRIPTION, count })
    return { '500,000 messages, read and acknowledged': figures }
  })
}

async function sdkPublish(): Promise<Rows> {
  const rows: Rows = {}
  for (const { atOnce, valueBytes } of SDK_LOADS) {
    const job = { kind: 'sdkPublish', topic: TOPIC, atOnce, valueBytes, seconds: 4 } as const
    rows[`${valueBytes} bytes, ${atOnce} at a time`] = await withBroker(({ url }) => runJob({ ...job, url }))
  }
  return rows
}

async function restart(): Promise<Rows> {
  const count = 1_000_000
  return withBroker(async (broker) => {
    await runJob({ kind: 'fill', url: broker.url, topic: TOPIC, count, batch: 1000 })
    await broker.kill()
    const readyMs = await broker.restart()
    const { partitionStates } = await callOk('GET', `${broker.url}/v1/topics/${TOPIC}`)
    if (partitionStates[0].nextOffset !== count)
      throw new Error(`${partitionStates[0].nextOffset} of ${count} are there`)
    const rss = residentBytes(broker.pid)
    const figures: Figures = { readyMs, bytesPerMessage: diskBytes(broker.dataDir) / count }
    if (rss !== undefined) figures['rssMiB'] = rss / 1_048_576
    return { '1,000,000 messages, after kill -9': figures }
  })
}

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  single: {
    what: 'single publishes of 256 bytes, fsynced, beside a bare fastify route; latency at 5,000/s',
    round: single,
  },
  batch: { what: 'batches of 100 messages of 256 bytes as NDJSON, fsynced', round: batch },
  deliver: { what: 'publish → deliver → acknowledge over WebSocket', round: deliver },
  replay: { what: 'replay of a backlog with acknowledgements', round: replay },
  'sdk-publish': { what: 'publishes through the client, each awaited', round: sdkPublish },
  restart: { what: 'start after kill -9', round: restart },
}
