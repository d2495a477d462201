/**
 * The Idempotency-Keys of a topic's scheduled messages: what makes a repetition answer with the first
 * one's id. A key is known for as long as its message is pending, and within the topic's window after it
 * was scheduled, whatever became of the message.
 *
 * A decision over plain arrays: one open-addressed table. Keys that are over leave when the table
 * is laid out anew, which happens only when it has filled up. Used by scheduler.ts.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import { KeyHash } from '../base/key-hash.ts'

export interface FirstSchedule {
  id: number
  /** Milliseconds since the epoch, like `scheduledAt`, which the window counts from. */
  deliverAt: number
  scheduledAt: number
}

/** Whether a key still says anything. */
export type IsAlive = (first: FirstSchedule) => boolean

const FIRST_SLOTS = 64

export class ScheduleKeys {
  readonly #hash: KeyHash
  readonly #isAlive: IsAlive
  readonly #limit: number
  #slots = FIRST_SLOTS
  #used = 0
  #hashes = new Uint32Array(FIRST_SLOTS * 4)
  #ids = new Float64Array(FIRST_SLOTS)
  /** 0: the slot is empty. */
  #deliverAts = new Float64Array(FIRST_SLOTS)
  #scheduledAts = new Float64Array(FIRST_SLOTS)

  /** @param limit most keys remembered at once: 40 to 120 bytes of memory each */
  constructor(limit: number, random: Random, isAlive: IsAlive) {
    this.#hash = new KeyHash(random)
    this.#isAlive = isAlive
    this.#limit = limit
  }

  find(key: Uint8Array): FirstSchedule | null {
    const at = this.#slotOf(this.#hash.of(key), 0)
    if (this.#deliverAts[at] === 0) return null
    const first = this.#first(at)
    return this.#isAlive(first) ? first : null
  }

  /** Throws `overloaded` when no more keys can be remembered: refused before anything is stored. */
  admit(keys: number): void {
    if (this.#used + keys <= this.#limit) return
    this.#layOut()
    if (this.#used + keys <= this.#limit) return
    throw new TidingsError(
      'overloaded',
      `${this.#used} idempotency keys of scheduled messages are remembered, the most there can be: ` +
        'schedule more slowly, or set a shorter deduplicationWindowMs',
    )
  }

  remember(key: Uint8Array, first: FirstSchedule): void {
    if ((this.#used + 1) * 3 > this.#slots * 2) this.#layOut()
    this.#put(this.#hash.of(key), 0, first)
  }

  #put(hashes: Uint32Array, from: number, first: FirstSchedule): void {
    const at = this.#slotOf(hashes, from)
    if (this.#deliverAts[at] === 0) this.#used += 1
    this.#hashes.set(hashes.subarray(from, from + 4), at * 4)
    this.#ids[at] = first.id
    this.#deliverAts[at] = first.deliverAt
    this.#scheduledAts[at] = first.scheduledAt
  }

  #first(at: number): FirstSchedule {
    return { id: this.#ids[at]!, deliverAt: this.#deliverAts[at]!, scheduledAt: this.#scheduledAts[at]! }
  }

  /** The slot that holds the hash, or the empty one where it would go. */
  #slotOf(hashes: Uint32Array, from: number): number {
    const mask = this.#slots - 1
    for (let slot = hashes[from]! & mask; ; slot = (slot + 1) & mask) {
      if (this.#deliverAts[slot] === 0) return slot
      const at = slot * 4
      let word = 0
      while (word < 4 && this.#hashes[at + word] === hashes[from + word]) word += 1
      if (word === 4) return slot
    }
  }

  /** Drops what is over; the table is then as large as what is left needs, with room to grow. */
  #layOut(): void {
    const old = { hashes: this.#hashes, ids: this.#ids, deliverAts: this.#deliverAts, scheduledAts: this.#scheduledAts }
    const alive: number[] = []
    for (let at = 0; at < this.#slots; at++) {
      if (this.#deliverAts[at] !== 0 && this.#isAlive(this.#first(at))) alive.push(at)
    }
    this.#slots = FIRST_SLOTS
    while (this.#slots < alive.length * 3) this.#slots *= 2
    this.#hashes = new Uint32Array(this.#slots * 4)
    this.#ids = new Float64Array(this.#slots)
    this.#deliverAts = new Float64Array(this.#slots)
    this.#scheduledAts = new Float64Array(this.#slots)
    this.#used = 0
    for (const at of alive) {
      const first = { id: old.ids[at]!, deliverAt: old.deliverAts[at]!, scheduledAt: old.scheduledAts[at]! }
      this.#put(old.hashes, at * 4, first)
    }
  }
}
