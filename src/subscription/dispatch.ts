/**
 * Which consumer gets the next messages, and how many: a decision over whoever is there.
 *
 * `exclusive` and `failover` know one active consumer, the first in order of arrival. All other types
 * pick by policy, which is a score per consumer: the lowest gets the next slice, ties go round. Slices
 * are a share of what there is, and short, so that idle consumers get their part of a small backlog
 * and a fast one is not kept behind a slow one's long slice.
 *
 * `least_outstanding` looks at what lies with each. The others look at what each was given: its `served`
 * grows by the messages it gets, divided by its weight (start-time fair queueing), so that shares come
 * out right over any slices, however fast they are acknowledged. Whoever could take nothing for a while,
 * and whoever is new, goes on from where the others are: nobody is owed what it had no room for.
 * On `key_shared` it is asked for messages without a key only: a key has an owner (key-slots.ts).
 */
import type { DispatchPolicy, SubscriptionType } from '@tidings/sdk/protocol'

export interface Candidate {
  readonly outstanding: number
  readonly weight: number
  /** Messages that it was given, divided by its weight; the dispatch keeps it. */
  served: number
  credit(): number
}

/** Longest slice while others wait too. */
const SLICE_MESSAGES = 64

/** By which weight messages are shared; null: whoever has the least outstanding gets them. */
const WEIGHTS: Record<DispatchPolicy, ((candidate: Candidate) => number) | null> = {
  least_outstanding: null,
  round_robin: () => 1,
  weighted: ({ weight }) => weight,
}

export function isOrdered(type: SubscriptionType): boolean {
  return type === 'exclusive' || type === 'failover'
}

export class Dispatch {
  /** How many messages the consumer chosen last is to get. */
  count = 0
  #turn = 0
  #weightOf: ((candidate: Candidate) => number) | null = null
  /** Where the one chosen last stood: nobody stands behind it. */
  #servedTo = 0
  /** Nobody else could take any. */
  #isAlone = false

  /** The consumer that gets the next slice of `available` messages, or null when nobody can take any. */
  choose<C extends Candidate>(
    type: SubscriptionType,
    policy: DispatchPolicy,
    candidates: readonly C[],
    available: number,
  ): C | null {
    this.#weightOf = isOrdered(type) ? null : WEIGHTS[policy]
    return isOrdered(type) ? this.#active(candidates, available) : this.#lowest(candidates, available)
  }

  /** The consumer chosen was given so many; it may be fewer than `count`. */
  gave(candidate: Candidate, count: number): void {
    if (!this.#weightOf) return
    candidate.served = this.#standing(candidate) + count / this.#weightOf(candidate)
    // What nobody else could take is held against nobody.
    if (this.#isAlone) this.#servedTo = candidate.served
  }

  #active<C extends Candidate>(candidates: readonly C[], available: number): C | null {
    const active = candidates[0]
    this.count = active ? Math.min(available, active.credit()) : 0
    return active && this.count > 0 ? active : null
  }

  #lowest<C extends Candidate>(candidates: readonly C[], available: number): C | null {
    const weightOf = this.#weightOf
    let chosen: C | null = null
    let chosenAt = 0
    let chosenCredit = 0
    let lowest = Number.POSITIVE_INFINITY
    let weights = 0
    let eligible = 0
    for (let step = 0; step < candidates.length; step++) {
      const at = (this.#turn + step) % candidates.length
      const candidate = candidates[at]!
      const credit = candidate.credit()
      if (credit <= 0) continue
      eligible++
      weights += weightOf ? weightOf(candidate) : 1
      const score = weightOf ? this.#standing(candidate) : candidate.outstanding
      if (score >= lowest) continue
      lowest = score
      chosen = candidate
      chosenAt = at
      chosenCredit = credit
    }
    if (!chosen) return null
    this.#turn = chosenAt + 1
    if (weightOf) this.#servedTo = lowest
    const part = Math.ceil((available * (weightOf ? weightOf(chosen) : 1)) / weights)
    this.#isAlone = eligible === 1
    this.count = Math.min(this.#isAlone ? available : Math.min(SLICE_MESSAGES, part), chosenCredit)
    return chosen
  }

  #standing(candidate: Candidate): number {
    return Math.max(candidate.served, this.#servedTo)
  }
}
