/**
 * The acknowledgement ledger as anybody would write it who has no hurry: one entry per message, and
 * every question answered by looking at all of them. The real ledger is held against it.
 */
import type { Failure, LeaseHolder, LedgerPolicy } from '../../src/subscription/ledger.ts'
import type { LedgerState } from '../../src/subscription/ledger-state.ts'

interface Leased {
  kind: 'leased'
  holder: LeaseHolder
  attempt: number
  failed: boolean
  failure: Failure | null
  /** Null: staged. */
  deadline: number | null
}

interface Waiting {
  /** Doomed: used up or rejected, and not to be delivered again. */
  kind: 'waiting' | 'doomed'
  attempts: number
  failed: boolean
  failure: Failure | null
  notBefore: number
  /** Its delay is over, whatever `notBefore` says. */
  isReady: boolean
}

type Message = Leased | Waiting | { kind: 'acked' }

export class LedgerModel {
  next: number
  now = 0
  readonly messages: Map<number, Message> = new Map()
  #policy: LedgerPolicy

  constructor(policy: LedgerPolicy, next: number) {
    this.#policy = policy
    this.next = next
  }

  get floor(): number {
    return this.#offsets(({ kind }) => kind !== 'acked')[0] ?? this.next
  }

  count(kind: 'leased' | 'waiting' | 'doomed'): number {
    return this.#offsets((message) => message.kind === kind).length
  }

  get ackedAhead(): number {
    let count = 0
    for (let offset = this.floor; offset < this.next; offset++) if (this.isAcknowledged(offset)) count++
    return count
  }

  outstanding(holder: LeaseHolder): number {
    return this.#offsets((message) => message.kind === 'leased' && message.holder === holder).length
  }

  isAcknowledged(offset: number): boolean {
    return offset < this.next && (this.messages.get(offset)?.kind ?? 'acked') === 'acked'
  }

  /** When time alone changes something, at the earliest. */
  get nextEvent(): number {
    let at = Number.POSITIVE_INFINITY
    for (const message of this.messages.values()) {
      if (message.kind === 'leased' && message.deadline !== null) at = Math.min(at, message.deadline)
      if (message.kind === 'waiting' && !message.isReady) at = Math.min(at, message.notBefore)
    }
    return at
  }

  advance(now: number): number {
    this.now = now
    let expired = 0
    for (const [offset, message] of this.messages) {
      if (message.kind !== 'leased' || message.deadline === null || message.deadline > now) continue
      expired++
      this.#fail(offset, message.attempt, 'deadline', now + this.#backoff(message.attempt))
    }
    for (const message of this.messages.values()) {
      if (message.kind === 'waiting') message.isReady ||= message.notBefore <= now
    }
    return expired
  }

