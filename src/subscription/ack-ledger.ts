/**
 * The ledger of one subscription in one partition: which messages lie with whom, which wait for
 * another delivery, and with that, which are acknowledged. A decision: synchronous, no clock of its own.
 *
 * Every offset below `next` is in exactly one run of `leased` or `waiting` (waiting-list.ts: ready, delayed
 * or doomed), or else it is acknowledged; nothing at or past `next` was ever delivered. So the floor is the lowest run's start.
 * A lease is staged (deadline Infinity) until its record is written and the message is handed over;
 * nobody can acknowledge a staged one by its id, and it never expires.
 * All changes that must survive a restart go to `changes`. ledger.ts says what each method is for,
 * DELIVERY.md has the states and the rules.
 * Called by the lane (deliveries), the settlement (what consumers say) and the cursor store (records).
 */
import { backoffMs } from './backoff.ts'
import { Changes } from './changes.ts'
import { inherit, type Lease, STAGED } from './lease.ts'
import type { Doomed, Failure, LeaseHolder, Ledger, LedgerPolicy, Offer, Standing } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import { type Run, RunList } from './run-list.ts'
import { WaitingList, type WaitingRun } from './waiting-list.ts'

const EVERYTHING = Number.POSITIVE_INFINITY

export class AckLedger implements Ledger {
  readonly changes = new Changes()
  #policy: LedgerPolicy
  readonly #leased = new RunList<Lease>()
  readonly #waiting: WaitingList
  #next: number
  #leasedCount = 0
  #failedLeased = 0
  /** No deadline lies before it: what makes looking for them rare. */
  #wakeAt = Number.POSITIVE_INFINITY
  readonly #offer: Offer = { from: 0, to: 0, attempt: 0 }
  /** Arguments of the callbacks below, which exist once instead of once a call. */
  #asking: LeaseHolder | null = null
  #now = 0
  #delayMs: number | null = null

  constructor(policy: LedgerPolicy, state: LedgerState) {
    this.#policy = policy
    this.#waiting = new WaitingList(policy.maxDeliveries)
    this.#next = state.next
    for (const run of state.runs) this.#waiting.add({ ...run, failure: null })
  }

  get policy(): LedgerPolicy {
    return this.#policy
  }

  set policy(policy: LedgerPolicy) {
    this.#policy = policy
    this.#waiting.limit(policy.maxDeliveries)
  }

  get next(): number {
    return this.#next
  }

  get floor(): number {
    return this.#waiting.lowest(this.#leased.first?.from ?? this.#next)
  }

  get unsettled(): number {
    return this.#leasedCount + this.#waiting.count + this.#waiting.doomedCount
  }

  get leased(): number {
    return this.#leasedCount
  }

  get waiting(): number {
    return this.#waiting.count
  }

  get doomedCount(): number {
    return this.#waiting.doomedCount
  }

  get retryAt(): number {
    return this.#waiting.wakeAt
  }

  get ackedAhead(): number {
    return this.#next - this.floor - this.unsettled
  }

