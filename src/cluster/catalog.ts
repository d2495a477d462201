/**
 * The catalog: topics and subscriptions as kept in the coordinator's store. It holds no state of its
 * own; every answer is read from the store, every change is one compare-and-set transaction that is
 * durable when the promise resolves. Called by the host, rarely, and never on the way of a message.
 *
 * What must stay true: a topic or subscription is there whole or not at all, one per name; its id is
 * never used again; a deleted topic leaves a tombstone until its files are gone. When the store does
 * not say whether a transaction happened, it is read back (the id, or the nonce of the write, tells
 * ours from another's) and tried again a few times under the same guards.
 */
import { isPattern, type SubscriptionSettings, TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import { InvariantError } from '../base/invariant.ts'
import { brokerKey, encodeStart } from './broker-entry.ts'
import {
  type CatalogSubscription,
  type CatalogTopic,
  decodeSubscription,
  decodeTombstone,
  decodeTopic,
  encodeSubscription,
  encodeTombstone,
  encodeTopic,
  SUBSCRIPTIONS,
  subscriptionKey,
  subscriptionsPrefix,
  TOMBSTONES,
  TOPICS,
  type Tombstone,
  tombstoneKey,
  topicKey,
} from './catalog-entry.ts'
import type { Coordinator, Entry, Guard, Write } from './coordinator.ts'
import { decodeLeadership, leadershipKey } from './leadership-entry.ts'
import { holdersOf } from './reassignment.ts'
import { absent, isWriteOf, unchanged } from './store-entry.ts'

export type { CatalogSubscription, CatalogTopic, Tombstone } from './catalog-entry.ts'

/** Which topic is meant: a name alone could by now be another topic's. */
export interface TopicReference {
  readonly id: string
  readonly name: string
}

/** The leadership of a topic that is made: what has to hold for it, and what is written with the topic. */
export interface FirstLeadership {
  readonly guards: readonly Guard[]
  readonly writes: readonly Write[]
}

export interface CatalogOptions {
  /**
   * In a cluster a topic and its subscriptions are changed by its leader alone: what holds while this broker is that.
   * Asked anew for each try; throws `no_leader` when it is not.
   */
  guards?(topicId: string): Promise<readonly Guard[]>
}

/** Tries of one change: lost races and unknown outcomes together. */
const TRIES = 8

export class Catalog {
  #coordinator: Coordinator
  #random: Random
  readonly #guards: (topicId: string) => Promise<readonly Guard[]>

  constructor(coordinator: Coordinator, random: Random, options: CatalogOptions = {}) {
    this.#coordinator = coordinator
    this.#random = random
    this.#guards = async (topicId) => (await options.guards?.(topicId)) ?? []
  }

  /** All topics, by name. */
  async topics(): Promise<CatalogTopic[]> {
    const { entries } = await this.#coordinator.list(TOPICS)
    return entries.map(decodeTopic)
  }

  async topic(name: string): Promise<CatalogTopic | null> {
    const entry = await this.#coordinator.get(topicKey(name))
    return entry && decodeTopic(entry)
  }

  /**
   * Makes the topic, or answers the one that has the name already (then its id is another). In a cluster its
   * leadership is made in the same transaction; when the brokers that it names are not registered any more, as
   * often as it is tried, that is `overloaded`.
   */
  async createTopic(
    name: string,
    id: string,
    settings: TopicSettings,
    first: FirstLeadership = { guards: [], writes: [] },
  ): Promise<{ topic: CatalogTopic; created: boolean }> {
    const key = topicKey(name)
    const made = { id, name, settings }
    const value = encodeTopic(made, this.#random.id())
    return this.#change(`topic ${name}`, async () => {
      const entry = await this.#coordinator.get(key)
      if (entry) {
        const topic = decodeTopic(entry)
        return { done: { topic, created: topic.id === id } }
      }
      // Made by a try whose answer got lost, and deleted since: the id must not come back to life.
      const grave = tombstoneKey(id)
      if (await this.#coordinator.get(grave)) throw topicNotFound(name)
      return {
        guards: [absent(key), absent(grave), ...first.guards],
        writes: [{ put: key, value }, ...first.writes],
        answer: () => ({ topic: made, created: true }),
      }
    })
  }

  /**
   * Changes the settings to what `change` makes of the present ones; it is called again when another
   * change came in between, and what it throws is passed on. `topic_not_found` when that topic is gone.
   */
  async updateTopic(
    reference: TopicReference,
    change: (current: TopicSettings) => TopicSettings,
  ): Promise<CatalogTopic> {
    const key = topicKey(reference.name)
    const nonce = this.#random.id()
    return this.#change(`topic ${reference.name}`, async () => {
      const { entry, topic } = await this.#existingTopic(reference)
      if (isWriteOf(entry, nonce)) return { done: topic }
      const changed = { ...topic, settings: change(topic.settings) }
      if (isSame(changed.settings, topic.settings)) return { done: topic }
      const guards = [unchanged(entry), ...(await this.#guards(topic.id))]
      return { guards, writes: [{ put: key, value: encodeTopic(changed, nonce) }], answer: () => changed }
    })
  }

  /**
   * Deletes the topic, its subscriptions and its leadership and leaves a tombstone with its id and with the brokers
   * that may have files of it, in one transaction. Answers what was deleted, or throws `topic_not_found`.
   */
  async deleteTopic(name: string): Promise<CatalogTopic> {
    let deleting: CatalogTopic | null = null
    return this.#change(`topic ${name}`, async () => {
      const entry = await this.#coordinator.get(topicKey(name))
      const topic = entry && decodeTopic(entry)
      // Found before and not any more: it is deleted, by our own try whose answer got lost or by another's.
      if (deleting && topic?.id !== deleting.id) return { done: deleting }
      if (!entry || !topic) throw topicNotFound(name)
      deleting = topic
      const guards = [unchanged(entry), ...(await this.#guards(topic.id))]
      const led = await this.#coordinator.get(leadershipKey(topic.id))
      const holders = led ? holdersOf(decodeLeadership(led)) : []
      return {
        guards: led ? [...guards, unchanged(led)] : guards,
        writes: [
          { delete: entry.key },
          { delete: leadershipKey(topic.id) },
          { put: tombstoneKey(topic.id), value: encodeTombstone({ id: topic.id, name, holders }) },
          { deleteUnder: subscriptionsPrefix(topic.id) },
        ],
        answer: () => topic,
      }
    })
  }

  async tombstones(): Promise<Tombstone[]> {
    const { entries } = await this.#coordinator.list(TOMBSTONES)
    return entries.map(decodeTombstone)
  }

  /**
   * The files of the deleted topic are gone; in a cluster: those of that broker. The last one's going takes the
   * tombstone along, and a subscription that was made while the topic was deleted.
   */
  async forgetTombstone(id: string, holder?: string): Promise<void> {
    await this.#change<void>(`tombstone ${id}`, async () => {
      const entry = await this.#coordinator.get(tombstoneKey(id))
      if (!entry) return { done: undefined }
      const tombstone = decodeTombstone(entry)
      const holders = tombstone.holders.filter((other) => other !== holder)
      if (holder !== undefined && holders.length === tombstone.holders.length) return { done: undefined }
      const writes: Write[] =
        holders.length > 0
          ? [{ put: entry.key, value: encodeTombstone({ ...tombstone, holders }) }]
          : [{ delete: entry.key }, { deleteUnder: subscriptionsPrefix(id) }]
      return { guards: [unchanged(entry)], writes, answer: () => undefined }
    })
  }

  /** The subscriptions of one topic, by name; of all topics without an id. */
  async subscriptions(topicId?: string): Promise<CatalogSubscription[]> {
    const { entries } = await this.#coordinator.list(
      topicId === undefined ? SUBSCRIPTIONS : subscriptionsPrefix(topicId),
    )
    return entries.map(decodeSubscription)
  }

  async subscription(topicId: string, name: string): Promise<CatalogSubscription | null> {
    const entry = await this.#coordinator.get(subscriptionKey(topicId, name))
    return entry && decodeSubscription(entry)
  }

  /**
   * Makes the subscription, or answers the one that has the name already (then its id is another).
   * `topic_not_found` when the topic is gone, even when another has taken its name.
   */
  async createSubscription(
    topic: TopicReference,
    name: string,
    made: { id: string; settings: SubscriptionSettings },
  ): Promise<{ subscription: CatalogSubscription; created: boolean }> {
    const key = subscriptionKey(topic.id, name)
    const wanted = { ...made, topicId: topic.id, name }
    const value = encodeSubscription(wanted, this.#random.id())
    return this.#change(`subscription ${name} of topic ${topic.name}`, async () => {
      const { entry: topicEntry } = await this.#existingTopic(topic)
      const entry = await this.#coordinator.get(key)
      if (entry) {
        const subscription = decodeSubscription(entry)
        return { done: { subscription, created: subscription.id === made.id } }
      }
      const sameTopic = { key: topicEntry.key, createRevision: topicEntry.createRevision }
      return {
        guards: [sameTopic, absent(key), ...(await this.#guards(topic.id))],
        writes: [{ put: key, value }],
        answer: () => ({ subscription: wanted, created: true }),
      }
    })
  }

  /** The same for a subscription that follows a pattern, which needs no topic. */
  async createPatternSubscription(
    pattern: string,
    name: string,
    made: { id: string; settings: SubscriptionSettings },
  ): Promise<{ subscription: CatalogSubscription; created: boolean }> {
    const key = subscriptionKey(pattern, name)
    const wanted = { ...made, topicId: pattern, name }
    const value = encodeSubscription(wanted, this.#random.id())
    return this.#change(`subscription ${name} of pattern ${pattern}`, async () => {
      const entry = await this.#coordinator.get(key)
      if (entry) {
        const subscription = decodeSubscription(entry)
        return { done: { subscription, created: subscription.id === made.id } }
      }
      return {
        guards: [absent(key)],
        writes: [{ put: key, value }],
        answer: () => ({ subscription: wanted, created: true }),
      }
    })
  }

  /** As `updateTopic`; `subscription_not_found` when it is gone. `topicId` may be a pattern, here and below. */
  async updateSubscription(
    topicId: string,
    name: string,
    change: (current: SubscriptionSettings) => SubscriptionSettings,
  ): Promise<CatalogSubscription> {
    const key = subscriptionKey(topicId, name)
    const nonce = this.#random.id()
    return this.#change(`subscription ${name}`, async () => {
      const entry = await this.#coordinator.get(key)
      if (!entry) throw subscriptionNotFound(name)
      const subscription = decodeSubscription(entry)
      if (isWriteOf(entry, nonce)) return { done: subscription }
      const changed = { ...subscription, settings: change(subscription.settings) }
      if (isSame(changed.settings, subscription.settings)) return { done: subscription }
      const guards = [unchanged(entry), ...(await this.#guardsOf(topicId))]
      return { guards, writes: [{ put: key, value: encodeSubscription(changed, nonce) }], answer: () => changed }
    })
  }

  /** Answers what was deleted, or throws `subscription_not_found`. */
  async deleteSubscription(topicId: string, name: string): Promise<CatalogSubscription> {
    let deleting: CatalogSubscription | null = null
    return this.#change(`subscription ${name}`, async () => {
      const entry = await this.#coordinator.get(subscriptionKey(topicId, name))
      const subscription = entry && decodeSubscription(entry)
      if (deleting && subscription?.id !== deleting.id) return { done: deleting }
      if (!entry || !subscription) throw subscriptionNotFound(name)
      deleting = subscription
      const guards = [unchanged(entry), ...(await this.#guardsOf(topicId))]
      return { guards, writes: [{ delete: entry.key }], answer: () => subscription }
    })
  }

  /** A number that is higher at every start of the node: call once, when it starts. */
  async nodeEpoch(nodeId: string): Promise<number> {
    const key = brokerKey(nodeId)
    const nonce = this.#random.id()
    return this.#change(`node ${nodeId}`, async () => {
      const entry = await this.#coordinator.get(key)
      if (entry && isWriteOf(entry, nonce)) return { done: entry.modRevision }
      return {
        guards: [entry ? unchanged(entry) : absent(key)],
        writes: [{ put: key, value: encodeStart(nodeId, nonce) }],
        answer: (revision) => revision,
      }
    })
  }

  /** A pattern is led by nobody. */
  async #guardsOf(topicOrPattern: string): Promise<readonly Guard[]> {
    return isPattern(topicOrPattern) ? [] : this.#guards(topicOrPattern)
  }

  async #existingTopic(reference: TopicReference): Promise<{ entry: Entry; topic: CatalogTopic }> {
    const entry = await this.#coordinator.get(topicKey(reference.name))
    const topic = entry && decodeTopic(entry)
    if (!entry || !topic || topic.id !== reference.id) throw topicNotFound(reference.name)
    return { entry, topic }
  }

  /**
   * Runs a change to its end. `step` reads the store and says either that the change is done already
   * or which transaction brings it about. A lost race, or a transaction of which nobody knows whether it
   * happened, is followed by another step: what that one reads decides. TidingsErrors are refusals (the
   * step's, or the store's that wrote nothing) and end it.
   */
  async #change<T>(what: string, step: () => Promise<Step<T>>): Promise<T> {
    let failure: unknown = null
    for (let tried = 0; tried < TRIES; tried++) {
      try {
        const next = await step()
        if ('done' in next) return next.done
        const { ok, revision } = await this.#coordinator.transact(next.guards, next.writes)
        if (ok) return next.answer(revision)
      } catch (error) {
        if (error instanceof InvariantError) throw error
        // The store is silent now, and before it did not say what became of a write: then that is not known either.
        if (TidingsError.is(error)) {
          if (failure && error.code === 'no_leader') break
          throw error
        }
        failure = error
      }
    }
    throw new TidingsError('overloaded', `${what}: ${failure ? UNKNOWN : OUTRUN}`, { cause: failure })
  }
}

type Step<T> = { done: T } | { guards: readonly Guard[]; writes: readonly Write[]; answer(revision: number): T }

const UNKNOWN = 'the store did not say whether the change was made; look whether it was, and repeat it if not'
const OUTRUN = 'others changed it at the same time again and again; nothing was stored, repeat the request'

/** Settings are fresh objects with their keys in one order, so that equal ones have equal JSON. */
function isSame(a: object, b: object): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function topicNotFound(name: string): TidingsError {
  return new TidingsError('topic_not_found', `there is no topic ${name}`)
}

function subscriptionNotFound(name: string): TidingsError {
  return new TidingsError('subscription_not_found', `the topic has no subscription ${name}`)
}
