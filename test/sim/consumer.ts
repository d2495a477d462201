/**
 * A connected consumer of a simulated broker: takes what it is given as long as it is ready, and does with it
 * whatever chance has it do; it runs late, pauses and vanishes. It belongs to one life of the broker.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Attachment, ConsumerPort, Delivery, Gap, Subscription } from '../../src/subscription/subscription.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import type { Grip } from './grip.ts'
import type { SubscriptionWitness } from './subscription-witness.ts'
import type { Witness } from './witness.ts'

const ACTIONS = [
  'ack',
  'ack',
  'ack',
  'confirm',
  'confirm',
  'nack',
  'release',
  'reject',
  'extend',
  'slow',
  'pause',
  'detach',
] as const

export class Consumer implements ConsumerPort {
  readonly name: string
  readonly prefetch: number
  readonly weight: number = 1
  attachment: Attachment | null = null
  /** Takes nothing at the moment, as a consumer whose socket is full. */
  #isSlow = false
  readonly #random: SimRandom
  readonly #witness: Witness
  readonly #seen: SubscriptionWitness
  readonly #grip: Grip

  constructor(grip: Grip, parts: { random: SimRandom; witness: Witness; seen: SubscriptionWitness }) {
    this.name = grip.name
    this.#grip = grip
    this.#random = parts.random
    this.#witness = parts.witness
    this.#seen = parts.seen
    this.prefetch = 1 + this.#random.integer(12)
  }

  attach(subscription: Subscription): void {
    try {
      this.attachment = subscription.attach(this)
      this.#seen.attendance.came()
    } catch (error) {
      if (!TidingsError.is(error) || error.code !== 'subscription_busy') throw error
      this.#witness.count('busy')
    }
  }

  ready(): boolean {
    return !this.#isSlow
  }

  deliver(delivery: Delivery): void {
    this.#grip.take(delivery, this.#witness.present)
    const { live } = this.#grip
    if (live > this.prefetch)
      throw this.#witness.violated('D-BOUND', `${this.name} holds ${live} with a prefetch of ${this.prefetch}`)
  }

  gap({ topic, partition, from, to }: Gap): void {
    if (this.#witness.topic(topic).isLive) this.#seen.gap(topic, partition, from, to)
  }

  ended(why: 'deleted' | 'closing'): void {
    // What is deleted because somebody asked for it has no consumers any more.
    if (why === 'deleted') this.#seen.attendance.vanished()
    this.#gone()
  }

  /** One of the things that consumers do. */
  act(): void {
    const { attachment } = this
    if (!attachment) return
    const what = this.#random.pick(ACTIONS)
    switch (what) {
      case 'slow':
        this.#witness.count('consumer slow')
        this.#isSlow = !this.#isSlow
        if (!this.#isSlow) attachment.wake()
        return
      case 'pause':
        this.#witness.count('consumer pause')
        if (this.#random.chance(0.5)) attachment.pause()
        else attachment.resume()
        return
      case 'detach':
        this.#witness.count('consumer detach')
        return this.detach()
      default:
        return this.#grip.say(what, attachment)
    }
  }

  /** The last consumer of a run: acknowledges everything that it gets. */
  finish(): void {
    if (this.attachment) this.#grip.finish(this.attachment)
  }

  detach(): void {
    this.attachment?.detach()
    this.#gone()
  }

  #gone(): void {
    if (this.attachment) this.#seen.attendance.left()
    this.attachment = null
    this.#grip.drop()
  }

  forget(isGone: (lane: string) => boolean): void {
    this.#grip.forget(isGone)
  }
}
