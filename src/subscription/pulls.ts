/**
 * The requests that wait for messages of one subscription: each is answered when it has something and
 * nothing more is on its way, or with nothing when its time is over. A runner, owned by the subscription's.
 */
import type { MessageId, SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { Pull } from './consumer.ts'
import type { Lane } from './lane.ts'
import type { LeaseHolder } from './ledger.ts'
import type { Delivery } from './subscription.ts'

/** What pulls need of the subscription. */
export interface PullHost {
  readonly clock: Clock
  readonly settings: SubscriptionSettings
  /** Why nothing can be written now. */
  readonly stalled: TidingsError | null
  /** Something may still come without anybody doing anything. */
  readonly isBusy: boolean
  laneOf(id: Pick<MessageId, 'topic' | 'partition'>): Lane | undefined
  /** Whatever lies with it may go to others. */
  takeBack(holder: LeaseHolder): void
  /** Whoever may get messages is not the same as before. */
  receiversChanged(): void
}

export class Pulls {
  /** With it lies what pulls were answered. */
  readonly holder: LeaseHolder = { outstanding: 0 }
  readonly #host: PullHost
  #waiting: readonly Pull[] = []

  constructor(host: PullHost) {
    this.#host = host
  }

  get waiting(): readonly Pull[] {
    return this.#waiting
  }

  /** One request. Aborted, it is answered with nothing and holds nothing. */
  add(
    max: number,
    waitMs: number,
    signal: AbortSignal | undefined,
    resolve: (deliveries: Delivery[]) => void,
    reject: (error: Error) => void,
  ): void {
    if (signal?.aborted) return resolve([])
    const abort = (): void => this.#end(pull, [])
    const timer = this.#host.clock.after(waitMs, () => {
      pull.isHurried = true
      this.answer()
    })
    const pull = new Pull(max, this.#newHeir(), (outcome) => {
      timer.cancel()
      signal?.removeEventListener('abort', abort)
      if (outcome instanceof Error) reject(outcome)
      else resolve(outcome)
    })
    signal?.addEventListener('abort', abort)
    pull.isHurried = waitMs === 0
    this.#waiting = [...this.#waiting, pull]
    this.#host.receiversChanged()
  }

  /** Answers those that have what they can get now. */
  answer(): void {
    for (const pull of this.#waiting) {
      if (pull.outstanding > 0) continue
      if (pull.deliveries.length > 0) this.#end(pull, pull.deliveries)
      else if (this.#host.stalled) this.#end(pull, this.#host.stalled)
      else if (pull.isHurried && !this.#host.isBusy) this.#end(pull, [])
    }
  }

  endAll(outcome: Delivery[] | Error): void {
    for (const pull of this.#waiting) this.#end(pull, outcome)
  }

  /** With it lies what a pull is answered. Where keys have an order each pull is a consumer of its own. */
  #newHeir(): LeaseHolder {
    if (this.#host.settings.type !== 'key_shared') return this.holder
    return { outstanding: 0, speaker: this.holder }
  }

  #end(pull: Pull, outcome: Delivery[] | Error): void {
    if (!this.#waiting.includes(pull)) return
    this.#waiting = this.#waiting.filter((other) => other !== pull)
    this.#host.takeBack(pull)
    if (outcome !== pull.deliveries) this.#release(pull.deliveries)
    this.#host.receiversChanged()
    pull.answer(outcome)
    // Its messages may lie with its heir for long; that must not keep their batches in memory.
    pull.deliveries = []
  }

  #release(deliveries: readonly Delivery[]): void {
    for (const { topic, partition, from, to } of deliveries) {
      const lane = this.#host.laneOf({ topic, partition })
      lane?.ledger.release(this.holder, from, to)
      lane?.cursor.touch('lazy')
    }
  }
}
