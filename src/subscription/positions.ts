/**
 * Positions that people name (`latest`, a time, offsets) as offsets of one partition. Called when a
 * subscription is created and when it seeks.
 */
import { type Position, parseTimestamp, TidingsError } from '@tidings/sdk/protocol'
import type { Partition } from '../partition/partition.ts'

/** Refuses offsets for partitions that the topic does not have. */
export function checkPosition(position: Position, partitions: number): void {
  if (typeof position === 'string' || 'timestamp' in position) return
  for (const partition of Object.keys(position.offsets)) {
    if (!/^(0|[1-9]\d{0,9})$/.test(partition)) {
      throw new TidingsError('invalid_argument', `offsets: ${JSON.stringify(partition)} is no partition number`)
    }
    if (Number(partition) >= partitions) {
      throw new TidingsError(
        'partition_not_found',
        `offsets: the topic has ${partitions} partitions, none is ${partition}`,
      )
    }
  }
}

/** A pattern's topics have offsets of their own: one number for all of them would mean nothing. */
export function refuseOffsets(position: Position): void {
  if (typeof position === 'string' || 'timestamp' in position) return
  throw new TidingsError(
    'invalid_argument',
    'offsets: a pattern has many topics, so only "latest", "earliest" and a timestamp say where to start in them',
  )
}

/** The offset that the position means in this partition; null where it says nothing about it. */
export async function offsetOf(position: Position, partition: Partition): Promise<number | null> {
  if (position === 'latest') return partition.highWatermark
  if (position === 'earliest') return partition.keptFrom
  if ('timestamp' in position) {
    const time = parseTimestamp(position.timestamp)
    if (time === null) {
      throw new TidingsError('invalid_argument', `timestamp ${JSON.stringify(position.timestamp)}: use RFC 3339`)
    }
    return Math.max(await partition.offsetAt(time), partition.keptFrom)
  }
  const offset = position.offsets[partition.number]
  if (offset === undefined) return null
  const { keptFrom, highWatermark, number } = partition
  if (!Number.isSafeInteger(offset) || offset < keptFrom || offset > highWatermark) {
    throw new TidingsError(
      'offset_out_of_range',
      `partition ${number}: offset ${offset} is not within ${keptFrom} and ${highWatermark}`,
    )
  }
  return offset
}

/**
 * The offset from the moment in which a cursor takes it on: between the question and this, retention may have begun
 * to remove it. Whoever named no offset then begins after what goes; whoever did is told of the gap.
 */
export function settledOffset(position: Position, offset: number, partition: Partition): number {
  const isNamed = typeof position !== 'string' && 'offsets' in position
  return isNamed ? offset : Math.max(offset, partition.keptFrom)
}

/** Where a new subscription starts: partitions that the position leaves out start at the latest offset. */
export async function startOffset(position: Position, partition: Partition): Promise<number> {
  return (await offsetOf(position, partition)) ?? partition.highWatermark
}
