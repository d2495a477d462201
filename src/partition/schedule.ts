/**
 * The scheduled messages of a topic that are still to come: when each is due and where its record lies
 * in the schedule log. A decision over plain arrays, about fifty bytes a message and no object or timer,
 * so that millions may wait; values stay on disk.
 *
 * A binary heap of slots ordered by due time, then by id, and an open-addressed table from id to slot.
 * An entry that is `taken` has left the heap (it is being fired or cancelled) and still counts; it
 * is given back or removed. Ids are never used twice. The scheduler (scheduler.ts) is the only caller.
 */
import { assert } from '../base/invariant.ts'
import { LongArray } from '../base/long-array.ts'
import { ScheduleIndex } from './schedule-index.ts'

export interface Scheduled {
  id: number
  /** Milliseconds since the epoch. */
  dueAt: number
  /** Offset of its record in the schedule log: the newest copy. */
  position: number
  /** Bytes of that record. */
  bytes: number
}

/** A place in the order of due times, between two entries. */
export type Mark = Pick<Scheduled, 'dueAt' | 'id'>

/** What `#heapAt` says of an entry that is not in the heap. */
const TAKEN = -1

const doubles = (length: number): Float64Array => new Float64Array(length)
const integers = (length: number): Int32Array => new Int32Array(length)

export class Schedule {
  readonly #ids = new LongArray(doubles)
  readonly #dueAts = new LongArray(doubles)
  readonly #positions = new LongArray(doubles)
  readonly #bytes = new LongArray((length) => new Uint32Array(length))
  /** Of each slot: its place in the heap, or TAKEN. */
  readonly #heapAt = new LongArray(integers)
  /** The slots that are in the heap, in its order; as long as there are slots. */
  readonly #heap = new LongArray(integers)
  readonly #columns = [this.#ids, this.#dueAts, this.#positions, this.#bytes, this.#heapAt]
  readonly #index = new ScheduleIndex(this.#ids)
  #heapSize = 0
  #liveBytes = 0

  /** Entries in the heap and taken ones. */
  get size(): number {
    return this.#ids.length
  }

  /** Bytes of the newest records of all entries. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  /** When the next entry that is not taken is due; infinity when there is none. */
  get nextDue(): number {
    return this.#heapSize === 0 ? Number.POSITIVE_INFINITY : this.#dueAts.get(this.#heap.get(0))
  }

  has(id: number): boolean {
    return this.#slotOf(id) !== -1
  }

  /** Not taken: free to be fired or cancelled. */
  isWaiting(id: number): boolean {
    const slot = this.#slotOf(id)
    return slot !== -1 && this.#heapAt.get(slot) >= 0
  }

  find(id: number): Scheduled | null {
    const slot = this.#slotOf(id)
    return slot === -1 ? null : this.#entry(slot)
  }

  add(entry: Scheduled): void {
    assert(!this.has(entry.id), 'an id is scheduled once')
    const slot = this.size
    this.#ids.push(entry.id)
    this.#dueAts.push(entry.dueAt)
    this.#positions.push(entry.position)
    this.#bytes.push(entry.bytes)
    this.#heapAt.push(TAKEN)
    this.#heap.push(0)
    this.#liveBytes += entry.bytes
    this.#index.add(entry.id, slot)
    this.#push(slot)
  }

  /** Its record was written anew. False when there is no such entry any more. */
  move(id: number, position: number): boolean {
    const slot = this.#slotOf(id)
    if (slot === -1) return false
    this.#positions.set(slot, position)
    return true
  }

