/**
 * The ports of time and chance, and the system's own: the only place where either is taken from the
 * air. Everything else is handed a Clock and a Random, so that a test can drive them.
 */
import { randomBytes } from 'node:crypto'
import { nanoid } from 'nanoid'

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall time, milliseconds since the epoch: for timestamps that users see, never for durations. */
  now(): number
  /** Milliseconds that never go back: for deadlines and durations. */
  monotonic(): number
  /** Calls `fire` once, `delayMs` from now at the earliest. A pending timer keeps no process alive. */
  after(delayMs: number, fire: () => void): Timer
  /** Calls `run` once, after the events that have already arrived: work of one turn collects there. */
  soon(run: () => void): void
}

export interface Random {
  /** A uniformly distributed integer from 0 to 2^32 - 1. */
  uint32(): number
  /** A name that nobody else has: 21 URL-safe characters, 126 bits. */
  id(): string
}

const TIMEOUT_MAX_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, fire) {
    const due = performance.now() + delayMs
    let handle: NodeJS.Timeout
    // A timeout may end up to a millisecond early, and at once when it is longer than its maximum.
    const wait = (leftMs: number): void => {
      handle = setTimeout(
        () => {
          const stillMs = due - performance.now()
          if (stillMs > 0) wait(stillMs)
          else fire()
        },
        Math.min(Math.ceil(leftMs), TIMEOUT_MAX_MS),
      )
      handle.unref()
    }
    wait(delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
  soon: (run) => void setImmediate(run),
}

export const systemRandom: Random = {
  uint32: () => randomBytes(4).readUInt32BE(0),
  id: () => nanoid(),
}
