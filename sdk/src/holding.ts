/**
 * The messages that lie with one consumer: those that wait, those that are being handled, and until when. Says which
 * may be handled next, whose deadline needs moving, and what to hand back when one before it failed. Key order is
 * kept here: messages of a key are handled one after the other where the subscription promises order. A decision.
 */
import { Held, type HeldOwner } from './held.ts'
import { HeldList } from './held-list.ts'
import type { Parcel, Span } from './parcel.ts'
import type { SubscriptionType } from './protocol/subscription.ts'
import type { Stretch } from './stretch.ts'
import { WaitingMessages } from './waiting-messages.ts'

export interface HoldingSettings {
  type: SubscriptionType
  ackDeadlineMs: number
}

export interface HoldingOptions {
  /** Whether who handles a message says when it is done; without, a message that comes again is another one. */
  hasHandler: boolean
  /** Of the handler. */
  concurrency: number
  /** Deadlines are moved only while a message is held no longer than this. */
  maxExtensionMs: number
}

export class Holding<T> {
  readonly #owner: HeldOwner
  readonly #options: HoldingOptions
  readonly #waiting = new WaitingMessages()
  readonly #running = new HeldList()
  readonly #begun = (parcel: Parcel, index: number, lane: string | null): Held<T> =>
    new Held<T>(parcel, index, lane, this.#owner)
  /** By place: nothing at or past the offset has come since nothing was here. */
  readonly #tops = new Map<string, number>()
  settings: HoldingSettings

  constructor(owner: HeldOwner, settings: HoldingSettings, options: HoldingOptions) {
    this.#owner = owner
    this.settings = settings
    this.#options = options
  }

  get runningCount(): number {
    return this.#running.count
  }

  get count(): number {
    return this.#running.count + this.#waiting.count
  }

  /** How often deadlines must be looked at. */
  get extensionIntervalMs(): number {
    return Math.max(50, this.settings.ackDeadlineMs / 3)
  }

  /**
   * Messages came. Those that are being handled go on under the new delivery, the others wait; answers whether there
   * are any.
   */
  arrive({ parcel, from, to }: Span, now: number): boolean {
    const place = `${parcel.topic}/${parcel.partition}`
    if (this.count === 0) this.#tops.clear()
    const top = this.#tops.get(place) ?? 0
    const low = parcel.baseOffset + from
    this.#tops.set(place, Math.max(top, parcel.baseOffset + to))
    if (low < top) return this.#arriveAgain({ parcel, from, to }, now)
    this.#wait(parcel, from, to)
    return true
  }

  /** The next message that may be handled; it is being handled from now on. */
  next(): Held<T> | undefined {
    const held = this.#waiting.next(this.#begun)
    if (held) this.#running.add(held)
    return held
  }

  /** Its delivery is settled; its handler may go on, and its key waits for that. */
  settled(held: Held<unknown>): void {
    held.isLeased = false
    if (!this.#options.hasHandler) this.finished(held)
  }

  /** Nobody handles it any more. */
  finished(held: Held<unknown>): void {
    if (held.isDone) return
    held.isDone = true
    this.#running.remove(held)
    this.#waiting.finished(held.lane)
  }

  /** Takes out what waits behind a message that failed, where order is promised, to be handed back with it. */
  behind(failed: Held<unknown>): Stretch[] {
    const { type } = this.settings
    if (type === 'shared' || this.#waiting.count === 0) return []
    const key = type === 'key_shared' ? failed.message.key : null
    return this.#takeOut((parcel, index) => {
      if (parcel.topic !== failed.topic || parcel.partition !== failed.partition) return false
      if (parcel.baseOffset + index <= failed.from) return false
      return type !== 'key_shared' || parcel.keyOf(index) === key
    })
  }

  takeWaiting(): Stretch[] {
    return this.#takeOut(() => true)
  }

  /** All that is being handled. */
  running(): Held<unknown>[] {
    return [...this.#running]
  }

  /** The connection is gone, and with it every delivery. What is being handled goes on. */
  left(): void {
    this.#takeOut(() => true)
    for (const held of this.#running) {
      held.isLeased = false
      if (!this.#options.hasHandler) this.finished(held)
    }
  }

  /** Those whose deadline is to be moved now. Without a handler, what was handed out is its taker's to extend. */
  due(now: number): Stretch[] {
    const due: Stretch[] = []
    const isDue = ({ leasedAt, arrivedAt }: { leasedAt: number; arrivedAt: number }): boolean =>
      now - leasedAt >= this.extensionIntervalMs && now - arrivedAt < this.#options.maxExtensionMs
    if (this.#options.hasHandler) {
      for (const held of this.#running) {
        if (!held.isLeased || !isDue(held)) continue
        held.leasedAt = now
        due.push(held)
      }
    }
    const parcels = new Set<Parcel>()
    for (const span of this.#waiting.spans()) {
      if (!isDue(span.parcel)) continue
      parcels.add(span.parcel)
      due.push(stretchOf(span))
    }
    for (const parcel of parcels) parcel.leasedAt = now
    return due
  }

  #wait(parcel: Parcel, from: number, to: number): void {
    const { hasHandler, concurrency } = this.#options
    // One at a time is in order by itself.
    if (!hasHandler || concurrency === 1 || this.settings.type === 'shared') return this.#waiting.add(parcel, from, to)
    for (let index = from; index < to; index++) {
      const key = parcel.keyOf(index)
      this.#waiting.addToLane(parcel, index, key === null ? null : `${parcel.topic}/${key}`)
    }
  }

  /** Some of them may be here already. */
  #arriveAgain({ parcel, from, to }: Span, now: number): boolean {
    const { topic, partition, baseOffset, attempt } = parcel
    const low = baseOffset + from
    const high = baseOffset + to
    this.#takeOut((other, index) => {
      const offset = other.baseOffset + index
      return offset >= low && offset < high && other.partition === partition && other.topic === topic
    })
    const inHand = new Map<number, Held<unknown>>()
    for (const held of this.#running) {
      const { from: offset } = held
      if (offset < low || offset >= high || held.partition !== partition || held.topic !== topic) continue
      if (!this.#options.hasHandler) this.finished(held)
      else if (!held.message.isSettled) inHand.set(offset - baseOffset, held)
    }
    let start = from
    for (let index = from; index < to && inHand.size > 0; index++) {
      const before = inHand.get(index)
      if (!before) continue
      before.attempt = attempt
      before.isLeased = true
      before.leasedAt = now
      if (start < index) this.#wait(parcel, start, index)
      start = index + 1
    }
    if (start < to) this.#wait(parcel, start, to)
    return this.#waiting.count > 0
  }

  #takeOut(isMeant: (parcel: Parcel, index: number) => boolean): Stretch[] {
    return this.#waiting.remove(isMeant).map(stretchOf)
  }
}

function stretchOf({ parcel: { topic, partition, baseOffset }, from, to }: Span): Stretch {
  return { topic, partition, from: baseOffset + from, to: baseOffset + to }
}
