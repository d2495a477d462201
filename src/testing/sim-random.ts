/**
 * Chance from a seed: xoshiro128** over a state drawn from a hash of the seed and a label. Every
 * component of a simulation takes its own stream by `split`, so that one of them drawing a number
 * more does not shift the fate of all the others. The same seed and labels give the same numbers.
 */
import { createHash } from 'node:crypto'
import type { Random } from '../base/clock.ts'
import { assert } from '../base/invariant.ts'

const TWO_TO_32 = 2 ** 32

export class SimRandom implements Random {
  #key: string
  #state: Uint32Array

  constructor(seed: number | string) {
    this.#key = String(seed)
    const hash = createHash('sha256').update(this.#key).digest()
    this.#state = Uint32Array.from([0, 4, 8, 12], (at) => hash.readUInt32LE(at))
  }

  /** A stream of its own: depends on the seed and the label, not on how much was drawn from this one. */
  split(label: string): SimRandom {
    return new SimRandom(`${this.#key}/${label}`)
  }

  uint32(): number {
    return xoshiro128StarStar(this.#state)
  }

  id(): string {
    return idFrom(Uint8Array.from({ length: 21 }, () => this.uint32() >>> 24))
  }

  /** From 0 to `max` - 1, every one as likely: what would favour the low ones is drawn again. */
  integer(max: number): number {
    assert(Number.isInteger(max) && max > 0 && max <= TWO_TO_32, `integer(${max})`)
    const fair = TWO_TO_32 - (TWO_TO_32 % max)
    for (;;) {
      const drawn = this.uint32()
      if (drawn < fair) return drawn % max
    }
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.uint32() < p * TWO_TO_32
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.integer(choices.length)]!
  }

  /** The same values in any order, each as likely; the given list stays as it is. */
  shuffle<T>(values: readonly T[]): T[] {
    const shuffled = [...values]
    for (let last = shuffled.length - 1; last > 0; last--) {
      const other = this.integer(last + 1)
      const moved = shuffled[last]!
      shuffled[last] = shuffled[other]!
      shuffled[other] = moved
    }
    return shuffled
  }
}

/** One step of Blackman's and Vigna's generator: moves the four words on, returns 32 bits. */
export function xoshiro128StarStar(state: Uint32Array): number {
  const result = Math.imul(rotate(Math.imul(state[1]!, 5), 7), 9) >>> 0
  const shifted = state[1]! << 9
  state[2]! ^= state[0]!
  state[3]! ^= state[1]!
  state[1]! ^= state[2]!
  state[0]! ^= state[3]!
  state[2]! ^= shifted
  state[3] = rotate(state[3]!, 11)
  return result
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

const ID_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-'

/** 21 characters of 6 bits each from any source of bytes. */
function idFrom(bytes: Uint8Array): string {
  let id = ''
  for (let i = 0; i < 21; i++) id += ID_ALPHABET[bytes[i]! & 63]
  return id
}
