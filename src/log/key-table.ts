/**
 * The newest offset of each key, for one round of compaction: 24 bytes a key, none of them an object. A key is known
 * by 128 bits of keyed hash. The table is cut into parts by the hash, so that growing one costs little time
 * at once, and it takes no more keys than it was made for. Pure.
 */
import type { Random } from '../base/clock.ts'
import { KeyHash } from '../base/key-hash.ts'

const PARTS = 256
const FIRST_SLOTS = 16
const WORDS = 6
const WORD = 0x1_0000_0000

interface Part {
  /** Slots of six words: four of hash, then offset + 1 (0: empty), high and low. */
  slots: Uint32Array
  count: number
}

export class KeyTable {
  readonly #hash: KeyHash
  readonly #limit: number
  readonly #parts: Part[] = Array.from({ length: PARTS }, () => ({
    slots: new Uint32Array(FIRST_SLOTS * WORDS),
    count: 0,
  }))
  #count = 0

  constructor(limit: number, random: Random) {
    this.#limit = limit
    this.#hash = new KeyHash(random)
  }

  /** Notes that the key's newest record is at the offset; false when there is no room for another key. */
  put(key: Uint8Array, offset: number): boolean {
    const hash = this.#hash.of(key)
    const part = this.#parts[hash[3]! & (PARTS - 1)]!
    let at = slotOf(part.slots, hash)
    if (isEmpty(part.slots, at)) {
      if (this.#count >= this.#limit) return false
      if ((part.count + 1) * WORDS * 3 > part.slots.length * 2) {
        grow(part)
        at = slotOf(part.slots, hash)
      }
      part.slots.set(hash, at)
      part.count += 1
      this.#count += 1
    }
    part.slots[at + 4] = Math.floor((offset + 1) / WORD)
    part.slots[at + 5] = (offset + 1) >>> 0
    return true
  }

  /** -1 where the key was not seen. */
  newestOf(key: Uint8Array): number {
    const hash = this.#hash.of(key)
    const { slots } = this.#parts[hash[3]! & (PARTS - 1)]!
    const at = slotOf(slots, hash)
    return slots[at + 4]! * WORD + slots[at + 5]! - 1
  }
}

function isEmpty(slots: Uint32Array, at: number): boolean {
  return slots[at + 4] === 0 && slots[at + 5] === 0
}

/** The slot that holds the hash, or the empty one where it would go. */
function slotOf(slots: Uint32Array, hash: Uint32Array): number {
  const mask = slots.length / WORDS - 1
  for (let slot = hash[0]! & mask; ; slot = (slot + 1) & mask) {
    const at = slot * WORDS
    if (isEmpty(slots, at) || isSame(slots, at, hash)) return at
  }
}

function isSame(slots: Uint32Array, at: number, hash: Uint32Array): boolean {
  for (let i = 0; i < 4; i++) if (slots[at + i] !== hash[i]) return false
  return true
}

function grow(part: Part): void {
  const old = part.slots
  part.slots = new Uint32Array(old.length * 2)
  for (let at = 0; at < old.length; at += WORDS) {
    if (!isEmpty(old, at)) part.slots.set(old.subarray(at, at + WORDS), slotOf(part.slots, old.subarray(at, at + 4)))
  }
}
