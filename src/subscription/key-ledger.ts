/**
 * The ledger of one subscription in one partition where keys have an order: one entry a message, and per key
 * a queue. For `key_shared`, and for `exclusive` where keys may be parked. A decision: synchronous, no clock
 * of its own. `ack-ledger.ts` does the same in runs, for whatever knows no keys.
 *
 * Every offset below `next` is one of the messages here, or acknowledged. A message that is looked at
 * and cannot go out now is *passed over*: pending with no attempt, so that `next` can go on. What a
 * restart found is *unread* until the lane has told its key, and nothing goes out before.
 * DELIVERY.md has the states and the rules; key-book.ts makes the moves.
 */
import type { HeapEntry } from '../base/heap.ts'
import { backoffMs } from './backoff.ts'
import { KeyBook, type KeyPolicy, STAGED } from './key-book.ts'
import type { KeyQueue, Message } from './key-queue.ts'
import { standingOf } from './key-standing.ts'
import type { Doomed, LeaseHolder, Ledger, Standing } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import type { KeyOwners } from './ready-keys.ts'
import type { Run } from './run-list.ts'

export class KeyLedger implements Ledger {
  readonly #book: KeyBook
  /** Nothing below it is here. */
  #low: number

  constructor(policy: KeyPolicy, owners: KeyOwners, state: LedgerState) {
    this.#book = new KeyBook(policy, owners)
    this.#book.next = state.next
    this.#low = Math.min(state.next, state.runs[0]?.from ?? state.next)
    for (const run of state.runs) this.#book.addUnread(run)
    for (const { offset, record } of state.replaced ?? []) this.#book.replaced.set(offset, record)
  }

  get changes(): KeyBook['changes'] {
    return this.#book.changes
  }

  get policy(): KeyPolicy {
    return this.#book.policy
  }

  set policy(policy: KeyPolicy) {
    const book = this.#book
    const { maxDeliveries, parks } = book.policy
    book.policy = policy
    if (maxDeliveries === policy.maxDeliveries && parks === policy.parks) return
    for (const message of book.sorted()) {
      const { state } = message
      if (state !== 'leased' && state !== 'unread' && book.stateOf(message) !== state) book.reenter(message)
    }
  }

  get next(): number {
    return this.#book.next
  }

  get floor(): number {
    this.#low = this.#book.lowest(this.#low)
    return this.#low
  }

  /** Without what waits for a parked key: that has its own bound. */
  get unsettled(): number {
    return this.#book.messages.size - this.#book.held
  }

  get leased(): number {
    return this.#book.leased.size
  }

  get waiting(): number {
    return this.unsettled - this.leased - this.doomedCount
  }

  get doomedCount(): number {
    return this.#book.doomed.size
  }

