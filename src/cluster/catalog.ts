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
import { type SubscriptionSettings, TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
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
import { absent, isWriteOf, unchanged } from './store-entry.ts'

export type { CatalogSubscription, CatalogTopic, Tombstone } from './catalog-entry.ts'

/** Which topic is meant: a name alone could by now be another topic's. */
export interface TopicReference {
  readonly id: string
  readonly name: string
}

/** Tries of one change: lost races and unknown outcomes together. */
const TRIES = 8

export class Catalog {
  #coordinator: Coordinator
  #random: Random

  constructor(coordinator: Coordinator, random: Random) {
    this.#coordinator = coordinator
    this.#random = random
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

  /** Makes the topic, or answers the one that has the name already (then its id is another). */
  async createTopic(
    name: string,
    id: string,
    settings: TopicSettings,
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
        guards: [absent(key), absent(grave)],
        writes: [{ put: key, value }],
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
      const write = { put: key, value: encodeTopic(changed, nonce) }
      return { guards: [unchanged(entry)], writes: [write], answer: () => changed }
    })
  }

  /**
   * Deletes the topic and its subscriptions and leaves a tombstone with its id, in one transaction.
   * Answers what was deleted, or throws `topic_not_found`.
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
      return {
        guards: [unchanged(entry)],
        writes: [
          { delete: entry.key },
          { put: tombstoneKey(topic.id), value: encodeTombstone({ id: topic.id, name, holders: [] }) },
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

  /** The files of the deleted topic are gone. Also removes a subscription that was made while it was deleted. */
  async forgetTombstone(id: string): Promise<void> {
    await this.#change<void>(`tombstone ${id}`, async () => {
      const entry = await this.#coordinator.get(tombstoneKey(id))
      if (!entry) return { done: undefined }
      const writes = [{ delete: entry.key }, { deleteUnder: subscriptionsPrefix(id) }]
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
        guards: [sameTopic, absent(key)],
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
      const write = { put: key, value: encodeSubscription(changed, nonce) }
      return { guards: [unchanged(entry)], writes: [write], answer: () => changed }
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
      return { guards: [unchanged(entry)], writes: [{ delete: entry.key }], answer: () => subscription }
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
