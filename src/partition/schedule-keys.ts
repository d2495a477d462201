/**
 * The Idempotency-Keys of a topic's scheduled messages: what makes a repetition answer with the first
 * one's id. A key is known for as long as its message is pending, and within the topic's window after it
 * was scheduled, whatever became of the message.
 *
 * A decision over plain arrays: open-addressed tables, one for each part of the keys by their hash, so that laying
 * out one of them anew takes little time at once. Keys that are over leave when that happens, which is when it has
 * filled up, or when there are as many as there may be. Used by scheduler.ts.
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

const PARTS = 256
const FIRST_SLOTS = 8
/** What one call may look through for keys that are over. */
const SWEPT_SLOTS = 65_536

interface Part {
  used: number
  readonly hashes: Uint32Array
  readonly ids: Float64Array
  /** 0: the slot is empty. */
  readonly deliverAts: Float64Array
  readonly scheduledAts: Float64Array
}

export class ScheduleKeys {
  readonly #hash: KeyHash
  readonly #isAlive: IsAlive
  readonly #limit: number
  readonly #parts: Part[] = Array.from({ length: PARTS }, () => NONE)
  #used = 0
  /** The part that is swept next. */
  #next = 0

  /** @param limit most keys remembered at once: 40 to 120 bytes of memory each */
  constructor(limit: number, random: Random, isAlive: IsAlive) {
    this.#hash = new KeyHash(random)
    this.#isAlive = isAlive
    this.#limit = limit
  }

  find(key: Uint8Array): FirstSchedule | null {
    const hash = this.#hash.of(key)
    const part = this.#parts[partOf(hash)]!
    if (part === NONE) return null
    const at = placeOf(part, hash, 0)
    if (part.deliverAts[at] === 0) return null
    const first = firstAt(part, at)
    return this.#isAlive(first) ? first : null
  }

  /** Throws `overloaded` when no more keys can be remembered: refused before anything is stored. */
  admit(keys: number): void {
    if (this.#used + keys <= this.#limit) return
    this.#sweep(keys)
    if (this.#used + keys <= this.#limit) return
    throw new TidingsError(
      'overloaded',
      `${this.#used} idempotency keys of scheduled messages are remembered, the most there can be: ` +
        'schedule more slowly, or set a shorter deduplicationWindowMs',
    )
  }

  remember(key: Uint8Array, first: FirstSchedule): void {
    const hash = this.#hash.of(key)
    const number = partOf(hash)
    const { used, ids } = this.#parts[number]!
    if ((used + 1) * 3 > ids.length * 2) this.#layOut(number)
    this.#used += put(this.#parts[number]!, hash, 0, first)
  }

  /** Looks for keys that are over where it did so last, until there is room for so many, or it took long enough. */
  #sweep(keys: number): void {
    let slots = 0
    for (let parts = 0; parts < PARTS && slots < SWEPT_SLOTS && this.#used + keys > this.#limit; parts++) {
      slots += this.#parts[this.#next]!.ids.length
      this.#layOut(this.#next)
      this.#next = (this.#next + 1) % PARTS
    }
  }

  /** Drops what is over; the part is then as large as what is left needs, with room to grow. */
  #layOut(number: number): void {
    const old = this.#parts[number]!
    const alive: number[] = []
    for (let at = 0; at < old.ids.length; at++) {
      if (old.deliverAts[at] !== 0 && this.#isAlive(firstAt(old, at))) alive.push(at)
    }
    let slots = FIRST_SLOTS
    while (slots < alive.length * 3) slots *= 2
    const part = newPart(slots)
    for (const at of alive) put(part, old.hashes, at * 4, firstAt(old, at))
    this.#parts[number] = part
    this.#used += part.used - old.used
  }
}

/** What there is of most parts while there are few keys. */
const NONE: Part = newPart(0)

function newPart(slots: number): Part {
  return {
    used: 0,
    hashes: new Uint32Array(slots * 4),
    ids: new Float64Array(slots),
    deliverAts: new Float64Array(slots),
    scheduledAts: new Float64Array(slots),
  }
}

/** The first word of the hash chooses the slot in a part, the last one the part. */
function partOf(hash: Uint32Array): number {
  return hash[3]! & (PARTS - 1)
}

/** Answers how many keys there are more. */
function put(part: Part, hashes: Uint32Array, from: number, first: FirstSchedule): number {
  const at = placeOf(part, hashes, from)
  const isNew = part.deliverAts[at] === 0
  if (isNew) part.used += 1
  part.hashes.set(hashes.subarray(from, from + 4), at * 4)
  part.ids[at] = first.id
  part.deliverAts[at] = first.deliverAt
  part.scheduledAts[at] = first.scheduledAt
  return isNew ? 1 : 0
}

function firstAt({ ids, deliverAts, scheduledAts }: Part, at: number): FirstSchedule {
  return { id: ids[at]!, deliverAt: deliverAts[at]!, scheduledAt: scheduledAts[at]! }
}

/** The slot that holds the hash, or the empty one where it would go. */
function placeOf({ hashes: own, deliverAts }: Part, hashes: Uint32Array, from: number): number {
  const mask = deliverAts.length - 1
  for (let slot = hashes[from]! & mask; ; slot = (slot + 1) & mask) {
    if (deliverAts[slot] === 0) return slot
    const at = slot * 4
    let word = 0
    while (word < 4 && own[at + word] === hashes[from + word]) word += 1
    if (word === 4) return slot
  }
}
