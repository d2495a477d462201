/**
 * A topic in one term of this broker's leadership: its feed, which the others copy from, and the in-sync replicas as the store
 * is to have them. A runner, made by topic-replica.ts for each term.
 *
 * Must stay true: an outcome that is not known is not taken for one; the store is asked until it says (R5).
 */
import type { Clock, Random } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Log } from '../log/log.ts'
import type { LogName, Term } from '../partition/quorum.ts'
import type { CatalogTopic } from './catalog.ts'
import type { ClusterView } from './cluster-view.ts'
import { changeInSync, type Plan } from './election.ts'
import { LeaderFeed } from './leader-feed.ts'
import type { InSyncReplica, VersionedLeadership } from './leadership-entry.ts'
import type { LeadershipStore, Outcome } from './leadership-store.ts'
import type { Registration } from './registration.ts'

export interface LedTopicPorts {
  registration: Registration
  view: ClusterView
  store: LeadershipStore
  clock: Clock
  random: Random
  logger: Logger
  replicaLagMs: number
  /** Somebody knows a newer epoch. */
  readonly reread: () => void
  readonly damaged: (reason: string) => void
  /** A proposal has come to its end. */
  readonly settled: () => void
}

const RETRY_MS = 500

export class LedTopic {
  readonly feed: LeaderFeed
  readonly term: Term
  /** Resolves when clients are served, or it came to nothing. */
  opening: Promise<void> = Promise.resolve()
  readonly #topic: CatalogTopic
  readonly #ports: LedTopicPorts
  #isProposing = false
  /** The newest version that is known: what was read before a change of ours must not undo it here. */
  #version: number

  constructor(topic: CatalogTopic, { epoch, isr, replicas, version }: VersionedLeadership, ports: LedTopicPorts) {
    this.#topic = topic
    this.#ports = ports
    this.#version = version
    const { clock, logger, registration, replicaLagMs } = ports
    const { brokerEpoch } = registration
    this.feed = new LeaderFeed({
      topicId: topic.id,
      epoch,
      me: { node: registration.nodeId, brokerEpoch: brokerEpoch ?? 0 },
      inSync: isr,
      replicas,
      minInSync: topic.settings.minInSyncReplicas,
      replicaLagMs,
      clock,
      logger,
      // A later registration of this broker holds nothing for the term: another may have been elected in between.
      holds: () => registration.holds && registration.brokerEpoch === brokerEpoch,
      propose: (inSync) => void this.#propose(inSync),
      newerEpoch: () => ports.reread(),
      damaged: (log, error) => ports.damaged(`${log}: ${String(error)}`),
    })
    const { feed } = this
    this.term = {
      epoch,
      isCopied: true,
      quorum: (name: LogName, log: Log) => feed.quorum(name, log),
      copied: () => feed.copied(),
      configured: (settings) => feed.configured(settings),
      ready: async () => {
        feed.begin()
        this.#tellRegistrations()
        await feed.ready()
      },
    }
  }

  /** What changed in the store. */
  follow({ replicas, isr, version }: VersionedLeadership): void {
    if (version < this.#version) return
    this.#version = version
    this.feed.setReplicas(replicas)
    this.#tellRegistrations()
    if (!this.#isProposing) this.feed.settled(isr)
  }

  /** What the store is known to have, with no proposal under way. */
  #settle(leadership: VersionedLeadership | null | undefined): void {
    if (leadership?.epoch !== this.feed.epoch || leadership.version < this.#version) return
    this.#version = leadership.version
    this.feed.settled(leadership.isr)
  }

  #tellRegistrations(): void {
    const { view } = this.#ports
    for (const node of view.leaderships.get(this.#topic.id)?.replicas ?? []) {
      this.feed.registered(node, view.brokers.get(node)?.brokerEpoch ?? null)
    }
  }

  async #propose(inSync: readonly InSyncReplica[]): Promise<void> {
    if (this.#isProposing) return
    this.#isProposing = true
    const { feed } = this
    const { view, random, logger, settled } = this.#ports
    const { id, name } = this.#topic
    try {
      const leadership = view.leaderships.get(id)
      if (leadership?.epoch !== feed.epoch || leadership.version < this.#version) return
      // Somebody went out by itself meanwhile: what was proposed rests on another set, and could bring it back.
      if (!isSameSet(leadership.isr, feed.inSync.inSync)) return this.#settle(leadership)
      const outcome = await commitPlan(this.#ports, changeInSync(leadership, inSync, random.id()))
      // Before anything else is asked, which may fail: until it is read again the view has the set from before.
      this.#settle(outcome.leadership)
      const names = outcome.leadership?.isr.map(({ node }) => node).join(', ')
      logger.info({ topic: name, inSync: names, is: outcome.is }, 'the in-sync replicas of a topic have changed')
      await view.refreshLeadership(id).catch(() => undefined)
    } catch (error) {
      // It was refused before it was sent: what the store had still counts.
      this.#settle(view.leaderships.get(id))
      logger.warn({ err: error, topic: name }, 'the store did not take a change of the in-sync replicas')
    } finally {
      this.#isProposing = false
      settled()
    }
  }
}

function isSameSet(a: readonly InSyncReplica[], b: readonly InSyncReplica[]): boolean {
  const has = ({ node, brokerEpoch }: InSyncReplica): boolean =>
    b.some((other) => other.node === node && other.brokerEpoch === brokerEpoch)
  return a.length === b.length && a.every(has)
}

/** Carries a plan out, until it is known what became of it. */
export async function commitPlan(
  { store, clock }: { store: LeadershipStore; clock: Clock },
  plan: Plan,
): Promise<Exclude<Outcome, { is: 'unknown' }>> {
  let outcome = await store.commit(plan)
  while (outcome.is === 'unknown') {
    await new Promise<void>((resolve) => void clock.after(RETRY_MS, resolve))
    outcome = await store.settle(plan)
  }
  return outcome
}
