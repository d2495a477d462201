/**
 * All topics of a cluster as this broker has a part in them: a TopicReplica for each one that it has a copy of, or
 * is to, told when the cluster view says something new; the founding of topics here; the burial of deleted ones. A runner,
 * made by the composition root, which starts it when the broker is registered and the view is there.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Timer } from '../base/clock.ts'
import type { Copies } from '../partition/topic-settings.ts'
import type { Catalog, CatalogTopic } from './catalog.ts'
import { ClusteredFacts, type ClusterFacts } from './cluster-facts.ts'
import { placesOf } from './control.ts'
import type { Durability } from './election.ts'
import type { LeaderFeed } from './leader-feed.ts'
import { next, type Place, score } from './placement.ts'
import { firstLeadership } from './reassignment.ts'
import type { Founding, Seat } from './seat.ts'
import { type ReplicaPorts, TopicReplica } from './topic-replica.ts'

export interface ReplicaHostOptions extends Omit<ReplicaPorts, 'changed' | 'gone'> {
  catalog: Catalog
  copies: Copies
}

/** How long whoever makes a topic waits for its copies. */
const FOUNDING_MS = 3000
/** How often it is looked whether the lease is held again, and for tombstones that could not be worked off. */
const BEAT_MS = 250
const GIVEN_AWAY_AT_ONCE = 8

export class ReplicaHost implements Seat {
  readonly copies: Copies
  readonly facts: ClusterFacts
  readonly #options: ReplicaHostOptions
  readonly #replicas = new Map<string, TopicReplica>()
  readonly #listeners = new Set<() => void>()
  readonly #burying = new Set<string>()
  #unwatch: (() => void)[] = []
  #beat: Timer | null = null
  #held = false
  #isDraining = false

  constructor(options: ReplicaHostOptions) {
    this.#options = options
    this.copies = options.copies
    this.facts = new ClusteredFacts(options.view)
  }

  start(): void {
    const { view, registration } = this.#options
    this.#unwatch = [
      view.onChange(({ brokers, leaderships, topics }) => {
        // A registration concerns all topics, a leadership itself.
        if (brokers.size > 0 || topics.size > 0) this.#reconcileAll()
        else for (const id of leaderships) this.#reconcile(id)
        this.#bury()
      }),
      registration.onChange(() => {
        for (const replica of this.#replicas.values()) replica.reregistered()
      }),
    ]
    this.#reconcileAll()
    this.#bury()
    this.#scheduleBeat()
  }

