/**
 * The batch that holds one message, for whoever is not in a hurry: from memory, or else from the disk. The
 * shelf is the way of deliveries.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'

/** Null: the message is not in the log any more: retention or compaction removed it. */
export async function findBatch(partition: Partition, offset: number): Promise<RecordBatch | null> {
  const batch = await findSpan(partition, offset)
  return batch?.has(offset) ? batch : null
}

/** The batch that spans the offset, whether or not the message is still in it. Null: retention removed it. */
async function findSpan(partition: Partition, offset: number): Promise<RecordBatch | null> {
  if (offset < partition.startOffset) return null
  const cached = partition.cached(offset)
  if (cached) return cached
  try {
    const batches = await partition.load(offset)
    const batch = batches.find((one) => one.baseOffset <= offset && offset < one.nextOffset)
    if (batch) return batch
  } catch (error) {
    // Retention may have been faster.
    if (offset < partition.startOffset) return null
    throw error
  }
  if (offset < partition.startOffset) return null
  throw new TidingsError('internal', `partition ${partition.number}: offset ${offset} cannot be found`)
}
