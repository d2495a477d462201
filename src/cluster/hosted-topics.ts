/**
 * The topics that are open on this broker: how one is opened with all that hangs on it, grows, and is closed. A
 * runner, owned by the host, which decides when; how files come and go is in topic-files.ts.
 *
 * Must stay true: a topic is in the map only while clients may have it, and enters it whole; nothing of it is shown
 * before all that was found in its logs is committed in its term.
 */
import type { TidingsError, TopicSettings } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import { LogPartition, type PartitionEnvironment } from '../partition/partition.ts'
import type { Term } from '../partition/quorum.ts'
import { HostedTopic, type TopicEnd } from '../partition/topic.ts'
import { CursorStore } from '../subscription/cursor-store.ts'
import type { CatalogSubscription, CatalogTopic } from './catalog.ts'
import type { Hosted } from './hosted.ts'
import type { PatternHost } from './pattern-host.ts'
import type { SubscriptionHost } from './subscription-host.ts'
import type { TopicFiles } from './topic-files.ts'

export interface HostedTopicsOptions {
  environment: Omit<PartitionEnvironment, 'term'>
  files: TopicFiles
  random: Random
  subscriptions: SubscriptionHost
  patterns: PatternHost
  /** Filled and emptied here, read by all. */
  byName: Map<string, Hosted>
}

/** What else happens when a topic closes. */
export interface Closing {
  /** Called when nothing is written any more and all that was asked before is done; the files are still open. */
  settled?: () => Promise<void>
}

export class HostedTopics {
  readonly #options: HostedTopicsOptions

  constructor(options: HostedTopicsOptions) {
    this.#options = options
  }

  /** Files for a topic that is about to be made, all of them or none. */
  makeFiles(id: string, settings: TopicSettings, term: Term): Promise<LogPartition[]> {
    return this.#options.files.createPartitions(this.#environment(term), id, 0, settings)
  }

  /** Opens what the catalog names. Throws CorruptionError. */
  async open(entry: CatalogTopic, subscriptions: readonly CatalogSubscription[], term: Term): Promise<Hosted> {
    const { patterns } = this.#options
    const partitions: LogPartition[] = []
    let hosted: Hosted
    try {
      for (let number = 0; number < entry.settings.partitions; number++) {
        partitions.push(await LogPartition.open(this.#environment(term), entry.id, number, entry.settings))
      }
      hosted = await this.#load(entry, partitions, term)
    } catch (error) {
      await Promise.all(partitions.map((partition) => partition.close()))
      throw error
    }
    this.#enter(hosted)
    for (const subscription of subscriptions) this.#options.subscriptions.host(hosted, subscription)
    const known = new Set([...subscriptions.map(({ id }) => id), ...patterns.idsOf(entry.name)])
    for (const store of hosted.cursors) {
      for (const id of store.subscriptionIds) if (!known.has(id)) store.delete(id)
    }
    return hosted
  }

  /** Opens a topic whose files were made just now. */
  async openNew(entry: CatalogTopic, partitions: LogPartition[], term: Term): Promise<Hosted> {
    const hosted = await this.#load(entry, partitions, term)
    this.#enter(hosted)
    return hosted
  }

  /**
   * The topic with these settings, of which `change` makes a record; it may have more partitions then.
   * @param planned what the settings are going to be
   */
  async change(hosted: Hosted, planned: TopicSettings, change: () => Promise<TopicSettings>): Promise<void> {
    const { files, patterns } = this.#options
    const { topic, term } = hosted
    const environment = this.#environment(term)
    const added = await files.createPartitions(environment, topic.id, topic.partitions.length, planned)
    let settings: TopicSettings
    try {
      // Whoever leads next must have what the catalog is going to name.
      if (added.length > 0) await term.copied()
      settings = await change()
    } catch (error) {
      // Whether the topic has grown may be unknown: the files stay.
      for (const partition of added) await partition.close()
      throw error
    }
    topic.configure(settings)
    term.configured(settings)
    for (const partition of added) {
      const cursors = await CursorStore.open(partition, environment.clock, environment.logger)
      hosted.cursors.push(cursors)
      topic.partitions.push(partition)
      for (const subscription of hosted.subscriptions.values())
        subscription.addPartition({ topic: topic.name, partition, cursors })
      patterns.grew(hosted, partition.number)
    }
    if (added.length > 0) topic.changed('grown')
  }

  /** As LogPartition.abandon says, of all that the topic consists of; then it is to be closed. */
  abandon(hosted: Hosted | null, error: TidingsError): void {
    hosted?.topic.abandon(error)
  }

  byId(id: string): Hosted | null {
    for (const hosted of this.#options.byName.values()) if (hosted.topic.id === id) return hosted
    return null
  }

  /** Ends all that reads it, finishes what was queued, closes the files. */
  async close(hosted: Hosted, why: TopicEnd, { settled }: Closing = {}): Promise<void> {
    const { topic, cursors, subscriptions } = hosted
    topic.changed(why)
    await Promise.all([...subscriptions.values()].map((subscription) => subscription.close(why)))
    for (const store of cursors) store.close()
    await topic.close()
    try {
      if (settled) {
        await Promise.all(topic.partitions.map((partition) => partition.flush()))
        await settled()
      }
    } finally {
      await Promise.all(topic.partitions.map((partition) => partition.close()))
    }
  }

  async #load(entry: CatalogTopic, partitions: LogPartition[], term: Term): Promise<Hosted> {
    const { random } = this.#options
    const environment = this.#environment(term)
    const { clock, logger } = environment
    const topic = new HostedTopic(entry, entry.settings, partitions, { clock, random, environment })
    try {
      // Others follow from `ready` on, and cut every log that is not named by then.
      await topic.openLogs()
      term.configured(entry.settings)
      await term.ready()
      await topic.recover()
      const cursors: CursorStore[] = []
      for (const partition of partitions) cursors.push(await CursorStore.open(partition, clock, logger))
      return { topic, term, cursors, subscriptions: new Map() }
    } catch (error) {
      await topic.close()
      throw error
    }
  }

  /** In one step with all patterns that follow it. */
  #enter(hosted: Hosted): void {
    const { byName, patterns } = this.#options
    byName.set(hosted.topic.name, hosted)
    patterns.came(hosted)
  }

  #environment(term: Term): PartitionEnvironment {
    return { ...this.#options.environment, term }
  }
}
