/**
 * The sparse index of one segment: every so many bytes, which offset and time stand at which position.
 * Kept in memory while the segment grows, written into its footer when it is sealed; always
 * rebuildable by a scan. Offsets, timestamps and positions never decrease from entry to entry.
 */

export interface IndexEntry {
  offset: number
  timestamp: number
  position: number
}

/** One entry a stretch of this many bytes: a cold read skips at most that much. */
export const INDEX_STRETCH_BYTES = 262_144

export class SegmentIndex {
  readonly entries: IndexEntry[]

  constructor(entries: IndexEntry[] = []) {
    this.entries = entries
  }

  /** Notes a batch; only the first of each stretch is kept. */
  add(offset: number, timestamp: number, position: number): void {
    const last = this.entries.at(-1)
    if (!last || position - last.position >= INDEX_STRETCH_BYTES) this.entries.push({ offset, timestamp, position })
  }

  /** Where to begin reading for an offset, or null when the index has nothing at or before it. */
  positionOf(offset: number): number | null {
    return this.#last((entry) => entry.offset <= offset)?.position ?? null
  }

  /** Where to begin reading for the first batch at or after a time: batches before it are older. */
  positionAt(timestamp: number): number | null {
    return this.#last((entry) => entry.timestamp < timestamp)?.position ?? null
  }

  /** The last entry for which the (monotonic) question holds. */
  #last(holds: (entry: IndexEntry) => boolean): IndexEntry | undefined {
    let low = 0
    let high = this.entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (holds(this.entries[middle]!)) low = middle + 1
      else high = middle
    }
    return this.entries[low - 1]
  }
}