  /** Gives everything that is led here to others, as far as there are any in sync. */
  async drain(): Promise<void> {
    this.#isDraining = true
    const leading = [...this.#replicas.values()].filter(({ role }) => role === 'leader')
    const giveSome = async (): Promise<void> => {
      for (let replica = leading.shift(); replica; replica = leading.shift()) await replica.giveAway()
    }
    await Promise.all(Array.from({ length: GIVEN_AWAY_AT_ONCE }, giveSome))
  }

  /** Closes all copies. */
  async close(): Promise<void> {
    for (const stop of this.#unwatch) stop()
    this.#beat?.cancel()
    await Promise.all([...this.#replicas.values()].map((replica) => replica.close()))
    this.#replicas.clear()
  }

  get notReady(): string | null {
    if (this.#unwatch.length === 0) return 'joining the cluster'
    return this.#options.registration.holds ? null : 'without its cluster'
  }

  isServed(topicId: string): boolean {
    return this.#replicas.get(topicId)?.isServing === true
  }

  /** Calls back when other topics are served here than before. Answers how to stop it. */
  onServed(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** What others follow; null: the topic is not led here. */
  feedOf(topicId: string): LeaderFeed | null {
    return this.#replicas.get(topicId)?.feed ?? null
  }

  mayLead(topicId: string): boolean {
    return !this.#isDraining && this.#replicas.get(topicId)?.mayLead === true
  }

  durabilityOf(topicId: string): Durability {
    return this.#topicOf(topicId)?.settings.durability ?? 'fsync'
  }

  /** Copies that are out of service, and why. */
  get damages(): { topic: string; reason: string }[] {
    return [...this.#replicas].flatMap(([id, { damage }]) =>
      damage === null ? [] : [{ topic: this.#topicOf(id)?.name ?? id, reason: damage }],
    )
  }

  // --- topics that are made here ---

  /** Who should lead a topic of that name that does not exist: the same answer on every broker. */
  founderOf(name: string): string {
    const places = placesOf(this.#options.view.brokers)
    const best = places.reduce<Place | null>(
      (found, one) => (!found || score(one.nodeId, name) > score(found.nodeId, name) ? one : found),
      null,
    )
    return best?.nodeId ?? this.#options.registration.nodeId
  }

  isElsewhere(name: string): boolean {
    const topic = this.#options.view.topicByName(name)
    return topic !== null && !this.isServed(topic.id)
  }

  found(topic: CatalogTopic, like: string | null): Founding {
    const { registration, view, random } = this.#options
    if (!registration.holds || this.#isDraining) {
      throw new TidingsError('no_leader', 'this broker may not lead a topic at the moment: try again')
    }
    const replicas = this.#placed(topic, like)
    const nonce = random.id()
    const { leadership, guards, writes } = firstLeadership(topic.id, replicas, view.brokers, nonce, like)
    const replica = this.#replicaOf(topic)
    const term = replica.found({ ...leadership, version: 0, nonce })
    return {
      term,
      leadership: { guards, writes },
      done: async () => {
        await view.refresh(topic.name).catch(() => undefined)
        replica.founded(true)
        await this.#copied(replica)
      },
      failed: () => replica.founded(false),
    }
  }

  /** This broker first; as many as there are brokers, if they are fewer than the topic should have copies. */
  #placed({ id, settings }: CatalogTopic, like: string | null): string[] {
    const { view, registration } = this.#options
    const model = like === null ? undefined : view.leaderships.get(like)
    if (model?.replicas.every((node) => view.brokers.has(node))) {
      const { nodeId } = registration
      return [nodeId, ...model.replicas.filter((node) => node !== nodeId)]
    }
    const places = placesOf(view.brokers)
    const me = places.find(({ nodeId }) => nodeId === registration.nodeId)
    if (!me) throw new TidingsError('no_leader', 'this broker is not registered at the moment: try again')
    if (places.length < settings.minInSyncReplicas) {
      throw new TidingsError(
        'not_enough_replicas',
        `minInSyncReplicas is ${settings.minInSyncReplicas}, and ${places.length} brokers can take copies now`,
      )
    }
    const copies = new Map<string, number>()
    for (const { replicas } of view.leaderships.values()) {
      for (const node of replicas) copies.set(node, (copies.get(node) ?? 0) + 1)
    }
    const chosen = [me]
    const wanted = Math.min(settings.replicationFactor, places.length)
    while (chosen.length < wanted) chosen.push(next(id, chosen, places, copies, Number.POSITIVE_INFINITY))
    return chosen.map(({ nodeId }) => nodeId)
  }

  /** Resolves when the copies are there, or the wait is over: then publishes may be refused for want of them. */
  #copied(replica: TopicReplica): Promise<void> {
    const { clock } = this.#options
    return new Promise((resolve) => {
      const limit = clock.after(FOUNDING_MS, resolve)
      const isThere = replica.feed?.copied() ?? Promise.resolve()
      const end = (): void => {
        limit.cancel()
        resolve()
      }
      isThere.then(end, end)
    })
  }

  // --- within ---

  #reconcileAll(): void {
    for (const id of this.#replicas.keys()) this.#reconcile(id)
    for (const id of this.#options.view.leaderships.keys()) this.#reconcile(id)
  }

  #reconcile(topicId: string): void {
    const { view, registration } = this.#options
    const known = this.#replicas.get(topicId)
    if (known) return known.reconcile()
    const leadership = view.leaderships.get(topicId)
    const { nodeId } = registration
    if (!leadership?.replicas.includes(nodeId) && !leadership?.leaving.includes(nodeId)) return
    const topic = this.#topicOf(topicId)
    if (topic) this.#replicaOf(topic).reconcile()
  }

  #replicaOf(topic: CatalogTopic): TopicReplica {
    const gone = (): void => {
      // Deleted, moved away or not made after all. There may be a part in it again already, which is another's then.
      void replica.close()
      if (this.#replicas.get(topic.id) !== replica) return
      this.#replicas.delete(topic.id)
      this.#reconcile(topic.id)
    }
    const replica = new TopicReplica(topic, { ...this.#options, changed: () => this.#changed(), gone })
    this.#replicas.set(topic.id, replica)
    return replica
  }

  #topicOf(id: string): CatalogTopic | null {
    for (const topic of this.#options.view.topics.values()) if (topic.id === id) return topic
    return null
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }

  /** Removes what is left of deleted topics here, and says so in the store. */
  #bury(): void {
    const { view, registration, host, catalog, logger } = this.#options
    for (const { id, name, holders } of view.tombstones.values()) {
      if (!holders.includes(registration.nodeId) || this.#burying.has(id)) continue
      this.#burying.add(id)
      const bury = async (): Promise<void> => {
        await this.#replicas.get(id)?.close()
        this.#replicas.delete(id)
        await host().files.bury(id, () => catalog.forgetTombstone(id, registration.nodeId))
      }
      void bury()
        .catch((error: unknown) => logger.warn({ err: error, topic: name }, 'a deleted topic is not buried yet'))
        .finally(() => this.#burying.delete(id))
    }
  }

  #scheduleBeat(): void {
    const { clock, registration } = this.#options
    this.#beat = clock.after(BEAT_MS, () => {
      const { holds } = registration
      if (holds && !this.#held) for (const replica of this.#replicas.values()) replica.feed?.heldAgain()
      if (holds !== this.#held) this.#changed()
      this.#held = holds
      this.#bury()
      this.#scheduleBeat()
    })
  }
}
