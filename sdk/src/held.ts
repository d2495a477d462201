/**
 * A message that somebody has in hand: it was taken to be handled and is not finished. A record, kept by holding.ts;
 * what its message is told to do goes to the consumer. It is the stretch of its one offset, so that saying where it
 * lies takes no other object.
 */
import { type Decided, type Decision, Message } from './message.ts'
import type { Parcel } from './parcel.ts'
import type { Stretch } from './stretch.ts'

/** Hears what becomes of the messages in hand; the promise says whether the broker confirmed it. */
export interface HeldOwner {
  settle(held: Held<unknown>, decision: Decision, isAwaited: boolean): Promise<boolean>
  extend(held: Held<unknown>, ms: number): void
}

export class Held<T> implements Decided, Stretch {
  readonly message: Message<T>
  readonly topic: string
  readonly partition: number
  readonly from: number
  readonly to: number
  /** Where messages of its key go one after the other. */
  readonly lane: string | null
  readonly arrivedAt: number
  /** The attempt of the delivery that it lies here by; higher than the message's own when it came again meanwhile. */
  attempt: number
  isDone = false
  /** The delivery is good; false when its connection was lost, and after it was settled. */
  isLeased = true
  leasedAt: number
  /** The one that was taken before it, and the one after: held-list.ts keeps them. */
  before: Held<unknown> | null = null
  after: Held<unknown> | null = null
  readonly #owner: HeldOwner

  constructor(parcel: Parcel, index: number, lane: string | null, owner: HeldOwner) {
    this.message = new Message<T>(parcel, index, this)
    this.topic = parcel.topic
    this.partition = parcel.partition
    this.from = parcel.baseOffset + index
    this.to = this.from + 1
    this.lane = lane
    this.arrivedAt = parcel.arrivedAt
    this.attempt = parcel.attempt
    this.leasedAt = parcel.leasedAt
    this.#owner = owner
  }

  settle(decision: Decision, isAwaited: boolean): Promise<boolean> {
    return this.#owner.settle(this, decision, isAwaited)
  }

  extend(ms: number): void {
    this.#owner.extend(this, ms)
  }
}
