/**
 * What the server needs to know of the broker, and the whole of it: topics, subscriptions, readiness.
 * `broker-host.ts` implements it.
 */
import type { Topic } from '../partition/topic.ts'
import type { Subscription } from '../subscription/subscription.ts'
import type { ClusterFacts } from './cluster-facts.ts'
import type { WhyRetained } from './why-retained.ts'

export interface Host {
  topics(): Topic[]
  /** The topic, or throws `topic_not_found` (`invalid_argument` for a bad name). */
  topic(name: string): Topic
  /** What holds the oldest segment of each partition, by number. */
  whyRetained(topic: string): (WhyRetained | null)[]
  /** The topic, created with the defaults when it is missing and auto-creation is on. */
  ensureTopic(name: string): Promise<Topic>
  /** `patch` is the request's JSON body, unchecked: `invalid_argument` or `conflict`. */
  putTopic(name: string, patch: unknown): Promise<{ topic: Topic; created: boolean }>
  deleteTopic(name: string): Promise<void>
  subscriptions(topic: string): Subscription[]
  /** Throws `topic_not_found`, `subscription_not_found`. */
  subscription(topic: string, name: string): Subscription
  putSubscription(
    topic: string,
    name: string,
    patch: unknown,
  ): Promise<{ subscription: Subscription; created: boolean }>
  /** The subscription; created (its topic too) from the patch when it is missing. */
  ensureSubscription(topic: string, name: string, patch: unknown): Promise<Subscription>
  deleteSubscription(topic: string, name: string): Promise<void>
  /** Why the node cannot serve now (`recovering`, `draining`, `storage_full`, …), or null. */
  notReady(): string | null
  node(): { id: string; epoch: number; startedAt: number }
  /** What can be told of the cluster, which may be this broker alone. */
  readonly facts: ClusterFacts
}
