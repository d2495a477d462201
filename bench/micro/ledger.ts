/**
 * What delivery costs without disks and sockets, on one core:
 * `npm run build && npx tsc -p bench && node dist-bench/bench/micro/ledger.js`.
 *
 * The ledger alone: leases in slices of 64, handed over, acknowledged one by one, in order and in random
 * order. Then a whole subscription: passes, dispatch, records of the subscription log, acknowledgements of
 * 64 ids a call, over a partition in memory. Prints messages a second, the best of five rounds.
 */
import { type MessageId, SUBSCRIPTION_DEFAULTS } from '@tidings/sdk/protocol'
import { systemClock } from '../../src/base/clock.ts'
import { nullLogger, nullMetrics } from '../../src/base/telemetry.ts'
import { AckLedger } from '../../src/subscription/ack-ledger.ts'
import { CursorStore } from '../../src/subscription/cursor-store.ts'
import type { Attachment, ConsumerPort, Delivery } from '../../src/subscription/subscription.ts'
import { SubscriptionRunner } from '../../src/subscription/subscription-runner.ts'
import { MemoryPartition } from '../../test/support/memory-partition.ts'
import { MemoryDirectory } from '../../test/support/memory-topic.ts'
import { settle } from '../../test/support/settle.ts'

const ROUNDS = 5
const SLICE = 64
const backoff = { minMs: 500, maxMs: 60_000 }

/** Leases 10,000 at a time, as maxUnacked has it, and acknowledges each in the given order. */
function ledgerRound(messages: number, order: readonly number[]): number {
  const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 0, runs: [] })
  const holders = Array.from({ length: 4 }, () => ({ outstanding: 0 }))
  const startedAt = systemClock.monotonic()
  for (let base = 0; base < messages; base += order.length) {
    for (let from = base; from < base + order.length; from += SLICE) {
      const holder = holders[(from / SLICE) & 3]!
      const to = Math.min(from + SLICE, base + order.length)
      ledger.lease(holder, from, to)
      ledger.handOver(holder, from, to, 1e9, holder)
    }
    for (const step of order) {
      const offset = base + step
      ledger.ack(holders[((base + Math.floor(step / SLICE) * SLICE) / SLICE) & 3]!, offset, offset + 1)
    }
    ledger.changes.clear()
  }
  if (ledger.floor !== messages) throw new Error(`${ledger.floor} of ${messages} acknowledged`)
  return messages / ((systemClock.monotonic() - startedAt) / 1000)
}

/** Acknowledges what it got in the next turn, as a client would at best. */
class EagerConsumer implements ConsumerPort {
  readonly name = 'bench'
  readonly prefetch = 4096
  readonly weight = 1
  attachment: Attachment | null = null
  acked = 0
  #ids: MessageId[] = []
  #isDue = false

  deliver({ partition, from, to }: Delivery): void {
    for (let offset = from; offset < to; offset++) this.#ids.push({ partition, offset })
    if (this.#isDue) return
    this.#isDue = true
    systemClock.soon(() => {
      this.#isDue = false
      const ids = this.#ids.splice(0)
      for (let at = 0; at < ids.length; at += SLICE) this.acked += this.attachment!.ack(ids.slice(at, at + SLICE))
    })
  }

  gap(): void {
    throw new Error('nothing was removed')
  }

  ready(): boolean {
    return true
  }

  ended(): void {
    this.attachment = null
  }
}

async function subscriptionRound(messages: number, each: number, consumers: number): Promise<number> {
  const partition = new MemoryPartition(systemClock)
  partition.publish(messages, { each, bytes: 256 })
  const cursors = await CursorStore.open(partition, systemClock, nullLogger)
  const subscription = new SubscriptionRunner({
    id: 'bench',
    name: 'bench',
    topic: 'bench',
    settings: { ...SUBSCRIPTION_DEFAULTS, maxUnacked: 20_000 },
    partitions: [{ topic: 'bench', partition, cursors }],
    directory: new MemoryDirectory(systemClock),
    clock: systemClock,
    metrics: nullMetrics,
    logger: nullLogger,
  })
  const eager = Array.from({ length: consumers }, () => new EagerConsumer())
  const startedAt = systemClock.monotonic()
  for (const consumer of eager) consumer.attachment = subscription.attach(consumer)
  while (eager.reduce((sum, { acked }) => sum + acked, 0) < messages) await settle()
  const seconds = (systemClock.monotonic() - startedAt) / 1000
  await subscription.close('closing')
  return messages / seconds
}

/** Offsets 0 to count in an order that only looks random, the same in every run. */
function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i)
  let seed = 1
  for (let i = count - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    const other = seed % (i + 1)
    ;[order[i], order[other]] = [order[other]!, order[i]!]
  }
  return order
}

async function best(what: string, round: () => number | Promise<number>): Promise<void> {
  let most = 0
  for (let i = 0; i < ROUNDS; i++) most = Math.max(most, await round())
  console.log(`${what.padEnd(56)} ${(most / 1e6).toFixed(2).padStart(7)} M messages/s`)
}

const inOrder = Array.from({ length: 10_000 }, (_, i) => i)
const random = shuffled(10_000)
await best('ledger, one acknowledgement a message, in order', () => ledgerRound(4_000_000, inOrder))
await best('ledger, one acknowledgement a message, random', () => ledgerRound(2_000_000, random))
await best('subscription, batches of 100, 1 consumer', () => subscriptionRound(1_000_000, 100, 1))
await best('subscription, batches of 100, 4 consumers', () => subscriptionRound(1_000_000, 100, 4))
await best('subscription, single messages, 4 consumers', () => subscriptionRound(400_000, 1, 4))
