/**
 * The subscriptions of the topics that this node hosts: how one comes into being, and its runner. A runner
 * over the catalog, used by the host, which brings changes of one topic into a row.
 *
 * Must stay true: a new subscription's start is durable in every partition before the catalog names it,
 * so that a crash leaves no subscription without a place.
 */
import { SUBSCRIPTION_DEFAULTS } from '@tidings/sdk/protocol'
import type { Clock, Random } from '../base/clock.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import type { HostedTopic } from '../partition/topic.ts'
import type { CursorStore } from '../subscription/cursor-store.ts'
import type { ServedPartition } from '../subscription/lane.ts'
import { checkPosition, settledOffset, startOffset } from '../subscription/positions.ts'
import { SubscriptionRunner } from '../subscription/subscription-runner.ts'
import { mergeSubscriptionSettings } from '../subscription/subscription-settings.ts'
import type { TopicDirectory } from '../subscription/topic-directory.ts'
import type { Catalog, CatalogSubscription } from './catalog.ts'

/** One topic with all that hangs on it. */
export interface Hosted {
  topic: HostedTopic
  /** Of its partitions, by number. */
  cursors: CursorStore[]
  subscriptions: Map<string, SubscriptionRunner>
}

export interface SubscriptionHostOptions {
  directory: TopicDirectory
  catalog: Catalog
  random: Random
  clock: Clock
  logger: Logger
  metrics: Metrics
}

export class SubscriptionHost {
  readonly #options: SubscriptionHostOptions

  constructor(options: SubscriptionHostOptions) {
    this.#options = options
  }

  /** Makes the subscription, or takes over one that an earlier try whose outcome was unknown has made. */
  async create(hosted: Hosted, name: string, patch: unknown): Promise<SubscriptionRunner> {
    const { catalog, random } = this.#options
    const { topic, cursors } = hosted
    const settings = mergeSubscriptionSettings(null, patch)
    const id = random.id()
    checkPosition(settings.start, topic.partitions.length)
    const starts = await Promise.all(topic.partitions.map((partition) => startOffset(settings.start, partition)))
    const settled = (i: number): number => settledOffset(settings.start, starts[i]!, topic.partitions[i]!)
    await Promise.all(cursors.map((store, i) => store.create(id, settled(i))))
    let made: CatalogSubscription
    try {
      made = (await catalog.createSubscription(topic, name, { id, settings })).subscription
    } catch (error) {
      for (const store of cursors) store.delete(id)
      throw error
    }
    if (made.id !== id) {
      // An earlier creation whose outcome was unknown has happened after all: its id names the cursors.
      for (const store of cursors) store.delete(id)
      await Promise.all(cursors.map((store, i) => store.create(made.id, settled(i))))
    }
    return this.host(hosted, made)
  }

  /** Serves the subscription that the catalog names. */
  host(hosted: Hosted, entry: CatalogSubscription): SubscriptionRunner {
    const { directory, clock, metrics, logger } = this.#options
    const subscription = new SubscriptionRunner({
      id: entry.id,
      name: entry.name,
      topic: hosted.topic.name,
      settings: { ...SUBSCRIPTION_DEFAULTS, ...entry.settings },
      partitions: servedPartitions(hosted),
      directory,
      clock,
      metrics,
      logger,
    })
    hosted.subscriptions.set(entry.name, subscription)
    return subscription
  }
}

function servedPartitions({ topic, cursors }: Hosted): ServedPartition[] {
  return topic.partitions.map((partition, i) => ({ topic: topic.name, partition, cursors: cursors[i]! }))
}