  /** Takes what is due, in order: at most so many entries, and bytes, but for the first. */
  takeDue(now: number, count: number, bytes: number): Scheduled[] {
    const taken: Scheduled[] = []
    let total = 0
    while (this.nextDue <= now && taken.length < count) {
      const slot = this.#heap.get(0)
      total += this.#bytes.get(slot)
      if (total > bytes && taken.length > 0) break
      this.#leaveHeap(slot)
      taken.push(this.#entry(slot))
    }
    return taken
  }

  /** False when it is taken, or not there. */
  take(id: number): boolean {
    const slot = this.#slotOf(id)
    if (slot === -1 || this.#heapAt.get(slot) < 0) return false
    this.#leaveHeap(slot)
    return true
  }

  giveBack(id: number): void {
    const slot = this.#slotOf(id)
    assert(slot !== -1 && this.#heapAt.get(slot) === TAKEN, 'what is given back was taken')
    this.#push(slot)
  }

  /** Fired or cancelled. False when there is no such entry. */
  remove(id: number): boolean {
    const slot = this.#slotOf(id)
    if (slot === -1) return false
    if (this.#heapAt.get(slot) >= 0) this.#leaveHeap(slot)
    this.#liveBytes -= this.#bytes.get(slot)
    this.#index.remove(id)
    this.#fillWithLast(slot)
    return true
  }

  /** The entries that come after the mark in order of due time, taken ones included. One look at every entry. */
  page(after: Mark | null, limit: number): Scheduled[] {
    let found: number[] = []
    let last = -1
    const order = (a: number, b: number): number => (this.#isBefore(a, b) ? -1 : 1)
    const cut = (): void => {
      found.sort(order)
      found = found.slice(0, limit)
      if (found.length === limit) last = found[limit - 1]!
    }
    const consider = (slot: number): void => {
      if (after && !this.#isAfter(slot, after)) return
      if (last !== -1 && !this.#isBefore(slot, last)) return
      found.push(slot)
      if (found.length >= 2 * limit) cut()
    }
    // A heap is nearly in order, so that the first entries already bound the page and the rest is passed over.
    for (let at = 0; at < this.#heapSize; at++) consider(this.#heap.get(at))
    if (this.#heapSize < this.size) {
      for (let slot = 0; slot < this.size; slot++) if (this.#heapAt.get(slot) === TAKEN) consider(slot)
    }
    cut()
    return found.map((slot) => this.#entry(slot))
  }

  /** The lowest offset of the schedule log that is still needed; infinity when none is. */
  oldestPosition(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (let slot = 0; slot < this.size; slot++) oldest = Math.min(oldest, this.#positions.get(slot))
    return oldest
  }

  #entry(slot: number): Scheduled {
    return {
      id: this.#ids.get(slot),
      dueAt: this.#dueAts.get(slot),
      position: this.#positions.get(slot),
      bytes: this.#bytes.get(slot),
    }
  }

  #isBefore(a: number, b: number): boolean {
    const difference = this.#dueAts.get(a) - this.#dueAts.get(b)
    return difference < 0 || (difference === 0 && this.#ids.get(a) < this.#ids.get(b))
  }

  #isAfter(slot: number, mark: Mark): boolean {
    const dueAt = this.#dueAts.get(slot)
    return dueAt > mark.dueAt || (dueAt === mark.dueAt && this.#ids.get(slot) > mark.id)
  }

  #push(slot: number): void {
    this.#rise(slot, this.#heapSize++)
  }

  #leaveHeap(slot: number): void {
    const at = this.#heapAt.get(slot)
    this.#heapSize -= 1
    const last = this.#heap.get(this.#heapSize)
    if (last !== slot) {
      this.#rise(last, at)
      this.#sink(last, this.#heapAt.get(last))
    }
    this.#heapAt.set(slot, TAKEN)
  }

  /** Puts the slot at this place of the heap or above, where it belongs. */
  #rise(slot: number, from: number): void {
    let at = from
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = this.#heap.get(parentAt)
      if (!this.#isBefore(slot, parent)) break
      this.#heap.set(at, parent)
      this.#heapAt.set(parent, at)
      at = parentAt
    }
    this.#heap.set(at, slot)
    this.#heapAt.set(slot, at)
  }

  #sink(slot: number, from: number): void {
    let at = from
    for (;;) {
      let childAt = 2 * at + 1
      if (childAt >= this.#heapSize) break
      if (childAt + 1 < this.#heapSize && this.#isBefore(this.#heap.get(childAt + 1), this.#heap.get(childAt)))
        childAt += 1
      const child = this.#heap.get(childAt)
      if (!this.#isBefore(child, slot)) break
      this.#heap.set(at, child)
      this.#heapAt.set(child, at)
      at = childAt
    }
    this.#heap.set(at, slot)
    this.#heapAt.set(slot, at)
  }

  #slotOf(id: number): number {
    return this.#index.slotOf(id)
  }

  /** There are no gaps: what stands in the last slot comes to this one, whose entry is gone. */
  #fillWithLast(slot: number): void {
    const last = this.size - 1
    if (slot !== last) {
      this.#index.move(this.#ids.get(last), slot)
      for (const column of this.#columns) column.set(slot, column.get(last))
      const at = this.#heapAt.get(slot)
      if (at !== TAKEN) this.#heap.set(at, slot)
    }
    for (const column of this.#columns) column.pop()
    this.#heap.pop()
  }
}
