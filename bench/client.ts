/**
 * The client process of the benches: gets one job over IPC, does it against a running server, sends back figures and
 * ends. A process of its own, so that its work does not run on the broker's event loop.
 */

import { benchConsumer } from './harness/bench-consumer.ts'
import { closedLoop } from './harness/closed-loop.ts'
import { Connections } from './harness/connections.ts'
import { Latencies } from './harness/latency.ts'
import { openLoop } from './harness/open-loop.ts'
import { batchPublish, jsonValue, singlePublish } from './harness/payload.ts'
import { type SdkPublishJob, sdkPublish } from './harness/sdk-publish.ts'

export type Job =
  /** Single publishes: the most, then the latency at a fixed rate (0: not asked for). */
  | { kind: 'single'; url: string; topic: string; connections: number; ratePerSecond: number; seconds: number }
  | { kind: 'batch'; url: string; topic: string; connections: number; batch: number; seconds: number }
  /** Stores exactly `count` messages. */
  | { kind: 'fill'; url: string; topic: string; count: number; batch: number }
  /** Publishes singly at a rate, and takes from when each was due to when it was delivered. */
  | {
      kind: 'deliver'
      url: string
      topic: string
      subscription: string
      connections: number
      ratePerSecond: number
      seconds: number
    }
  /** Publishes batches as fast as they are consumed and acknowledged. */
  | {
      kind: 'stream'
      url: string
      topic: string
      subscription: string
      connections: number
      batch: number
      seconds: number
    }
  /** Reads and acknowledges `count` messages that are already there. */
  | { kind: 'replay'; url: string; topic: string; subscription: string; count: number }
  /** Publishes through the client, so many at a time. */
  | SdkPublishJob

export type Figures = Record<string, number>

const WARM_UP_MS = 4000

async function single(job: Extract<Job, { kind: 'single' }>): Promise<Figures> {
  const connections = new Connections(job.url, job.connections)
  const request = singlePublish(job.topic)
  const loop = { connections, count: job.connections, warmUpMs: WARM_UP_MS, durationMs: job.seconds * 1000 }
  const perSecond = await closedLoop({ ...loop, next: () => request })
  if (job.ratePerSecond === 0) {
    await connections.close()
    return { perSecond }
  }
  const { latencies } = await openLoop({
    ratePerSecond: job.ratePerSecond,
    durationMs: job.seconds * 1000,
    warmUpMs: WARM_UP_MS,
    start: (_dueAt, done) => connections.send(request, done),
  })
  await connections.close()
  return { perSecond, ...latencies.summary() }
}

async function batch(job: Extract<Job, { kind: 'batch' }>): Promise<Figures> {
  const connections = new Connections(job.url, job.connections)
  const request = batchPublish(job.topic, job.batch)
  const loop = { connections, count: job.connections, warmUpMs: WARM_UP_MS, durationMs: job.seconds * 1000 }
  const perSecond = await closedLoop({ ...loop, next: () => request })
  await connections.close()
  return { messagesPerSecond: perSecond * job.batch }
}

async function fill(job: Extract<Job, { kind: 'fill' }>): Promise<Figures> {
  const connections = new Connections(job.url, 4)
  const beganAt = performance.now()
  let left = job.count
  const loop = async (): Promise<void> => {
    while (left > 0) {
      const size = Math.min(job.batch, left)
      left -= size
      await new Promise<void>((resolve) => connections.send(batchPublish(job.topic, size), resolve))
    }
  }
  await Promise.all(Array.from({ length: 4 }, loop))
  await connections.close()
  return { messagesPerSecond: (job.count * 1000) / (performance.now() - beganAt) }
}

