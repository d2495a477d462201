/**
 * A client of a simulated broker that pulls: asks for some messages, waits or gives up, and settles what it
 * got through what all pulls share. To the broker each pull is a consumer of its own.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Subscription } from '../../src/subscription/subscription.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import { ACK_DEADLINE_MS } from './cast.ts'
import type { Grip } from './grip.ts'
import type { Life } from './machine.ts'
import type { SubscriptionWitness } from './subscription-witness.ts'
import type { Witness } from './witness.ts'

interface Parts {
  random: SimRandom
  witness: Witness
  seen: SubscriptionWitness
  subscription: Subscription
}

const VERBS = ['ack', 'ack', 'confirm', 'nack', 'release', 'reject', 'extend'] as const

export class Puller {
  readonly #grip: Grip
  readonly #random: SimRandom
  readonly #witness: Witness
  readonly #seen: SubscriptionWitness
  readonly #subscription: Subscription
  readonly #aborter = new AbortController()
  #isAnswered = false

  constructor(grip: Grip, parts: Parts) {
    this.#grip = grip
    this.#random = parts.random
    this.#witness = parts.witness
    this.#seen = parts.seen
    this.#seen.pulling()
    this.#subscription = parts.subscription
  }

  /** Nothing more will come of it. */
  get isOver(): boolean {
    return this.#isAnswered && this.#grip.live === 0
  }

  pull(life: Life): void {
    const asked = this.#witness.present
    const { seeks } = this.#seen
    const waitMs = this.#random.chance(0.5) ? 0 : this.#random.integer(300)
    const isAwaited = (): boolean => {
      this.#isAnswered = true
      return life.state !== 'over'
    }
    const { attendance } = this.#seen
    attendance.came()
    const answer = this.#subscription.pull(1 + this.#random.integer(10), waitMs, this.#aborter.signal)
    const judged = answer.then(
      (deliveries) => {
        if (!isAwaited()) return
        attendance.left()
        this.#witness.count(deliveries.length > 0 ? 'pull' : 'pull empty')
        // What was on its way too long, or was overtaken by a seek, lies with nobody any more: as if the answer got lost.
        if (this.#witness.now - asked.now >= ACK_DEADLINE_MS || this.#seen.seeks !== seeks) {
          this.#seen.lost(deliveries)
          return
        }
        for (const delivery of deliveries) this.#grip.take(delivery, asked)
      },
      (error: unknown) => {
        if (!isAwaited()) return
        const { code } = TidingsError.from(error)
        attendance.refused(code)
        this.#witness.count(`pull ${code}`)
      },
    )
    // The witness keeps a violation, and the scenario asks it after every step.
    judged.catch(() => undefined)
  }

  act(): void {
    if (this.#isAnswered) return this.#grip.say(this.#random.pick(VERBS), this.#subscription.pulled)
    if (!this.#random.chance(0.2)) return
    this.#witness.count('pull aborted')
    this.#aborter.abort()
  }

  finish(): void {
    this.#aborter.abort()
    this.#grip.finish(this.#subscription.pulled)
  }

  forget(isGone: (lane: string) => boolean): void {
    this.#grip.forget(isGone)
  }
}
