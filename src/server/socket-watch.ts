/**
 * Finds out that the other end of a socket is gone or useless: pings it and hears whether it lives, and sees whether
 * it takes what is sent. Owns the two timers of that; a session asks it and says what has come.
 */
import type { Clock, Timer } from '../base/clock.ts'

/** More than this in a socket's queue: it is backed up. A consumer's gets no frame then: most that one connection holds, and one frame. */
export const BACKED_UP_BYTES = 262_144
const PING_INTERVAL_MS = 15_000
const SILENCE_MAX_MS = 30_000

export interface SocketWatchParts {
  /** Session's Socket, as much of it as is asked. */
  socket: { ping(): void; bufferedBytes(): number }
  clock: Clock
  /** Longest time in which a socket that is backed up takes nothing. */
  writeTimeoutMs: number
  /** Nothing came for too long. */
  dead(): void
  /** Nothing was taken for too long. */
  slow(): void
}

export class SocketWatch {
  readonly #parts: SocketWatchParts
  #heardAt: number
  #pingTimer: Timer | undefined
  #writeTimer: Timer | undefined

  constructor(parts: SocketWatchParts) {
    this.#parts = parts
    this.#heardAt = parts.clock.monotonic()
    this.#schedulePing()
  }

  /** Any sign of life. */
  heard(): void {
    this.#heardAt = this.#parts.clock.monotonic()
  }

  /** Something was sent: while the socket is backed up, its next sign of progress must come in time. */
  sent(): void {
    const { socket, clock, writeTimeoutMs } = this.#parts
    if (this.#writeTimer || socket.bufferedBytes() < BACKED_UP_BYTES) return
    this.#writeTimer = clock.after(writeTimeoutMs, () => this.#parts.slow())
  }

  /** The socket's queue ran empty. */
  drained(): void {
    this.#writeTimer?.cancel()
    this.#writeTimer = undefined
  }

  stop(): void {
    this.#pingTimer?.cancel()
    this.#writeTimer?.cancel()
  }

  #schedulePing(): void {
    const { socket, clock } = this.#parts
    this.#pingTimer = clock.after(PING_INTERVAL_MS, () => {
      if (clock.monotonic() - this.#heardAt >= SILENCE_MAX_MS) return this.#parts.dead()
      socket.ping()
      this.#schedulePing()
    })
  }
}
