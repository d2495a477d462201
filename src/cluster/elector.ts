/**
 * Elects this broker for topics that have lost their leader and that it has all of. A runner over the
 * cluster view; what is decided is election.ts, and the store says who won.
 *
 * The candidates of a topic try one after the other, a step apart, in the order that all of them compute alike, so that
 * usually one transaction is made; the guards make another harmless. Whoever leads is learnt from the view, by
 * whoever watches it: the elector tells nobody.
 */
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { ClusterView } from './cluster-view.ts'
import { candidates, type Durability, elect, hasLeader } from './election.ts'
import type { LeadershipStore } from './leadership-store.ts'
import type { Registration } from './registration.ts'

export interface ElectorOptions {
  view: ClusterView
  store: LeadershipStore
  registration: Pick<Registration, 'nodeId' | 'brokerEpoch' | 'holds'>
  clock: Clock
  random: Random
  logger: Logger
  durabilityOf(topicId: string): Durability
  /** False: this broker's files of the topic are damaged, or not open yet. Asked again at every look. */
  mayLead(topicId: string): boolean
}

/** Between one candidate's try and the next one's. */
const STEP_MS = 300
/** How long a topic whose election did not come off is left alone. */
const AGAIN_MS = 1000
const ELECTIONS_AT_ONCE = 16

export class Elector {
  readonly #options: ElectorOptions
  /** Topics without a leader, by when this broker tries: monotonic time. */
  readonly #due = new Map<string, number>()
  #unsubscribe: (() => void) | null = null
  #timer: Timer | null = null
  readonly #running = new Set<string>()

  constructor(options: ElectorOptions) {
    this.#options = options
  }

  start(): void {
    const { view } = this.#options
    this.#unsubscribe = view.onChange(({ brokers, leaderships }) => {
      // A registration concerns all topics, a leadership itself.
      if (brokers.size > 0) this.#lookAtAll()
      else for (const topicId of leaderships) this.#lookAt(topicId)
      this.#schedule()
    })
    this.look()
  }

  stop(): void {
    this.#unsubscribe?.()
    this.#unsubscribe = null
    this.#timer?.cancel()
    this.#due.clear()
  }

  /** Looks at all topics now: `mayLead` may answer otherwise than before. */
  look(): void {
    this.#lookAtAll()
    this.#schedule()
  }

  #lookAtAll(): void {
    for (const topicId of this.#due.keys()) this.#lookAt(topicId)
    for (const topicId of this.#options.view.leaderships.keys()) this.#lookAt(topicId)
  }

  #lookAt(topicId: string): void {
    const rank = this.#rankIn(topicId)
    if (rank === null) this.#due.delete(topicId)
    else if (!this.#due.has(topicId)) this.#due.set(topicId, this.#options.clock.monotonic() + rank * STEP_MS)
  }

  /** This broker's place among the candidates; null: there is nothing for it to do. */
  #rankIn(topicId: string): number | null {
    const { view, registration } = this.#options
    const leadership = view.leaderships.get(topicId)
    if (!leadership?.isr.some(({ node }) => node === registration.nodeId)) return null
    if (hasLeader(leadership, view.brokers) || !this.#options.mayLead(topicId)) return null
    const order = candidates(leadership, view.brokers, this.#options.durabilityOf(topicId))
    const rank = order.findIndex(({ nodeId }) => nodeId === registration.nodeId)
    return rank === -1 ? null : rank
  }

  #schedule(): void {
    this.#timer?.cancel()
    this.#timer = null
    if (!this.#unsubscribe || this.#due.size === 0 || this.#running.size >= ELECTIONS_AT_ONCE) return
    const now = this.#options.clock.monotonic()
    let next = Number.POSITIVE_INFINITY
    for (const [topicId, due] of this.#due) {
      if (due > now) next = Math.min(next, due)
      else if (this.#running.size < ELECTIONS_AT_ONCE && !this.#running.has(topicId)) void this.#run(topicId)
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer = this.#options.clock.after(next - now, () => this.#schedule())
  }

  async #run(topicId: string): Promise<void> {
    const { clock, logger } = this.#options
    this.#due.set(topicId, clock.monotonic() + AGAIN_MS)
    this.#running.add(topicId)
    try {
      await this.#elect(topicId)
    } catch (error) {
      logger.warn({ err: error, topicId }, 'an election did not come off: trying again')
    }
    this.#running.delete(topicId)
    this.#lookAt(topicId)
    this.#schedule()
  }

  async #elect(topicId: string): Promise<void> {
    const { view, store, registration, random, logger } = this.#options
    const leadership = view.leaderships.get(topicId)
    const own = view.brokers.get(registration.nodeId)
    // The view may still show the registration before this one.
    if (!leadership || !registration.holds || own?.brokerEpoch !== registration.brokerEpoch) return
    const durability = this.#options.durabilityOf(topicId)
    const plan = elect(leadership, view.brokers, durability, registration.nodeId, random.id())
    if (!plan) return
    let outcome = await store.commit(plan)
    if (outcome.is === 'unknown') outcome = await store.settle(plan)
    if (outcome.is === 'done')
      logger.info({ topicId, epoch: plan.leadership.epoch }, 'elected as the leader of a topic')
    await view.refreshLeadership(topicId)
  }
}