  /** Whether the message could go out now, and its attempt; null when not. */
  deliverable(offset: number, limit: number, room: number): number | null {
    if (this.#policy.ordered && this.#isOvertaking(offset)) return null
    if (offset >= this.next) return offset === this.next && offset < limit && room > 0 ? 1 : null
    const message = this.messages.get(offset)
    if (message?.kind !== 'waiting' || !message.isReady) return null
    return message.attempts + 1
  }

  /** The message to go out next: redeliveries first, the lowest offset first. */
  first(limit: number, room: number): number | null {
    for (let offset = 0; offset < this.next; offset++) {
      if (this.deliverable(offset, limit, room) !== null) return offset
    }
    return this.deliverable(this.next, limit, room) === null ? null : this.next
  }

  lease(holder: LeaseHolder, offset: number): void {
    const message = this.messages.get(offset)
    const again = message?.kind === 'waiting' ? message : { attempts: 0, failed: false, failure: null }
    this.messages.set(offset, {
      kind: 'leased',
      holder,
      attempt: again.attempts + 1,
      failed: again.failed,
      failure: again.failure,
      deadline: null,
    })
    this.next = Math.max(this.next, offset + 1)
  }

  handOver(holder: LeaseHolder, from: number, to: number, deadline: number, heir: LeaseHolder): number[] {
    if (this.#policy.ordered && (this.#isOvertaking(from) || this.#isBehindStaged(from))) {
      this.#change(from, to, this.#staged(holder), this.#giveBack)
      return []
    }
    return this.#change(from, to, this.#staged(holder), (offset, message) => {
      this.messages.set(offset, { ...message, deadline, holder: heir })
    })
  }

  ack(holder: LeaseHolder, from: number, to: number): number[] {
    return this.#change(from, to, this.#held(holder), (offset) => this.#ack(offset))
  }

  ackUpTo(holder: LeaseHolder, to: number, waitingToo: boolean): number[] {
    const offsets = this.#offsets(
      (message, offset) =>
        offset < to &&
        ((message.kind === 'leased' && message.holder === holder) ||
          (waitingToo && (message.kind === 'waiting' || message.kind === 'doomed'))),
    )
    for (const offset of offsets) this.#ack(offset)
    return offsets
  }

  nack(holder: LeaseHolder, from: number, to: number, delayMs: number | null): number[] {
    return this.#change(from, to, this.#held(holder), (offset, { attempt }) => {
      const delay = delayMs ?? this.#backoff(attempt)
      this.#fail(offset, attempt, 'nack', delay === 0 ? 0 : this.now + delay)
    })
  }

  reject(holder: LeaseHolder, from: number, to: number): number[] {
    return this.#change(from, to, this.#held(holder), (offset, { attempt }) =>
      this.#fail(offset, attempt, 'rejected', 0),
    )
  }

  extend(holder: LeaseHolder, from: number, to: number, deadline: number): number[] {
    return this.#change(from, to, this.#held(holder), (offset, message) => {
      this.messages.set(offset, { ...message, deadline })
    })
  }

  release(holder: LeaseHolder, from: number, to: number): number[] {
    return this.#change(from, to, this.#held(holder), this.#giveBack)
  }

  detach(holder: LeaseHolder): number[] {
    this.#change(0, this.next, this.#staged(holder), this.#giveBack)
    return this.#change(0, this.next, this.#held(holder), (offset, { attempt, failed }) =>
      this.#wait(offset, attempt, failed, 'disconnected', 0),
    )
  }

  unstage(): void {
    this.#change(0, this.next, ({ deadline }) => deadline === null, this.#giveBack)
  }

  skip(offset: number): void {
    this.#ack(offset)
    this.next = Math.max(this.next, offset + 1)
  }

  /** The doomed ones at and past an offset: what each is, and how its last delivery ended. */
  doomed(from: number, count: number): string[] {
    return this.#offsets(({ kind }, offset) => kind === 'doomed' && offset >= from)
      .slice(0, count)
      .map((offset) => {
        const { attempts, failure } = this.messages.get(offset) as Waiting
        return `${offset}: ${attempts} attempts, ${failure ?? 'nobody knows'}`
      })
  }

  bury(from: number, to: number): number {
    const offsets = this.#offsets(({ kind }, offset) => kind === 'doomed' && offset >= from && offset < to)
    for (const offset of offsets) this.#ack(offset)
    return offsets.length
  }

  revive(from: number, to: number): number {
    let count = 0
    for (let offset = from; offset < to; offset++) {
      if (!this.isAcknowledged(offset)) continue
      this.#wait(offset, 0, false, null, 0)
      count++
    }
    return count
  }

  /** What a changed limit does to what waits. */
  limit(maxDeliveries: number | null): void {
    this.#policy = { ...this.#policy, maxDeliveries }
    for (const message of this.messages.values()) {
      if (message.kind !== 'waiting' && message.kind !== 'doomed') continue
      const isDoomed = this.#isOver(message.attempts, message.failure)
      if (message.kind === 'doomed' && !isDoomed) message.isReady = true
      message.kind = isDoomed ? 'doomed' : 'waiting'
    }
  }

  /** What the ledger describes, in one line. */
  describe(offset: number): string {
    if (offset >= this.next) return 'not_reached'
    const message = this.messages.get(offset) ?? { kind: 'acked' }
    if (message.kind === 'acked') return 'acked'
    const failure = message.failure ?? 'nobody knows'
    if (message.kind === 'leased') {
      const deadline = message.deadline === null ? 'staged' : `until ${message.deadline}`
      return `outstanding, attempt ${message.attempt}, ${deadline}, ${failure}`
    }
    if (message.kind === 'doomed') return `doomed, ${message.attempts} attempts, ${failure}`
    return `waiting, ${message.attempts} attempts, not before ${message.notBefore}, ${failure}`
  }

  /** The first and the last offset that were lost. */
  skipTo(start: number): [number, number] | null {
    const lost = this.#offsets((message, offset) => offset < start && message.kind === 'waiting')
    for (const offset of lost) this.#ack(offset)
    for (; this.next < start; this.next++) {
      lost.push(this.next)
      this.#ack(this.next)
    }
    return lost.length === 0 ? null : [lost[0]!, lost.at(-1)!]
  }

  seek(offset: number): void {
    this.messages.clear()
    this.next = offset
  }

  #offsets(wanted: (message: Message, offset: number) => boolean): number[] {
    return [...this.messages]
      .filter(([offset, message]) => wanted(message, offset))
      .map(([offset]) => offset)
      .sort((a, b) => a - b)
  }

  #change(
    from: number,
    to: number,
    wanted: (message: Leased) => boolean,
    change: (offset: number, message: Leased) => void,
  ): number[] {
    const offsets = this.#offsets(
      (message, offset) => offset >= from && offset < to && message.kind === 'leased' && wanted(message),
    )
    for (const offset of offsets) change(offset, this.messages.get(offset) as Leased)
    return offsets
  }

  /** In order: a failure, wherever it is, blocks what comes after it, and nothing overtakes what waits. */
  #isOvertaking(offset: number): boolean {
    return [...this.messages].some(
      ([other, message]) => other < offset && message.kind !== 'acked' && (message.failed || message.kind !== 'leased'),
    )
  }

  /** Something before it is on its way again. */
  #isBehindStaged(offset: number): boolean {
    return [...this.messages].some(
      ([other, message]) => other < offset && message.kind === 'leased' && message.deadline === null,
    )
  }

  #staged(holder: LeaseHolder): (message: Leased) => boolean {
    return (message) => message.holder === holder && message.deadline === null
  }

  #held(holder: LeaseHolder): (message: Leased) => boolean {
    return (message) => message.holder === holder && message.deadline !== null
  }

  #ack(offset: number): void {
    this.messages.set(offset, { kind: 'acked' })
  }

  #giveBack = (offset: number, { attempt, failed, failure }: Leased): void =>
    this.#wait(offset, attempt - 1, failed, failure, 0)

  #fail(offset: number, attempt: number, failure: Failure, notBefore: number): void {
    const { maxDeliveries } = this.#policy
    const isLast = maxDeliveries !== null && attempt >= maxDeliveries
    this.#wait(offset, attempt, true, failure, isLast ? 0 : notBefore)
  }

  #isOver(attempts: number, failure: Failure | null): boolean {
    const { maxDeliveries } = this.#policy
    return maxDeliveries !== null && (attempts >= maxDeliveries || failure === 'rejected')
  }

  #wait(offset: number, attempts: number, failed: boolean, failure: Failure | null, notBefore: number): void {
    const kind = this.#isOver(attempts, failure) ? 'doomed' : 'waiting'
    this.messages.set(offset, { kind, attempts, failed, failure, notBefore, isReady: notBefore === 0 })
  }

  #backoff(attempt: number): number {
    const { minMs, maxMs } = this.#policy.backoff
    let delay = minMs
    for (let i = 1; i < attempt; i++) delay = Math.min(maxMs, delay * 2)
    return Math.min(maxMs, delay)
  }
}

/** One line per message of what a restart would find: comparable, however runs are cut. */
export function perMessage(state: LedgerState): string[] {
  const lines = [`next ${state.next}`]
  for (const { from, to, attempts, failed, notBefore } of state.runs) {
    for (let offset = from; offset < to; offset++) lines.push(line(offset, attempts, failed, notBefore))
  }
  return lines
}

/** The same of the model. */
export function durableOf(model: LedgerModel): string[] {
  const lines = [`next ${model.next}`]
  for (const [offset, message] of [...model.messages].sort(([a], [b]) => a - b)) {
    if (message.kind === 'leased') lines.push(line(offset, message.attempt, message.failed, 0))
    if (message.kind === 'waiting' || message.kind === 'doomed')
      lines.push(line(offset, message.attempts, message.failed, message.notBefore))
  }
  return lines
}

function line(offset: number, attempts: number, failed: boolean, notBefore: number): string {
  return `${offset}: ${attempts} attempts${failed ? ', failed' : ''}${notBefore > 0 ? `, not before ${notBefore}` : ''}`
}
