/**
 * How a topic comes into being: files first, then the catalog, then clients may have it. A runner, used by the host for
 * one name at a time.
 *
 * Must stay true: what the catalog names has its files; files that it may name are never removed.
 */
import { TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import type { LogPartition } from '../partition/partition.ts'
import type { Term } from '../partition/quorum.ts'
import type { HostedTopic } from '../partition/topic.ts'
import type { Catalog, CatalogTopic } from './catalog.ts'
import type { Hosted } from './hosted.ts'
import type { HostedTopics } from './hosted-topics.ts'
import type { Seat } from './seat.ts'

export interface TopicMakerOptions {
  catalog: Catalog
  random: Random
  topics: HostedTopics
  /** Null: the broker is alone. */
  seat: Seat | null
}

export class TopicMaker {
  readonly #options: TopicMakerOptions

  constructor(options: TopicMakerOptions) {
    this.#options = options
  }

  /**
   * @param alone under which a broker that is alone leads it
   * @param like id of a topic whose brokers it is to have, in a cluster
   */
  async make(name: string, settings: TopicSettings, alone: Term, like: string | null): Promise<HostedTopic> {
    const { catalog, random, topics, seat } = this.#options
    const id = random.id()
    const founding = seat?.found({ id, name, settings }, like) ?? null
    const term = founding?.term ?? alone
    let partitions: LogPartition[] = []
    let made: { topic: CatalogTopic; created: boolean }
    let opened: Hosted | null = null
    try {
      partitions = await topics.makeFiles(id, settings, term)
      made = await catalog.createTopic(name, id, settings, founding?.leadership)
      if (made.created) opened = await topics.openNew(made.topic, partitions, term)
    } catch (error) {
      // Whether it is in the catalog may be unknown: its files must stay.
      for (const partition of partitions) await partition.close()
      founding?.failed()
      throw error
    }
    if (opened) {
      await founding?.done()
      return opened.topic
    }
    for (const partition of partitions) await partition.close()
    founding?.failed()
    if (founding) throw new TidingsError('no_leader', `topic ${name} has just been made by another broker: try again`)
    // An earlier creation has happened: its outcome was unknown, or it could not be opened.
    const { topic } = await topics.open(made.topic, await catalog.subscriptions(made.topic.id), term)
    topic.start()
    return topic
  }
}
