/**
 * All messages in hand, in the order in which they were taken: a list through the messages themselves, so that one that
 * comes and goes costs no memory beside its own. Pure.
 */
import type { Held } from './held.ts'

export class HeldList {
  #first: Held<unknown> | null = null
  #last: Held<unknown> | null = null
  #count = 0

  get count(): number {
    return this.#count
  }

  add(held: Held<unknown>): void {
    held.before = this.#last
    if (this.#last) this.#last.after = held
    else this.#first = held
    this.#last = held
    this.#count++
  }

  /** It must be in the list. */
  remove(held: Held<unknown>): void {
    if (held.before) held.before.after = held.after
    else this.#first = held.after
    if (held.after) held.after.before = held.before
    else this.#last = held.before
    held.before = null
    held.after = null
    this.#count--
  }

  /** The one that is visited may be removed meanwhile. */
  *[Symbol.iterator](): Generator<Held<unknown>> {
    let next = this.#first
    while (next) {
      const held = next
      next = held.after
      yield held
    }
  }
}
