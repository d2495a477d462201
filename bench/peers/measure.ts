/**
 * The kinds of measurement that the rows are made of. Each gives its figures and throws when a message was lost: a row
 * that lost one says nothing about speed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { diskBytes, residentBytes } from '../harness/processes.ts'
import type { PeerName } from './all.ts'
import type { ClientProcess } from './client-process.ts'
import type { ValueKind } from './payload.ts'
import { type Cpu, cpuBetween, type Stage, total, withStage } from './stage.ts'

export type Figures = Record<string, number>

/** How long and how much, of every row. */
export interface Scale {
  values: ValueKind
  warmUpMs: number
  durationMs: number
  /** Messages of the replay, and of what is stored. */
  backlog: number
  stored: number
  /** A peer that has not stored them by then goes on with fewer. */
  fillMs: number
  topics: number
  topicsMs: number
}

const TOPIC = 'bench.0'
const DRAIN_MS = 60_000
const NO_LIMIT = Number.MAX_SAFE_INTEGER
const PREFETCH = 10_000

export async function publishing(
  peer: PeerName,
  scale: Scale,
  how: { bytes: number; inFlight: number },
): Promise<Figures> {
  return withStage(peer, async (stage) => {
    await stage.admin.create([TOPIC], [])
    const { warmUpMs, durationMs, values } = scale
    const publisher = await stage.client({
      kind: 'publish',
      topics: [TOPIC],
      values,
      bytes: how.bytes,
      load: { inFlight: how.inFlight },
      warmUpMs,
      durationMs,
      count: NO_LIMIT,
      aheadMax: NO_LIMIT,
    })
    publisher.send({ type: 'go' })
    const cpu = await window(stage, publisher)
    const { figures } = await publisher.heard('done')
    await stored(stage, figures['published']!)
    return { ...figures, ...cpu }
  })
}

export interface Streaming {
  bytes: number
  /** Consumers, each a process. */
  consumers: number
  /** Durable subscriptions; every consumer is of all of them. */
  subscriptions: number
  topics: number
  isBatchAcked: boolean
  load: { inFlight: number } | { ratePerSecond: number }
  warmUpMs: number
  durationMs: number
  prefetch?: number
}

/** Publishing and consuming at the same time. */
export async function streaming(peer: PeerName, scale: Scale, how: Streaming): Promise<Figures> {
  return withStage(peer, async (stage) => {
    const topics = Array.from({ length: how.topics }, (_, i) => `bench.${i}`)
    const subscriptions = Array.from({ length: how.subscriptions }, (_, i) => `reader-${i}`)
    await stage.admin.create(topics, subscriptions)
    const place = { topics, values: scale.values, bytes: how.bytes }
    const { prefetch = PREFETCH, isBatchAcked, load, warmUpMs, durationMs } = how
    const consumers = await Promise.all(
      Array.from({ length: how.consumers }, () =>
        stage.client({ kind: 'consume', ...place, subscriptions, prefetch, isBatchAcked }),
      ),
    )
    // Publishers stay so far ahead of the slowest at most: what is measured is the whole way and not a backlog.
    const aheadMax = 'inFlight' in load ? Math.max(2000, 20_000 / how.subscriptions) : NO_LIMIT
    const publisher = await stage.client({
      kind: 'publish',
      ...place,
      load,
      warmUpMs,
      durationMs,
      count: NO_LIMIT,
      aheadMax,
    })
    for (const consumer of consumers) consumer.send({ type: 'go' })
    await Promise.all(consumers.map((consumer) => consumer.heard('consuming')))
    for (const consumer of consumers)
      consumer.onProgress = () =>
        publisher.send({ type: 'acked', count: Math.floor(total(consumers).acked / how.subscriptions) })
    publisher.send({ type: 'go' })
    let fromAt = 0
    let from = 0
    let perSecond = 0
    const cpu = await window(stage, publisher, {
      from: () => {
        fromAt = performance.now()
        from = total(consumers).acked
      },
      to: () => {
        perSecond = ((total(consumers).acked - from) * 1000) / (performance.now() - fromAt)
      },
    })
    const { figures } = await publisher.heard('done')
    const { latencies } = await finish(stage, consumers, figures['published']! * how.subscriptions)
    for (const name of subscriptions) await settled(stage, topics, name)
    return { perSecond, ...latencies, published: figures['published']!, ...cpu }
  })
}

/** Reads and acknowledges what is there. */
export async function replaying(peer: PeerName, scale: Scale): Promise<Figures> {
  return withStage(peer, async (stage) => {
    await stage.admin.create([TOPIC], ['reader-0'])
    const count = await fill(stage, scale, scale.backlog)
    const place = { topics: [TOPIC], values: scale.values, bytes: 256 }
    const subscriptions = ['reader-0']
    const consumer = await stage.client({
      kind: 'consume',
      ...place,
      subscriptions,
      prefetch: PREFETCH,
      isBatchAcked: true,
    })
    const before = stage.cpu()
    const beganAt = performance.now()
    consumer.send({ type: 'go' })
    const { endedAt, cpu } = await finish(stage, [consumer], count)
    await settled(stage, [TOPIC], 'reader-0')
    return { perSecond: (count * 1000) / (endedAt - beganAt), published: count, ...cpuBetween(before, cpu) }
  })
}

