/**
 * Which sealed segments a policy lets go, and what holds the oldest one: decisions over what is known of
 * them. What goes is always a prefix of the log, whole segments, never the active one.
 */

export interface RetentionPolicy {
  maxAgeMs: number | null
  maxBytes: number | null
  /** A segment goes when every subscription has acknowledged all of it; without one, nothing goes by this. */
  untilAcked: boolean
}

export interface SealedSegment {
  baseOffset: number
  nextOffset: number
  bytes: number
  /** Time of the newest message in it, milliseconds since the epoch. */
  maxTimestamp: number
}

/** A log as retention sees it. */
export interface Retained {
  /** Oldest first. */
  sealed: readonly SealedSegment[]
  /** Of the log, active segment included: maxBytes bounds all of it. */
  totalBytes: number
  /** Offset after the last message. */
  nextOffset: number
}

/**
 * The offset at which the log may start: segments below it go. Null: none does.
 * @param ackedThrough every subscription has durably acknowledged what is below; 0 without a subscription
 */
export function startAfterRetention(
  policy: RetentionPolicy,
  { sealed, totalBytes }: Retained,
  ackedThrough: number,
  now: number,
): number | null {
  let start: number | null = null
  let bytes = totalBytes
  for (const segment of sealed) {
    if (!mayGo(policy, segment, bytes, ackedThrough, now)) break
    start = segment.nextOffset
    bytes -= segment.bytes
  }
  return start
}

function mayGo(
  { maxAgeMs, maxBytes, untilAcked }: RetentionPolicy,
  segment: SealedSegment,
  bytes: number,
  ackedThrough: number,
  now: number,
): boolean {
  const isTooOld = maxAgeMs !== null && now - segment.maxTimestamp > maxAgeMs
  const isTooMuch = maxBytes !== null && bytes > maxBytes
  return isTooOld || isTooMuch || (untilAcked && segment.nextOffset <= ackedThrough)
}

/** What holds the oldest segment. */
export type Hold =
  /** Somebody has not acknowledged all of it. */
  | { by: 'subscription' }
  /** It is the one that is written to. */
  | { by: 'active' }
  /** The age and the size that were set, or that none was; when the age lets it go, milliseconds since the epoch. */
  | { by: 'policy'; until: number | null }

/** Null: nothing does; it goes when retention runs next, or there is no message. */
export function holdOf(policy: RetentionPolicy, log: Retained, ackedThrough: number, now: number): Hold | null {
  const [oldest] = log.sealed
  if (oldest && mayGo(policy, oldest, log.totalBytes, ackedThrough, now)) return null
  const end = oldest?.nextOffset ?? log.nextOffset
  if (policy.untilAcked && ackedThrough < end) return { by: 'subscription' }
  if (!oldest) return end === 0 ? null : { by: 'active' }
  return { by: 'policy', until: policy.maxAgeMs === null ? null : oldest.maxTimestamp + policy.maxAgeMs }
}
