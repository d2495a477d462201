/**
 * What a ledger changed since its last record in the subscription log, in the order in which it
 * happened: ranges that were acknowledged, and ranges that are now pending with so many attempts.
 *
 * Flat numbers and no object per change, since an acknowledgement out of order is a change of its own.
 * Neighbours melt together. Bounded: when too much piles up (the disk is full), the list gives up and
 * asks for a whole state instead, whose size is bounded by `maxUnacked`.
 */
import type { Replacement } from './ledger-state.ts'

/** Changes that may pile up before a whole state is the better record. */
const CHANGES_MAX = 16_384
const STRIDE = 4
const ACKED = -1

export class Changes {
  /** From, to, attempts * 2 + failed or ACKED, notBefore. */
  #flat: number[] = []
  readonly #replaced = new Map<number, Uint8Array>()
  #whole = false

  /** The next record must be the whole state: what the changes build on is not in the log. */
  get whole(): boolean {
    return this.#whole
  }

  get count(): number {
    return this.#flat.length / STRIDE
  }

  acked(from: number, to: number): void {
    this.#push(from, to, ACKED, 0)
  }

  /** `attempts` deliveries so far; not to be delivered again before `notBefore` (0: at once). */
  pending(from: number, to: number, attempts: number, failed: boolean, notBefore: number): void {
    this.#push(from, to, attempts * 2 + (failed ? 1 : 0), notBefore)
  }

  /** The record is delivered instead of the one at the offset, until that is acknowledged; null: no longer. */
  replaced(offset: number, record: Uint8Array | null): void {
    if (!record) this.#replaced.delete(offset)
    else if (!this.#whole) this.#replaced.set(offset, record)
  }

  /** Replacements to be recorded. They count after the changes of `each`. */
  get replacements(): Replacement[] {
    return [...this.#replaced].map(([offset, record]) => ({ offset, record }))
  }

  requireWhole(): void {
    this.#whole = true
    this.#flat = []
    this.#replaced.clear()
  }

  /** Everything up to now is in a record. */
  clear(): void {
    this.#whole = false
    this.#flat = []
    this.#replaced.clear()
  }

  each(
    acked: (from: number, to: number) => void,
    pending: (from: number, to: number, attempts: number, failed: boolean, notBefore: number) => void,
  ): void {
    const flat = this.#flat
    for (let at = 0; at < flat.length; at += STRIDE) {
      const what = flat[at + 2]!
      if (what === ACKED) acked(flat[at]!, flat[at + 1]!)
      else pending(flat[at]!, flat[at + 1]!, what >>> 1, (what & 1) === 1, flat[at + 3]!)
    }
  }

  #push(from: number, to: number, what: number, notBefore: number): void {
    if (this.#whole) return
    const flat = this.#flat
    const last = flat.length - STRIDE
    if (last >= 0 && flat[last + 2] === what && flat[last + 3] === notBefore) {
      if (flat[last + 1] === from) {
        flat[last + 1] = to
        return
      }
      if (flat[last] === to) {
        flat[last] = from
        return
      }
    }
    if (flat.length >= CHANGES_MAX * STRIDE) this.requireWhole()
    else flat.push(from, to, what, notBefore)
  }
}
