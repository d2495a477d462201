/**
 * In which slot the scheduled message of an id is: an open-addressed table, linear probing, at most half full,
 * cut into parts by the hash of the id, so that laying out one of them anew takes little time at once. It
 * knows slots only; the ids are in the schedule's own column. Pure; used by schedule.ts.
 */
import type { LongArray } from '../base/long-array.ts'

const PARTS = 256
const FIRST_SLOTS = 8

interface Part {
  /** slot + 1; 0: empty. */
  table: Int32Array
  count: number
}

export class ScheduleIndex {
  readonly #ids: LongArray
  readonly #parts: (Part | undefined)[] = []

  /** @param ids the id in each slot */
  constructor(ids: LongArray) {
    this.#ids = ids
  }

  /** -1 where there is no such id. */
  slotOf(id: number): number {
    const hash = hashOf(id)
    const part = this.#parts[hash % PARTS]
    return part ? part.table[this.#placeOf(part.table, id, hash)]! - 1 : -1
  }

  /** The id, which stands in that slot, is new. */
  add(id: number, slot: number): void {
    const hash = hashOf(id)
    this.#parts[hash % PARTS] ??= { table: new Int32Array(FIRST_SLOTS), count: 0 }
    const part = this.#parts[hash % PARTS]!
    part.count += 1
    if (part.count * 2 > part.table.length) this.#layOut(part, part.table.length * 2)
    part.table[this.#placeOf(part.table, id, hash)] = slot + 1
  }

  /** To be told before the id stands in the other slot. */
  move(id: number, slot: number): void {
    const hash = hashOf(id)
    const { table } = this.#parts[hash % PARTS]!
    table[this.#placeOf(table, id, hash)] = slot + 1
  }

  /** The id goes, which still stands in its slot. Closes the gap that it leaves, so that no search ends too early. */
  remove(id: number): void {
    const hash = hashOf(id)
    const part = this.#parts[hash % PARTS]!
    const { table } = part
    const mask = table.length - 1
    let gap = this.#placeOf(table, id, hash)
    table[gap] = 0
    for (let at = (gap + 1) & mask; table[at] !== 0; at = (at + 1) & mask) {
      const home = homeOf(hashOf(this.#ids.get(table[at]! - 1)), mask)
      if (((at - home) & mask) < ((at - gap) & mask)) continue
      table[gap] = table[at]!
      table[at] = 0
      gap = at
    }
    part.count -= 1
    if (part.count * 8 < table.length && table.length > FIRST_SLOTS) this.#layOut(part, table.length / 2)
  }

  /** Where the id stands in the table, or would. */
  #placeOf(table: Int32Array, id: number, hash: number): number {
    const mask = table.length - 1
    for (let at = homeOf(hash, mask); ; at = (at + 1) & mask) {
      const slot = table[at]! - 1
      if (slot === -1 || this.#ids.get(slot) === id) return at
    }
  }

  #layOut(part: Part, length: number): void {
    const old = part.table
    part.table = new Int32Array(length)
    for (const entry of old) {
      if (entry === 0) continue
      const id = this.#ids.get(entry - 1)
      part.table[this.#placeOf(part.table, id, hashOf(id))] = entry
    }
  }
}

/** Ids are offsets, dense and ascending: spread over the table all the same, whatever stays of them. */
function hashOf(id: number): number {
  const low = Math.imul(id >>> 0, 0x9e3779b1) ^ Math.imul(Math.floor(id / 0x1_0000_0000), 0x85ebca6b)
  return (low ^ (low >>> 15)) >>> 0
}

/** What chose the part says nothing more. */
function homeOf(hash: number, mask: number): number {
  return (hash >>> 8) & mask
}
