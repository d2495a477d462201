/**
 * What was acknowledged or rejected lately and is not known to be durable: with a connection it may be lost, and the
 * message comes again though it was done. Tells those that come from others. A decision, bounded in messages and in
 * time; settlements.ts asks it.
 */
import { inOrder, type Stretch } from './stretch.ts'

/** Messages of one attempt about which the same was decided. */
export interface Final extends Stretch {
  attempt: number
  verb: 'ack' | 'reject'
  reason: string | undefined
  /** Who waits to hear whether it is durable. */
  waiters: { offset: number; done: (isAcked: boolean) => void }[] | null
}

export type Lost = Pick<Final, 'attempt' | 'verb' | 'reason'>

/** Decisions remembered in case they were lost, and for how long after a connection was. */
export const RECENT_MAX = 10_000
export const RECENT_MS = 60_000

export class RecentFinals {
  /** Over this connection, oldest first. */
  #sent: { final: Final; count: number }[] = []
  #at = 0
  #sentCount = 0
  /** Over connections that were lost; by place, then by offset. */
  readonly #lost = new Map<string, Map<number, Lost>>()
  #lostCount = 0
  #lostAt = Number.NEGATIVE_INFINITY

  sent(final: Final): void {
    const count = final.to - final.from
    this.#sent.push({ final, count })
    this.#sentCount += count
    while (this.#sentCount > RECENT_MAX && this.#at < this.#sent.length - 1) {
      this.#sentCount -= this.#sent[this.#at++]!.count
    }
    if (this.#at < 1024 || this.#at * 2 < this.#sent.length) return
    this.#sent = this.#sent.slice(this.#at)
    this.#at = 0
  }

  /** The broker said that these are durable, and with them all that was sent before of their partitions. */
  durable(finals: readonly Final[]): void {
    const last = new Set(finals)
    const places = new Set(finals.map(placeOf))
    let isBefore = false
    const kept: { final: Final; count: number }[] = []
    for (let at = this.#sent.length - 1; at >= this.#at; at--) {
      const one = this.#sent[at]!
      isBefore ||= last.has(one.final)
      if (isBefore && places.has(placeOf(one.final))) this.#sentCount -= one.count
      else kept.push(one)
    }
    this.#sent = kept.reverse()
    this.#at = 0
  }

  /** The last of each partition. */
  latest(): Final[] {
    const latest = new Map<string, Final>()
    for (let at = this.#at; at < this.#sent.length; at++) {
      const { final } = this.#sent[at]!
      latest.set(placeOf(final), final)
    }
    return [...latest.values()].sort(inOrder)
  }

  /** The connection is gone: what was sent over it, and `pending`, may be lost. */
  left(now: number, pending: readonly Final[]): void {
    if (now - this.#lostAt > RECENT_MS) this.#forget()
    this.#lostAt = now
    for (let at = this.#at; at < this.#sent.length; at++) this.lost(this.#sent[at]!.final)
    for (const final of pending) this.lost(final)
    this.#sent = []
    this.#at = 0
    this.#sentCount = 0
  }

  /** This one will not have counted. */
  lost(final: Final): void {
    const name = placeOf(final)
    let place = this.#lost.get(name)
    if (!place) {
      place = new Map()
      this.#lost.set(name, place)
    }
    const { attempt, verb, reason } = final
    for (let offset = final.from; offset < final.to; offset++) {
      if (!place.has(offset) && ++this.#lostCount > 2 * RECENT_MAX) return
      place.set(offset, { attempt, verb, reason })
    }
  }

  /** Whether anything that comes now can be one that was done. */
  mayRepeat(now: number): boolean {
    return this.#lostCount > 0 && now - this.#lostAt <= RECENT_MS
  }

  /**
   * What was decided about this message just before a connection was lost. The attempt must follow the one that was
   * settled: after a seek it would not.
   */
  repeated(topic: string, partition: number, offset: number, attempt: number): Lost | null {
    const lost = this.#lost.get(placeOf({ topic, partition }))?.get(offset)
    return lost?.attempt === attempt - 1 ? lost : null
  }

  #forget(): void {
    this.#lost.clear()
    this.#lostCount = 0
  }
}

function placeOf({ topic, partition }: Pick<Stretch, 'topic' | 'partition'>): string {
  return `${topic}/${partition}`
}
