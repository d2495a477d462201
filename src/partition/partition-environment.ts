/** What a partition is handed: the ports and budgets that all partitions of a broker share, and its topic's settings. */
import type { Clock, Random } from '../base/clock.ts'
import type { Disk } from '../base/disk.ts'
import type { Latch } from '../base/latch.ts'
import type { Serial } from '../base/serial.ts'
import type { SpaceGuard } from '../base/space-guard.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import type { CacheBudget } from '../log/batch-cache.ts'
import type { OpenSegments } from '../log/open-segments.ts'
import type { RetentionPolicy } from '../log/retention.ts'
import type { Term } from './quorum.ts'
import type { RememberedBudget } from './remembered-budget.ts'

/** What all partitions of a broker share. */
export interface PartitionEnvironment {
  disk: Disk
  clock: Clock
  random: Random
  latch: Latch
  logger: Logger
  metrics: Metrics
  space: SpaceGuard
  cacheBudget: CacheBudget
  rememberedBudget: RememberedBudget
  openSegments: OpenSegments
  /** What takes long and hurries nobody: one at a time in the whole broker. */
  background: Serial
  /** Bytes that may wait for a partition's disk before publishers are told to slow down. */
  maxQueuedBytes: number
  /** Of the topic: under which its batches are written, and whose answers they wait for. */
  term: Term
  /** How soon subscription logs roll and are written anew; small where that is to happen often. */
  cursorLog?: { segmentBytes: number; growthBytes: number }
  /** The same for the logs of scheduled messages. */
  scheduleLog?: { segmentBytes: number; growthBytes: number }
}

export interface PartitionSettings {
  segmentBytes: number
  durability: 'fsync' | 'buffered'
  retention: RetentionPolicy
  compact: boolean
  tombstoneMs: number
  deduplicationWindowMs: number
}
