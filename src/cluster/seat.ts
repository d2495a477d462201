/**
 * What a broker's host needs to know of the cluster that it sits in: how a topic comes into being that others get copies
 * of. A port; replica-host.ts implements it. A broker that is alone has no seat.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Term } from '../partition/quorum.ts'
import type { Copies } from '../partition/topic-settings.ts'
import type { CatalogTopic, FirstLeadership } from './catalog.ts'
import type { ClusterFacts } from './cluster-facts.ts'

/** The first term of a topic that is about to be made, under which its files are written. */
export interface Founding {
  readonly term: Term
  /** To be written with the topic. */
  readonly leadership: FirstLeadership
  /** It is made: resolves when there are as many copies as it needs to take messages, or some seconds have passed. */
  done(): Promise<void>
  /** It is not, as far as is known. Its files are closed. */
  failed(): void
}

export interface Seat {
  readonly facts: ClusterFacts
  /** How many copies topics have whose makers do not say. */
  readonly copies: Copies
  /**
   * Throws `no_leader` while this broker may not lead.
   * @param like id of the topic that it is to stay with, on the same brokers
   */
  found(topic: CatalogTopic, like: string | null): Founding
  /** Why this broker cannot serve its part of the cluster, or null. */
  readonly notReady: string | null
  /** There is a topic of that name, and it is not served here. */
  isElsewhere(name: string): boolean
}

/** What dead letters cannot do yet: go to a topic on another broker. */
export function apart(name: string): TidingsError {
  return new TidingsError(
    'conflict',
    `topic ${name} is led by another broker than this one at the moment, and dead letters stay with their topic: ` +
      'try again, or name a topic that does not exist yet',
  )
}
