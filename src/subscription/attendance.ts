/**
 * Whether anybody attends to a subscription, and for how long nobody has: what `expireAfterMs` goes by. A
 * decision; times are monotonic, so a jump of the wall clock expires nothing. Fed by the subscription's
 * runner: consumers and waiting pulls are presence, a change of settings is a sign of life. A restart
 * begins to count anew, since nobody could attend while the broker was down.
 */
export class Attendance {
  #isPresent = false
  /** When the last one left. */
  #since: number

  constructor(now: number) {
    this.#since = now
  }

  changed(isPresent: boolean, now: number): void {
    if (this.#isPresent || isPresent) this.#since = now
    this.#isPresent = isPresent
  }

  /** Somebody dealt with the subscription. */
  seen(now: number): void {
    this.#since = now
  }

  isOver(expireAfterMs: number | null, now: number): boolean {
    return expireAfterMs !== null && !this.#isPresent && now - this.#since >= expireAfterMs
  }
}
