/**
 * Which sealed segments a policy lets go: a decision over what is known of them. Always a prefix of
 * the log, whole segments, never the active one.
 */

export interface RetentionPolicy {
  maxAgeMs: number | null
  maxBytes: number | null
}

export interface SealedSegment {
  baseOffset: number
  nextOffset: number
  bytes: number
  /** Time of the newest message in it, milliseconds since the epoch. */
  maxTimestamp: number
}

/**
 * The offset at which the log may start: segments below it go.
 * @param sealed the sealed segments, oldest first
 * @param totalBytes of the log, active segment included: maxBytes bounds all of it
 */
export function startAfterRetention(
  policy: RetentionPolicy,
  sealed: readonly SealedSegment[],
  totalBytes: number,
  now: number,
): number | null {
  let start: number | null = null
  let bytes = totalBytes
  for (const segment of sealed) {
    const tooOld = policy.maxAgeMs !== null && now - segment.maxTimestamp > policy.maxAgeMs
    const tooMuch = policy.maxBytes !== null && bytes > policy.maxBytes
    if (!tooOld && !tooMuch) break
    start = segment.nextOffset
    bytes -= segment.bytes
  }
  return start
}
