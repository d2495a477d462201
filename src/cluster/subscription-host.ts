/**
 * The subscriptions of single topics: how they come into being, change and go. A runner over the catalog,
 * used by the host; pattern-host.ts is its like for those that follow a pattern. Changes of one topic and its
 * subscriptions come one after the other.
 *
 * Must stay true: a new subscription's start is durable in every partition before the catalog names it,
 * so that a crash leaves no subscription without a place.
 */
import { type Position, SUBSCRIPTION_DEFAULTS, type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random } from '../base/clock.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import { deadLetterTopic } from '../subscription/dead-letter.ts'
import { checkPosition, settledOffset, startOffset } from '../subscription/positions.ts'
import { type SubscriptionOptions, SubscriptionRunner } from '../subscription/subscription-runner.ts'
import { acceptSubscriptionSettings, mergeSubscriptionSettings } from '../subscription/subscription-settings.ts'
import type { TopicDirectory } from '../subscription/topic-directory.ts'
import type { Catalog, CatalogSubscription } from './catalog.ts'
import { type Hosted, servedPartitions } from './hosted.ts'
import { forgetRedrives } from './redrive-cursors.ts'

/** What both kinds of subscriptions need of the host. */
export interface SubscriptionHostOptions {
  directory: TopicDirectory
  catalog: Catalog
  random: Random
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** All topics that are open, by name. */
  hosted: ReadonlyMap<string, Hosted>
  /** The topic, or throws `topic_not_found`, or `overloaded` while topics are still being opened. */
  topic: (name: string) => Hosted
  /** Makes the topic unless it is there; throws `topic_not_found` where clients may not make topics. */
  ensureTopic: (name: string) => Promise<unknown>
  /** Makes the topic, wherever its name comes from. */
  makeTopic: (name: string) => Promise<unknown>
  /** Throws `overloaded` while topics are still being opened. */
  mustBeOpen: () => void
  /** Throws `overloaded` unless changes are taken. */
  mustServe: () => void
  /** Runs the task in a row with the other changes of the topic. */
  inRow: <T>(topic: string, task: () => Promise<T>) => Promise<T>
}

/** The subscriptions of a topic, or of a pattern. */
export interface SubscriptionKeeper {
  readonly all: SubscriptionRunner[]
  of(topic: string): SubscriptionRunner[]
  find(topic: string, name: string): SubscriptionRunner | null
  /** Throws `subscription_not_found`, `topic_not_found`. */
  get(topic: string, name: string): SubscriptionRunner
  put(topic: string, name: string, patch: unknown): Promise<{ subscription: SubscriptionRunner; created: boolean }>
  ensure(topic: string, name: string, patch: unknown): Promise<SubscriptionRunner>
  /** Deletes it if it meets the condition when its turn has come. Answers whether it did. */
  delete(topic: string, name: string, condition: (runner: SubscriptionRunner) => boolean): Promise<boolean>
}

export class SubscriptionHost implements SubscriptionKeeper {
  readonly #options: SubscriptionHostOptions

  constructor(options: SubscriptionHostOptions) {
    this.#options = options
  }

