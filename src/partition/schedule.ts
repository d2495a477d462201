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

const FIRST_SLOTS = 16
/** What `#heapAt` says of a slot that is in use and not in the heap; lower values make the list of free slots. */
const TAKEN = -1
const LAST_FREE = -2

export class Schedule {
  #capacity = 0
  #ids = new Float64Array(0)
  #dueAts = new Float64Array(0)
  #positions = new Float64Array(0)
  #bytes = new Uint32Array(0)
  /** Of each slot: its place in the heap, TAKEN, or the free slot after it. */
  #heapAt = new Int32Array(0)
  #heap = new Int32Array(0)
  /** id → slot + 1, linear probing, at most half full. */
  #table = new Int32Array(0)
  #firstFree = LAST_FREE
  #heapSize = 0
  #size = 0
  #liveBytes = 0

  /** Entries in the heap and taken ones. */
  get size(): number {
    return this.#size
  }

  /** Bytes of the newest records of all entries. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  /** When the next entry that is not taken is due; infinity when there is none. */
  get nextDue(): number {
    return this.#heapSize === 0 ? Number.POSITIVE_INFINITY : this.#dueAts[this.#heap[0]!]!
  }

  has(id: number): boolean {
    return this.#slotOf(id) !== -1
  }

  /** Not taken: free to be fired or cancelled. */
  isWaiting(id: number): boolean {
    const slot = this.#slotOf(id)
    return slot !== -1 && this.#heapAt[slot]! >= 0
  }

  find(id: number): Scheduled | null {
    const slot = this.#slotOf(id)
    return slot === -1 ? null : this.#entry(slot)
  }

