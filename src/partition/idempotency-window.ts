/**
 * The Idempotency-Keys that a topic saw within its window, with the position of each first message:
 * what makes a repeated publish answer instead of storing. Rebuilt from the log at start.
 *
 * A decision over plain arrays: 32 bytes a key in open-addressed tables, no object a key. A key is
 * known by 128 bits of keyed hash (HalfSipHash under a secret of this process), so that nobody can
 * craft two that collide. The window is kept in slices; a slice is dropped whole when its newest key
 * is out of the window, and every hit is checked against the exact age.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import { KeyHash } from '../base/key-hash.ts'
import type { RememberedAccount } from './remembered-budget.ts'

export interface FirstPublish {
  partition: number
  offset: number
  /** Milliseconds since the epoch. */
  timestamp: number
}

/** Slices a window is cut into: memory is held for at most one slice longer than needed. */
const SLICES = 8
const SLOT_WORDS = 8
const FIRST_SLOTS = 64
/** What a key takes in memory at worst. */
const KEY_BYTES = 64
const WORD = 0x1_0000_0000

export class IdempotencyWindow {
  windowMs: number
  readonly #limit: number
  readonly #hash: KeyHash
  readonly #account: RememberedAccount
  /** Oldest first; only the last one takes new keys. */
  #slices: Slice[] = []
  #count = 0

  /** @param limit most keys remembered at once: 32 to 64 bytes of memory each */
  constructor(windowMs: number, limit: number, random: Random, account: RememberedAccount) {
    this.windowMs = windowMs
    this.#limit = limit
    this.#account = account
    this.#hash = new KeyHash(random)
  }

  get size(): number {
    return this.#count
  }

  /** The first publish with this key, if it is younger than the window. */
  find(key: Uint8Array, now: number): FirstPublish | null {
    this.expire(now)
    const hash = this.#hash.of(key)
    for (let i = this.#slices.length - 1; i >= 0; i--) {
      const found = this.#slices[i]!.find(hash)
      if (found && now - found.timestamp < this.windowMs) return found
    }
    return null
  }

  /** Throws `overloaded` when no more keys can be remembered: refused before anything is stored. */
  admit(now: number, keys: number): void {
    this.expire(now)
    if (this.#count + keys <= this.#limit && this.#account.hasRoom(keys * KEY_BYTES)) return
    throw new TidingsError(
      'overloaded',
      `${this.#count} idempotency keys of the last ${this.windowMs} ms are remembered here, and there is no room for more: ` +
        'publish more slowly, set a shorter deduplicationWindowMs, or raise --remembered-bytes',
    )
  }

  remember(key: Uint8Array, first: FirstPublish): void {
    if (this.windowMs === 0) return
    let slice = this.#slices.at(-1)
    if (!slice || first.timestamp - slice.startedAt >= this.windowMs / SLICES) {
      slice = new Slice(first.timestamp, this.windowMs)
      this.#slices.push(slice)
    }
    slice.add(this.#hash.of(key), first)
    this.#count += 1
    this.#account.take(KEY_BYTES)
  }

  /** Forgets what is out of the window. */
  expire(now: number): void {
    while (this.#slices.length > 0 && now - this.#slices[0]!.newest >= this.windowMs) {
      const { count } = this.#slices.shift()!
      this.#count -= count
      this.#account.take(-count * KEY_BYTES)
    }
  }
}

/** One slice: slots of eight words, four of hash, partition + 1 (0: empty), offset high and low, age from its epoch. */
class Slice {
  readonly startedAt: number
  newest: number
  count = 0
  /** Ages are counted from here: while the log is read at start, older keys may come after newer ones. */
  readonly #epoch: number
  #slots = new Uint32Array(FIRST_SLOTS * SLOT_WORDS)

  constructor(startedAt: number, windowMs: number) {
    this.startedAt = startedAt
    this.#epoch = startedAt - windowMs
    this.newest = startedAt
  }

  find(hash: Uint32Array): FirstPublish | null {
    const at = this.#slotOf(hash)
    const slots = this.#slots
    if (slots[at + 4] === 0) return null
    return {
      partition: slots[at + 4]! - 1,
      offset: slots[at + 5]! * WORD + slots[at + 6]!,
      timestamp: this.#epoch + slots[at + 7]!,
    }
  }

  add(hash: Uint32Array, first: FirstPublish): void {
    if ((this.count + 1) * 3 > (this.#slots.length / SLOT_WORDS) * 2) this.#grow()
    const at = this.#slotOf(hash)
    const slots = this.#slots
    slots.set(hash, at)
    slots[at + 4] = first.partition + 1
    slots[at + 5] = Math.floor(first.offset / WORD)
    slots[at + 6] = first.offset >>> 0
    slots[at + 7] = Math.max(0, first.timestamp - this.#epoch)
    this.newest = Math.max(this.newest, first.timestamp)
    this.count += 1
  }

  /** The slot that holds the hash, or the empty one where it would go. */
  #slotOf(hash: Uint32Array): number {
    const slots = this.#slots
    const mask = slots.length / SLOT_WORDS - 1
    for (let slot = hash[0]! & mask; ; slot = (slot + 1) & mask) {
      const at = slot * SLOT_WORDS
      if (slots[at + 4] === 0) return at
      if (
        slots[at] === hash[0] &&
        slots[at + 1] === hash[1] &&
        slots[at + 2] === hash[2] &&
        slots[at + 3] === hash[3]
      ) {
        return at
      }
    }
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Uint32Array(old.length * 2)
    for (let at = 0; at < old.length; at += SLOT_WORDS) {
      if (old[at + 4] !== 0) this.#slots.set(old.subarray(at, at + SLOT_WORDS), this.#slotOf(old.subarray(at, at + 4)))
    }
  }
}
