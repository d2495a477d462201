/**
 * 128 bits of keyed hash of a key from outside, under a secret of whoever made it: what the tables of keys
 * know a key by, so that nobody can craft two keys that collide. Pure.
 */
import type { Random } from '../base/clock.ts'

export class KeyHash {
  readonly #secret: Uint32Array
  readonly #hash = new Uint32Array(4)

  constructor(random: Random) {
    this.#secret = Uint32Array.from({ length: 4 }, () => random.uint32())
  }

  /** Four words, overwritten by the next call. */
  of(key: Uint8Array): Uint32Array {
    halfSipHash(key, this.#secret[0]!, this.#secret[1]!, this.#hash, 0)
    halfSipHash(key, this.#secret[2]!, this.#secret[3]!, this.#hash, 2)
    return this.#hash
  }
}

/** HalfSipHash-2-4 with 64 bits of output (Aumasson and Bernstein), into `out[at]` and `out[at + 1]`. */
function halfSipHash(bytes: Uint8Array, k0: number, k1: number, out: Uint32Array, at: number): void {
  let v0 = k0
  let v1 = k1 ^ 0xee
  let v2 = 0x6c796765 ^ k0
  let v3 = 0x74656462 ^ k1
  const round = (): void => {
    v0 = (v0 + v1) | 0
    v1 = rotate(v1, 5) ^ v0
    v0 = rotate(v0, 16)
    v2 = (v2 + v3) | 0
    v3 = rotate(v3, 8) ^ v2
    v0 = (v0 + v3) | 0
    v3 = rotate(v3, 7) ^ v0
    v2 = (v2 + v1) | 0
    v1 = rotate(v1, 13) ^ v2
    v2 = rotate(v2, 16)
  }
  const whole = bytes.length & ~3
  let word = 0
  for (let i = 0; i <= whole; i += 4) {
    if (i < whole) {
      word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    } else {
      word = bytes.length << 24
      for (let rest = whole; rest < bytes.length; rest++) word |= bytes[rest]! << ((rest - whole) * 8)
    }
    v3 ^= word
    round()
    round()
    v0 ^= word
  }
  v2 ^= 0xee
  for (let i = 0; i < 4; i++) round()
  out[at] = v1 ^ v3
  v1 ^= 0xdd
  for (let i = 0; i < 4; i++) round()
  out[at + 1] = v1 ^ v3
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}
