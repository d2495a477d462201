/**
 * The ledger of one subscription in one partition: which messages lie with whom, which wait for
 * another delivery, and with that, which are acknowledged. A decision: synchronous, no clock of its own.
 *
 * Every offset below `next` is in exactly one run of `leased`, `ready` or `delayed`, or else it is
 * acknowledged; nothing at or past `next` was ever delivered. So the floor is the lowest run's start.
 * A lease is staged (deadline Infinity) until its record is written and the message is handed over;
 * nobody can acknowledge a staged one by its id, and it never expires.
 * All changes that must survive a restart go to `changes`. DELIVERY.md has the states and the rules.
 * Called by the lane (deliveries), the settlement (what consumers say) and the cursor store (records).
 */
import { Changes } from './changes.ts'
import type { LeaseHolder, LedgerPolicy, Offer } from './ledger.ts'
import type { LedgerState, PendingRun } from './ledger-state.ts'
import { type Run, RunList } from './run-list.ts'

interface Lease extends Run {
  holder: LeaseHolder
  attempt: number
  /** Was nacked or ran out of time before: in order, nothing later goes out before it is settled. */
  failed: boolean
  deadline: number
}

const STAGED = Number.POSITIVE_INFINITY
const EVERYTHING = Number.POSITIVE_INFINITY
const any = (): boolean => true

export class AckLedger {
  readonly changes = new Changes()
  policy: LedgerPolicy
  readonly #leased = new RunList<Lease>()
  readonly #ready = new RunList<PendingRun>()
  readonly #delayed = new RunList<PendingRun>()
  #next: number
  #leasedCount = 0
  #waitingCount = 0
  #failedLeased = 0
  /** No deadline and no notBefore lies before it: what makes looking for them rare. */
  #wakeAt = Number.POSITIVE_INFINITY
  readonly #offer: Offer = { from: 0, to: 0, attempt: 0 }
  /** Arguments of the callbacks below, which exist once instead of once a call. */
  #asking: LeaseHolder | null = null
  #now = 0
  #delayMs: number | null = null

  constructor(policy: LedgerPolicy, state: LedgerState) {
    this.policy = policy
    this.#next = state.next
    for (const run of state.runs) this.#wait({ ...run })
  }

  /** First offset that was never delivered. */
  get next(): number {
    return this.#next
  }

