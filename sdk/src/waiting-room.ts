/**
 * Publishes that wait until there is room in the buffer, first come first served, each until its deadline or its
 * signal. A decision but for the signal's listener; publisher.ts says when there is room and what time it is.
 */

import { TidingsError } from './protocol/errors.ts'
import { PublishError } from './publish-error.ts'
import type { Signals } from './signals.ts'

export interface Guest {
  /** Monotonic milliseconds. */
  readonly deadline: number
  readonly signal: AbortSignal | undefined
  readonly idempotencyKey: string | undefined
  enter(): void
  refuse(error: TidingsError): void
}

export class WaitingRoom {
  readonly #most: number
  readonly #signals: Signals
  /** In order, with how to stop listening to their signals. */
  readonly #guests = new Map<Guest, (() => void) | undefined>()

  /** Goes on where it was: a new one would pass over all that were deleted, each time. */
  #order = this.#guests.keys()

  constructor(most: number, signals: Signals) {
    this.#most = most
    this.#signals = signals
  }

  get isEmpty(): boolean {
    return this.#guests.size === 0
  }

  /** Throws `overloaded` when too many wait already. */
  add(guest: Guest, onLeft: () => void): void {
    if (this.#guests.size >= this.#most) {
      throw new TidingsError('overloaded', `${this.#most} publishes wait for room: await them, or publish less`)
    }
    const { signal } = guest
    const onAbort = (): void => {
      this.#refuse(guest, takenBack(signal!))
      onLeft()
    }
    this.#guests.set(guest, signal && this.#signals.listen(signal, onAbort))
  }

  /** Lets them in one by one, as long as there is room. */
  admit(hasRoom: () => boolean): void {
    while (this.#guests.size > 0 && hasRoom()) {
      const { value: guest, done } = this.#order.next()
      if (done) {
        this.#order = this.#guests.keys()
        continue
      }
      this.#leave(guest)
      guest.enter()
    }
  }

  /** Refuses those that are too late; the next deadline, infinite when nobody waits. */
  expire(now: number): number {
    const detail = 'there was no room in the buffer in time: more is published than the broker takes'
    let next = Number.POSITIVE_INFINITY
    for (const guest of this.#guests.keys()) {
      if (guest.deadline > now) next = Math.min(next, guest.deadline)
      else this.#refuse(guest, new TidingsError('overloaded', detail))
    }
    return next
  }

  close(error: TidingsError): void {
    for (const guest of this.#guests.keys()) this.#refuse(guest, error)
  }

  #leave(guest: Guest): void {
    this.#guests.get(guest)?.()
    this.#guests.delete(guest)
  }

  #refuse(guest: Guest, error: TidingsError): void {
    this.#leave(guest)
    guest.refuse(new PublishError(error, 'not_stored', guest.idempotencyKey ?? ''))
  }
}

export function takenBack(signal: AbortSignal): TidingsError {
  return new TidingsError('aborted', 'the publish was taken back', { cause: signal.reason })
}
