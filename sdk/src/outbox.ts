/**
 * The publishes of one topic that are not settled, in order: what goes into the next batch, what becomes of it when
 * the batch is answered, what is too late. One batch is under way at a time and stays at the front until it
 * is settled, so a repetition cannot change the order. A decision; publisher.ts owns clock and network.
 *
 * A batch that the broker refuses stores nothing, and does not say in a form for programs which entry it disliked. So
 * the next batch has half of it, and so on down to the one that fails alone; from there batches double again.
 */

import { TidingsError } from './protocol/errors.ts'
import type { PublishReceipt } from './publish-answer.ts'
import { PublishError } from './publish-error.ts'

export interface OutboxLimits {
  /** Bytes of entries held, those under way included; an entry that is larger alone is let in when nothing is held. */
  bufferBytes: number
  batchCount: number
  batchBytes: number
}

export interface Pending {
  readonly text: string
  readonly bytes: number
  readonly idempotencyKey: string
  /** Monotonic milliseconds. */
  readonly deadline: number
  /** Called exactly once. */
  readonly settle: (error: PublishError | null, receipt: PublishReceipt | null) => void
  isSettled: boolean
  /** It is in the batch under way. */
  isFlying: boolean
  /** It may be stored: it was sent, and nobody said what became of it. */
  isInDoubt: boolean
  lastError: TidingsError | null
}

export class Outbox {
  readonly #limits: OutboxLimits
  #queue: Pending[] = []
  #head = 0
  /** The batch under way, which begins at the head; `#span` counts what was settled in between too. */
  #flying: Pending[] = []
  #span = 0
  #bytes = 0
  /** Most entries of the next batch. */
  #most: number
  /** So many at the front have one among them that is refused. */
  #suspects = 0
  /** No unsettled entry is due before it. */
  #dueAt = Number.POSITIVE_INFINITY

  constructor(limits: OutboxLimits) {
    this.#limits = limits
    this.#most = limits.batchCount
  }

  get heldBytes(): number {
    return this.#bytes
  }

  get isFlying(): boolean {
    return this.#span > 0
  }

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** A lower bound for the first deadline, infinite when nothing is held. */
  get dueAt(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : this.#dueAt
  }

  hasRoom(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#limits.bufferBytes
  }

  add(entry: Pending): void {
    this.#queue.push(entry)
    this.#bytes += entry.bytes
    this.#dueAt = Math.min(this.#dueAt, entry.deadline)
  }

  /** The next batch, which is under way from now on; empty when there is none or one still is. */
  take(): readonly Pending[] {
    if (this.isFlying) return []
    const batch: Pending[] = []
    let bytes = 0
    let at = this.#head
    for (; at < this.#queue.length && batch.length < this.#most; at++) {
      const entry = this.#queue[at]!
      if (entry.isSettled) continue
      if (batch.length > 0 && bytes + entry.bytes > this.#limits.batchBytes) break
      bytes += entry.bytes
      entry.isFlying = true
      batch.push(entry)
    }
    if (batch.length === 0) this.#drop(at)
    else this.#span = at - this.#head
    this.#flying = batch
    return batch
  }

  /** The batch under way is stored; one receipt for each of its entries. */
  stored(receipts: readonly PublishReceipt[]): void {
    this.#flying.forEach((entry, i) => this.#settle(entry, null, receipts[i]!))
    this.#suspects = Math.max(0, this.#suspects - this.#flying.length)
    if (this.#suspects === 0) this.#most = Math.min(this.#limits.batchCount, this.#most * 2)
    this.#land()
  }

  /** The batch under way was refused. `isForAll`: whatever its entries are, not because of one of them. */
  refused(error: TidingsError, isForAll: boolean): void {
    const batch = this.#flying
    if (isForAll || batch.length === 1) {
      // An internal error is no promise that nothing was stored.
      for (const entry of batch) this.#fail(entry, error, entry.isInDoubt || error.code === 'internal')
      this.#most = isForAll ? this.#limits.batchCount : 1
      this.#suspects = 0
      this.#land()
    } else {
      this.#most = Math.ceil(batch.length / 2)
      this.#suspects = batch.length
      this.#return()
    }
  }

  /** The batch under way goes back to the front, to be sent again. */
  again(error: TidingsError, isInDoubt: boolean): void {
    for (const entry of this.#flying) {
      entry.lastError = error
      if (isInDoubt) entry.isInDoubt = true
    }
    this.#return()
  }

  /** Fails what is too late by now. */
  expire(now: number): void {
    this.#dueAt = Number.POSITIVE_INFINITY
    for (const entry of this.#unsettled()) {
      if (entry.deadline > now) this.#dueAt = Math.min(this.#dueAt, entry.deadline)
      else this.#giveUp(entry, entry.lastError ?? new TidingsError('unavailable', 'no broker answered in time'))
    }
  }

  /** Its publisher wants it back. */
  abort(entry: Pending, cause: unknown): void {
    if (!entry.isSettled) this.#giveUp(entry, new TidingsError('aborted', 'the publish was taken back', { cause }))
  }

  /** The client ends. */
  abandon(): void {
    for (const entry of this.#unsettled()) {
      this.#giveUp(entry, new TidingsError('aborted', 'the client was closed before the broker had answered'))
    }
  }

  *#unsettled(): Generator<Pending> {
    for (let at = this.#head; at < this.#queue.length; at++) {
      if (!this.#queue[at]!.isSettled) yield this.#queue[at]!
    }
  }

  /** Ends the wait for it. Under way, it may be stored all the same, and there is no repetition any more. */
  #giveUp(entry: Pending, error: TidingsError): void {
    const mayBeStored = entry.isInDoubt || entry.isFlying
    if (!mayBeStored) return this.#fail(entry, error, false)
    const detail = 'the publish was sent and may or may not be stored: no answer came in time'
    this.#fail(entry, new TidingsError('outcome_unknown', detail, { cause: error }), true)
  }

  #fail(entry: Pending, error: TidingsError, mayBeStored: boolean): void {
    this.#settle(entry, new PublishError(error, mayBeStored ? 'unknown' : 'not_stored', entry.idempotencyKey), null)
  }

  #settle(entry: Pending, error: PublishError | null, receipt: PublishReceipt | null): void {
    if (entry.isSettled) return
    entry.isSettled = true
    this.#bytes -= entry.bytes
    entry.settle(error, receipt)
  }

  #return(): void {
    for (const entry of this.#flying) entry.isFlying = false
    this.#span = 0
    this.#flying = []
  }

  #land(): void {
    const to = this.#head + this.#span
    this.#span = 0
    this.#flying = []
    this.#drop(to)
  }

  /** Forgets what lies before `to`; moves the rest down when half of the list is gone. */
  #drop(to: number): void {
    this.#head = to
    if (this.#head === this.#queue.length) this.#queue = []
    else if (this.#head > 1024 && this.#head * 2 > this.#queue.length) this.#queue = this.#queue.slice(this.#head)
    else return
    this.#head = 0
  }
}
