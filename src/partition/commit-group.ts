/**
 * The appends that one flush takes, as the bytes of one write: records of several appends share a batch, a producer's
 * frame has one of its own. Pure; made by commit-queue.ts when nothing else is being written to the log.
 */
import type { Clock } from '../base/clock.ts'
import { assert } from '../base/invariant.ts'
import type { Log } from '../log/log.ts'
import { BATCH_HEADER_BYTES, type BatchProducer, RecordBatch, stampBatch } from '../log/record-batch.ts'
import type { CommitEntry, Urgency } from './commit-entry.ts'
import type { Placed } from './placed-entries.ts'

/** An append that waits for its turn. */
export interface Submitted {
  entry: CommitEntry
  urgency: Urgency
}

export interface CommitGroup {
  placed: Placed[]
  bytes: Buffer
  batches: RecordBatch[]
}

/** A batch is closed here: small enough that a reader of one record does not drag in megabytes. */
const BATCH_BYTES = 262_144
/**
 * Small groups share slabs of memory, since a buffer of its own for each costs more than stamping it. The slabs are not
 * Node's: there a batch that is kept would keep what requests and answers left around it, many times its own size.
 */
const SLAB_BYTES = 8192
let slab = Buffer.alloc(0)

interface PlannedBatch {
  parts: Uint8Array[]
  bytes: number
  count: number
  attributes: number
  producer: BatchProducer | null
}

/** The group as it will lie behind the end of the log. */
export function buildGroup(
  entries: readonly Submitted[],
  log: Log,
  { clock, leaderEpoch }: { clock: Clock; leaderEpoch: number },
): CommitGroup {
  const timestamp = Math.max(Math.floor(clock.now()), log.maxTimestamp)
  const placed: Placed[] = []
  const plan: PlannedBatch[] = []
  let offset = log.nextOffset
  for (const { entry, urgency } of entries) {
    const records = entry.take()
    if (!records) continue
    assert(records.bytes.length <= entry.size, 'an entry grew beyond the size it was admitted with')
    let open = plan.at(-1)
    const producer = records.producer ?? null
    if (!open || open.bytes + records.bytes.length > BATCH_BYTES || producer || open.producer) {
      open = { parts: [], bytes: BATCH_HEADER_BYTES, count: 0, attributes: 0, producer }
      plan.push(open)
    }
    open.parts.push(records.bytes)
    open.bytes += records.bytes.length
    open.count += records.count
    open.attributes |= records.attributes
    const next = offset + records.count
    placed.push({ entry, urgency, offset, next, timestamp })
    offset = next
  }
  return { placed, ...stampPlan(plan, log, { timestamp, leaderEpoch }) }
}

function stampPlan(
  plan: readonly PlannedBatch[],
  log: Log,
  stamp: { timestamp: number; leaderEpoch: number },
): { bytes: Buffer; batches: RecordBatch[] } {
  const bytes = allocate(plan.reduce((sum, batch) => sum + batch.bytes, 0))
  const batches: RecordBatch[] = []
  let at = 0
  let baseOffset = log.nextOffset
  for (const batch of plan) {
    const slice = bytes.subarray(at, at + batch.bytes)
    let position = BATCH_HEADER_BYTES
    for (const part of batch.parts) {
      slice.set(part, position)
      position += part.length
    }
    stampBatch(slice, {
      ...stamp,
      baseOffset,
      durablePosition: log.durablePosition,
      partitionTag: log.tag,
      mark: log.mark,
      count: batch.count,
      producer: batch.producer,
      attributes: batch.attributes,
    })
    batches.push(new RecordBatch(slice))
    baseOffset += batch.count
    at += batch.bytes
  }
  return { bytes, batches }
}

/** What shares a slab was made one after the other, and is forgotten so, too. */
function allocate(length: number): Buffer {
  if (length > SLAB_BYTES / 2) return Buffer.allocUnsafeSlow(length)
  if (slab.length < length) slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  const bytes = slab.subarray(0, length)
  slab = slab.subarray(length)
  return bytes
}