/** Memory and disk with many messages stored, and the time from kill -9 to serving them again. */
export async function storing(peer: PeerName, scale: Scale): Promise<Figures> {
  return withStage(peer, async (stage) => {
    await stage.admin.create([TOPIC], [])
    const count = await fill(stage, scale, scale.stored)
    const { server } = stage
    const rssMB = (residentBytes(server.pid) ?? 0) / 1e6
    await server.kill()
    const killedAt = performance.now()
    await server.restart()
    await servingAgain(stage, count)
    const restartS = (performance.now() - killedAt) / 1000
    const afterMB = (residentBytes(server.pid) ?? 0) / 1e6
    return {
      rssMB: Math.max(rssMB, afterMB),
      bytesPerMessage: diskBytes(server.dataDir) / count,
      restartS,
      published: count,
    }
  })
}

async function servingAgain(stage: Stage, count: number): Promise<void> {
  let last: unknown
  for (const giveUpAt = performance.now() + DRAIN_MS; performance.now() < giveUpAt; await sleep(5)) {
    try {
      const client = await stage.peer.connect(stage.server.address, { isSerial: false })
      try {
        last = await within(2000, client.stored(TOPIC))
        if (last === count) return
      } finally {
        void client.close().catch(() => undefined)
      }
    } catch (error) {
      last = error
    }
  }
  throw new Error(`${count} were stored, after a restart: ${String(last)}`)
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return Promise.race([
    promise,
    sleep(ms).then(() => {
      throw new Error(`no answer in ${ms} ms`)
    }),
  ])
}

/** Stores messages of 256 bytes as fast as the peer takes them. Gives how many. */
async function fill(stage: Stage, scale: Scale, count: number): Promise<number> {
  const publisher = await stage.client({
    kind: 'publish',
    topics: [TOPIC],
    values: scale.values,
    bytes: 256,
    load: { inFlight: 5000 },
    warmUpMs: 0,
    durationMs: scale.fillMs,
    count,
    aheadMax: NO_LIMIT,
  })
  publisher.send({ type: 'go' })
  const { figures } = await publisher.heard('done')
  return figures['published']!
}

interface Marks {
  from?: () => void
  to?: () => void
}

async function window(stage: Stage, publisher: ClientProcess, marks: Marks = {}): Promise<Figures> {
  await publisher.heard('from')
  marks.from?.()
  const before = stage.cpu()
  await publisher.heard('to')
  marks.to?.()
  return cpuBetween(before, stage.cpu())
}

async function finish(
  stage: Stage,
  consumers: readonly ClientProcess[],
  expected: number,
): Promise<{ endedAt: number; cpu: Cpu; latencies: Figures }> {
  const giveUpAt = performance.now() + DRAIN_MS
  for (let now = total(consumers); now.acked < expected || now.distinct < expected; now = total(consumers)) {
    for (const { failure } of consumers) if (failure) throw failure
    if (performance.now() > giveUpAt)
      throw new Error(`lost: of ${expected} published came ${now.distinct}, acknowledged ${now.acked}`)
    await sleep(5)
  }
  const endedAt = performance.now()
  const cpu = stage.cpu()
  for (const consumer of consumers) consumer.send({ type: 'finish' })
  const done = await Promise.all(consumers.map((consumer) => consumer.heard('done')))
  const distinct = done.reduce((sum, { figures }) => sum + figures['distinct']!, 0)
  if (distinct !== expected) throw new Error(`of ${expected} published came ${distinct} different ones`)
  const { p50Ms, p99Ms, p999Ms, maxMs } = done[0]!.figures as Record<string, number>
  return { endedAt, cpu, latencies: { p50Ms: p50Ms!, p99Ms: p99Ms!, p999Ms: p999Ms!, maxMs: maxMs! } }
}

async function stored(stage: Stage, count: number): Promise<void> {
  await until(`stored of ${count} that were answered`, () => stage.admin.stored(TOPIC), count)
}

async function settled(stage: Stage, topics: readonly string[], name: string): Promise<void> {
  await until(`not acknowledged in ${name}`, () => stage.admin.backlog(topics, name), 0)
}

/** Counters of some peers come late. */
async function until(what: string, ask: () => Promise<number>, wanted: number): Promise<void> {
  let last = Number.NaN
  for (const giveUpAt = performance.now() + 15_000; performance.now() < giveUpAt; await sleep(50)) {
    last = await ask()
    if (last === wanted) return
  }
  throw new Error(`lost: ${last} ${what}`)
}
