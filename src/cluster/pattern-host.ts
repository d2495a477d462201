/**
 * The subscriptions that follow a pattern: which they are, and which topics they read. A runner over the
 * catalog, used by the host, which tells it of topics that come, grow and go.
 *
 * Must stay true: no matching topic is missed, whenever it comes. A topic enters the host's map and every
 * runner that follows it in one synchronous step, and a new runner enters the registry and takes in
 * all topics of that map in one too; so whichever is second finds the first. A topic that comes later is
 * read from offset 0, which is where a cursor without a record begins: a crash before the record is written
 * changes nothing. A topic's cursors are made in a row with that topic's other changes.
 */
import { isPattern, matchesPattern, type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import { Serial } from '../base/serial.ts'
import { deadLetterTopic } from '../subscription/dead-letter.ts'
import { refuseOffsets } from '../subscription/positions.ts'
import type { SubscriptionRunner } from '../subscription/subscription-runner.ts'
import { acceptSubscriptionSettings } from '../subscription/subscription-settings.ts'
import type { CatalogSubscription } from './catalog.ts'
import { type Hosted, servedPartitions } from './hosted.ts'
import { forgetRedrives } from './redrive-cursors.ts'
import {
  createCursors,
  runnerOf,
  type SubscriptionHostOptions,
  type SubscriptionKeeper,
  unlessGone,
} from './subscription-host.ts'

export class PatternHost implements SubscriptionKeeper {
  readonly #options: SubscriptionHostOptions
  readonly #runners: Map<string, Map<string, SubscriptionRunner>> = new Map()
  /** Changes of the subscriptions of one pattern come one after the other. */
  readonly #changes = new Serial()

  constructor(options: SubscriptionHostOptions) {
    this.#options = options
  }

  /** Those of all patterns. */
  get all(): SubscriptionRunner[] {
    return [...this.#runners.values()].flatMap((byName) => [...byName.values()])
  }

  /** Those of exactly this pattern. */
  of(pattern: string): SubscriptionRunner[] {
    this.#options.mustBeOpen()
    return [...(this.#runners.get(pattern)?.values() ?? [])]
  }

  find(pattern: string, name: string): SubscriptionRunner | null {
    return this.#runners.get(pattern)?.get(name) ?? null
  }

  get(pattern: string, name: string): SubscriptionRunner {
    this.#options.mustBeOpen()
    const runner = this.find(pattern, name)
    if (runner) return runner
    throw new TidingsError('subscription_not_found', `pattern ${pattern} has no subscription ${name}`)
  }

  /** Serves what the catalog names, before the topics are opened: they join as they come. */
  open(entries: readonly CatalogSubscription[]): void {
    for (const entry of entries) if (isPattern(entry.topicId)) this.#host(entry)
  }

  async put(
    pattern: string,
    name: string,
    patch: unknown,
  ): Promise<{ subscription: SubscriptionRunner; created: boolean }> {
    const { hosted, makeTopic, mustServe } = this.#options
    mustServe()
    const planned = acceptSubscriptionSettings(this.find(pattern, name)?.settings ?? null, patch)
    refuseOffsets(planned.start)
    const letters = planned.deadLetter && deadLetterTopic(pattern, name, planned.deadLetter)
    if (letters !== null && !hosted.has(letters)) await makeTopic(letters)
    return this.#changes.run(pattern, async () => {
      const existing = this.find(pattern, name)
      if (!existing) return { subscription: await this.#create(pattern, name, patch), created: true }
      const merge = (current: SubscriptionSettings): SubscriptionSettings => acceptSubscriptionSettings(current, patch)
      const { settings } = await this.#options.catalog.updateSubscription(pattern, name, merge)
      existing.update(settings)
      this.#follow(existing)
      return { subscription: existing, created: false }
    })
  }

  async ensure(pattern: string, name: string, patch: unknown): Promise<SubscriptionRunner> {
    return this.find(pattern, name) ?? (await this.#ensure(pattern, name, patch))
  }

  async delete(pattern: string, name: string, condition: (runner: SubscriptionRunner) => boolean): Promise<boolean> {
    this.#options.mustServe()
    return this.#changes.run(pattern, async () => {
      const runner = this.get(pattern, name)
      if (!condition(runner)) return false
      await this.#options.catalog.deleteSubscription(pattern, name).catch(unlessGone)
      const byName = this.#runners.get(pattern)!
      byName.delete(name)
      if (byName.size === 0) this.#runners.delete(pattern)
      await runner.close('deleted')
      forgetRedrives(this.#options.hosted.values(), (id) => id === runner.id)
      return true
    })
  }

  /** The topic is in the host's map now. To be called in the same step. */
  came(hosted: Hosted): void {
    for (const runner of this.#followersOf(hosted)) {
      for (const served of servedPartitions(hosted)) runner.addPartition(served)
    }
  }

  /** The topic has this partition too. */
  grew(hosted: Hosted, number: number): void {
    for (const runner of this.#followersOf(hosted)) runner.addPartition(servedPartitions(hosted)[number]!)
  }

  /** The topic is deleted. */
  went(topic: string): void {
    for (const runner of this.all) if (runner.topics.includes(topic)) runner.removeTopic(topic)
  }

  /** The ids under which the topic's partitions may have cursors. */
  idsOf(topic: string): string[] {
    return this.all.filter((runner) => follows(runner, topic)).map(({ id }) => id)
  }

  /** Before the topics are closed, so that what was acknowledged is written. */
  async close(): Promise<void> {
    await Promise.all(this.all.map((runner) => runner.close('closing')))
    this.#runners.clear()
  }

  async #ensure(pattern: string, name: string, patch: unknown): Promise<SubscriptionRunner> {
    this.#options.mustServe()
    refuseOffsets(acceptSubscriptionSettings(null, patch).start)
    return this.#changes.run(pattern, async () => {
      return this.find(pattern, name) ?? (await this.#create(pattern, name, patch))
    })
  }

  async #create(pattern: string, name: string, patch: unknown): Promise<SubscriptionRunner> {
    const { catalog, random } = this.#options
    const settings = acceptSubscriptionSettings(null, patch)
    const id = random.id()
    await this.#begin(id, pattern, settings)
    let made: CatalogSubscription
    try {
      made = (await catalog.createPatternSubscription(pattern, name, { id, settings })).subscription
    } catch (error) {
      this.#forget(id)
      throw error
    }
    if (made.id !== id) {
      // An earlier creation whose outcome was unknown has happened after all: its id names the cursors.
      this.#forget(id)
      await this.#begin(made.id, pattern, settings)
    }
    return this.#host(made)
  }

  /** Makes the start durable in all topics that are there. */
  async #begin(id: string, pattern: string, settings: SubscriptionSettings): Promise<void> {
    const { hosted, inRow } = this.#options
    const names = [...hosted.keys()].filter((topic) => follows({ topic: pattern, settings }, topic))
    try {
      await Promise.all(
        names.map((name) =>
          inRow(name, async () => {
            const there = hosted.get(name)
            if (there) await createCursors(there, id, settings.start)
          }),
        ),
      )
    } catch (error) {
      this.#forget(id)
      throw error
    }
  }

  #forget(id: string): void {
    for (const { cursors } of this.#options.hosted.values()) for (const store of cursors) store.delete(id)
  }

  #host(entry: CatalogSubscription): SubscriptionRunner {
    const runner = runnerOf(this.#options, entry, { topic: entry.topicId, isPattern: true, partitions: [] })
    let byName = this.#runners.get(entry.topicId)
    if (!byName) {
      byName = new Map()
      this.#runners.set(entry.topicId, byName)
    }
    byName.set(entry.name, runner)
    this.#follow(runner)
    return runner
  }

  /** Has the runner read exactly what it follows: its dead-letter topic may be another than before. */
  #follow(runner: SubscriptionRunner): void {
    const read = new Set(runner.topics)
    for (const topic of read) if (!follows(runner, topic)) runner.removeTopic(topic)
    for (const hosted of this.#options.hosted.values()) {
      if (read.has(hosted.topic.name) || !follows(runner, hosted.topic.name)) continue
      for (const served of servedPartitions(hosted)) runner.addPartition(served)
    }
  }

  #followersOf({ topic }: Hosted): SubscriptionRunner[] {
    return this.all.filter((runner) => follows(runner, topic.name))
  }
}

/** A subscription never reads its own dead letters: each would come back as a message to fail on. */
function follows({ topic: pattern, settings }: Pick<SubscriptionRunner, 'topic' | 'settings'>, topic: string): boolean {
  return matchesPattern(pattern, topic) && topic !== settings.deadLetter?.topic
}
