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
import type { PartitionEnvironment } from '../partition/partition.ts'
import { aloneTerm, type Term } from '../partition/quorum.ts'
import type { Topic } from '../partition/topic.ts'
import { acceptTopicSettings } from '../partition/topic-settings.ts'
import type { Subscription } from '../subscription/subscription.ts'
import type { TopicDirectory } from '../subscription/topic-directory.ts'
import type { Catalog, TopicReference } from './catalog.ts'
import { AloneFacts, type ClusterFacts } from './cluster-facts.ts'
import type { Host } from './host.ts'
import type { Hosted } from './hosted.ts'
import { HostedTopics } from './hosted-topics.ts'
import { PatternHost } from './pattern-host.ts'
import { forgetRedrives } from './redrive-cursors.ts'
import { apart, type Seat } from './seat.ts'
import { SubscriptionExpiry } from './subscription-expiry.ts'
import {
  SubscriptionHost,
  type SubscriptionHostOptions,
  type SubscriptionKeeper,
  unlessGone,
} from './subscription-host.ts'
import { TopicFiles } from './topic-files.ts'
import { TopicMaker } from './topic-maker.ts'
import { TopicQuota } from './topic-quota.ts'
import { type WhyRetained, whyRetained } from './why-retained.ts'

export interface HostOptions {
  catalog: Catalog
  /** There must be no files of topics then. */
  catalogIsNew: boolean
  /** In a cluster: what the host leads it is told topic by topic. Absent: it is alone, and leads everything. */
  seat?: Seat
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
  readonly files: TopicFiles
  readonly facts: ClusterFacts
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
      const model = this.#hosted.get(like)?.topic
      if (!this.#hosted.has(name)) {
        if (this.#options.seat?.isElsewhere(name)) throw apart(name)
        await this.#putTopic(name, { maxMessageBytes: model?.settings.maxMessageBytes }, model?.id)
      }
      return this.#find(name)
    },
  }
  /** What all partitions here share. */
  readonly environment: Omit<PartitionEnvironment, 'term'>
  readonly #topics: HostedTopics
  readonly #maker: TopicMaker
  /** Under which a broker that is alone leads everything. */
  #term: Term = aloneTerm(0)
  #state: State = 'recovering'
  #timer: Timer | null = null
  #maintenance: Promise<void> = Promise.resolve()

  constructor(options: HostOptions) {
    this.#options = options
    this.#catalog = options.catalog
    this.environment = { ...options.environment, random: options.random, background: new Serial() }
    this.#quota = new TopicQuota(options.maxTopics, () => this.#hosted.size)
    this.files = new TopicFiles(options.environment.disk, options.random)
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
    this.#topics = new HostedTopics({
      environment: this.environment,
      files: this.files,
      random,
      subscriptions: this.#subscriptions,
      patterns: this.#patterns,
      byName: this.#hosted,
    })
    this.facts = options.seat?.facts ?? new AloneFacts(this)
    this.#maker = new TopicMaker({ catalog, random, topics: this.#topics, seat: options.seat ?? null })
    this.#expiry = new SubscriptionExpiry({
      clock: this.#clock,
      logger: this.#logger,
      subscriptions: () => [...this.#subscriptions.all, ...this.#patterns.all],
      remove: ({ topic, name }) => this.#removeExpired(topic, name),
    })
    this.#startedAt = this.#clock.now()
  }

  /** Opens everything that the catalog lists; in a cluster nothing, see `lead`. Throws CorruptionError; then nothing was changed. */
  async open(): Promise<void> {
    await this.files.prepare(this.#options.catalogIsNew)
    if (this.#options.seat) return this.#serve()
    this.#term = aloneTerm(await this.#catalog.nodeEpoch(this.#options.nodeId))
    // Finishes the deletions that a crash interrupted.
    for (const { id } of await this.#catalog.tombstones()) await this.#bury(id)
    const topics = await this.#catalog.topics()
    const subscriptions = await this.#catalog.subscriptions()
    this.#patterns.open(subscriptions)
    const queue = [...topics]
    const openSome = async (): Promise<void> => {
      for (let topic = queue.shift(); topic; topic = queue.shift()) {
        const { id } = topic
        const its = subscriptions.filter(({ topicId }) => topicId === id)
        await this.#topics.open(topic, its, this.#term)
      }
    }
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openSome))
    const known = new Set(subscriptions.map(({ id }) => id))
    forgetRedrives(this.#hosted.values(), (id) => !known.has(id))
    const strangers = await this.files.strangers(topics.map(({ id }) => id))
    if (strangers.length > 0) this.#logger.warn({ strangers }, 'partition directories that belong to no topic')
    this.#serve()
  }

  #serve(): void {
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

  putTopic(name: string, patch: unknown): Promise<{ topic: Topic; created: boolean }> {
    return this.#putTopic(name, patch)
  }

  async #putTopic(name: string, patch: unknown, like?: string): Promise<{ topic: Topic; created: boolean }> {
    checkName('topic', name)
    this.#mustServe()
    return this.#changes.run(name, async () => {
      const hosted = this.#hosted.get(name)
      if (!hosted) {
        const settings = this.#accept(null, patch)
        return {
          topic: await this.#quota.make(() => this.#maker.make(name, settings, this.#term, like ?? null)),
          created: true,
        }
      }
      const { topic } = hosted
      const change = (current: TopicSettings): TopicSettings => this.#accept(current, patch)
      await this.#topics.change(hosted, change(topic.settings), async () => {
        return (await this.#catalog.updateTopic(topic, change)).settings
      })
      return { topic, created: false }
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
      // Nobody copies it any more, so nothing that waits for that would end.
      if (this.#options.seat) this.#topics.abandon(hosted, topicNotFound(name))
      await this.#topics.close(hosted, 'deleted')
      const gone = new Set([...hosted.subscriptions.values()].map(({ id }) => id))
      forgetRedrives(this.#hosted.values(), (id) => gone.has(id))
      // In a cluster the others have files to bury too.
      if (!this.#options.seat) await this.#bury(hosted.topic.id)
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
    const { seat } = this.#options
    if (seat?.notReady) return seat.notReady
    if (this.environment.latch.tripped) return 'failed'
    return this.environment.space.full ? 'storage_full' : null
  }

  node(): { id: string; epoch: number; startedAt: number } {
    return { id: this.#options.nodeId, epoch: this.#term.epoch, startedAt: this.#startedAt }
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
    await Promise.all([...this.#hosted.values()].map((hosted) => this.#topics.close(hosted, 'closing')))
    this.#hosted.clear()
  }

  /** This broker leads the topic from now on (in a cluster): opens it to clients. Rejects with CorruptionError. */
  async lead({ id, name }: TopicReference, term: Term): Promise<void> {
    await this.#changes.run(name, async () => {
      const entry = await this.#catalog.topic(name)
      if (entry?.id !== id) throw topicNotFound(name)
      const { topic } = await this.#topics.open(entry, await this.#catalog.subscriptions(id), term)
      topic.start()
    })
  }

  /**
   * It does not lead the topic any more. With an error nothing can be finished, and whoever waits hears it; else all
   * that was asked is done first, and `settled` is called before the files are closed. Their end is awaited.
   */
  async resign({ id, name }: TopicReference, how: TidingsError | { settled(): Promise<void> }): Promise<void> {
    const isLost = TidingsError.is(how)
    const hosted = (): Hosted | null => this.#topics.byId(id)
    if (isLost) this.#topics.abandon(hosted(), how)
    await this.#changes.run(name, async () => {
      const leaving = hosted()
      if (!leaving) return
      if (isLost) this.#topics.abandon(leaving, how)
      this.#hosted.delete(name)
      this.#patterns.went(name)
      await this.#topics.close(leaving, 'moved', isLost ? {} : how)
    })
  }

  /** Whether clients are served with the topic. */
  serves(topicId: string): boolean {
    return this.#topics.byId(topicId) !== null
  }

  #accept(current: TopicSettings | null, patch: unknown): TopicSettings {
    return acceptTopicSettings(current, patch, this.#options.seat?.copies ?? null)
  }

  #keeperOf(topic: string): SubscriptionKeeper {
    if (!isPattern(checkTopicOrPattern(topic))) return this.#subscriptions
    if (!this.#options.seat) return this.#patterns
    throw new TidingsError(
      'invalid_argument',
      'subscriptions to a pattern are not there in a cluster yet: name a topic',
    )
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

  /** Removes the files of a deleted topic, then its tombstone. */
  async #bury(topicId: string): Promise<void> {
    await this.files.bury(topicId, () => this.#catalog.forgetTombstone(topicId))
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
