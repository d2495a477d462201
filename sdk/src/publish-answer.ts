/**
 * What the broker said became of a frame, as receipts for those who published, or as an error of the table. Codecs;
 * called by outbox.ts and publisher.ts.
 */
import { isErrorCode, TidingsError } from './protocol/errors.ts'
import { formatMessageId, formatTimestamp } from './protocol/message.ts'
import type { KeyedReceipt, PublishAnswer, RefusedFrame } from './protocol/publish-answers.ts'

/** Where a published message is. It is durable by then. */
export interface PublishReceipt {
  /** The topic that it was published to. */
  topic: string
  /** From 0; -1 for a scheduled message, which has no place yet. */
  partition: number
  /** Its position in the partition; -1 for a scheduled message. */
  offset: number
  /** `<partition>:<offset>`; empty for a scheduled message. */
  id: string
  /** RFC 3339. Absent for a scheduled message. */
  timestamp?: string
  /** The idempotency key was seen before: this is where the first message lies. */
  duplicate?: true
  /** Of a message with a delay; it has no position until it is due, and partition and offset are -1. */
  scheduled?: {
    /** By which it can be cancelled. */
    id: string
    /** RFC 3339, UTC. */
    deliverAt: string
  }
}

export type StoredAnswer = PublishAnswer & { type: 'stored' }

/** A time that a Date can hold; the broker's own always are. */
function timeText(ms: number): string {
  return formatTimestamp(Math.min(ms, 8_640_000_000_000_000))
}

/** One receipt for each of `count` records, or null where the answer is not about so many. */
export function storedReceipts({ parts, partOf }: StoredAnswer, topic: string, count: number): PublishReceipt[] | null {
  if (parts.reduce((sum, part) => sum + part.count, 0) !== count) return null
  const receipts = new Array<PublishReceipt>(count)
  const next = parts.map(({ baseOffset }) => baseOffset)
  for (let i = 0; i < count; i++) {
    const index = partOf === null ? 0 : partOf[i]!
    const { partition, timestamp } = parts[index]!
    const offset = next[index]!++
    const id = formatMessageId(partition, offset)
    receipts[i] = { topic, partition, offset, id, timestamp: timeText(timestamp) }
  }
  return receipts
}

export function keyedReceipts(
  receipts: readonly KeyedReceipt[],
  topic: string,
  count: number,
): PublishReceipt[] | null {
  if (receipts.length !== count) return null
  return receipts.map((receipt) => {
    const repeated = receipt.duplicate ? { duplicate: true as const } : {}
    if ('scheduled' in receipt) {
      const { scheduled: id, deliverAt } = receipt
      return { topic, partition: -1, offset: -1, id, scheduled: { id, deliverAt: timeText(deliverAt) }, ...repeated }
    }
    const { partition, offset, timestamp } = receipt
    const id = formatMessageId(partition, offset)
    return { topic, partition, offset, id, timestamp: timeText(timestamp), ...repeated }
  })
}

/** A code from a later version counts as `internal`. */
export function refusalError({ code, detail }: Pick<RefusedFrame, 'code' | 'detail'>): TidingsError {
  return new TidingsError(isErrorCode(code) ? code : 'internal', detail)
}
