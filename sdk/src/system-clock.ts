/**
 * The system's time and chance, which Node and browsers give alike; only the way to run something after
 * the events that are already there differs, and is handed in.
 */
import type { Clock, Random } from './platform.ts'

const TIMEOUT_MAX_MS = 2 ** 31 - 1

export function systemClock(soon: (run: () => void) => void): Clock {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    after(delayMs, fire) {
      const due = performance.now() + delayMs
      let handle: ReturnType<typeof setTimeout>
      // A timeout may end a moment early, and at once when it is longer than its maximum.
      const wait = (leftMs: number): void => {
        handle = setTimeout(
          () => {
            const stillMs = due - performance.now()
            if (stillMs > 0) wait(stillMs)
            else fire()
          },
          Math.min(Math.max(0, Math.ceil(leftMs)), TIMEOUT_MAX_MS),
        )
      }
      wait(delayMs)
      return { cancel: () => clearTimeout(handle) }
    },
    soon,
  }
}

const ID_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-'

export const systemRandom: Random = {
  uint32: () => crypto.getRandomValues(new Uint32Array(1))[0]!,
  id() {
    let id = ''
    for (const byte of crypto.getRandomValues(new Uint8Array(16))) id += ID_ALPHABET[byte & 63]
    return id
  },
}
