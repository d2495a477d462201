/**
 * How long to wait before trying again: exponential with full jitter, so that clients which failed together do not
 * come back together, and never sooner than the broker asked for. A decision; chance is handed in.
 */
import type { Random } from './platform.ts'

const TWO_TO_32 = 2 ** 32
/** No broker is believed that wants more than this. */
const ASKED_MAX_MS = 60_000

export class Backoff {
  readonly #random: Random
  readonly #minMs: number
  readonly #maxMs: number
  #failures = 0

  constructor(random: Random, minMs: number, maxMs: number) {
    this.#random = random
    this.#minMs = minMs
    this.#maxMs = maxMs
  }

  /** From 0 to min · 2^failures, at most max; on top of what the broker asked for. */
  next(askedMs = 0): number {
    const ceilingMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#failures, 30))
    this.#failures++
    return Math.min(askedMs, ASKED_MAX_MS) + (this.#random.uint32() / TWO_TO_32) * ceilingMs
  }

  reset(): void {
    this.#failures = 0
  }
}
