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

interface Place {
  readonly guest: Guest
  unlisten: (() => void) | null
  hasLeft: boolean
}

/** Places of those who left are cleared away when there are more of them than of others, and so many. */
const LEFT_MAX = 1024

export class WaitingRoom {
  readonly #most: number
  readonly #signals: Signals
  /** In order; some of them may have left. */
  #places: Place[] = []
  #count = 0

  constructor(most: number, signals: Signals) {
    this.#most = most
    this.#signals = signals
  }

  get isEmpty(): boolean {
    return this.#count === 0
  }

  /** Throws `overloaded` when too many wait already. */
  add(guest: Guest, onLeft: () => void): void {
    if (this.#count >= this.#most) {
      throw new TidingsError('overloaded', `${this.#most} publishes wait for room: await them, or publish less`)
    }
    const place: Place = { guest, unlisten: null, hasLeft: false }
    const { signal } = guest
    if (signal) {
      place.unlisten = this.#signals.listen(signal, () => {
        this.#leave(place)
        if (this.#places.length > LEFT_MAX + 2 * this.#count) this.#places = this.#places.filter(isHere)
        refuse(guest, takenBack(signal))
        onLeft()
      })
    }
    this.#places.push(place)
    this.#count++
  }

  /** Lets them in one by one, as long as there is room. */
  admit(hasRoom: () => boolean): void {
    let at = 0
    for (; at < this.#places.length; at++) {
      const place = this.#places[at]!
      if (!place.hasLeft && !hasRoom()) break
      if (!place.hasLeft) this.#leave(place).enter()
    }
    if (at > 0) this.#places = this.#places.slice(at)
  }

  /** Refuses those that are too late; the next deadline, infinite when nobody waits. */
  expire(now: number): number {
    const detail = 'there was no room in the buffer in time: more is published than the broker takes'
    let next = Number.POSITIVE_INFINITY
    for (const place of this.#places) {
      if (place.hasLeft) continue
      const { guest } = place
      if (guest.deadline > now) next = Math.min(next, guest.deadline)
      else refuse(this.#leave(place), new TidingsError('overloaded', detail))
    }
    this.#places = this.#places.filter(isHere)
    return next
  }

  close(error: TidingsError): void {
    for (const place of this.#places.splice(0)) if (!place.hasLeft) refuse(this.#leave(place), error)
  }

  #leave(place: Place): Guest {
    place.unlisten?.()
    place.hasLeft = true
    this.#count--
    return place.guest
  }
}

function isHere({ hasLeft }: Place): boolean {
  return !hasLeft
}

export function takenBack(signal: AbortSignal): TidingsError {
  return new TidingsError('aborted', 'the publish was taken back', { cause: signal.reason })
}

function refuse(guest: Guest, error: TidingsError): void {
  guest.refuse(new PublishError(error, 'not_stored', guest.idempotencyKey ?? ''))
}
