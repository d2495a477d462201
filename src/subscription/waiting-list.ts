/**
 * The messages of a ledger that lie with nobody: ready for another delivery, delayed, or doomed, which
 * means that they were delivered for the last time, or rejected, and only wait to be given up on. A
 * decision, in runs; ack-ledger.ts owns it and records what changes.
 *
 * Must stay true: a message is in one of the three at most; one whose attempts are used up is doomed,
 * whatever its delay, so that a restart and a changed limit come to the same.
 */
import type { Doomed, Failure } from './ledger.ts'
import type { PendingRun } from './ledger-state.ts'
import { type Run, RunList } from './run-list.ts'

export interface WaitingRun extends PendingRun {
  /** How the last delivery ended; null: not as a failure, or before a restart. */
  failure: Failure | null
}

type Piece = (run: WaitingRun, from: number, to: number) => void

const EVERYTHING = Number.POSITIVE_INFINITY
const any = (): boolean => true

export class WaitingList {
  readonly #ready = new RunList<WaitingRun>()
  readonly #delayed = new RunList<WaitingRun>()
  readonly #doomed = new RunList<WaitingRun>()
  #maxDeliveries: number | null
  #count = 0
  #doomedCount = 0
  #now = 0
  /** No delay ends before it. */
  wakeAt = EVERYTHING

  constructor(maxDeliveries: number | null) {
    this.#maxDeliveries = maxDeliveries
  }

  /** Messages to be delivered again. */
  get count(): number {
    return this.#count
  }

  get doomedCount(): number {
    return this.#doomedCount
  }

  /** What a look at the delays costs. */
  get delays(): number {
    return this.#delayed.size
  }

  get firstReady(): WaitingRun | undefined {
    return this.#ready.first
  }

  /** The lowest offset that waits, and `most` at most; so with the others. */
  lowest(most: number): number {
    return Math.min(most, this.#ready.first?.from ?? most, this.lowestHeld(most))
  }

  /** The lowest offset that waits and cannot go out now. */
  lowestHeld(most: number): number {
    return Math.min(most, this.#delayed.first?.from ?? most, this.#doomed.first?.from ?? most)
  }

  /** The lowest offset that is to be delivered again. */
  lowestUndelivered(most: number): number {
    return Math.min(most, this.#ready.first?.from ?? most, this.#delayed.first?.from ?? most)
  }

  find(offset: number): WaitingRun | undefined {
    return this.#ready.find(offset) ?? this.#delayed.find(offset) ?? this.#doomed.find(offset)
  }

  isDoomed(offset: number): boolean {
    return this.#doomed.find(offset) !== undefined
  }

  /** Messages that the limit makes doomed become so, those that it spares are ready again. */
  limit(maxDeliveries: number | null): void {
    if (maxDeliveries === this.#maxDeliveries) return
    this.#maxDeliveries = maxDeliveries
    const spared: WaitingRun[] = []
    this.#take(this.#doomed, 0, EVERYTHING, (run, from, to) => spared.push({ ...run, from, to }), this.#isSpared)
    const doom: Piece = (run, from, to) => this.#insertDoomed({ ...run, from, to })
    this.#take(this.#ready, 0, EVERYTHING, doom, this.#isOver)
    this.#take(this.#delayed, 0, EVERYTHING, doom, this.#isOver)
    for (const run of spared) this.#insertReady(run)
  }

  add(run: WaitingRun): void {
    if (this.#isOver(run)) this.#insertDoomed(run)
    else if (run.notBefore === 0) this.#insertReady(run)
    else {
      this.#count += run.to - run.from
      this.#delayed.insert(run)
      this.wakeAt = Math.min(this.wakeAt, run.notBefore)
    }
  }

  /** Whether a message would be given up on after this delivery fails. */
  isLast(attempt: number): boolean {
    return this.#maxDeliveries !== null && attempt >= this.#maxDeliveries
  }

  /** Delays that have passed end. */
  promote(now: number): void {
    this.#now = now
    this.wakeAt = EVERYTHING
    this.#delayed.take(0, EVERYTHING, this.#isDue, this.#promote)
  }

  /** The messages go out: front of what is ready. */
  takeReady(from: number, to: number, taken: Piece): void {
    this.#take(this.#ready, from, to, taken)
  }

  /** They need no delivery any more; answers how many those were. */
  drop(from: number, to: number, dropped: (from: number, to: number) => void): number {
    const piece: Piece = (_run, pieceFrom, pieceTo) => dropped(pieceFrom, pieceTo)
    return (
      this.#take(this.#ready, from, to, piece) +
      this.#take(this.#delayed, from, to, piece) +
      this.#take(this.#doomed, from, to, piece)
    )
  }

  /** They can be delivered no more; doomed ones stay. */
  dropUndelivered(to: number, dropped: (from: number, to: number) => void): void {
    const piece: Piece = (_run, pieceFrom, pieceTo) => dropped(pieceFrom, pieceTo)
    this.#take(this.#ready, 0, to, piece)
    this.#take(this.#delayed, 0, to, piece)
  }

  /** Doomed messages at and past `from`, in order, `count` at most. */
  doomed(from: number, count: number): Doomed[] {
    const found: Doomed[] = []
    let left = count
    for (const run of this.#doomed.from(from)) {
      if (left <= 0) break
      const start = Math.max(run.from, from)
      const to = Math.min(run.to, start + left)
      found.push({ from: start, to, attempts: run.attempts, failure: run.failure })
      left -= to - start
    }
    return found
  }

  bury(from: number, to: number, buried: (from: number, to: number) => void): number {
    return this.#take(this.#doomed, from, to, (_run, pieceFrom, pieceTo) => buried(pieceFrom, pieceTo))
  }

  clear(): void {
    this.#ready.clear()
    this.#delayed.clear()
    this.#doomed.clear()
    this.#count = 0
    this.#doomedCount = 0
    this.wakeAt = EVERYTHING
  }

  /** What a restart must find of it, in no order. */
  runs(): PendingRun[] {
    const all = [...this.#ready, ...this.#delayed, ...this.#doomed]
    return all.map(({ from, to, attempts, failed, notBefore }) => ({ from, to, attempts, failed, notBefore }))
  }

  #insertReady(run: WaitingRun): void {
    this.#count += run.to - run.from
    this.#ready.insert(run)
  }

  #insertDoomed(run: WaitingRun): void {
    this.#doomedCount += run.to - run.from
    this.#doomed.insert(run)
  }

  #take(list: RunList<WaitingRun>, from: number, to: number, taken: Piece, wanted: (run: WaitingRun) => boolean = any) {
    const count = list.take(from, to, wanted, taken)
    if (list === this.#doomed) this.#doomedCount -= count
    else this.#count -= count
    return count
  }

  #isOver = (run: WaitingRun): boolean =>
    this.#maxDeliveries !== null && (run.failure === 'rejected' || run.attempts >= this.#maxDeliveries)
  #isSpared = (run: WaitingRun): boolean => !this.#isOver(run)

  #isDue = (run: Run & { notBefore: number }): boolean => {
    if (run.notBefore <= this.#now) return true
    this.wakeAt = Math.min(this.wakeAt, run.notBefore)
    return false
  }

  #promote: Piece = (run, from, to) => this.#ready.insert({ ...run, from, to })
}
