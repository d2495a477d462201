/** One topic with all that hangs on it, as the host has it open. */
import type { Term } from '../partition/quorum.ts'
import type { HostedTopic } from '../partition/topic.ts'
import type { CursorStore } from '../subscription/cursor-store.ts'
import type { ServedPartition } from '../subscription/lane.ts'
import type { SubscriptionRunner } from '../subscription/subscription-runner.ts'

export interface Hosted {
  topic: HostedTopic
  /** Under which this broker leads it. */
  term: Term
  /** Of its partitions, by number. */
  cursors: CursorStore[]
  subscriptions: Map<string, SubscriptionRunner>
}

export function servedPartitions({ topic, cursors }: Hosted): ServedPartition[] {
  return topic.partitions.map((partition, i) => ({ topic: topic.name, partition, cursors: cursors[i]! }))
}
