/**
 * Clients of a cluster as users write them: publishers and consumers over the SDK that know all brokers' URLs, and write
 * down all they do and see. Each publisher publishes one after another, under keys of its own, so that the order of each
 * key is known, and goes on until the run is judged.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, createClient, type Message, PublishError } from '@tidings/sdk'
import { callOk, eventually } from './admin-client.ts'
import type { BrokerCluster } from './broker-cluster.ts'
import { identify, judgeDrained } from './drained-run.ts'
import { History, type HistoryEvent, hashOf, machineTime } from './history.ts'
import type { Verdict } from './history-verdict.ts'

const TOPIC = 'orders'
const PUBLISHERS = 6
const CONSUMERS = 2
const KEYS = 4
const ACK_DEADLINE_MS = 60_000
/** A frame may lie with a broker that stands still, and go on to its client when that goes on. */
const FLIGHT_MS = 3000
const SUBSCRIPTIONS = [
  { name: 'work', type: 'shared' },
  { name: 'ledger', type: 'key_shared' },
] as const

export interface ClusterVerdict extends Verdict {
  /** First deliveries of a key that came after a later one of it, on the subscription that keeps the order of keys. */
  reordered: string[]
  attemptsMax: number
}

export class ClusterLoad {
  readonly topic = TOPIC
  readonly history = new History(machineTime)
  readonly #cluster: BrokerCluster
  readonly #clients: Client[] = []
  readonly #publishing: Promise<void>[] = []
  #isStopped = false

  private constructor(cluster: BrokerCluster) {
    this.#cluster = cluster
  }

  /** The topic is on all brokers, and everything runs. */
  static async start(cluster: BrokerCluster): Promise<ClusterLoad> {
    const load = new ClusterLoad(cluster)
    const url = cluster.urls[0]!
    const copies = { replicationFactor: 3, minInSyncReplicas: 2 }
    await callOk('PUT', `${url}/v1/topics/${TOPIC}`, { partitions: 3, segmentBytes: 262_144, ...copies })
    for (const { name, type } of SUBSCRIPTIONS) {
      const settings = { type, start: 'earliest', ackDeadlineMs: ACK_DEADLINE_MS, backoff: { minMs: 10, maxMs: 50 } }
      await callOk('PUT', `${url}/v1/topics/${TOPIC}/subscriptions/${name}`, settings)
    }
    await cluster.inSync(TOPIC)
    for (const { name } of SUBSCRIPTIONS) for (let n = 0; n < CONSUMERS; n++) load.#consume(name, n)
    for (let n = 0; n < PUBLISHERS; n++) load.#publishing.push(load.#publish(n))
    await load.flows()
    return load
  }

  fault(kind: string): void {
    this.history.record({ op: 'fault', kind })
  }

  /** Waits until so many more publishes are answered. */
  async flows(count = 200): Promise<void> {
    const wanted = this.#answered() + count
    await eventually(
      `${count} more publishes are answered`,
      () => this.#answered(),
      (now) => now >= wanted,
      90_000,
    )
  }

  /** Ends publishing, waits until everything is consumed, and judges. All brokers must be up. */
  async judge(faults: readonly string[], minPublished = 300): Promise<ClusterVerdict> {
    this.#isStopped = true
    await Promise.all(this.#publishing)
    await this.#cluster.inSync(TOPIC)
    const facts = {
      subscriptions: SUBSCRIPTIONS.map(({ name }) => ({ name, ordered: false, ackDeadlineMs: ACK_DEADLINE_MS })),
      flightMs: FLIGHT_MS,
      minPublished,
      faults,
    }
    const url = this.#cluster.urls[0]!
    const verdict = await judgeDrained({ url, topic: TOPIC, history: this.history, facts, timeoutMs: 90_000 })
    await this.close()
    const attempts = this.history.events.map((event) => (event.op === 'dlv' ? event.attempt : 0))
    return {
      ...verdict,
      reordered: reorderedKeys(this.history.events, 'ledger'),
      attemptsMax: attempts.reduce((most, attempt) => Math.max(most, attempt), 0),
    }
  }

  async close(): Promise<void> {
    this.#isStopped = true
    await Promise.all(this.#clients.map((client) => client.close({ timeoutMs: 2000 })))
  }

  /** Longest time without an answered publish, from then on. */
  longestSilenceMs(since: number): number {
    let [last, longest] = [since, 0]
    for (const event of this.history.events) {
      if (event.op !== 'pub' || event.ph !== 'ok' || event.t < since) continue
      longest = Math.max(longest, event.t - last)
      last = event.t
    }
    return longest
  }

  #answered(): number {
    let count = 0
    for (const event of this.history.events) if (event.op === 'pub' && event.ph === 'ok') count++
    return count
  }

  /** Each client begins with another broker. */
  #client(n: number): Client {
    const { urls } = this.#cluster
    const first = n % urls.length
    const client = createClient({ url: [...urls.slice(first), ...urls.slice(0, first)], requestTimeoutMs: 8000 })
    this.#clients.push(client)
    return client
  }