  get retryAt(): number {
    let at = Number.POSITIVE_INFINITY
    for (const { notBefore } of this.#book.delayed) at = Math.min(at, notBefore)
    return at
  }

  /** Messages that are parked, and those that wait behind them. */
  get held(): number {
    return this.#book.held
  }

  get ackedAhead(): number {
    return this.next - this.floor - this.#book.messages.size
  }

  get wakeAt(): number {
    return this.#book.wakeAt
  }

  /** The keys that are parked, with their queues. */
  get parked(): ReadonlyMap<string, KeyQueue> {
    return this.#book.parked
  }

  /** The key that has been parked longest. */
  get longestParked(): HeapEntry<KeyQueue> | undefined {
    return this.#book.parkedOrder.peek()
  }

  /** The lowest messages whose keys are not known: nothing goes out before `learn` has told them all. */
  get unread(): Run | null {
    return this.#book.unread.first ?? null
  }

  isAcknowledged(offset: number): boolean {
    return offset < this.next && !this.#book.messages.has(offset)
  }

  describe(offset: number): Standing {
    return standingOf(this.#book, offset)
  }

  advance(now: number): number {
    const book = this.#book
    book.now = now
    if (now < book.wakeAt) return 0
    const expired = [...book.leased].filter(({ deadline }) => deadline <= now)
    for (const message of expired) this.#fail(message, 'deadline', now + backoffMs(this.policy, message.attempts))
    for (const message of book.delayed) if (message.notBefore <= now) book.reenter(message)
    let wakeAt = Number.POSITIVE_INFINITY
    for (const { deadline } of book.leased) wakeAt = Math.min(wakeAt, deadline)
    for (const { notBefore } of book.delayed) wakeAt = Math.min(wakeAt, notBefore)
    // Looking costs time by the number of messages; with very many of them, look less often: a tenth of the time at most.
    book.wakeAt = Math.max(wakeAt, now + (book.leased.size + book.delayed.size) / 1000)
    return expired.length
  }

  // --- deliveries ---

  /** Tells the key of an unread message. */
  learn(offset: number, key: string | null, slot: number): void {
    const message = this.#book.messages.get(offset)
    if (message?.state === 'unread') this.#book.learn(message, key, slot)
  }

  /** The owners of keys may have changed: to be called before what follows. */
  refresh(): void {
    this.#book.ready.refresh()
  }

  /** The lowest message below `next` that may go out now to this receiver, or to ANYBODY. */
  first(group: object): Message | null {
    return this.unread ? null : this.#book.ready.first(group)
  }

  /** Leases what `first` answered; staged until `handOver`. */
  lease(holder: LeaseHolder, message: Message): void {
    this.#book.lease(holder, message)
  }

  /** The queue that a message at `next` belongs to; it must be taken in then, in one of the two ways below. */
  queueOf(key: string | null, slot: number): KeyQueue {
    return this.#book.queues.of(key, slot)
  }

  /** To whom the message at `next` may go: a receiver, ANYBODY, or null when it has to wait. */
  groupOf(queue: KeyQueue): object | null {
    return queue.waitingCount > 0 || queue.failed.length > 0 ? null : this.#book.ready.groupOf(queue)
  }

  leaseNext(holder: LeaseHolder, queue: KeyQueue, key: string | null): void {
    this.#book.leaseNext(holder, queue, key)
  }

  /** The message at `next` waits for its turn. */
  passOver(queue: KeyQueue, key: string | null): void {
    this.#book.passOver(queue, key)
  }

  /** Counts messages that wait, or those from `next` on, as acknowledged: they are not to be delivered. */
  skip(from: number, to: number): void {
    const book = this.#book
    for (let at = from; at < Math.min(to, this.next); at++) {
      const message = book.messages.get(at)
      if (message && message.state !== 'leased' && message.state !== 'doomed') book.drop(message)
    }
    if (to <= this.next) return
    this.changes.acked(this.next, to)
    book.next = to
  }

  handOver(holder: LeaseHolder, from: number, to: number, deadline: number, heir: LeaseHolder): readonly Run[] | null {
    const book = this.#book
    let gone: Run[] | null = null
    let count = 0
    for (let at = from; at < to; at++) {
      const message = book.messages.get(at)
      if (message?.holder !== holder || message.deadline !== STAGED) continue
      if (message.queue.isOvertaking(at) || book.queues.isHeldBack(message)) {
        this.#giveBack(message)
        continue
      }
      book.handOver(message, deadline)
      if (heir !== holder) book.inherit(message, heir)
      const last: Run | undefined = gone?.at(-1)
      if (last?.to === at) last.to = at + 1
      else {
        gone ??= []
        gone.push({ from: at, to: at + 1 })
      }
      count++
    }
    if (count > 0) book.wakeAt = Math.min(book.wakeAt, deadline)
    return count === to - from ? null : (gone ?? [])
  }

  // --- what holders say ---

  ack(holder: LeaseHolder, from: number, to: number): number {
    return this.#each(holder, from, to, (message) => this.#book.settle(message))
  }

  /** What is parked, or waits behind that, stays: whoever says this has not seen it. */
  ackUpTo(holder: LeaseHolder, to: number, waitingToo: boolean): number {
    const { leased, queues } = this.#book
    const settled = [...leased].filter((message) => message.from < to && isWith(message, holder))
    for (const message of settled) this.#book.settle(message)
    const dropped = waitingToo ? [...queues.line.waiting].filter(({ from }) => from < to) : []
    for (const message of dropped) this.#book.drop(message)
    return settled.length + dropped.length
  }

  nack(holder: LeaseHolder, from: number, to: number, now: number, delayMs: number | null): number {
    this.#book.now = now
    return this.#each(holder, from, to, (message) => {
      const delay = delayMs ?? backoffMs(this.policy, message.attempts)
      this.#fail(message, 'nack', delay === 0 ? 0 : now + delay)
    })
  }

  reject(holder: LeaseHolder, from: number, to: number): number {
    return this.#each(holder, from, to, (message) => this.#fail(message, 'rejected', 0))
  }