async function deliver(job: Extract<Job, { kind: 'deliver' }>): Promise<Figures> {
  const latencies = new Latencies()
  const measureAt = performance.now() + WARM_UP_MS
  let received = 0
  let confirmed = 0
  const socket = await benchConsumer({
    ...job,
    url: job.url.replace('http', 'ws'),
    prefetch: 10_000,
    onMessage: ({ at }) => {
      received++
      if (at >= measureAt) latencies.add(performance.now() - at)
    },
    onConfirmed: (count) => {
      confirmed += count
    },
  })
  const connections = new Connections(job.url, job.connections)
  const { sent, latencies: answers } = await openLoop({
    ratePerSecond: job.ratePerSecond,
    durationMs: job.seconds * 1000,
    warmUpMs: WARM_UP_MS,
    start: (dueAt, done) =>
      connections.send({ ...singlePublish(job.topic), body: Buffer.from(jsonValue(dueAt)) }, done),
  })
  await until(() => confirmed >= sent)
  socket.terminate()
  await connections.close()
  if (received !== sent) throw new Error(`${sent} published, ${received} delivered`)
  const { p50Ms: publishP50Ms, p99Ms: publishP99Ms } = answers.summary()
  return { ...latencies.summary(), publishP50Ms, publishP99Ms }
}

async function stream(job: Extract<Job, { kind: 'stream' }>): Promise<Figures> {
  const connections = new Connections(job.url, job.connections)
  const request = batchPublish(job.topic, job.batch)
  let published = 0
  let confirmed = 0
  const socket = await benchConsumer({
    ...job,
    url: job.url.replace('http', 'ws'),
    prefetch: 10_000,
    onMessage: () => undefined,
    onConfirmed: (count) => {
      confirmed += count
    },
  })
  // Publishers stay at most this far ahead of the consumer, so that what is measured is the whole way and not a backlog.
  const ahead = 20_000
  const endsAt = performance.now() + WARM_UP_MS + job.seconds * 1000
  const loop = async (): Promise<void> => {
    while (performance.now() < endsAt) {
      if (published - confirmed > ahead) await new Promise((resolve) => setImmediate(resolve))
      else {
        published += job.batch
        await new Promise<void>((resolve) => connections.send(request, resolve))
      }
    }
  }
  const running = Array.from({ length: job.connections }, loop)
  await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS))
  const [from, fromAt] = [confirmed, performance.now()]
  await Promise.all(running)
  const messagesPerSecond = ((confirmed - from) * 1000) / (performance.now() - fromAt)
  await until(() => confirmed >= published)
  socket.terminate()
  await connections.close()
  return { messagesPerSecond }
}

async function replay(job: Extract<Job, { kind: 'replay' }>): Promise<Figures> {
  let received = 0
  let confirmed = 0
  const beganAt = performance.now()
  const socket = await benchConsumer({
    ...job,
    url: job.url.replace('http', 'ws'),
    prefetch: 10_000,
    onMessage: () => {
      received++
    },
    onConfirmed: (count) => {
      confirmed += count
    },
  })
  await until(() => confirmed >= job.count, 300_000)
  const tookMs = performance.now() - beganAt
  socket.terminate()
  if (received !== job.count) throw new Error(`${job.count} stored, ${received} delivered`)
  return { messagesPerSecond: (job.count * 1000) / tookMs }
}

async function until(holds: () => boolean, timeoutMs = 60_000): Promise<void> {
  for (const giveUpAt = performance.now() + timeoutMs; !holds(); ) {
    if (performance.now() > giveUpAt) throw new Error(`not done after ${timeoutMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

async function perform(job: Job): Promise<Figures> {
  switch (job.kind) {
    case 'single':
      return single(job)
    case 'batch':
      return batch(job)
    case 'fill':
      return fill(job)
    case 'deliver':
      return deliver(job)
    case 'stream':
      return stream(job)
    case 'replay':
      return replay(job)
    case 'sdkPublish':
      return sdkPublish(job, WARM_UP_MS)
  }
}

process.once('disconnect', () => process.exit(1))
process.once('message', (job) => {
  void perform(job as Job).then((figures) => process.send?.(figures, () => process.exit(0)))
})
