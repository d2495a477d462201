/**
 * Who may get messages: a connected consumer with its credit, or a pull with its wish. A decision:
 * it knows how much more may go out, never what.
 *
 * Credit is the prefetch less what is outstanding, nothing while paused or while the port is backed
 * up. What is leased but not handed over yet is bounded in bytes too, since the port cannot say that
 * it is full before it has got it.
 */
import type { LeaseHolder } from './ledger.ts'
import type { ConsumerPort, Delivery, Gap } from './subscription.ts'

/** Bytes that may be on their way to one consumer between two looks at whether it is ready. */
const STAGED_BYTES_MAX = 1_048_576

export interface Receiver extends LeaseHolder {
  readonly name: string
  readonly weight: number
  served: number
  /** Bytes leased for it and not handed over yet. */
  stagedBytes: number
  /** How many more messages it may get now. */
  credit(): number
  /** How many messages of that size may be on their way to it now; at least one, while it has credit. */
  fits(bytesEach: number): number
  /** The messages are its own from now on. */
  deliver(delivery: Delivery): void
  gap?(gap: Gap): void
}

export class Consumer implements Receiver {
  readonly port: ConsumerPort
  outstanding = 0
  served = 0
  stagedBytes = 0
  isPaused = false
  /** False once it is detached or the subscription has ended it. */
  isAttached = true

  constructor(port: ConsumerPort) {
    this.port = port
  }

  get name(): string {
    return this.port.name
  }

  get weight(): number {
    return this.port.weight
  }

  credit(): number {
    if (this.isPaused || this.stagedBytes >= STAGED_BYTES_MAX || !this.port.ready()) return 0
    return Math.max(0, this.port.prefetch - this.outstanding)
  }

  fits(bytesEach: number): number {
    return fits(this.stagedBytes, bytesEach)
  }

  deliver(delivery: Delivery): void {
    this.port.deliver(delivery)
  }

  gap(gap: Gap): void {
    this.port.gap(gap)
  }
}

/** One request that waits for messages; it holds leases only until it is answered. */
export class Pull implements Receiver {
  readonly name = ''
  readonly weight = 1
  /** With whom lies what it is answered. */
  readonly heir: LeaseHolder
  outstanding = 0
  served = 0
  stagedBytes = 0
  deliveries: Delivery[] = []
  /** Answers the request, once. */
  readonly answer: (outcome: Delivery[] | Error) => void
  /** It waits no longer than for what is on its way. */
  isHurried = false
  readonly #max: number
  #count = 0

  constructor(max: number, heir: LeaseHolder, answer: (outcome: Delivery[] | Error) => void) {
    this.#max = max
    this.heir = heir
    this.answer = answer
  }

  credit(): number {
    if (this.stagedBytes >= STAGED_BYTES_MAX) return 0
    return Math.max(0, this.#max - this.#count - this.outstanding)
  }

  fits(bytesEach: number): number {
    return fits(this.stagedBytes, bytesEach)
  }

  deliver(delivery: Delivery): void {
    this.deliveries.push(delivery)
    this.#count += delivery.to - delivery.from
  }

  /** The topic is gone, and others may get its name and these ids: nothing of it may be answered any more. */
  forget(topic: string): void {
    this.deliveries = this.deliveries.filter((delivery) => delivery.topic !== topic)
    this.#count = this.deliveries.reduce((sum, { from, to }) => sum + to - from, 0)
  }
}

function fits(stagedBytes: number, bytesEach: number): number {
  return Math.max(1, Math.floor((STAGED_BYTES_MAX - stagedBytes) / bytesEach))
}
