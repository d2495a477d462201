/**
 * Time as the test broker and its clients live it: it stands still until the test moves it. Everything due on the
 * way happens in order, one thing at a time, each with all that follows from it before the next. Owns the one
 * clock; brokers and clients get views of it, whose timers can end with their holder.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Activity } from './activity.ts'
import { type Duration, durationMs } from './duration.ts'
import { type ProcessClock, SimClock } from './sim-clock.ts'

/** What a test sees of the time. */
export interface TestClock {
  /** Wall time, milliseconds since the epoch. */
  now(): number
  /** Milliseconds that never go back. */
  monotonic(): number
  /** Resolves when so much time has passed on this clock: for handlers that take a while. */
  sleep(duration: Duration): Promise<void>
}

export class VirtualTime implements TestClock {
  readonly #clock: SimClock
  readonly #activity: Activity
  /** Those who sleep. */
  sleepers = 0
  #advancing: Promise<void> = Promise.resolve()

  constructor(activity: Activity, wallMs: number) {
    this.#clock = new SimClock({ wallMs })
    this.#activity = activity
  }

  now(): number {
    return this.#clock.now()
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  sleep(duration: Duration): Promise<void> {
    return new Promise((resolve) => {
      const ms = durationMs(duration)
      this.sleepers++
      this.#clock.after(ms, () => {
        this.sleepers--
        this.#activity.note()
        resolve()
      })
      if (ms === 0) this.#activity.soon(() => this.#clock.advance(0))
    })
  }

  /** A view for one process, that is for a client or for one life of the broker. */
  process(): ProcessView {
    return new ProcessView(this.#clock, this.#activity)
  }

  /** Everything that can happen now has happened. */
  settle(): Promise<void> {
    return this.#activity.quiet()
  }

  /** Moves on by so much; calls come one after the other. */
  advance(ms: number): Promise<void> {
    const advanced = this.#advancing.then(() => this.#advanceBy(ms))
    this.#advancing = advanced.catch(() => undefined)
    return advanced
  }

  /** Moves on to the next thing that is due, at most so far; false when there was none, and it is as late as that. */
  async step(untilMs: number): Promise<boolean> {
    const due = this.#clock.nextDue()
    if (due === undefined || due > untilMs) return false
    this.#clock.runNext()
    await this.#activity.lull()
    return true
  }

  async #advanceBy(ms: number): Promise<void> {
    await this.#activity.quiet()
    const until = this.#clock.monotonic() + ms
    for (let due = this.#clock.nextDue(); due !== undefined && due <= until; due = this.#clock.nextDue()) {
      this.#clock.runNext()
      await this.#activity.lull()
    }
    this.#clock.advanceTo(until)
    await this.#activity.quiet()
  }
}

/** One process's clock. What is due at once needs no test to move the time. */
export class ProcessView implements Clock {
  readonly #whole: SimClock
  readonly #clock: ProcessClock
  readonly #activity: Activity
  #isKilled = false

  constructor(whole: SimClock, activity: Activity) {
    this.#whole = whole
    this.#clock = whole.process()
    this.#activity = activity
  }

  now(): number {
    return this.#clock.now()
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  after(delayMs: number, fire: () => void): Timer {
    const timer = this.#clock.after(delayMs, fire)
    if (!(delayMs > 0)) this.#activity.soon(() => this.#whole.advance(0))
    return timer
  }

  soon(run: () => void): void {
    if (this.#isKilled) return
    this.#activity.soon(() => {
      if (!this.#isKilled) run()
    })
  }

  /** Nothing fires any more, neither what was set nor what the dead process still sets. */
  kill(): void {
    this.#isKilled = true
    this.#clock.kill()
  }
}
