/**
 * Stands in for what a broker does with the topics that it leads, where tests are about who leads and not about data: followers
 * are caught up at once, the dead leave those in sync, and a wish for another leader is granted.
 */
import type { ClusterView } from '../../src/cluster/cluster-view.ts'
import { changeInSync, handOver, hasLeader } from '../../src/cluster/election.ts'
import type { VersionedLeadership } from '../../src/cluster/leadership-entry.ts'
import type { LeadershipStore } from '../../src/cluster/leadership-store.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'

export class LeaderStandIn {
  readonly #nodeId: string
  readonly #view: ClusterView
  readonly #store: LeadershipStore
  readonly #random: SimRandom
  #isBusy = false
  #isDirty = false
  /** Nodes that do not catch up. */
  readonly slow = new Set<string>()

  constructor(nodeId: string, view: ClusterView, store: LeadershipStore, random: SimRandom) {
    this.#nodeId = nodeId
    this.#view = view
    this.#store = store
    this.#random = random
  }

  start(): void {
    this.#view.onChange(() => void this.#run())
    void this.#run()
  }

  async #run(): Promise<void> {
    this.#isDirty = true
    if (this.#isBusy) return
    this.#isBusy = true
    while (this.#isDirty) {
      this.#isDirty = false
      for (const leadership of this.#view.leaderships.values()) {
        if (leadership.leader === this.#nodeId && hasLeader(leadership, this.#view.brokers))
          await this.#tend(leadership)
      }
    }
    this.#isBusy = false
  }

  async #tend(leadership: VersionedLeadership): Promise<void> {
    const { brokers } = this.#view
    const { topicId, wanted, replicas, isr } = leadership
    const nonce = this.#random.id()
    const hand = wanted === null ? null : handOver(leadership, brokers, wanted, nonce)
    const wantedIsr = replicas.flatMap((node) => {
      const broker = brokers.get(node)
      return broker && !this.slow.has(node) ? [{ node, brokerEpoch: broker.brokerEpoch }] : []
    })
    const nameOf = (members: typeof isr): string =>
      members
        .map(({ node, brokerEpoch }) => `${node}${brokerEpoch}`)
        .sort()
        .join()
    const plan = hand ?? (nameOf(wantedIsr) === nameOf(isr) ? null : changeInSync(leadership, wantedIsr, nonce))
    if (!plan) return
    try {
      await this.#store.commit(plan)
      await this.#view.refreshLeadership(topicId)
    } catch {
      // The store is away: the next change of the view comes when it is back.
    }
  }
}
