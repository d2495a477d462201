/**
 * A rebalance that an operator asked for, `requests/rebalance` in the coordinator's store: there until it is done, so that
 * it outlives the broker that works on it. One at a time; asking again while one is under way begins it anew.
 */
import type { Random } from '../base/clock.ts'
import type { Coordinator, Entry } from './coordinator.ts'
import { unchanged } from './store-entry.ts'

/** Raised when a value of this layout would be misread by the release before. */
const VERSION = 1

export const REBALANCE_KEY = 'requests/rebalance'

export class RebalanceRequests {
  readonly #coordinator: Coordinator
  readonly #random: Random

  constructor(coordinator: Coordinator, random: Random) {
    this.#coordinator = coordinator
    this.#random = random
  }

  /** `at`: wall time, milliseconds. Whether it was stored may be unknown when this rejects: ask again, that is harmless. */
  async make(by: string, at: number): Promise<void> {
    const value = JSON.stringify({ version: VERSION, nonce: this.#random.id(), by, at })
    await this.#coordinator.transact([], [{ put: REBALANCE_KEY, value }])
  }

  /** Takes that request away, not one that was made since. */
  async done(request: Entry): Promise<void> {
    await this.#coordinator.transact([unchanged(request)], [{ delete: REBALANCE_KEY }])
  }
}
