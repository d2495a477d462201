/**
 * Which leader epoch appended which part of a log, and up to where two logs agree: decisions. An entry begins where the
 * first record of an epoch is; an epoch without records has none and needs none, since what is compared is records.
 *
 * Must stay true (R-EPOCH): epochs and offsets ascend together. One broker appended all records of an epoch, so the same
 * epoch at the same offset is the same record, and so is all that lies before it.
 */
import { assert } from '../base/invariant.ts'

export interface EpochEntry {
  epoch: number
  /** Of the first record that the log has of the epoch. */
  startOffset: number
}

export class EpochHistory {
  #entries: EpochEntry[] = []

  constructor(entries: readonly EpochEntry[] = []) {
    for (const { epoch, startOffset } of entries) this.appended(epoch, startOffset)
  }

  /** Ascending; the first one begins where the log begins. Empty: there is no record. */
  get entries(): readonly EpochEntry[] {
    return this.#entries
  }

  /** Of the newest record; 0: there is none. */
  get newest(): number {
    return this.#entries.at(-1)?.epoch ?? 0
  }

  /** Records of the epoch follow from the offset on. */
  appended(epoch: number, startOffset: number): void {
    const last = this.#entries.at(-1)
    if (last?.epoch === epoch) return
    assert(!last || (epoch > last.epoch && startOffset > last.startOffset), `epoch ${epoch} at offset ${startOffset}`)
    this.#entries.push({ epoch, startOffset })
  }

  /** The epoch of a record that the log has; null where it has none. */
  epochAt(offset: number): number | null {
    return this.#entries.findLast(({ startOffset }) => startOffset <= offset)?.epoch ?? null
  }

  /** The log ends there now. */
  truncated(nextOffset: number): void {
    this.#entries = this.#entries.filter(({ startOffset }) => startOffset < nextOffset)
  }

  /** The log begins there now. */
  droppedBelow(startOffset: number): void {
    const epoch = this.epochAt(startOffset)
    const later = this.#entries.filter((entry) => entry.startOffset > startOffset)
    this.#entries = epoch === null ? later : [{ epoch, startOffset }, ...later]
  }
}

/**
 * Up to where two logs agree: the first offset at which they name different epochs, or where one of them ends. What one
 * of them let go of by retention counts as agreed. Where that leaves nothing to compare, because one ends before the
 * other begins, that end.
 */
export function agreement(
  mine: readonly EpochEntry[],
  myEnd: number,
  theirs: readonly EpochEntry[],
  theirEnd: number,
): number {
  const end = Math.min(myEnd, theirEnd)
  let at = Math.max(mine[0]?.startOffset ?? myEnd, theirs[0]?.startOffset ?? theirEnd)
  for (let i = 0, j = 0; at < end; ) {
    while (i + 1 < mine.length && mine[i + 1]!.startOffset <= at) i += 1
    while (j + 1 < theirs.length && theirs[j + 1]!.startOffset <= at) j += 1
    if (mine[i]!.epoch !== theirs[j]!.epoch) return at
    at = Math.min(mine[i + 1]?.startOffset ?? end, theirs[j + 1]?.startOffset ?? end)
  }
  return end
}
