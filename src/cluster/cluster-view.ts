/**
 * A copy of what the coordinator's store says of brokers, leaderships, topics and tombstones, kept by list and watch. A
 * runner. Everybody on this broker reads it; what is decided on it is guarded by the revisions it holds, since
 * it may be late. It goes on with what it has while the store cannot be reached.
 *
 * What must stay true: an entry never goes back to an older revision, whether it came by a list, a watch or a
 * refresh; listeners are called in a turn of their own, once for all that changed before it. An entry that cannot
 * be read is left out and said once: one bad topic must not take the others along.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import { BROKERS, decodeBroker, type RegisteredBroker } from './broker-entry.ts'
import {
  type CatalogTopic,
  decodeTombstone,
  decodeTopic,
  TOMBSTONES,
  TOPICS,
  type Tombstone,
  topicKey,
} from './catalog-entry.ts'
import type { Coordinator, Entry } from './coordinator.ts'
import { decodeLeadership, LEADERSHIP, leadershipKey, type VersionedLeadership } from './leadership-entry.ts'
import { WatchedPrefix } from './watched-prefix.ts'

/** What changed since the last call: node ids, topic ids, names of topics, topic ids. */
export interface ClusterChange {
  readonly brokers: ReadonlySet<string>
  readonly leaderships: ReadonlySet<string>
  readonly topics: ReadonlySet<string>
  readonly tombstones: ReadonlySet<string>
}

export interface ClusterViewOptions {
  coordinator: Coordinator
  clock: Clock
  logger: Logger
}

/** Even a watch that went silent is found out. */
const RELIST_MS = 60_000

export class ClusterView {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #brokers: WatchedPrefix<RegisteredBroker>
  readonly #leaderships: WatchedPrefix<VersionedLeadership>
  readonly #topics: WatchedPrefix<CatalogTopic>
  readonly #tombstones: WatchedPrefix<Tombstone>
  readonly #listeners = new Set<(change: ClusterChange) => void>()
  #isTelling = false
  #relisting: Timer | null = null
  #stopped = false

  constructor({ coordinator, clock, logger }: ClusterViewOptions) {
    this.#clock = clock
    this.#logger = logger
    const watched = <T>(prefix: string, decode: (entry: Entry) => T): WatchedPrefix<T> =>
      new WatchedPrefix({ prefix, decode, coordinator, clock, logger, changed: () => this.#changed() })
    this.#brokers = watched(BROKERS, decodeBroker)
    this.#leaderships = watched(LEADERSHIP, decodeLeadership)
    this.#topics = watched(TOPICS, decodeTopic)
    this.#tombstones = watched(TOMBSTONES, decodeTombstone)
  }

  /** By node id. */
  get brokers(): ReadonlyMap<string, RegisteredBroker> {
    return this.#brokers.values
  }

  /** By topic id. */
  get leaderships(): ReadonlyMap<string, VersionedLeadership> {
    return this.#leaderships.values
  }

  /** By name. */
  get topics(): ReadonlyMap<string, CatalogTopic> {
    return this.#topics.values
  }

  /** By topic id. */
  get tombstones(): ReadonlyMap<string, Tombstone> {
    return this.#tombstones.values
  }

  topicByName(name: string): CatalogTopic | null {
    return this.#topics.values.get(name) ?? null
  }

  /** Resolves when everything was listed once, however long the store takes to answer; or when it was stopped. */
  async start(): Promise<void> {
    await Promise.all(this.#all.map((watched) => watched.start()))
    if (!this.#stopped) this.#scheduleRelist()
  }

  stop(): void {
    this.#stopped = true
    this.#relisting?.cancel()
    this.#relisting = null
    for (const watched of this.#all) watched.stop()
    this.#listeners.clear()
  }

  /** Calls back after changes, in a turn of its own. The callback must not throw. */
  onChange(listener: (change: ClusterChange) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /**
   * Reads the topic and its leadership anew, as they are now; without a name everything. Rejects when the store does
   * not answer. What it finds is there when it resolves.
   */
  async refresh(topicName?: string): Promise<void> {
    if (topicName === undefined) {
      await Promise.all(this.#all.map((watched) => watched.list()))
      return
    }
    await this.#topics.read(topicKey(topicName))
    const topic = this.topicByName(topicName)
    if (topic) await this.refreshLeadership(topic.id)
  }

  /** The same for the leadership of one topic. */
  async refreshLeadership(topicId: string): Promise<VersionedLeadership | null> {
    await this.#leaderships.read(leadershipKey(topicId))
    return this.#leaderships.values.get(topicId) ?? null
  }

  get #all(): WatchedPrefix<unknown>[] {
    return [this.#brokers, this.#leaderships, this.#topics, this.#tombstones]
  }

  #scheduleRelist(): void {
    this.#relisting = this.#clock.after(RELIST_MS, () => {
      this.#scheduleRelist()
      this.refresh().catch((error: unknown) => {
        this.#logger.warn(
          { err: error },
          'the coordinator store does not answer: what this broker knows of the cluster may be old',
        )
      })
    })
  }

  #changed(): void {
    if (this.#isTelling) return
    this.#isTelling = true
    this.#clock.soon(() => {
      this.#isTelling = false
      const change: ClusterChange = {
        brokers: this.#brokers.takeChanged(),
        leaderships: this.#leaderships.takeChanged(),
        topics: this.#topics.takeChanged(),
        tombstones: this.#tombstones.takeChanged(),
      }
      for (const listener of this.#listeners) listener(change)
    })
  }
}
