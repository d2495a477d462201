/**
 * Spreads what comes over one connection over turns of the event loop. A frame of a few bytes may ask for a lot (a
 * range of 100,000 messages), and a socket brings thousands of frames in one read: handled in one go they would keep
 * everybody else waiting for seconds. A runner; used by the WebSocket edge.
 *
 * Must stay true: steps are taken in the order in which they came, the end of the connection among them; while any
 * wait the connection is not read, so that no more wait than one read brings.
 */
import type { Clock } from '../base/clock.ts'

/** What the frames of one connection may take before others have a turn. */
const TURN_MS = 10

export interface TurnsParts {
  clock: Pick<Clock, 'monotonic' | 'soon'>
  /** Stops reading, and goes on. */
  pause(): void
  resume(): void
}

export class Turns {
  readonly #parts: TurnsParts
  #waiting: (() => void)[] = []
  #usedMs = 0
  #isResting = false

  constructor(parts: TurnsParts) {
    this.#parts = parts
  }

  /** Takes the step, now or when those before it have been taken. */
  take(step: () => void): void {
    if (this.#isResting) this.#waiting.push(step)
    else this.#run(step)
  }

  #run(step: () => void): void {
    const { clock } = this.#parts
    const startedAt = clock.monotonic()
    step()
    this.#usedMs += clock.monotonic() - startedAt
    if (this.#usedMs < TURN_MS || this.#isResting) return
    this.#isResting = true
    this.#parts.pause()
    clock.soon(() => this.#goOn())
  }

  #goOn(): void {
    this.#isResting = false
    this.#usedMs = 0
    let taken = 0
    while (taken < this.#waiting.length && !this.#isResting) this.#run(this.#waiting[taken++]!)
    this.#waiting.splice(0, taken)
    if (!this.#isResting) this.#parts.resume()
  }
}
