/**
 * The poison latch. The first failed sync, or any disk error that leaves the state of a file unknown,
 * trips it, once and for the whole process: from then on nothing is acknowledged to anybody, and the
 * process ends (exit code 70), because only a fresh read from disk can tell what is there.
 * (A failed fsync marks pages clean; the next one lies: RELIABILITY S4, "fsyncgate".)
 */

export class Latch {
  #cause: Error | undefined
  #onTrip: (cause: Error) => void

  /** `onTrip` is called once, with the first cause; the composition root ends the process there. */
  constructor(onTrip: (cause: Error) => void) {
    this.#onTrip = onTrip
  }

  get tripped(): boolean {
    return this.#cause !== undefined
  }

  get cause(): Error | undefined {
    return this.#cause
  }

  trip(cause: unknown): void {
    if (this.#cause) return
    this.#cause = cause instanceof Error ? cause : new Error(String(cause))
    this.#onTrip(this.#cause)
  }
}
