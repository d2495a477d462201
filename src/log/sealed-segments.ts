/**
 * The sealed segments of one log, oldest first: a list that is replaced rather than changed, so that whoever went
 * over it before goes on over what was there. Owned by its log.
 */
import type { SealedSegment } from './retention.ts'
import type { Segment } from './segment.ts'

export class SealedSegments {
  list: readonly Segment[]

  constructor(list: readonly Segment[]) {
    this.list = list
  }

  get bytes(): number {
    return this.list.reduce((sum, { size }) => sum + size, 0)
  }

  get newest(): Segment | undefined {
    return this.list.at(-1)
  }

  add(segment: Segment): void {
    this.list = [...this.list, segment]
  }

  dropFirst(count: number): void {
    this.list = this.list.slice(count)
  }

  swap(old: Segment, next: Segment): void {
    this.list = this.list.map((segment) => (segment === old ? next : segment))
  }

  /** The segment that holds an offset which is in one of them. */
  holding(offset: number): Segment {
    let low = 0
    let high = this.list.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.list[middle]!.nextOffset <= offset) low = middle + 1
      else high = middle
    }
    return this.list[low]!
  }

  /** As retention sees them, those that end at or before the offset. */
  measured(before: number): SealedSegment[] {
    const list = this.list.filter(({ nextOffset }) => nextOffset <= before)
    return list.map(({ baseOffset, nextOffset, size, content }) => ({
      baseOffset,
      nextOffset,
      bytes: size,
      maxTimestamp: content.maxTimestamp,
    }))
  }
}
