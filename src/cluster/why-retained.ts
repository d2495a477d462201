/**
 * Why a partition's oldest segment is still there, in words that a person can act on: the log knows that
 * something holds it, the cursors know whose acknowledgements are missing. Pure.
 */
import { formatTimestamp, type TopicSettings } from '@tidings/sdk/protocol'
import type { LogPartition } from '../partition/partition.ts'
import type { CursorStore } from '../subscription/cursor-store.ts'

export type WhyRetained =
  /** It acknowledged everything below the offset, and the oldest segment ends behind it. */
  | { reason: 'subscription'; subscription: string; pattern?: string; offset: number }
  /** `untilAcked`, and nobody who could acknowledge. */
  | { reason: 'no_subscription' }
  /** All of it may go, but it is written to. */
  | { reason: 'active_segment' }
  /** The limits, and when the age will let it go; both null: it is kept for ever. */
  | { reason: 'policy'; maxAgeMs: number | null; maxBytes: number | null; until: string | null }

/** Null: nothing holds it (it goes with the next run), or there is no message. */
export function whyRetained(
  partition: LogPartition,
  cursors: CursorStore,
  { maxAgeMs, maxBytes }: TopicSettings['retention'],
): WhyRetained | null {
  const { hindmost } = cursors
  const hold = partition.holdOf(hindmost?.offset ?? 0)
  if (!hold) return null
  if (hold.by === 'active') return { reason: 'active_segment' }
  if (hold.by === 'policy') {
    const until = hold.until === null ? null : formatTimestamp(hold.until)
    return { reason: 'policy', maxAgeMs, maxBytes, until }
  }
  if (!hindmost?.reader) return { reason: 'no_subscription' }
  return { reason: 'subscription', ...hindmost.reader, offset: hindmost.offset }
}
