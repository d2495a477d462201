/**
 * What this node hosts: the topics and subscriptions of the catalog, opened. It brings changes about in
 * the order that a crash between any two steps leaves nothing half done: files before metadata
 * on the way in, metadata before files on the way out. The server needs to know nothing else of the
 * broker.
 *
 * How the files come and go is in topic-files.ts.
 */
import { checkName, checkTopicOrPattern, isPattern, TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import { Serial } from '../base/serial.ts'
import type { Logger } from '../base/telemetry.ts'
import { LogPartition, type PartitionEnvironment } from '../partition/partition.ts'
import { aloneTerm } from '../partition/quorum.ts'
import { HostedTopic, type Topic, type TopicEnd } from '../partition/topic.ts'
import { acceptTopicSettings } from '../partition/topic-settings.ts'
import { CursorStore } from '../subscription/cursor-store.ts'
import type { Subscription } from '../subscription/subscription.ts'
import type { TopicDirectory } from '../subscription/topic-directory.ts'
import type { Catalog, CatalogSubscription, CatalogTopic } from './catalog.ts'
import type { Host } from './host.ts'
import type { Hosted } from './hosted.ts'
import { PatternHost } from './pattern-host.ts'
import { forgetRedrives } from './redrive-cursors.ts'
import { SubscriptionExpiry } from './subscription-expiry.ts'
import {
  SubscriptionHost,
  type SubscriptionHostOptions,
  type SubscriptionKeeper,
  unlessGone,
} from './subscription-host.ts'
import { TopicFiles } from './topic-files.ts'
import { TopicQuota } from './topic-quota.ts'
import { type WhyRetained, whyRetained } from './why-retained.ts'

export interface HostOptions {
  catalog: Catalog
  /** There must be no files of topics then. */
  catalogIsNew: boolean
  random: Random
  nodeId: string
  autoCreateTopics: boolean
  maxTopics: number
  /** What partitions share, but for what the host has itself and for the epoch, which the catalog gives. */
  environment: Omit<PartitionEnvironment, 'term' | 'random' | 'background'>
}

const MAINTENANCE_MS = 5000
/** Partitions opened at the same time at start. */
const OPENING_AT_ONCE = 16

type State = 'recovering' | 'serving' | 'draining'

export class BrokerHost implements Host {
  readonly #options: HostOptions
  readonly #catalog: Catalog
  readonly #files: TopicFiles
  readonly #subscriptions: SubscriptionHost
  readonly #expiry: SubscriptionExpiry
  readonly #patterns: PatternHost
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #hosted: Map<string, Hosted> = new Map()
  readonly #quota: TopicQuota
  /** Changes of one topic and its subscriptions come one after the other. */
  readonly #changes = new Serial()
  readonly #startedAt: number
  readonly #directory: TopicDirectory = {
    find: (name) => this.#hosted.get(name) ?? null,
    // Whether topics come into being by themselves is about clients' typing errors; this name stands in settings.
    open: async (name, like) => {
      const maxMessageBytes = this.#hosted.get(like)?.topic.settings.maxMessageBytes
      if (!this.#hosted.has(name)) await this.putTopic(name, { maxMessageBytes })
      return this.#find(name)
    },
  }
  #environment: PartitionEnvironment
  #state: State = 'recovering'
  #timer: Timer | null = null
  #maintenance: Promise<void> = Promise.resolve()

  constructor(options: HostOptions) {
    this.#options = options
    this.#catalog = options.catalog
    this.#environment = { ...options.environment, random: options.random, background: new Serial(), term: aloneTerm(0) }
    this.#quota = new TopicQuota(options.maxTopics, () => this.#hosted.size)
    this.#files = new TopicFiles(options.environment.disk, options.random)
    this.#clock = options.environment.clock
    this.#logger = options.environment.logger
    const { catalog, random } = options
    const shared: SubscriptionHostOptions = {
      ...options.environment,
      directory: this.#directory,
      catalog,
      random,
      hosted: this.#hosted,
      topic: (name) => this.#find(name),
      ensureTopic: (name) => this.ensureTopic(name),
      makeTopic: (name) => this.putTopic(name, {}),
      mustBeOpen: () => this.#mustBeOpen(),
      mustServe: () => this.#mustServe(),
      inRow: (topic, task) => this.#changes.run(topic, task),
    }
    this.#subscriptions = new SubscriptionHost(shared)
    this.#patterns = new PatternHost(shared)
    this.#expiry = new SubscriptionExpiry({
      clock: this.#clock,
      logger: this.#logger,
      subscriptions: () => [...this.#subscriptions.all, ...this.#patterns.all],
      remove: ({ topic, name }) => this.#removeExpired(topic, name),
    })
    this.#startedAt = this.#clock.now()
  }

  /** Opens everything that the catalog lists. Throws CorruptionError; then nothing was changed. */
  async open(): Promise<void> {
    const term = aloneTerm(await this.#catalog.nodeEpoch(this.#options.nodeId))
    this.#environment = { ...this.#environment, term }
    await this.#files.prepare(this.#options.catalogIsNew)
    // Finishes the deletions that a crash interrupted.
    for (const { id } of await this.#catalog.tombstones()) await this.#bury(id)
    const topics = await this.#catalog.topics()
    const subscriptions = await this.#catalog.subscriptions()
    this.#patterns.open(subscriptions)
    const queue = [...topics]
    const openSome = async (): Promise<void> => {
      for (let topic = queue.shift(); topic; topic = queue.shift()) {
        const { id } = topic
        await this.#openTopic(
          topic,
          subscriptions.filter(({ topicId }) => topicId === id),
        )
      }
    }
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openSome))
    const known = new Set(subscriptions.map(({ id }) => id))
    forgetRedrives(this.#hosted.values(), (id) => !known.has(id))
    const strangers = await this.#files.strangers(topics.map(({ id }) => id))
    if (strangers.length > 0) this.#logger.warn({ strangers }, 'partition directories that belong to no topic')
    this.#state = 'serving'
    for (const { topic } of this.#hosted.values()) topic.start()
    this.#scheduleMaintenance()
    this.#expiry.start()
  }

  topics(): Topic[] {
    this.#mustBeOpen()
    return [...this.#hosted.values()].map(({ topic }) => topic).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  topic(name: string): Topic {
    return this.#find(name).topic
  }

  whyRetained(name: string): (WhyRetained | null)[] {
    const { topic, cursors } = this.#find(name)
    return topic.partitions.map((partition, i) => whyRetained(partition, cursors[i]!, topic.settings.retention))
  }

  async ensureTopic(name: string): Promise<Topic> {
    const hosted = this.#hosted.get(checkName('topic', name))
    if (hosted) return hosted.topic
    this.#mustBeOpen()
    if (!this.#options.autoCreateTopics) throw topicNotFound(name)
    return (await this.putTopic(name, {})).topic
  }

  async putTopic(name: string, patch: unknown): Promise<{ topic: Topic; created: boolean }> {
    checkName('topic', name)
    this.#mustServe()
    return this.#changes.run(name, async () => {
      const hosted = this.#hosted.get(name)
      if (!hosted) {
        const settings = acceptTopicSettings(null, patch)
        return { topic: await this.#quota.make(() => this.#createTopic(name, settings)), created: true }
      }
      await this.#updateTopic(hosted, patch)
      return { topic: hosted.topic, created: false }
    })
  }

  async deleteTopic(name: string): Promise<void> {
    await this.#deleteTopic(name, () => true)
  }

  async #deleteTopic(name: string, condition: (hosted: Hosted) => boolean): Promise<boolean> {
    checkName('topic', name)
    this.#mustServe()
    return this.#changes.run(name, async () => {
      const hosted = this.#find(name)
      if (!condition(hosted)) return false
      await this.#catalog.deleteTopic(name).catch(unlessGone)
      this.#hosted.delete(name)
      this.#patterns.went(name)
      await this.#closeTopic(hosted, 'deleted')
      const gone = new Set([...hosted.subscriptions.values()].map(({ id }) => id))
      forgetRedrives(this.#hosted.values(), (id) => gone.has(id))
      await this.#bury(hosted.topic.id)
      return true
    })
  }

  /** The topic goes with its last subscription where it is set so: in one step, which no crash can halve. */
  async #removeExpired(topic: string, name: string): Promise<boolean> {
    const isLast = ({ topic: { settings }, subscriptions }: Hosted): boolean =>
      settings.expireWithSubscriptions && subscriptions.size === 1 && subscriptions.get(name)?.isExpired === true
    const hosted = this.#hosted.get(topic)
    if (hosted && isLast(hosted)) return this.#deleteTopic(topic, isLast)
    return this.#keeperOf(topic).delete(topic, name, (subscription) => subscription.isExpired)
  }

  subscriptions(topic: string): Subscription[] {
    return this.#keeperOf(topic)
      .of(topic)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  subscription(topic: string, name: string): Subscription {
    return this.#keeperOf(topic).get(topic, checkName('subscription', name))
  }

  async putSubscription(
    topic: string,
    name: string,
    patch: unknown,
  ): Promise<{ subscription: Subscription; created: boolean }> {
    return this.#keeperOf(topic).put(topic, checkName('subscription', name), patch)
  }

  async ensureSubscription(topic: string, name: string, patch: unknown): Promise<Subscription> {
    return this.#keeperOf(topic).ensure(topic, checkName('subscription', name), patch)
  }

  async deleteSubscription(topic: string, name: string): Promise<void> {
    checkName('subscription', name)
    await this.#keeperOf(topic).delete(topic, name, () => true)
  }

  notReady(): string | null {
    if (this.#state !== 'serving') return this.#state
    if (this.#environment.latch.tripped) return 'failed'
    return this.#environment.space.full ? 'storage_full' : null
  }

  node(): { id: string; epoch: number; startedAt: number } {
    return { id: this.#options.nodeId, epoch: this.#environment.term.epoch, startedAt: this.#startedAt }
  }

  /** Readiness ends, changes are refused; publishes and acknowledgements go on until `close`. */
  drain(): void {
    this.#state = 'draining'
    this.#timer?.cancel()
    this.#timer = null
    void this.#expiry.stop()
  }

  /** Ends all consumers, finishes what was queued, closes the files. */
  async close(): Promise<void> {
    this.drain()
    await this.#expiry.stop()
    await this.#maintenance
    await this.#patterns.close()
    await Promise.all([...this.#hosted.values()].map((hosted) => this.#closeTopic(hosted, 'closing')))
    this.#hosted.clear()
  }

  #keeperOf(topic: string): SubscriptionKeeper {
    return isPattern(checkTopicOrPattern(topic)) ? this.#patterns : this.#subscriptions
  }

  #find(name: string): Hosted {
    const hosted = this.#hosted.get(name)
    if (hosted) return hosted
    checkName('topic', name)
    this.#mustBeOpen()
    throw topicNotFound(name)
  }

  /** What is not there yet while the broker starts must not be taken for missing. */
  #mustBeOpen(): void {
    if (this.#state === 'recovering')
      throw new TidingsError('overloaded', 'the broker is starting: try again in a moment')
  }

  #mustServe(): void {
    if (this.#state === 'serving') return
    throw new TidingsError('overloaded', `the broker is ${this.#state}: try again in a moment`)
  }

  async #createTopic(name: string, settings: TopicSettings): Promise<HostedTopic> {
    const id = this.#options.random.id()
    const partitions = await this.#files.createPartitions(this.#environment, id, 0, settings)
    const giveUp = async (): Promise<void> => {
      // Whether it is in the catalog may be unknown: its files must stay.
      for (const partition of partitions) await partition.close()
    }
    let created: { topic: CatalogTopic; created: boolean }
    try {
      created = await this.#catalog.createTopic(name, id, settings)
    } catch (error) {
      await giveUp()
      throw error
    }
    if (created.created) return (await this.#host(created.topic, partitions)).topic
    // An earlier creation whose outcome was unknown has happened after all.
    await giveUp()
    const { topic } = await this.#openTopic(created.topic, await this.#catalog.subscriptions(created.topic.id))
    topic.start()
    return topic
  }

  async #updateTopic(hosted: Hosted, patch: unknown): Promise<void> {
    const { topic } = hosted
    const planned = acceptTopicSettings(topic.settings, patch)
    const added = await this.#files.createPartitions(this.#environment, topic.id, topic.partitions.length, planned)
    let settings: TopicSettings
    try {
      const change = (current: TopicSettings): TopicSettings => acceptTopicSettings(current, patch)
      settings = (await this.#catalog.updateTopic(topic, change)).settings
    } catch (error) {
      // Whether the topic has grown may be unknown: the files stay.
      for (const partition of added) await partition.close()
      throw error
    }
    topic.configure(settings)
    for (const partition of added) {
      const cursors = await CursorStore.open(partition, this.#clock, this.#logger)
      hosted.cursors.push(cursors)
      topic.partitions.push(partition)
      for (const subscription of hosted.subscriptions.values())
        subscription.addPartition({ topic: topic.name, partition, cursors })
      this.#patterns.grew(hosted, partition.number)
    }
    if (added.length > 0) topic.changed('grown')
  }

  async #openTopic(entry: CatalogTopic, subscriptions: CatalogSubscription[]): Promise<Hosted> {
    const partitions: LogPartition[] = []
    for (let number = 0; number < entry.settings.partitions; number++) {
      partitions.push(await LogPartition.open(this.#environment, entry.id, number, entry.settings))
    }
    const hosted = await this.#host(entry, partitions)
    for (const subscription of subscriptions) this.#subscriptions.host(hosted, subscription)
    const known = new Set([...subscriptions.map(({ id }) => id), ...this.#patterns.idsOf(entry.name)])
    for (const store of hosted.cursors) {
      for (const id of store.subscriptionIds) if (!known.has(id)) store.delete(id)
    }
    return hosted
  }

  async #host(entry: CatalogTopic, partitions: LogPartition[]): Promise<Hosted> {
    const { random } = this.#options
    const ports = { clock: this.#clock, random, environment: this.#environment }
    const topic = new HostedTopic(entry, entry.settings, partitions, ports)
    await topic.recover()
    const cursors: CursorStore[] = []
    for (const partition of partitions) cursors.push(await CursorStore.open(partition, this.#clock, this.#logger))
    const hosted: Hosted = { topic, cursors, subscriptions: new Map() }
    this.#hosted.set(entry.name, hosted)
    this.#patterns.came(hosted)
    return hosted
  }

  async #closeTopic(hosted: Hosted, why: TopicEnd): Promise<void> {
    hosted.topic.changed(why)
    await Promise.all([...hosted.subscriptions.values()].map((subscription) => subscription.close(why)))
    for (const store of hosted.cursors) store.close()
    await hosted.topic.close()
    await Promise.all(hosted.topic.partitions.map((partition) => partition.close()))
  }

  /** Removes the files of a deleted topic, then its tombstone. */
  async #bury(topicId: string): Promise<void> {
    await this.#files.bury(topicId, () => this.#catalog.forgetTombstone(topicId))
  }

  #scheduleMaintenance(): void {
    this.#timer = this.#clock.after(MAINTENANCE_MS, () => {
      this.#maintenance = this.#maintain().then(() => {
        if (this.#timer) this.#scheduleMaintenance()
      })
    })
  }

  async #maintain(): Promise<void> {
    for (const { topic, cursors } of this.#hosted.values()) {
      for (const [i, partition] of topic.partitions.entries()) {
        if (this.#state !== 'serving') return
        if (this.#hosted.has(topic.name)) await partition.maintain(() => cursors[i]!.ackedThrough)
      }
      if (this.#hosted.has(topic.name)) await topic.maintain()
    }
  }
}

function topicNotFound(name: string): TidingsError {
  return new TidingsError('topic_not_found', `there is no topic ${name}`)
}