  async #publish(proc: number): Promise<void> {
    const topic = this.#client(proc).topic(TOPIC)
    const { history } = this
    for (let n = 0; !this.#isStopped; n++) {
      const name = `${proc}:${n}`
      const value = { proc, n, text: 'x'.repeat((n * 37) % 400) }
      const options = { key: `k${proc}.${n % KEYS}`, headers: { n: name } }
      const hash = hashOf(JSON.stringify(value))
      // Sent again by hand only where the client gave up: under its name, so that it is there once all the same.
      for (let isOver = false; !isOver; ) {
        const id = history.nextId()
        history.record({ op: 'pub', ph: 'inv', id, value: name, hash, idempotent: true })
        try {
          const receipt = await topic.publish(value, { ...options, idempotencyKey: name })
          const { partition, offset, duplicate = false } = receipt
          history.record({ op: 'pub', ph: 'ok', id, partition, offset, duplicate })
          isOver = true
        } catch (error) {
          if (!(error instanceof PublishError)) throw error
          const ph = error.outcome === 'unknown' ? 'info' : 'fail'
          history.record({ op: 'pub', ph, id, code: error.code })
          isOver = this.#isStopped
          await sleep(50)
        }
      }
      await sleep(10)
    }
  }

  #consume(sub: string, n: number): void {
    const { history } = this
    const consumer = `${sub}-${n}`
    let session = 0
    const ended = (): void => {
      if (session !== 0) history.record({ op: 'close', sub, session, consumer })
      session = 0
    }
    const began = (): void => {
      ended()
      session = history.nextId()
      history.record({ op: 'open', sub, session, consumer })
    }
    const options = { consumer, concurrency: 16, prefetch: 64, onConnect: began, onError: ended }
    this.#client(n + 1)
      .topic(TOPIC)
      .subscribe(sub, options, async (message: Message<unknown>) => {
        // What came before the connection was lost and is handled after it.
        if (session === 0) began()
        const on = session
        const { partition, offset, attempt, headers, value } = message
        const at = [{ partition, offset }]
        const delivered = { sub, session: on, partition, offset, attempt, ...identify({ headers, value }) }
        history.record({ op: 'dlv', ...delivered })
        const id = history.nextId()
        history.record({ op: 'ack', ph: 'inv', id, sub, session: on, at })
        const isConfirmed = await message.ack()
        history.record({ op: 'ack', ph: isConfirmed ? 'ok' : 'info', id, sub, session: on, at })
      })
  }
}

/** Publishers number what they publish under a key upwards. */
function reorderedKeys(events: readonly HistoryEvent[], sub: string): string[] {
  const highest = new Map<string, number>()
  const seen = new Set<string>()
  const reordered: string[] = []
  for (const event of events) {
    if (event.op !== 'dlv' || event.sub !== sub || seen.has(event.value)) continue
    seen.add(event.value)
    const [proc, n] = event.value.split(':').map(Number) as [number, number]
    const key = `${proc}.${n % KEYS}`
    const before = highest.get(key) ?? -1
    if (n < before) reordered.push(`${event.value} came after ${proc}:${before}`)
    highest.set(key, Math.max(before, n))
  }
  return reordered
}