  extend(holder: LeaseHolder, from: number, to: number, deadline: number): number {
    this.#book.wakeAt = Math.min(this.#book.wakeAt, deadline)
    return this.#each(holder, from, to, (message) => {
      message.deadline = deadline
    })
  }

  release(holder: LeaseHolder, from: number, to: number): number {
    return this.#each(holder, from, to, (message) => this.#giveBack(message))
  }

  detach(holder: LeaseHolder): number {
    let count = 0
    for (const message of this.#book.leased) {
      if (!isWith(message, holder)) continue
      if (message.deadline === STAGED) this.#giveBack(message)
      else {
        const { attempts, failed } = message
        this.#book.comeBack(message, { attempts, failed, failure: 'disconnected', notBefore: 0 })
        count++
      }
    }
    return count
  }

  unstage(): void {
    for (const message of this.#book.leased) if (message.deadline === STAGED) this.#giveBack(message)
  }

  // --- giving up ---

  doomed(from: number, count: number): Doomed[] {
    const found: Doomed[] = []
    for (const { from: at, to, attempts, failure } of this.#book.doomed.from(from)) {
      if (found.length >= count) break
      found.push({ from: at, to, attempts, failure })
    }
    return found
  }

  bury(from: number, to: number): number {
    const buried: Message[] = []
    for (const message of this.#book.doomed.from(from)) {
      if (message.from >= to) break
      buried.push(message)
    }
    for (const message of buried) this.#book.drop(message)
    return buried.length
  }

  /** A parked key's failed message is tried again, from the first attempt. */
  resume(message: Message): void {
    this.#book.reenter(message, { attempts: 0, failed: false, failure: null, notBefore: 0 })
  }

  /** What is delivered instead of the message from now on. */
  replace(message: Message, record: Uint8Array): void {
    this.#book.replaced.set(message.from, record)
    this.changes.replaced(message.from, record)
  }

  replacementOf(offset: number): Uint8Array | null {
    return this.#book.replaced.get(offset) ?? null
  }

  /** Bytes of all replacements. */
  get replacedBytes(): number {
    let bytes = 0
    for (const record of this.#book.replaced.values()) bytes += record.length
    return bytes
  }

  /** A parked key's failed message is given up on, and the key goes on after that. */
  doom(message: Message, failure: 'skipped' | 'parking_full'): void {
    this.#book.reenter(message, { failure })
  }

  /** A parked key's failed message counts as acknowledged, and the key goes on. */
  discard(message: Message): void {
    this.#book.drop(message)
  }

  // --- the log's ends ---

  revive(from: number, to: number): number {
    const end = Math.min(to, this.next)
    let count = 0
    for (let at = from; at < end; at++) {
      if (this.#book.messages.has(at)) continue
      this.changes.pending(at, at + 1, 0, false, 0)
      this.#book.addUnread({ from: at, to: at + 1, attempts: 0, failed: false, notBefore: 0 })
      count++
    }
    if (count > 0) this.#low = Math.min(this.#low, from)
    return count
  }

  skipTo(start: number): Run | null {
    const book = this.#book
    if (start <= book.start && !book.hasLost) return null
    book.start = Math.max(start, book.start)
    book.hasLost = false
    const lost = book.sorted().filter(({ from, state }) => from < start && state !== 'leased' && state !== 'doomed')
    for (const message of lost) book.drop(message)
    const from = lost[0]?.from ?? this.next
    let to = lost.at(-1)?.to ?? from
    if (this.next < start) {
      this.changes.acked(this.next, start)
      book.next = start
      to = start
    }
    return from < to ? { from, to } : null
  }

  seek(offset: number): void {
    this.#book.clear(offset)
    this.#low = offset
  }

  state(): LedgerState {
    return this.#book.state()
  }

  #each(holder: LeaseHolder, from: number, to: number, step: (message: Message) => void): number {
    let count = 0
    for (let at = from; at < to; at++) {
      const message = this.#book.messages.get(at)
      if (!message || message.deadline === STAGED || !isWith(message, holder)) continue
      step(message)
      count++
    }
    return count
  }

  #fail(message: Message, failure: 'nack' | 'deadline' | 'rejected', notBefore: number): void {
    this.#book.comeBack(message, { attempts: message.attempts, failed: true, failure, notBefore })
  }

  #giveBack(message: Message): void {
    const { attempts, failed, failure } = message
    this.#book.comeBack(message, { attempts: attempts - 1, failed, failure, notBefore: 0 })
  }
}

/** Whether it lies with the holder, or with one that the holder speaks for. */
function isWith({ holder }: Message, asking: LeaseHolder): boolean {
  return holder !== null && (holder === asking || holder.speaker === asking)
}
