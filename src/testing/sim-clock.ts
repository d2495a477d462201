/**
 * A clock that stands still until the test moves it. Timers fire in order of their deadline, those
 * of one deadline in the order in which they were set, each at exactly its time. Wall time runs
 * along with monotonic time and can be made to jump, as an operator or NTP would.
 * `advance` runs timers back to back; where promises must run between them, use `runNext` in a loop
 * with a turn of the event loop after each.
 */
import { setImmediate } from 'node:timers'
import type { Clock, Timer } from '../base/clock.ts'
import { Heap } from '../base/heap.ts'
import { assert } from '../base/invariant.ts'

interface SimClockOptions {
  /** `auto`: work for `soon` runs in the next turn of the event loop. `driven`: it is a timer due at once. */
  soon?: 'auto' | 'driven'
  /** Wall time at the start, milliseconds since the epoch. */
  wallMs?: number
  /** Monotonic time at the start: anything, only differences mean something. */
  monotonicMs?: number
}

export class SimClock implements Clock {
  #monotonicMs: number
  #wallOffsetMs: number
  #timers = new Heap<() => void>()
  #soon: 'auto' | 'driven'

  constructor(options: SimClockOptions = {}) {
    this.#soon = options.soon ?? 'auto'
    this.#monotonicMs = options.monotonicMs ?? 1_000
    this.#wallOffsetMs = (options.wallMs ?? Date.UTC(2026, 0, 1)) - this.#monotonicMs
  }

  now(): number {
    return this.#monotonicMs + this.#wallOffsetMs
  }

  monotonic(): number {
    return this.#monotonicMs
  }

  after(delayMs: number, fire: () => void): Timer {
    assert(!Number.isNaN(delayMs), 'a delay is a number')
    const entry = this.#timers.push(this.#monotonicMs + Math.max(0, delayMs), fire)
    return { cancel: () => void this.#timers.remove(entry) }
  }

  soon(run: () => void): void {
    if (this.#soon === 'auto') setImmediate(run)
    else this.after(0, run)
  }

  /** The same time for one simulated process, whose timers end with it. */
  process(): ProcessClock {
    return new ProcessClock(this)
  }

  /** Timers that have not fired and were not cancelled. */
  get pending(): number {
    return this.#timers.size
  }

  /** Monotonic time at which the next timer is due. */
  nextDue(): number | undefined {
    return this.#timers.peek()?.key
  }

  /** Moves on to the next timer and fires it; false when there is none. */
  runNext(): boolean {
    const entry = this.#timers.pop()
    if (!entry) return false
    this.#monotonicMs = Math.max(this.#monotonicMs, entry.key)
    entry.value()
    return true
  }

  advance(ms: number): void {
    this.advanceTo(this.#monotonicMs + ms)
  }

  /** Fires all that is due until then, timers set on the way included. */
  advanceTo(monotonicMs: number): void {
    assert(monotonicMs >= this.#monotonicMs, 'monotonic time never goes back')
    for (let due = this.nextDue(); due !== undefined && due <= monotonicMs; due = this.nextDue()) this.runNext()
    this.#monotonicMs = Math.max(this.#monotonicMs, monotonicMs)
  }

  /** Sets the wall clock forward or back; monotonic time and timers do not notice. */
  jumpWall(ms: number): void {
    this.#wallOffsetMs += ms
  }
}

export class ProcessClock implements Clock {
  #clock: SimClock
  #timers = new Set<Timer>()
  #isKilled = false

  constructor(clock: SimClock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  after(delayMs: number, fire: () => void): Timer {
    if (this.#isKilled) return { cancel: () => undefined }
    const timer = this.#clock.after(delayMs, () => {
      this.#timers.delete(timer)
      fire()
    })
    this.#timers.add(timer)
    return {
      cancel: () => {
        this.#timers.delete(timer)
        timer.cancel()
      },
    }
  }

  soon(run: () => void): void {
    if (this.#isKilled) return
    this.#clock.soon(() => {
      if (!this.#isKilled) run()
    })
  }

  /** Nothing fires any more, neither what was set nor what the dead process still sets. */
  kill(): void {
    this.#isKilled = true
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }
}