  /** Every offset below it is acknowledged. */
  get floor(): number {
    return Math.min(this.#leased.first?.from ?? this.#next, this.#lowestWaiting())
  }

  /** Messages delivered or to be delivered again, and not acknowledged: what `maxUnacked` bounds. */
  get unsettled(): number {
    return this.#leasedCount + this.#waitingCount
  }

  get leased(): number {
    return this.#leasedCount
  }

  get waiting(): number {
    return this.#waitingCount
  }

  /** Messages at or past the floor that are acknowledged. */
  get ackedAhead(): number {
    return this.#next - this.floor - this.unsettled
  }

  /** When `advance` has something to do, at the earliest. */
  get wakeAt(): number {
    return this.#wakeAt
  }

  isAcknowledged(offset: number): boolean {
    if (offset >= this.#next) return false
    return !(this.#leased.find(offset) ?? this.#ready.find(offset) ?? this.#delayed.find(offset))
  }

  /** Deadlines that have passed become failures, delays that have passed end. Answers how many leases expired. */
  advance(now: number): number {
    if (now < this.#wakeAt) return 0
    this.#now = now
    this.#wakeAt = Number.POSITIVE_INFINITY
    const expired = this.#leased.take(0, EVERYTHING, this.#isOver, this.#fail)
    this.#delayed.take(0, EVERYTHING, this.#isDue, this.#promote)
    // Looking costs time by the number of runs; with very many of them, look less often: at most a tenth of the time.
    const pauseMs = (this.#leased.size + this.#delayed.size) / 1000
    this.#wakeAt = Math.max(this.#wakeAt, now + pauseMs)
    return expired
  }

  /**
   * What to deliver next, redeliveries before new messages, or null. `limit` bounds new messages by
   * their offset (the high watermark), `room` by their number. The answer is valid until the next call.
   */
  available(limit: number, room: number): Offer | null {
    const ready = this.#ready.first
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
    return this.policy.ordered && this.#isBlocked(offer.from) ? null : offer
  }

  /** Leases [from, to), the front of what `available` offered; staged until `handOver`. */
  lease(holder: LeaseHolder, from: number, to: number): void {
    this.#asking = holder
    holder.outstanding += to - from
    this.#leasedCount += to - from
    if (from === this.#next) {
      this.#next = to
      this.#leaseNew(holder, from, to)
    } else {
      this.#waitingCount -= this.#ready.take(from, to, any, this.#leaseAgain)
    }
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

  /** Settles what lies with the holder in [from, to); answers how many that were, like all that follow. */
  ack(holder: LeaseHolder, from: number, to: number): number {
    this.#asking = holder
    return this.#leased.take(from, to, this.#isHeld, this.#settle)
  }

  /** Everything below `to` that lies with the holder and, if told so, everything that waits. */
  ackUpTo(holder: LeaseHolder, to: number, waitingToo: boolean): number {
    this.#asking = holder
    let count = this.#leased.take(0, to, this.#isHolders, this.#settle)
    if (waitingToo) count += this.#dropWaiting(0, to)
    return count
  }

  /** Gives back as failed: again after `delayMs`, or by the backoff when that is null. */
  nack(holder: LeaseHolder, from: number, to: number, now: number, delayMs: number | null): number {
    this.#asking = holder
    this.#now = now
    this.#delayMs = delayMs
    return this.#leased.take(from, to, this.#isHeld, this.#refuse)
  }

  extend(holder: LeaseHolder, from: number, to: number, deadline: number): number {
    this.#asking = holder
    this.#wakeAt = Math.min(this.#wakeAt, deadline)
    return countOf(this.#renew(from, to, this.#isHeld, deadline))
  }

  /** Gives back as if it had not been delivered. */
  release(holder: LeaseHolder, from: number, to: number): number {
    this.#asking = holder
    return this.#leased.take(from, to, this.#isHeld, this.#giveBack)
  }

  /** The holder is gone: what was handed over counts as an attempt, what was staged does not. */
  detach(holder: LeaseHolder): number {
    this.#asking = holder
    this.#leased.take(0, EVERYTHING, this.#isStaged, this.#giveBack)
    return this.#leased.take(0, EVERYTHING, this.#isHeld, this.#lose)
  }

  /** Nothing staged goes out any more: the record could not be written. */
  unstage(): void {
    this.#leased.take(0, EVERYTHING, (run) => run.deadline === STAGED, this.#giveBack)
  }

  /** Counts the front of what `available` offered as acknowledged: expired messages. */
  skip(from: number, to: number): void {
    if (from === this.#next) {
      this.#next = to
      this.changes.acked(from, to)
    } else this.#dropWaiting(from, to)
  }

  /**
   * Offsets below `start` are no longer in the log. Those that still wait for a delivery are lost:
   * answers the span they lie in, or null. Leases stay, their holders have the messages.
   */
  skipTo(start: number): Run | null {
    const from = Math.min(this.#lowestWaiting(), this.#next)
    if (from >= start) return null
    let to = from
    const lose = (_run: PendingRun, pieceFrom: number, pieceTo: number): void => {
      to = Math.max(to, pieceTo)
      this.changes.acked(pieceFrom, pieceTo)
    }
    this.#waitingCount -= this.#ready.take(0, start, any, lose)
    this.#waitingCount -= this.#delayed.take(0, start, any, lose)
    if (this.#next < start) {
      this.changes.acked(this.#next, start)
      this.#next = start
      to = start
    }
    return { from, to }
  }

  /** Forgets everything: offsets below are acknowledged, the others were never delivered. */
  seek(offset: number): void {
    for (const lease of this.#leased) lease.holder.outstanding -= lease.to - lease.from
    this.#leased.clear()
    this.#ready.clear()
    this.#delayed.clear()
    this.#leasedCount = 0
    this.#waitingCount = 0
    this.#failedLeased = 0
    this.#wakeAt = Number.POSITIVE_INFINITY
    this.#next = offset
    this.changes.requireWhole()
  }

  /** What outlives the process, in the order of offsets: leases count as delivered. */
  state(): LedgerState {
    const runs: PendingRun[] = [...this.#ready, ...this.#delayed].map((run) => ({ ...run }))
    for (const { from, to, attempt, failed } of this.#leased) {
      runs.push({ from, to, attempts: attempt, failed, notBefore: 0 })
    }
    return { next: this.#next, runs: runs.sort((a, b) => a.from - b.from) }
  }

  #lowestWaiting(): number {
    return Math.min(this.#ready.first?.from ?? this.#next, this.#delayed.first?.from ?? this.#next)
  }

  /** In order: something lower waits out its delay, or was a failure and is not settled yet. */
  #isBlocked(offset: number): boolean {
    const delayed = this.#delayed.first
    if (delayed && delayed.from < offset) return true
    if (this.#failedLeased === 0) return false
    for (const lease of this.#leased) {
      if (lease.from >= offset) return false
      if (lease.failed) return true
    }
    return false
  }

  /** In order: something lower has to be delivered first, by now. */
  #isOvertaking(offset: number): boolean {
    return (this.#ready.first?.from ?? offset) < offset || this.#isBlocked(offset)
  }

  #leaseNew(holder: LeaseHolder, from: number, to: number): void {
    this.changes.pending(from, to, 1, false, 0)
    const last = this.#leased.last
    const isAlike = last?.holder === holder && last.deadline === STAGED && last.attempt === 1 && !last.failed
    if (isAlike && last.to === from) last.to = to
    else this.#leased.insert({ from, to, holder, attempt: 1, failed: false, deadline: STAGED })
  }

  #renew(from: number, to: number, wanted: (run: Lease) => boolean, deadline: number): Lease[] {
    const pieces: Lease[] = []
    this.#leased.take(from, to, wanted, (run, pieceFrom, pieceTo) => {
      pieces.push({ ...run, from: pieceFrom, to: pieceTo, deadline })
    })
    for (const piece of pieces) this.#leased.insert(piece)
    return pieces
  }

  #wait(run: PendingRun): void {
    this.#waitingCount += run.to - run.from
    if (run.notBefore > 0) {
      this.#delayed.insert(run)
      this.#wakeAt = Math.min(this.#wakeAt, run.notBefore)
    } else this.#ready.insert(run)
  }

  #dropWaiting(from: number, to: number): number {
    const drop = (_run: PendingRun, pieceFrom: number, pieceTo: number): void => this.changes.acked(pieceFrom, pieceTo)
    const count = this.#ready.take(from, to, any, drop) + this.#delayed.take(from, to, any, drop)
    this.#waitingCount -= count
    return count
  }

  /** The lease ends, whatever comes then. */
  #end(run: Lease, count: number): void {
    run.holder.outstanding -= count
    this.#leasedCount -= count
    if (run.failed) this.#failedLeased -= count
  }

  #return(run: Lease, from: number, to: number, attempts: number, failed: boolean, notBefore: number): void {
    this.#end(run, to - from)
    this.changes.pending(from, to, attempts, failed, notBefore)
    this.#wait({ from, to, attempts, failed, notBefore })
  }

  #backoffMs(attempt: number): number {
    const { minMs, maxMs } = this.policy.backoff
    return Math.min(maxMs, minMs * 2 ** (attempt - 1))
  }

  #isHolders = (run: Lease): boolean => run.holder === this.#asking
  #isHeld = (run: Lease): boolean => run.holder === this.#asking && run.deadline !== STAGED
  #isStaged = (run: Lease): boolean => run.holder === this.#asking && run.deadline === STAGED

  #isOver = (run: Lease): boolean => {
    if (run.deadline <= this.#now) return true
    this.#wakeAt = Math.min(this.#wakeAt, run.deadline)
    return false
  }

  #isDue = (run: PendingRun): boolean => {
    if (run.notBefore <= this.#now) return true
    this.#wakeAt = Math.min(this.#wakeAt, run.notBefore)
    return false
  }

  #promote = (run: PendingRun, from: number, to: number): void => this.#ready.insert({ ...run, from, to })

  #settle = (run: Lease, from: number, to: number): void => {
    this.#end(run, to - from)
    this.changes.acked(from, to)
  }

  #fail = (run: Lease, from: number, to: number): void =>
    this.#return(run, from, to, run.attempt, true, this.#now + this.#backoffMs(run.attempt))

  #refuse = (run: Lease, from: number, to: number): void => {
    const delayMs = this.#delayMs ?? this.#backoffMs(run.attempt)
    this.#return(run, from, to, run.attempt, true, delayMs === 0 ? 0 : this.#now + delayMs)
  }

  #giveBack = (run: Lease, from: number, to: number): void =>
    this.#return(run, from, to, run.attempt - 1, run.failed, 0)

  #lose = (run: Lease, from: number, to: number): void => this.#return(run, from, to, run.attempt, run.failed, 0)

  #leaseAgain = (run: PendingRun, from: number, to: number): void => {
    const attempt = run.attempts + 1
    if (run.failed) this.#failedLeased += to - from
    this.changes.pending(from, to, attempt, run.failed, 0)
    this.#leased.insert({ from, to, holder: this.#asking!, attempt, failed: run.failed, deadline: STAGED })
  }
}

function inherit(lease: Lease, heir: LeaseHolder, count: number): void {
  lease.holder.outstanding -= count
  heir.outstanding += count
  lease.holder = heir
}

/** How many offsets. */
function countOf(runs: readonly Run[]): number {
  return runs.reduce((count, run) => count + run.to - run.from, 0)
}
