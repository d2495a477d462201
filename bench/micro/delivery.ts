/**
 * What a delivery over the binary protocol costs the broker without disks and sockets, on one core:
 * `npm run build && npx tsc -p bench && node dist-bench/bench/micro/delivery.js`.
 *
 * Whole subscriptions with sessions whose sockets take everything at once, and clients that acknowledge in the next turn
 * what they got, as the SDK does: in one request of ranges. Live batches, a backlog, eight consumers of one
 * subscription, a hundred subscriptions. Prints processor time a delivery, the best of three rounds.
 */
import { encodeConsumeRequest, type FrameRange, getU32, getU64, SUBSCRIPTION_DEFAULTS } from '@tidings/sdk/protocol'
import { systemClock } from '../../src/base/clock.ts'
import { nullLogger, nullMetrics } from '../../src/base/telemetry.ts'
import { BinaryDialect } from '../../src/server/binary-dialect.ts'
import { Session, type Socket } from '../../src/server/session.ts'
import { CursorStore } from '../../src/subscription/cursor-store.ts'
import { SubscriptionRunner } from '../../src/subscription/subscription-runner.ts'
import { MemoryPartition } from '../../test/support/memory-partition.ts'
import { MemoryDirectory } from '../../test/support/memory-topic.ts'
import { settle } from '../../test/support/settle.ts'

const ROUNDS = 3

/** A client that acknowledges what it got in the next turn. */
class Client implements Socket {
  readonly session: Session
  received = 0
  #ranges: FrameRange[] = []

  constructor(subscription: SubscriptionRunner, prefetch: number) {
    const options = { consumer: 'bench', prefetch, weight: 1, writeTimeoutMs: 60_000 }
    this.session = new Session(new BinaryDialect(), this, systemClock, nullLogger, options)
    this.session.join(subscription)
  }

  sendParts(head: Uint8Array): void {
    const from = getU64(head, 9)
    const count = getU32(head, 29)
    this.received += count
    const last = this.#ranges.at(-1)
    if (last?.to === from) last.to = from + count
    else this.#ranges.push({ topic: 0, partition: 0, from, to: from + count })
    if (this.#ranges.length > 1 || last) return
    systemClock.soon(() => {
      const ranges = this.#ranges.splice(0)
      this.session.received(encodeConsumeRequest({ type: 'ack', request: 0, ranges }))
    })
  }

  send(): void {
    // The welcome and the topic.
  }

  ping(): void {
    // Nobody answers, and nobody waits that long.
  }

  bufferedBytes(): number {
    return 0
  }

  cork(): void {
    // Frames cost nothing here.
  }

  uncork(): void {
    // Frames cost nothing here.
  }

  close(code: number, reason: string): void {
    if (code !== 1012) throw new Error(`closed with ${code} ${reason}`)
  }

  terminate(): void {
    throw new Error('terminated')
  }
}

interface Round {
  messages: number
  /** Of a batch. */
  each: number
  consumers: number
  subscriptions: number
  /** Batches that are published in one turn; 0: all of them before anybody reads. */
  live: number
}

async function round({ messages, each, consumers, subscriptions, live }: Round): Promise<number> {
  const partition = new MemoryPartition(systemClock)
  const cursors = await CursorStore.open(partition, systemClock, nullLogger)
  const runners = Array.from({ length: subscriptions }, (_, i) => {
    return new SubscriptionRunner({
      id: `bench-${i}`,
      name: `bench-${i}`,
      topic: 'bench',
      settings: { ...SUBSCRIPTION_DEFAULTS, maxUnacked: 200_000 },
      partitions: [{ topic: 'bench', partition, cursors }],
      directory: new MemoryDirectory(systemClock),
      clock: systemClock,
      metrics: nullMetrics,
      logger: nullLogger,
    })
  })
  if (live === 0) partition.publish(messages, { each, bytes: 256 })
  /** On making the messages. */
  let spent = 0
  const before = process.cpuUsage()
  const clients = runners.flatMap((runner) => Array.from({ length: consumers }, () => new Client(runner, 1000)))
  const total = messages * subscriptions
  const received = (): number => clients.reduce((sum, client) => sum + client.received, 0)
  for (let published = 0; live > 0 && published < messages; published += each * live) {
    const publishedFrom = process.cpuUsage()
    partition.publish(each * live, { each, bytes: 256 })
    const publishing = process.cpuUsage(publishedFrom)
    spent += publishing.user + publishing.system
    while (received() < (published + each * live) * subscriptions) await settle()
  }
  while (received() < total) await settle()
  const { user, system } = process.cpuUsage(before)
  await Promise.all(runners.map((runner) => runner.close('closing')))
  return (user + system - spent) / total
}

async function best(what: string, work: Round): Promise<void> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < ROUNDS; i++) least = Math.min(least, await round(work))
  console.log(`${what.padEnd(56)} ${least.toFixed(3).padStart(8)} µs a delivery`)
}

const one = { consumers: 1, subscriptions: 1 }
await best('a backlog in batches of 500', { messages: 1_000_000, each: 500, ...one, live: 0 })
await best('live batches of 500', { messages: 500_000, each: 500, ...one, live: 1 })
await best('live batches of 1, 300 a turn', { messages: 150_000, each: 1, ...one, live: 300 })
await best('live batches of 500, 8 consumers', {
  messages: 400_000,
  each: 500,
  consumers: 8,
  subscriptions: 1,
  live: 1,
})
await best('live batches of 500, 100 subscriptions', {
  messages: 20_000,
  each: 500,
  consumers: 1,
  subscriptions: 100,
  live: 1,
})
await best('live batches of 20, 100 subscriptions', {
  messages: 4000,
  each: 20,
  consumers: 1,
  subscriptions: 100,
  live: 1,
})
