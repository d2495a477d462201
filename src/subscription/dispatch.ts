/**
 * Which consumer gets the next messages, and how many: a decision over whoever is there.
 *
 * `exclusive` and `failover` know one active consumer, the first in order of arrival. All other types
 * pick by policy, which is a score per consumer: the lowest gets the next slice, ties go round. Slices
 * are a share of what there is, and short, so that idle consumers get their part of a small backlog
 * and a fast one is not kept behind a slow one's long slice.
 * Key slots (`key_shared`) will choose by the message's key before they come here.
 */
import type { DispatchPolicy, SubscriptionType } from '@tidings/sdk/protocol'

export interface Candidate {
  readonly outstanding: number
  readonly weight: number
  credit(): number
}

/** Longest slice while others wait too. */
const SLICE_MESSAGES = 64

const SCORES: Record<DispatchPolicy, (candidate: Candidate) => number> = {
  least_outstanding: (candidate) => candidate.outstanding,
  round_robin: () => 0,
  weighted: (candidate) => candidate.outstanding / candidate.weight,
}

export function isOrdered(type: SubscriptionType): boolean {
  return type === 'exclusive' || type === 'failover'
}

export class Dispatch {
  /** How many messages the consumer chosen last is to get. */
  count = 0
  #turn = 0

  /** The consumer that gets the next slice of `available` messages, or null when nobody can take any. */
  choose<C extends Candidate>(
    type: SubscriptionType,
    policy: DispatchPolicy,
    candidates: readonly C[],
    available: number,
  ): C | null {
    return isOrdered(type) ? this.#active(candidates, available) : this.#lowest(SCORES[policy], candidates, available)
  }

  #active<C extends Candidate>(candidates: readonly C[], available: number): C | null {
    const active = candidates[0]
    this.count = active ? Math.min(available, active.credit()) : 0
    return active && this.count > 0 ? active : null
  }

  #lowest<C extends Candidate>(
    score: (candidate: Candidate) => number,
    candidates: readonly C[],
    available: number,
  ): C | null {
    let chosen: C | null = null
    let chosenAt = 0
    let chosenCredit = 0
    let lowest = Number.POSITIVE_INFINITY
    let eligible = 0
    for (let step = 0; step < candidates.length; step++) {
      const at = (this.#turn + step) % candidates.length
      const candidate = candidates[at]!
      const credit = candidate.credit()
      if (credit <= 0) continue
      eligible++
      const value = score(candidate)
      if (value >= lowest) continue
      lowest = value
      chosen = candidate
      chosenAt = at
      chosenCredit = credit
    }
    if (!chosen) return null
    this.#turn = chosenAt + 1
    const share = eligible === 1 ? available : Math.min(SLICE_MESSAGES, Math.ceil(available / eligible))
    this.count = Math.min(share, chosenCredit)
    return chosen
  }
}
