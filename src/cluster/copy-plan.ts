/**
 * Where a follower's log and its leader's are the same, and what the follower must cut for it (R2, R3). Pure. One broker
 * appended all records of an epoch, so the same epoch at the same offset is the same record, and everything before
 * it is the same too. Nothing is ever cut to a high watermark, and nothing that is known to be committed is cut at
 * all (R-TRUNC): then something is broken, and the replica is not to touch its files.
 */
import { agreement } from '../log/epoch-history.ts'
import type { HeldLog } from './copy-frames.ts'

export type Cut =
  | { kind: 'none' }
  | { kind: 'truncate'; to: number }
  /** Nothing of it is of use: it begins anew where the leader's begins. */
  | { kind: 'restart'; at: number }
  | { kind: 'refuse'; why: string }

/** What a log is compared by. */
export type LogShape = Omit<HeldLog, 'name'>

/** Of a log that the leader does not have: nothing in it was ever committed. */
export const NO_LOG: LogShape = { start: 0, end: 0, epochs: [] }

/** The first offset at which the two name different epochs, or where one ends. */
export function agreementOf(mine: LogShape, theirs: LogShape): number {
  return agreement(mine.epochs, mine.end, theirs.epochs, theirs.end)
}

/** @param committed what is known to be committed of it, 0: nothing is known */
export function cutOf(mine: LogShape, theirs: LogShape, committed: number): Cut {
  const isEmpty = mine.start === mine.end
  if (mine.end < theirs.start || (mine.end === theirs.start && mine.start < theirs.start)) {
    // What is left of it the leader let go of; whether its end is the leader's nobody can tell any more.
    return { kind: 'restart', at: theirs.start }
  }
  if (mine.start > theirs.end) {
    if (isEmpty) return { kind: 'restart', at: theirs.start }
    return { kind: 'refuse', why: `it begins at ${mine.start}, behind the leader's end at ${theirs.end}` }
  }
  const to = agreementOf(mine, theirs)
  if (to >= mine.end) return { kind: 'none' }
  if (to < committed) {
    return { kind: 'refuse', why: `it agrees with its leader up to ${to} only, and ${committed} is committed` }
  }
  // They differ where the leader's begins: what stands before may differ too, and nobody can tell.
  if (to === theirs.start && mine.start < theirs.start) return { kind: 'restart', at: theirs.start }
  return { kind: 'truncate', to }
}