  add(entry: Scheduled): void {
    assert(!this.has(entry.id), 'an id is scheduled once')
    if (this.#size === this.#capacity) this.#resize(Math.max(FIRST_SLOTS, this.#capacity * 2))
    const slot = this.#firstFree
    this.#firstFree = nextFree(this.#heapAt[slot]!)
    this.#ids[slot] = entry.id
    this.#dueAts[slot] = entry.dueAt
    this.#positions[slot] = entry.position
    this.#bytes[slot] = entry.bytes
    this.#size += 1
    this.#liveBytes += entry.bytes
    this.#table[this.#tableAt(entry.id)] = slot + 1
    this.#push(slot)
  }

  /** Its record was written anew. False when there is no such entry any more. */
  move(id: number, position: number): boolean {
    const slot = this.#slotOf(id)
    if (slot === -1) return false
    this.#positions[slot] = position
    return true
  }

  /** Takes what is due, in order: at most so many entries, and bytes, but for the first. */
  takeDue(now: number, count: number, bytes: number): Scheduled[] {
    const taken: Scheduled[] = []
    let total = 0
    while (this.nextDue <= now && taken.length < count) {
      const slot = this.#heap[0]!
      total += this.#bytes[slot]!
      if (total > bytes && taken.length > 0) break
      this.#leaveHeap(slot)
      taken.push(this.#entry(slot))
    }
    return taken
  }

  /** False when it is taken, or not there. */
  take(id: number): boolean {
    const slot = this.#slotOf(id)
    if (slot === -1 || this.#heapAt[slot]! < 0) return false
    this.#leaveHeap(slot)
    return true
  }

  giveBack(id: number): void {
    const slot = this.#slotOf(id)
    assert(slot !== -1 && this.#heapAt[slot] === TAKEN, 'what is given back was taken')
    this.#push(slot)
  }

  /** Fired or cancelled. False when there is no such entry. */
  remove(id: number): boolean {
    const slot = this.#slotOf(id)
    if (slot === -1) return false
    if (this.#heapAt[slot]! >= 0) this.#leaveHeap(slot)
    this.#forgetId(id)
    this.#heapAt[slot] = this.#firstFree === LAST_FREE ? LAST_FREE : linkTo(this.#firstFree)
    this.#firstFree = slot
    this.#size -= 1
    this.#liveBytes -= this.#bytes[slot]!
    if (this.#capacity > FIRST_SLOTS && this.#size * 4 < this.#capacity) this.#resize(this.#capacity / 2)
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
    for (let at = 0; at < this.#heapSize; at++) consider(this.#heap[at]!)
    if (this.#heapSize < this.#size) {
      for (let slot = 0; slot < this.#capacity; slot++) if (this.#heapAt[slot] === TAKEN) consider(slot)
    }
    cut()
    return found.map((slot) => this.#entry(slot))
  }

  /** The lowest offset of the schedule log that is still needed; infinity when none is. */
  oldestPosition(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (let slot = 0; slot < this.#capacity; slot++) {
      if (this.#heapAt[slot]! >= TAKEN && this.#positions[slot]! < oldest) oldest = this.#positions[slot]!
    }
    return oldest
  }

  #entry(slot: number): Scheduled {
    return {
      id: this.#ids[slot]!,
      dueAt: this.#dueAts[slot]!,
      position: this.#positions[slot]!,
      bytes: this.#bytes[slot]!,
    }
  }

  #isBefore(a: number, b: number): boolean {
    const difference = this.#dueAts[a]! - this.#dueAts[b]!
    return difference < 0 || (difference === 0 && this.#ids[a]! < this.#ids[b]!)
  }

  #isAfter(slot: number, mark: Mark): boolean {
    const dueAt = this.#dueAts[slot]!
    return dueAt > mark.dueAt || (dueAt === mark.dueAt && this.#ids[slot]! > mark.id)
  }

  #push(slot: number): void {
    this.#rise(slot, this.#heapSize++)
  }

  #leaveHeap(slot: number): void {
    const at = this.#heapAt[slot]!
    this.#heapSize -= 1
    const last = this.#heap[this.#heapSize]!
    if (last !== slot) {
      this.#rise(last, at)
      this.#sink(last, this.#heapAt[last]!)
    }
    this.#heapAt[slot] = TAKEN
  }

  /** Puts the slot at this place of the heap or above, where it belongs. */
  #rise(slot: number, from: number): void {
    let at = from
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = this.#heap[parentAt]!
      if (!this.#isBefore(slot, parent)) break
      this.#heap[at] = parent
      this.#heapAt[parent] = at
      at = parentAt
    }
    this.#heap[at] = slot
    this.#heapAt[slot] = at
  }

  #sink(slot: number, from: number): void {
    let at = from
    for (;;) {
      let childAt = 2 * at + 1
      if (childAt >= this.#heapSize) break
      if (childAt + 1 < this.#heapSize && this.#isBefore(this.#heap[childAt + 1]!, this.#heap[childAt]!)) childAt += 1
      const child = this.#heap[childAt]!
      if (!this.#isBefore(child, slot)) break
      this.#heap[at] = child
      this.#heapAt[child] = at
      at = childAt
    }
    this.#heap[at] = slot
    this.#heapAt[slot] = at
  }

  #slotOf(id: number): number {
    return this.#table.length === 0 ? -1 : this.#table[this.#tableAt(id)]! - 1
  }

  /** Where the id stands in the table, or would. */
  #tableAt(id: number): number {
    const mask = this.#table.length - 1
    for (let at = hashOf(id) & mask; ; at = (at + 1) & mask) {
      const slot = this.#table[at]! - 1
      if (slot === -1 || this.#ids[slot] === id) return at
    }
  }

  /** Closes the gap that an id leaves, so that no search ends too early. */
  #forgetId(id: number): void {
    const mask = this.#table.length - 1
    let gap = this.#tableAt(id)
    this.#table[gap] = 0
    for (let at = (gap + 1) & mask; this.#table[at] !== 0; at = (at + 1) & mask) {
      const home = hashOf(this.#ids[this.#table[at]! - 1]!) & mask
      if (((at - home) & mask) < ((at - gap) & mask)) continue
      this.#table[gap] = this.#table[at]!
      this.#table[at] = 0
      gap = at
    }
  }

  /** Moves the entries into arrays of another length, without gaps. */
  #resize(capacity: number): void {
    const old = { ids: this.#ids, dueAts: this.#dueAts, positions: this.#positions, bytes: this.#bytes }
    const oldHeapAt = this.#heapAt
    this.#ids = new Float64Array(capacity)
    this.#dueAts = new Float64Array(capacity)
    this.#positions = new Float64Array(capacity)
    this.#bytes = new Uint32Array(capacity)
    this.#heapAt = new Int32Array(capacity)
    const heap = new Int32Array(capacity)
    this.#table = new Int32Array(capacity * 2)
    let next = 0
    for (let slot = 0; slot < this.#capacity; slot++) {
      const heapAt = oldHeapAt[slot]!
      if (heapAt < TAKEN) continue
      this.#ids[next] = old.ids[slot]!
      this.#dueAts[next] = old.dueAts[slot]!
      this.#positions[next] = old.positions[slot]!
      this.#bytes[next] = old.bytes[slot]!
      this.#heapAt[next] = heapAt
      if (heapAt >= 0) heap[heapAt] = next
      this.#table[this.#tableAt(old.ids[slot]!)] = next + 1
      next += 1
    }
    this.#heap = heap
    this.#capacity = capacity
    this.#firstFree = next < capacity ? next : LAST_FREE
    for (let slot = next; slot < capacity; slot++) {
      this.#heapAt[slot] = slot + 1 < capacity ? linkTo(slot + 1) : LAST_FREE
    }
  }
}

/** Ids are offsets, dense and ascending: spread over the table all the same, whatever stays of them. */
function hashOf(id: number): number {
  const low = Math.imul(id >>> 0, 0x9e3779b1) ^ Math.imul(Math.floor(id / 0x1_0000_0000), 0x85ebca6b)
  return (low ^ (low >>> 15)) >>> 0
}

function linkTo(slot: number): number {
  return LAST_FREE - 1 - slot
}

function nextFree(link: number): number {
  return link === LAST_FREE ? LAST_FREE : LAST_FREE - 1 - link
}
