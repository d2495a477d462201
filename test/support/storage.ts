/**
 * Builders for tests of what lies on a disk: logs, partitions and what they are handed, over any Disk.
 */
import { encodeRecord, TOPIC_DEFAULTS, type TopicSettings } from '@tidings/sdk/protocol'
import type { Clock, Random } from '../../src/base/clock.ts'
import type { Disk } from '../../src/base/disk.ts'
import { Latch } from '../../src/base/latch.ts'
import { Serial } from '../../src/base/serial.ts'
import { SpaceGuard } from '../../src/base/space-guard.ts'
import { nullLogger, nullMetrics } from '../../src/base/telemetry.ts'
import { BatchCache, CacheBudget } from '../../src/log/batch-cache.ts'
import { drawNonce, markOf, partitionTag } from '../../src/log/format.ts'
import type { LogOptions } from '../../src/log/log.ts'
import { OpenSegments } from '../../src/log/open-segments.ts'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../../src/log/record-batch.ts'
import type { PartitionEnvironment } from '../../src/partition/partition.ts'
import { aloneTerm } from '../../src/partition/quorum.ts'
import { RememberedBudget } from '../../src/partition/remembered-budget.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'

export const TAG: number = partitionTag('topic', 0, 'data')

/** Gives every segment the same nonce, so that batches can be made before the log is. */
const ONE_NONCE: Random = { uint32: () => 0x5eed_5eed, id: () => 'id' }
const MARK = markOf(drawNonce(ONE_NONCE))

export function logOptions(disk: Disk, patch: Partial<LogOptions> = {}): LogOptions {
  return {
    disk,
    clock: new SimClock(),
    random: ONE_NONCE,
    directory: 'log',
    tag: TAG,
    segmentBytes: 4096,
    cache: new BatchCache(new CacheBudget(1_048_576)),
    openSegments: new OpenSegments(4, rethrow),
    ...patch,
  }
}

/** A record whose value is the text. */
export function record(text: string): Uint8Array {
  return encodeRecord({
    key: null,
    value: Buffer.from(text),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: true,
  })
}

/** A stamped batch of records with these texts as values. */
export function batch(
  baseOffset: number,
  texts: readonly string[],
  stamp: { timestamp?: number; durablePosition?: number; tag?: number; mark?: Buffer; leaderEpoch?: number } = {},
): RecordBatch {
  const records = texts.map(record)
  const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...records])
  stampBatch(bytes, {
    baseOffset,
    timestamp: stamp.timestamp ?? 1000,
    durablePosition: stamp.durablePosition ?? 0,
    partitionTag: stamp.tag ?? TAG,
    mark: stamp.mark ?? MARK,
    leaderEpoch: stamp.leaderEpoch ?? 1,
    count: texts.length,
    attributes: 0,
  })
  return new RecordBatch(bytes)
}

/** What partitions of one broker share; `latch` trips into `poison` instead of ending the process. */
export async function environment(
  disk: Disk,
  clock: Clock = new SimClock(),
  patch: Partial<PartitionEnvironment> & { reserveBytes?: number } = {},
): Promise<PartitionEnvironment & { poison: Error[] }> {
  const poison: Error[] = []
  return {
    disk,
    clock,
    random: new SimRandom('environment'),
    latch: new Latch((cause) => poison.push(cause)),
    logger: nullLogger,
    metrics: nullMetrics,
    space: await SpaceGuard.start(disk, clock, patch.reserveBytes ?? 0, rethrow),
    cacheBudget: new CacheBudget(1_048_576),
    rememberedBudget: new RememberedBudget(2 ** 30),
    openSegments: new OpenSegments(4, rethrow),
    maxQueuedBytes: 1_048_576,
    background: new Serial(),
    term: aloneTerm(1),
    poison,
    ...patch,
  }
}

export function topicSettings(patch: Partial<TopicSettings> = {}): TopicSettings {
  return { ...TOPIC_DEFAULTS, segmentBytes: 4096, ...patch }
}

export function rethrow(error: unknown): void {
  throw error
}
