/**
 * Whether one simulated subscription may be deleted for want of anybody who attends to it, and whether it
 * must be. It is told who comes and goes; a consumer is there from its attachment to its end, a pull until it is answered.
 */
import type { Role } from './cast.ts'
import type { Witness } from './witness.ts'

export class AttendanceWitness {
  readonly #witness: Witness
  readonly #role: Role
  #present = 0
  #isOver = false
  /** When somebody was surely there last; the broker may have seen a sign of life after it. */
  #since: number

  /** @param since when the subscription was asked for */
  constructor(witness: Witness, role: Role, since: number) {
    this.#witness = witness
    this.#role = role
    this.#since = since
  }

  came(): void {
    this.#present += 1
  }

  left(): void {
    this.#present -= 1
    this.#since = this.#witness.now
  }

  /** What came was refused: it has never been there. */
  refused(code: string): void {
    if (code === 'subscription_not_found' && !this.#isOver) this.vanished()
    this.#present -= 1
  }

  /** Its deletion was asked for, or noticed. */
  over(): void {
    this.#isOver = true
  }

  /** Nobody is there, and a restart begins to count anew. */
  crashed(): void {
    this.#present = 0
    this.#since = this.#witness.now
  }

  /** It was found gone, and no client had asked for that. */
  vanished(): void {
    const { name, expireAfterMs } = this.#role
    const what = `${name} was deleted`
    if (expireAfterMs === undefined) throw this.#witness.violated('D-EXPIRE', `${what}, and never expires`)
    if (this.#present > 0) throw this.#witness.violated('D-EXPIRE', `${what}, while ${this.#present} attended to it`)
    const vacantMs = this.#witness.now - this.#since
    if (vacantMs < expireAfterMs)
      throw this.#witness.violated('D-EXPIRE', `${what} ${vacantMs} ms after somebody was there, not ${expireAfterMs}`)
    this.#witness.count('expired')
  }
}