  /** Those of all topics. */
  get all(): SubscriptionRunner[] {
    return [...this.#options.hosted.values()].flatMap(({ subscriptions }) => [...subscriptions.values()])
  }

  of(topic: string): SubscriptionRunner[] {
    return [...this.#options.topic(topic).subscriptions.values()]
  }

  find(topic: string, name: string): SubscriptionRunner | null {
    return this.#options.hosted.get(topic)?.subscriptions.get(name) ?? null
  }

  get(topic: string, name: string): SubscriptionRunner {
    const runner = this.#options.topic(topic).subscriptions.get(name)
    if (runner) return runner
    throw new TidingsError('subscription_not_found', `topic ${topic} has no subscription ${name}`)
  }

  async put(
    topic: string,
    name: string,
    patch: unknown,
  ): Promise<{ subscription: SubscriptionRunner; created: boolean }> {
    const { catalog, directory, ensureTopic, mustServe, inRow } = this.#options
    const { deadLetter } = acceptSubscriptionSettings(this.find(topic, name)?.settings ?? null, patch)
    const letters = deadLetter && deadLetterTopic(topic, name, deadLetter)
    await ensureTopic(topic)
    mustServe()
    if (letters !== null) await directory.open(letters, topic)
    return inRow(topic, async () => {
      const hosted = this.#options.topic(topic)
      const existing = hosted.subscriptions.get(name)
      if (!existing) return { subscription: await this.#create(hosted, name, patch), created: true }
      const merge = (current: SubscriptionSettings): SubscriptionSettings => acceptSubscriptionSettings(current, patch)
      const { settings } = await catalog.updateSubscription(hosted.topic.id, name, merge)
      existing.update(settings)
      return { subscription: existing, created: false }
    })
  }

  async ensure(topic: string, name: string, patch: unknown): Promise<SubscriptionRunner> {
    const { ensureTopic, mustServe, inRow } = this.#options
    const existing = this.find(topic, name)
    if (existing) return existing
    acceptSubscriptionSettings(null, patch)
    await ensureTopic(topic)
    mustServe()
    return inRow(topic, async () => {
      const hosted = this.#options.topic(topic)
      return hosted.subscriptions.get(name) ?? this.#create(hosted, name, patch)
    })
  }

  async delete(topic: string, name: string, condition: (runner: SubscriptionRunner) => boolean): Promise<boolean> {
    this.#options.mustServe()
    return this.#options.inRow(topic, async () => {
      const hosted = this.#options.topic(topic)
      const runner = this.get(topic, name)
      if (!condition(runner)) return false
      await this.#options.catalog.deleteSubscription(hosted.topic.id, name).catch(unlessGone)
      hosted.subscriptions.delete(name)
      await runner.close('deleted')
      for (const store of hosted.cursors) store.delete(runner.id)
      forgetRedrives(this.#options.hosted.values(), (id) => id === runner.id)
      return true
    })
  }

  /** Makes the subscription, or takes over one that an earlier try whose outcome was unknown has made. */
  async #create(hosted: Hosted, name: string, patch: unknown): Promise<SubscriptionRunner> {
    const { catalog, random } = this.#options
    const { topic, cursors } = hosted
    const settings = mergeSubscriptionSettings(null, patch)
    const id = random.id()
    checkPosition(settings.start, topic.partitions.length)
    await createCursors(hosted, id, settings.start)
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
      await createCursors(hosted, made.id, settings.start)
    }
    return this.host(hosted, made)
  }

  /** Serves the subscription that the catalog names. */
  host(hosted: Hosted, entry: CatalogSubscription): SubscriptionRunner {
    const place = { topic: hosted.topic.name, partitions: servedPartitions(hosted) }
    const subscription = runnerOf(this.#options, entry, place)
    hosted.subscriptions.set(entry.name, subscription)
    return subscription
  }
}

/** The runner of the subscription that the catalog names, over these partitions. */
export function runnerOf(
  { directory, clock, metrics, logger }: SubscriptionHostOptions,
  { id, name, settings }: CatalogSubscription,
  place: Pick<SubscriptionOptions, 'topic' | 'partitions' | 'isPattern'>,
): SubscriptionRunner {
  const whole = { ...SUBSCRIPTION_DEFAULTS, ...settings }
  return new SubscriptionRunner({ ...place, id, name, settings: whole, directory, clock, metrics, logger })
}

/** What we still serve and the catalog does not know was deleted by a try whose answer got lost. */
export function unlessGone(error: unknown): void {
  if (!TidingsError.is(error) || (error.code !== 'topic_not_found' && error.code !== 'subscription_not_found'))
    throw error
}

/** Makes the start of a new subscription durable in every partition of the topic. */
export async function createCursors({ topic, cursors }: Hosted, id: string, start: Position): Promise<void> {
  const starts = await Promise.all(topic.partitions.map((partition) => startOffset(start, partition)))
  const settled = (i: number): number => settledOffset(start, starts[i]!, topic.partitions[i]!)
  await Promise.all(cursors.map((store, i) => store.create(id, settled(i))))
}
