/**
 * A consumer of the peers' bench, in its own process: receives and acknowledges, and knows for each subscription which
 * messages came. Says every few milliseconds how far it is.
 */
import { Latencies } from '../harness/latency.ts'
import type { ConsumeJob, Progress, Word } from './client-job.ts'
import { Numbers, Payload, sharedNow } from './payload.ts'
import type { PeerClient } from './peer.ts'

const PROGRESS_MS = 10

export class Consuming {
  readonly #job: ConsumeJob
  readonly #client: PeerClient
  readonly #say: (word: Word) => void
  readonly #latencies = new Latencies()
  readonly #numbers: Numbers[] = []
  #received = 0
  #acked = 0

  constructor(job: ConsumeJob, client: PeerClient, say: (word: Word) => void) {
    this.#job = job
    this.#client = client
    this.#say = say
  }

  /** Until `finished` resolves; then closes, so that what it acknowledged has been sent. */
  async run(finished: Promise<void>): Promise<Record<string, number>> {
    const { topics, subscriptions, prefetch, isBatchAcked, values, bytes } = this.#job
    const payload = new Payload(values, bytes)
    let said = 0
    const timer = setInterval(() => {
      if (this.#received + this.#acked === said) return
      said = this.#received + this.#acked
      this.#say({ type: 'progress', ...this.#progress() })
    }, PROGRESS_MS)
    await Promise.all(
      subscriptions.map((subscription) => {
        const numbers = new Numbers()
        this.#numbers.push(numbers)
        return this.#client.consume({
          topics,
          subscription,
          prefetch,
          isBatchAcked,
          values,
          onMessage: (value) => {
            const { number, at } = payload.read(value)
            if (at > 0) this.#latencies.add(sharedNow() - at)
            this.#received++
            numbers.add(number)
          },
          onAcked: (count) => {
            this.#acked += count
          },
        })
      }),
    )
    this.#say({ type: 'consuming' })
    await finished
    clearInterval(timer)
    await this.#client.close()
    return { ...this.#progress(), ...this.#latencies.summary() }
  }

  #progress(): Progress {
    const distinct = this.#numbers.reduce((sum, numbers) => sum + numbers.distinct, 0)
    return { received: this.#received, acked: this.#acked, distinct }
  }
}
