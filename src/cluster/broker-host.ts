/**
 * What this node hosts: the topics and subscriptions of the catalog, opened. It brings changes about in
 * the order that a crash between any two steps leaves nothing half done: files before metadata
 * on the way in, metadata before files on the way out. The server needs to know nothing else of the
 * broker.
 *
 * How the files come and go is in topic-files.ts.
 */
import { checkName, type SubscriptionSettings, TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import { Serial } from '../base/serial.ts'
import type { Logger } from '../base/telemetry.ts'
import { LogPartition, type PartitionEnvironment } from '../partition/partition.ts'
import { HostedTopic, type Topic } from '../partition/topic.ts'
import { mergeTopicSettings } from '../partition/topic-settings.ts'
import { CursorStore } from '../subscription/cursor-store.ts'
import { deadLetterTopic } from '../subscription/dead-letter.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { acceptSubscriptionSettings } from '../subscription/subscription-settings.ts'
import type { TopicDirectory } from '../subscription/topic-directory.ts'
import type { Catalog, CatalogSubscription, CatalogTopic } from './catalog.ts'
import type { Host } from './host.ts'
import { forgetRedrives } from './redrive-cursors.ts'
import { type Expirable, SubscriptionExpiry } from './subscription-expiry.ts'
import { type Hosted, SubscriptionHost } from './subscription-host.ts'
import { TopicFiles } from './topic-files.ts'
import { type WhyRetained, whyRetained } from './why-retained.ts'

export interface HostOptions {
  catalog: Catalog
  /** There must be no files of topics then. */
  catalogIsNew: boolean
  random: Random
  nodeId: string
  autoCreateTopics: boolean
  /** What partitions share, but for what the host has itself and for the epoch, which the catalog gives. */
  environment: Omit<PartitionEnvironment, 'leaderEpoch' | 'random' | 'background'>
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
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #hosted: Map<string, Hosted> = new Map()
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
    this.#environment = { ...options.environment, random: options.random, background: new Serial(), leaderEpoch: 0 }
    this.#files = new TopicFiles(options.environment.disk, options.random)
    this.#clock = options.environment.clock
    this.#logger = options.environment.logger
    const { catalog, random } = options
    this.#subscriptions = new SubscriptionHost({ directory: this.#directory, catalog, random, ...options.environment })
    this.#expiry = new SubscriptionExpiry({
      clock: this.#clock,
      logger: this.#logger,
      subscriptions: () => [...this.#hosted.values()].flatMap(({ subscriptions: all }) => [...all.values()]),
      remove: ({ topic, name }) => this.#removeSubscription(topic, name, (subscription) => subscription.isExpired),
    })
    this.#startedAt = this.#clock.now()
  }

  /** Opens everything that the catalog lists. Throws CorruptionError; then nothing was changed. */
  async open(): Promise<void> {
    const leaderEpoch = await this.#catalog.nodeEpoch(this.#options.nodeId)
    this.#environment = { ...this.#environment, leaderEpoch }
    await this.#files.prepare(this.#options.catalogIsNew)
    // Finishes the deletions that a crash interrupted.
    for (const { id } of await this.#catalog.tombstones()) await this.#bury(id)
    const topics = await this.#catalog.topics()
    const subscriptions = await this.#catalog.subscriptions()
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
      if (!hosted) return { topic: await this.#createTopic(name, mergeTopicSettings(null, patch)), created: true }
      await this.#updateTopic(hosted, patch)
      return { topic: hosted.topic, created: false }
    })
  }

  async deleteTopic(name: string): Promise<void> {
    checkName('topic', name)
    this.#mustServe()
    await this.#changes.run(name, async () => {
      const hosted = this.#find(name)
      await this.#catalog.deleteTopic(name).catch(unlessGone)
      this.#hosted.delete(name)
      await this.#closeTopic(hosted, 'deleted')
      const gone = new Set([...hosted.subscriptions.values()].map(({ id }) => id))
      forgetRedrives(this.#hosted.values(), (id) => gone.has(id))
      await this.#bury(hosted.topic.id)
    })
  }

  subscriptions(topic: string): Subscription[] {
    const list = [...this.#find(topic).subscriptions.values()]
    return list.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  subscription(topic: string, name: string): Subscription {
    const hosted = this.#find(topic)
    const subscription = hosted.subscriptions.get(checkName('subscription', name))
    if (!subscription) throw subscriptionNotFound(topic, name)
    return subscription
  }

  async putSubscription(
    topic: string,
    name: string,
    patch: unknown,
  ): Promise<{ subscription: Subscription; created: boolean }> {
    checkName('subscription', name)
    const known = this.#hosted.get(checkName('topic', topic))?.subscriptions.get(name)
    const { deadLetter } = acceptSubscriptionSettings(known?.settings ?? null, patch)
    const letters = deadLetter && deadLetterTopic(topic, name, deadLetter)
    await this.ensureTopic(topic)
    this.#mustServe()
    if (letters !== null) await this.#directory.open(letters, topic)
    return this.#changes.run(topic, async () => {
      const hosted = this.#find(topic)
      const existing = hosted.subscriptions.get(name)
      if (!existing) return { subscription: await this.#subscriptions.create(hosted, name, patch), created: true }
      const merge = (current: SubscriptionSettings): SubscriptionSettings => acceptSubscriptionSettings(current, patch)
      const { settings } = await this.#catalog.updateSubscription(hosted.topic.id, name, merge)
      existing.update(settings)
      return { subscription: existing, created: false }
    })
  }

  async ensureSubscription(topic: string, name: string, patch: unknown): Promise<Subscription> {
    checkName('subscription', name)
    const hosted = this.#hosted.get(checkName('topic', topic))
    const existing = hosted?.subscriptions.get(name)
    if (existing) return existing
    acceptSubscriptionSettings(null, patch)
    await this.ensureTopic(topic)
    this.#mustServe()
    return this.#changes.run(topic, async () => {
      const found = this.#find(topic)
      return found.subscriptions.get(name) ?? this.#subscriptions.create(found, name, patch)
    })
  }

  async deleteSubscription(topic: string, name: string): Promise<void> {
    checkName('subscription', name)
    await this.#removeSubscription(topic, name, () => true)
  }

  /** Deletes it if it meets the condition when its turn has come. Answers whether it did. */
  #removeSubscription(topic: string, name: string, condition: (subscription: Expirable) => boolean): Promise<boolean> {
    this.#mustServe()
    return this.#changes.run(topic, async () => {
      const hosted = this.#find(topic)
      const subscription = hosted.subscriptions.get(name)
      if (!subscription) throw subscriptionNotFound(topic, name)
      if (!condition(subscription)) return false
      await this.#catalog.deleteSubscription(hosted.topic.id, name).catch(unlessGone)
      hosted.subscriptions.delete(name)
      await subscription.close('deleted')
      for (const store of hosted.cursors) store.delete(subscription.id)
      forgetRedrives(this.#hosted.values(), (id) => id === subscription.id)
      return true
    })
  }

  notReady(): string | null {
    if (this.#state !== 'serving') return this.#state
    if (this.#environment.latch.tripped) return 'failed'
    return this.#environment.space.full ? 'storage_full' : null
  }

  node(): { id: string; epoch: number; startedAt: number } {
    return { id: this.#options.nodeId, epoch: this.#environment.leaderEpoch, startedAt: this.#startedAt }
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
    await Promise.all([...this.#hosted.values()].map((hosted) => this.#closeTopic(hosted, 'closing')))
    this.#hosted.clear()
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
    const planned = mergeTopicSettings(topic.settings, patch)
    const added = await this.#files.createPartitions(this.#environment, topic.id, topic.partitions.length, planned)
    let settings: TopicSettings
    try {
      const change = (current: TopicSettings): TopicSettings => mergeTopicSettings(current, patch)
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
    const known = new Set(subscriptions.map(({ id }) => id))
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
    return hosted
  }

  async #closeTopic(hosted: Hosted, why: 'deleted' | 'closing'): Promise<void> {
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

/** What we still serve and the catalog does not know was deleted by a try whose answer got lost. */
function unlessGone(error: unknown): void {
  if (!TidingsError.is(error) || (error.code !== 'topic_not_found' && error.code !== 'subscription_not_found'))
    throw error
}

function topicNotFound(name: string): TidingsError {
  return new TidingsError('topic_not_found', `there is no topic ${name}`)
}

function subscriptionNotFound(topic: string, name: string): TidingsError {
  return new TidingsError('subscription_not_found', `topic ${topic} has no subscription ${name}`)
}
