/**
 * The publisher of the peers' bench, in its own process: so many publishes under way at once, each awaited (closed), or
 * a rate whatever became of those before (open). Numbers its messages from 0. A publish that fails ends the bench.
 */
import { Latencies } from '../harness/latency.ts'
import { openLoop } from '../harness/open-loop.ts'
import type { Order, PublishJob, Word } from './client-job.ts'
import { Payload, sharedNow, toShared } from './payload.ts'
import type { PeerClient } from './peer.ts'

type Publish = (value: Uint8Array | object) => Promise<unknown>

export class Publishing {
  readonly #job: PublishJob
  readonly #say: (word: Word) => void
  readonly #payload: Payload
  readonly #publishers: Publish[]
  readonly #latencies = new Latencies()
  #acknowledged = 0
  #wake: (() => void)[] = []
  #sent = 0
  #stored = 0

  constructor(job: PublishJob, client: PeerClient, say: (word: Word) => void) {
    this.#job = job
    this.#say = say
    this.#payload = new Payload(job.values, job.bytes)
    this.#publishers = job.topics.map((topic) => client.publisher(topic))
  }

  hear(order: Order): void {
    if (order.type !== 'acked') return
    this.#acknowledged = order.count
    for (const wake of this.#wake.splice(0)) wake()
  }

  async run(): Promise<Record<string, number>> {
    const { load } = this.#job
    const figures = 'inFlight' in load ? await this.#closed(load.inFlight) : await this.#open(load.ratePerSecond)
    return { ...figures, published: this.#stored }
  }

  async #closed(inFlight: number): Promise<Record<string, number>> {
    const { warmUpMs, durationMs, count, aheadMax } = this.#job
    const fromAt = performance.now() + warmUpMs
    const toAt = fromAt + durationMs
    let fromStored = 0
    let endStored: number | undefined
    let endedAt = toAt
    const from = setTimeout(() => {
      fromStored = this.#stored
      this.#say({ type: 'from' })
    }, warmUpMs)
    const to = (): void => {
      if (endStored !== undefined) return
      endStored = this.#stored
      endedAt = performance.now()
      this.#say({ type: 'to' })
    }
    const turn = async (publish: Publish): Promise<void> => {
      for (let now = performance.now(); now < toAt && this.#sent < count; ) {
        if (this.#sent - this.#acknowledged > aheadMax) {
          await new Promise<void>((resolve) => void this.#wake.push(resolve))
          now = performance.now()
          continue
        }
        await publish(this.#payload.make(this.#sent++, 0))
        this.#stored++
        const then = performance.now()
        if (now >= fromAt) this.#latencies.add(then - now)
        now = then
      }
      to()
    }
    await Promise.all(Array.from({ length: inFlight }, (_, i) => turn(this.#publishers[i % this.#publishers.length]!)))
    clearTimeout(from)
    const perSecond = ((endStored! - fromStored) * 1000) / Math.max(1, endedAt - fromAt)
    return { perSecond, ...this.#latencies.summary() }
  }

  async #storedThen(publish: Promise<unknown>, done: () => void): Promise<void> {
    await publish
    this.#stored++
    done()
  }

  async #open(ratePerSecond: number): Promise<Record<string, number>> {
    const { warmUpMs, durationMs } = this.#job
    const measureAt = sharedNow() + warmUpMs
    const from = setTimeout(() => this.#say({ type: 'from' }), warmUpMs)
    const to = setTimeout(() => this.#say({ type: 'to' }), warmUpMs + durationMs)
    const { latencies, sent, perSecond } = await openLoop({
      ratePerSecond,
      warmUpMs,
      durationMs,
      start: (dueAt, done) => {
        const at = toShared(dueAt)
        const publish = this.#publishers[this.#sent % this.#publishers.length]!
        const value = this.#payload.make(this.#sent++, at >= measureAt ? at : 0)
        void this.#storedThen(publish(value), done)
      },
    })
    clearTimeout(from)
    clearTimeout(to)
    if (sent !== this.#stored) throw new Error(`${sent} published, ${this.#stored} answered after half a minute`)
    return { perSecond, ...latencies.summary() }
  }
}
