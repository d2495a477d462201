/**
 * Publishes that wait until there is room in the buffer, first come first served, each until its deadline or its
 * signal. A decision but for the signal's listener; publisher.ts says when there is room and what time it is.
 */

import { TidingsError } from './protocol/errors.ts'
import { PublishError } from './publish-error.ts'

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
  #waiting: { guest: Guest; onAbort: () => void }[] = []

  constructor(most: number) {
    this.#most = most
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** Throws `overloaded` when too many wait already. */
  add(guest: Guest, onLeft: () => void): void {
    if (this.#waiting.length >= this.#most) {
      throw new TidingsError('overloaded', `${this.#most} publishes wait for room: await them, or publish less`)
    }
    const onAbort = (): void => {
      this.#waiting = this.#waiting.filter((other) => other.guest !== guest)
      refuse(guest, takenBack(guest.signal!))
      onLeft()
    }
    guest.signal?.addEventListener('abort', onAbort)
    this.#waiting.push({ guest, onAbort })
  }

  /** Lets them in one by one, as long as there is room. */
  admit(hasRoom: () => boolean): void {
    let at = 0
    while (at < this.#waiting.length && hasRoom()) this.#leave(this.#waiting[at++]!).enter()
    if (at > 0) this.#waiting = this.#waiting.slice(at)
  }

  /** Refuses those that are too late; the next deadline, infinite when nobody waits. */
  expire(now: number): number {
    const late = this.#waiting.filter(({ guest }) => guest.deadline <= now)
    this.#waiting = this.#waiting.filter(({ guest }) => guest.deadline > now)
    const detail = 'there was no room in the buffer in time: more is published than the broker takes'
    for (const one of late) refuse(this.#leave(one), new TidingsError('overloaded', detail))
    return this.#waiting.reduce((least, { guest }) => Math.min(least, guest.deadline), Number.POSITIVE_INFINITY)
  }

  close(error: TidingsError): void {
    for (const one of this.#waiting.splice(0)) refuse(this.#leave(one), error)
  }

  #leave({ guest, onAbort }: { guest: Guest; onAbort: () => void }): Guest {
    guest.signal?.removeEventListener('abort', onAbort)
    return guest
  }
}

export function takenBack(signal: AbortSignal): TidingsError {
  return new TidingsError('aborted', 'the publish was taken back', { cause: signal.reason })
}

function refuse(guest: Guest, error: TidingsError): void {
  guest.refuse(new PublishError(error, 'not_stored', guest.idempotencyKey ?? ''))
}
