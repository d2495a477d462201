/**
 * The store of who leads one topic, in the simulation of copying: registrations and one leadership, changed by transactions
 * under guards. A transaction takes its time, its answer may get lost, and it may happen long after it was given up.
 */
import type { InSyncReplica } from '../../src/cluster/in-sync.ts'
import type { SimClock } from '../../src/testing/sim-clock.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'

export interface SimLeadership {
  readonly version: number
  readonly epoch: number
  readonly leader: string
  readonly leaderBrokerEpoch: number
  readonly inSync: readonly InSyncReplica[]
}

interface Change {
  guards(store: SimStore): boolean
  next(now: SimLeadership): Omit<SimLeadership, 'version'>
}

export class SimStore {
  leadership: SimLeadership
  readonly registrations = new Map<string, number>()
  /** Called after every change. */
  onChange: () => void = () => undefined
  readonly #clock: SimClock
  readonly #random: SimRandom
  #revision = 1

  constructor(clock: SimClock, random: SimRandom, nodes: readonly string[]) {
    this.#clock = clock
    this.#random = random
    for (const node of nodes) this.registrations.set(node, ++this.#revision)
    const inSync = nodes.map((node) => ({ node, brokerEpoch: this.registrations.get(node)! }))
    const [{ node: leader, brokerEpoch: leaderBrokerEpoch }] = inSync as [InSyncReplica]
    this.leadership = { version: 1, epoch: 1, leader, leaderBrokerEpoch, inSync }
  }

  register(node: string): number {
    const brokerEpoch = ++this.#revision
    this.registrations.set(node, brokerEpoch)
    this.onChange()
    return brokerEpoch
  }

  unregister(node: string): void {
    if (this.registrations.delete(node)) this.onChange()
  }

  /** The leader proposes who is in sync; `settled` hears the leadership when nothing of it can come any more. */
  propose(
    epoch: number,
    node: string,
    brokerEpoch: number,
    inSync: readonly InSyncReplica[],
    settled: () => void,
  ): void {
    const { version, inSync: before } = this.leadership
    const added = inSync.filter(
      (one) => !before.some((old) => old.node === one.node && old.brokerEpoch === one.brokerEpoch),
    )
    const change: Change = {
      guards: (store) =>
        store.leadership.version === version &&
        store.registrations.get(node) === brokerEpoch &&
        added.every((one) => store.registrations.get(one.node) === one.brokerEpoch),
      next: (now) => ({ ...now, inSync }),
    }
    if (this.leadership.epoch === epoch) this.#send(change, settled)
    else this.#later(50, settled)
  }

  #send(change: Change, settled: () => void): void {
    const fate = this.#random.integer(10)
    if (fate < 7) this.#later(30, () => (this.#apply(change), settled()))
    else if (fate === 7)
      this.#later(30, () => (this.#apply(change), this.#later(200, () => this.#send(change, settled))))
    else {
      // Given up, and it comes all the same, before or after it is sent again.
      this.#later(fate === 8 ? 3000 : 20, () => this.#apply(change))
      this.#later(200, () => this.#send(change, settled))
    }
  }

  /** A broker that is in sync takes over from a leader whose registration has ended. */
  elect(): boolean {
    const { leader, leaderBrokerEpoch, inSync, epoch } = this.leadership
    if (this.registrations.get(leader) === leaderBrokerEpoch) return false
    const alive = inSync.filter(({ node }) => this.registrations.has(node))
    if (alive.length === 0) return false
    const { node } = this.#random.pick(alive)
    const me = { node, brokerEpoch: this.registrations.get(node)! }
    const next = alive.map((one) => (one.node === node ? me : one))
    this.#put({ epoch: epoch + 1, leader: node, leaderBrokerEpoch: me.brokerEpoch, inSync: next })
    return true
  }

  #apply({ guards, next }: Change): void {
    if (guards(this)) this.#put(next(this.leadership))
  }

  #put(value: Omit<SimLeadership, 'version'>): void {
    this.leadership = { ...value, version: this.leadership.version + 1 }
    this.onChange()
  }

  #later(mostMs: number, run: () => void): void {
    this.#clock.after(this.#random.integer(mostMs + 1), run)
  }
}