  get wakeAt(): number {
    return Math.min(this.#wakeAt, this.#waiting.wakeAt)
  }

  isAcknowledged(offset: number): boolean {
    return offset < this.#next && !(this.#leased.find(offset) ?? this.#waiting.find(offset))
  }

  describe(offset: number): Standing {
    if (offset >= this.#next) return { state: 'not_reached' }
    const lease = this.#leased.find(offset)
    if (lease) {
      const { holder, attempt, deadline, failure } = lease
      return { state: 'outstanding', holder, attempt, deadline, isStaged: deadline === STAGED, failure }
    }
    const run = this.#waiting.find(offset)
    if (!run) return { state: 'acked' }
    const { attempts, notBefore, failure } = run
    if (this.#waiting.isDoomed(offset)) return { state: 'doomed', attempts, failure }
    const blockedBy = this.policy.ordered ? this.#blocker(offset) : null
    return { state: 'waiting', attempts, notBefore, blockedBy, failure }
  }

  advance(now: number): number {
    if (now < this.wakeAt) return 0
    this.#now = now
    this.#wakeAt = Number.POSITIVE_INFINITY
    const expired = this.#leased.take(0, EVERYTHING, this.#isOver, this.#fail)
    this.#waiting.promote(now)
    // Looking costs time by the number of runs; with very many of them, look less often: at most a tenth of the time.
    const restsUntil = now + (this.#leased.size + this.#waiting.delays) / 1000
    this.#wakeAt = Math.max(this.#wakeAt, restsUntil)
    this.#waiting.wakeAt = Math.max(this.#waiting.wakeAt, restsUntil)
    return expired
  }

  /**
   * What to deliver next, redeliveries before new messages, or null. `limit` bounds new messages by
   * their offset (the high watermark), `room` by their number. The answer is valid until the next call.
   */
  available(limit: number, room: number): Offer | null {
    const ready = this.#waiting.firstReady
    const offer = this.#offer
    if (ready) {
      offer.from = ready.from
      offer.to = this.policy.ordered && ready.failed ? ready.from + 1 : ready.to
      offer.attempt = ready.attempts + 1
    } else {
      offer.from = this.#next
      offer.to = Math.min(limit, this.#next + room)
      offer.attempt = 1
      if (offer.to <= offer.from) return null
    }
    return this.policy.ordered && this.#blocker(offer.from) !== null ? null : offer
  }

  /** Leases [from, to), the front of what `available` offered; staged until `handOver`. */
  lease(holder: LeaseHolder, from: number, to: number): void {
    this.#asking = holder
    holder.outstanding += to - from
    this.#leasedCount += to - from
    if (from === this.#next) {
      this.#next = to
      this.#leaseNew(holder, from, to)
    } else this.#waiting.takeReady(from, to, this.#leaseAgain)
  }

  /**
   * Messages leave: leases staged for `holder` in [from, to) start their time now and lie with `heir`
   * from here on. Answers null when that were all of them, else those that were still staged. In order,
   * none go that something failed before them in the meantime: they are given back.
   */
  handOver(holder: LeaseHolder, from: number, to: number, deadline: number, heir: LeaseHolder): readonly Run[] | null {
    this.#asking = holder
    if (this.policy.ordered && this.#isOvertaking(from)) {
      this.#leased.take(from, to, this.#isStaged, this.#giveBack)
      return []
    }
    this.#wakeAt = Math.min(this.#wakeAt, deadline)
    const lease = this.#leased.find(from)
    if (lease && lease.from === from && lease.to === to && lease.holder === holder && lease.deadline === STAGED) {
      lease.deadline = deadline
      if (heir !== holder) inherit(lease, heir, to - from)
      return null
    }
    const pieces = this.#renew(from, to, this.#isStaged, deadline)
    if (heir !== holder) for (const piece of pieces) inherit(piece, heir, piece.to - piece.from)
    return countOf(pieces) === to - from ? null : pieces
  }

  ack(holder: LeaseHolder, from: number, to: number): number {
    this.#asking = holder
    return this.#leased.take(from, to, this.#isHeld, this.#settle)
  }

  ackUpTo(holder: LeaseHolder, to: number, waitingToo: boolean): number {
    this.#asking = holder
    let count = this.#leased.take(0, to, this.#isHolders, this.#settle)
    if (waitingToo) count += this.#waiting.drop(0, to, this.#acked)
    return count
  }

  nack(holder: LeaseHolder, from: number, to: number, now: number, delayMs: number | null): number {
    this.#asking = holder
    this.#now = now
    this.#delayMs = delayMs
    return this.#leased.take(from, to, this.#isHeld, this.#refuse)
  }

  reject(holder: LeaseHolder, from: number, to: number): number {
    this.#asking = holder
    return this.#leased.take(from, to, this.#isHeld, this.#doom)
  }

  extend(holder: LeaseHolder, from: number, to: number, deadline: number): number {
    this.#asking = holder
    this.#wakeAt = Math.min(this.#wakeAt, deadline)
    return countOf(this.#renew(from, to, this.#isHeld, deadline))
  }

  release(holder: LeaseHolder, from: number, to: number): number {
    this.#asking = holder
    return this.#leased.take(from, to, this.#isHeld, this.#giveBack)
  }

  detach(holder: LeaseHolder): number {
    this.#asking = holder
    this.#leased.take(0, EVERYTHING, this.#isStaged, this.#giveBack)
    return this.#leased.take(0, EVERYTHING, this.#isHeld, this.#lose)
  }

  unstage(): void {
    this.#leased.take(0, EVERYTHING, (run) => run.deadline === STAGED, this.#giveBack)
  }

  /** Counts the front of what `available` offered as acknowledged: expired messages. */
  skip(from: number, to: number): void {
    if (from === this.#next) {
      this.#next = to
      this.changes.acked(from, to)
    } else this.#waiting.drop(from, to, this.#acked)
  }

  doomed(from: number, count: number): Doomed[] {
    return this.#waiting.doomed(from, count)
  }

  bury(from: number, to: number): number {
    return this.#waiting.bury(from, to, this.#acked)
  }

  revive(from: number, to: number): number {
    const limit = Math.min(to, this.#next)
    let count = 0
    for (let at = from; at < limit; at++) {
      let end = at
      while (end < limit && this.isAcknowledged(end)) end++
      if (end === at) continue
      this.changes.pending(at, end, 0, false, 0)
      this.#waiting.add({ from: at, to: end, attempts: 0, failed: false, notBefore: 0, failure: null })
      count += end - at
      at = end
    }
    return count
  }

  skipTo(start: number): Run | null {
    const from = this.#waiting.lowestUndelivered(this.#next)
    if (from >= start) return null
    let to = from
    this.#waiting.dropUndelivered(start, (pieceFrom, pieceTo) => {
      to = Math.max(to, pieceTo)
      this.changes.acked(pieceFrom, pieceTo)
    })
    if (this.#next < start) {
      this.changes.acked(this.#next, start)
      this.#next = start
      to = start
    }
    return { from, to }
  }

  seek(offset: number): void {
    for (const lease of this.#leased) lease.holder.outstanding -= lease.to - lease.from
    this.#leased.clear()
    this.#waiting.clear()
    this.#leasedCount = 0
    this.#failedLeased = 0
    this.#wakeAt = Number.POSITIVE_INFINITY
    this.#next = offset
    this.changes.requireWhole()
  }

  /** What outlives the process, in the order of offsets: leases count as delivered. */
  state(): LedgerState {
    const runs = this.#waiting.runs()
    for (const { from, to, attempt, failed } of this.#leased) {
      runs.push({ from, to, attempts: attempt, failed, notBefore: 0 })
    }
    return { next: this.#next, runs: runs.sort((a, b) => a.from - b.from) }
  }

  /** In order: something lower waits out its delay or its end, or was a failure and is not settled yet. */
  #blocker(offset: number): number | null {
    const held = this.#waiting.lowestHeld(offset)
    if (held < offset) return held
    if (this.#failedLeased === 0) return null
    for (const lease of this.#leased) {
      if (lease.from >= offset) return null
      if (lease.failed) return lease.from
    }
    return null
  }

  /** In order: something lower has to be delivered first, by now; it may be on its way again. */
  #isOvertaking(offset: number): boolean {
    if ((this.#waiting.firstReady?.from ?? offset) < offset || this.#blocker(offset) !== null) return true
    for (const { from, deadline } of this.#leased) if (from >= offset || deadline === STAGED) return from < offset
    return false
  }

  #leaseNew(holder: LeaseHolder, from: number, to: number): void {
    this.changes.pending(from, to, 1, false, 0)
    const last = this.#leased.last
    const isAlike = last?.holder === holder && last.deadline === STAGED && last.attempt === 1 && !last.failed
    if (isAlike && last.to === from) last.to = to
    else this.#leased.insert({ from, to, holder, attempt: 1, failed: false, failure: null, deadline: STAGED })
  }

  #renew(from: number, to: number, wanted: (run: Lease) => boolean, deadline: number): Lease[] {
    const pieces: Lease[] = []
    this.#leased.take(from, to, wanted, (run, pieceFrom, pieceTo) => {
      pieces.push({ ...run, from: pieceFrom, to: pieceTo, deadline })
    })
    for (const piece of pieces) this.#leased.insert(piece)
    return pieces
  }

  /** The lease ends, whatever comes then. */
  #end(run: Lease, count: number): void {
    run.holder.outstanding -= count
    this.#leasedCount -= count
    if (run.failed) this.#failedLeased -= count
  }

  #return(from: number, to: number, run: Lease, back: Omit<WaitingRun, 'from' | 'to'>): void {
    this.#end(run, to - from)
    this.changes.pending(from, to, back.attempts, back.failed, back.notBefore)
    this.#waiting.add({ from, to, ...back })
  }

  /** After the last attempt there is nothing to wait for. */
  #failed(run: Lease, from: number, to: number, failure: Failure, notBefore: number): void {
    const isOver = this.#waiting.isLast(run.attempt)
    this.#return(from, to, run, { attempts: run.attempt, failed: true, failure, notBefore: isOver ? 0 : notBefore })
  }

  #isHolders = (run: Lease): boolean => run.holder === this.#asking
  #isHeld = (run: Lease): boolean => run.holder === this.#asking && run.deadline !== STAGED
  #isStaged = (run: Lease): boolean => run.holder === this.#asking && run.deadline === STAGED

  #isOver = (run: Lease): boolean => {
    if (run.deadline <= this.#now) return true
    this.#wakeAt = Math.min(this.#wakeAt, run.deadline)
    return false
  }

  #acked = (from: number, to: number): void => this.changes.acked(from, to)

  #settle = (run: Lease, from: number, to: number): void => {
    this.#end(run, to - from)
    this.changes.acked(from, to)
  }

  #fail = (run: Lease, from: number, to: number): void =>
    this.#failed(run, from, to, 'deadline', this.#now + backoffMs(this.policy, run.attempt))

  #refuse = (run: Lease, from: number, to: number): void => {
    const delayMs = this.#delayMs ?? backoffMs(this.policy, run.attempt)
    this.#failed(run, from, to, 'nack', delayMs === 0 ? 0 : this.#now + delayMs)
  }

  #doom = (run: Lease, from: number, to: number): void => this.#failed(run, from, to, 'rejected', 0)

  #giveBack = (run: Lease, from: number, to: number): void => {
    const { attempt, failed, failure } = run
    this.#return(from, to, run, { attempts: attempt - 1, failed, failure, notBefore: 0 })
  }

  #lose = (run: Lease, from: number, to: number): void => {
    const { attempt, failed } = run
    this.#return(from, to, run, { attempts: attempt, failed, failure: 'disconnected', notBefore: 0 })
  }

  #leaseAgain = (run: WaitingRun, from: number, to: number): void => {
    const { failed, failure } = run
    const attempt = run.attempts + 1
    if (failed) this.#failedLeased += to - from
    this.changes.pending(from, to, attempt, failed, 0)
    this.#leased.insert({ from, to, holder: this.#asking!, attempt, failed, failure, deadline: STAGED })
  }
}

/** How many offsets. */
function countOf(runs: readonly Run[]): number {
  return runs.reduce((count, run) => count + run.to - run.from, 0)
}
