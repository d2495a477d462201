/**
 * Where a reader of a topic's events stands, and its text: the `id` of a server-sent event, which comes back
 * as `Last-Event-ID`. A standing holds, for every partition, the offset that is read next; one that it does
 * not mention is read from 0, as are partitions that a topic gains later.
 *
 *   `1:12,7,0,9`   after the event at offset 12 of partition 1; the others, in the order of their numbers
 *                  (0, 2, 3), are read on from 7, 0 and 9. Zeros at the end are left out.
 *   `,7,13,0,9`    the same standing without an event: every partition in order, after a leading comma.
 *
 * Pure; used by the event routes and the slices.
 */
import { formatMessageId, TidingsError } from '@tidings/sdk/protocol'

/** The offset to read next, by partition. Never written to once it is somebody's standing. */
export type Offsets = readonly number[]

const ID = /^(?:(0|[1-9]\d{0,9}):(0|[1-9]\d{0,15}))?((?:,(?:0|[1-9]\d{0,15}))*)$/

/** What follows the message's own id in the id of an event of that partition. */
export function othersOf(offsets: Offsets, partition: number): string {
  if (offsets.length === 1) return ''
  return listed(offsets.filter((_, number) => number !== partition))
}

/** The id of an event: `others` is `othersOf` its partition. */
export function eventId(partition: number, offset: number, others: string): string {
  return formatMessageId(partition, offset) + others
}

/** The id of a standing that no event led to. */
export function standingId(offsets: Offsets): string {
  return listed(offsets) || ',0'
}

/** The standing that an id means, in a topic of so many partitions. Throws `invalid_argument`. */
export function parseEventId(text: string, partitions: number): Offsets {
  const match = text === '' ? null : ID.exec(text)
  if (!match) {
    throw new TidingsError(
      'invalid_argument',
      'Last-Event-ID is not the id of an event: expected "<partition>:<offset>", with the positions of other partitions after commas',
    )
  }
  const [, partition, offset, list] = match
  const standing = list === undefined || list === '' ? [] : list.slice(1).split(',').map(Number)
  if (partition !== undefined) {
    while (standing.length < Number(partition) && standing.length < partitions) standing.push(0)
    standing.splice(Number(partition), 0, Number(offset) + 1)
  }
  if (standing.length > partitions || (partition !== undefined && Number(partition) >= partitions)) {
    throw new TidingsError(
      'invalid_argument',
      `Last-Event-ID speaks of more partitions than the topic has, which is ${partitions}: it is the id of another topic's event`,
    )
  }
  if (!standing.every(Number.isSafeInteger)) {
    throw new TidingsError('invalid_argument', 'Last-Event-ID holds an offset that no partition has')
  }
  while (standing.length < partitions) standing.push(0)
  return standing
}

function listed(offsets: Offsets): string {
  let length = offsets.length
  while (length > 0 && offsets[length - 1] === 0) length--
  return length === 0 ? '' : `,${offsets.slice(0, length).join(',')}`
}
