/**
 * The key ledger as anybody would write it who has no hurry: every question is answered by looking at all
 * messages. The real ledger is held against it.
 */
import type { KeyPolicy } from '../../src/subscription/key-book.ts'
import type { Failure, LeaseHolder } from '../../src/subscription/ledger.ts'

export interface ModelMessage {
  offset: number
  key: string | null
  kind: 'unread' | 'waiting' | 'parked' | 'doomed' | 'leased'
  attempts: number
  failed: boolean
  failure: Failure | null
  notBefore: number
  holder: LeaseHolder | null
  isStaged: boolean
  /** It had waited before it was staged. */
  isAgain: boolean
  deadline: number
}

const FINAL = ['rejected', 'skipped', 'parking_full']

/** What anybody may get. */
export const ANY = 'anybody'

export class KeyLedgerModel {
  readonly messages: Map<number, ModelMessage> = new Map()
  policy: KeyPolicy
  next = 0
  now = 0
  readonly #ownerOf: (key: string) => LeaseHolder | null

  constructor(policy: KeyPolicy, ownerOf: (key: string) => LeaseHolder | null) {
    this.policy = policy
    this.#ownerOf = ownerOf
  }

  get all(): ModelMessage[] {
    return [...this.messages.values()].sort((a, b) => a.offset - b.offset)
  }

  count(kind: ModelMessage['kind']): number {
    return this.all.filter((message) => message.kind === kind).length
  }

  get held(): number {
    return this.all.filter((message) => this.#isHeld(message)).length
  }

  get floor(): number {
    return this.all[0]?.offset ?? this.next
  }

  outstanding(holder: LeaseHolder): number {
    return this.all.filter((message) => message.holder === holder).length
  }

  get parkedKeys(): string[] {
    return [...new Set(this.all.filter(({ kind }) => kind === 'parked').map(({ key }) => key!))].sort()
  }

  parkedFirst(key: string): ModelMessage | undefined {
    return this.all.find((message) => message.kind === 'parked' && message.key === key)
  }

  /** The lowest message that this one, or ANY, may get. */
  first(who: LeaseHolder | typeof ANY): ModelMessage | undefined {
    if (this.count('unread') > 0) return undefined
    return this.all.find((message) => {
      if (message.kind !== 'waiting' || message.notBefore > this.now) return false
      return !this.#isBlocked(message.offset, message.key) && this.groupOf(message.key) === who
    })
  }

  /** Who gets the message at `next`, or null. */
  groupOfNext(key: string | null): LeaseHolder | typeof ANY | null {
    return this.#isBlocked(this.next, key) ? null : this.groupOf(key)
  }

  groupOf(key: string | null): LeaseHolder | typeof ANY | null {
    if (this.policy.ordered || key === null) return ANY
    const owner = this.#ownerOf(key)
    const holders = this.all.filter((message) => message.holder && message.key === key).map(({ holder }) => holder!)
    return owner && holders.every((holder) => seat(holder) === seat(owner)) ? owner : null
  }

  arrive(key: string | null): ModelMessage {
    const offset = this.next++
    const fresh = { attempts: 0, failed: false, failure: null, notBefore: 0 }
    const message: ModelMessage = {
      offset,
      key,
      kind: 'waiting',
      ...fresh,
      holder: null,
      isStaged: false,
      isAgain: false,
      deadline: 0,
    }
    this.messages.set(offset, message)
    return message
  }

  lease(holder: LeaseHolder, message: ModelMessage, isNew: boolean): void {
    message.kind = 'leased'
    message.attempts++
    message.holder = holder
    message.isStaged = true
    message.isAgain = !isNew
    message.notBefore = 0
  }

  handOver(holder: LeaseHolder, from: number, to: number, deadline: number): number[] {
    const gone: number[] = []
    for (const message of this.#range(from, to)) {
      if (message.holder !== holder || !message.isStaged) continue
      if (this.#isBlocked(message.offset, message.key) || this.#isBehindAgain(message)) this.giveBack(message)
      else {
        Object.assign(message, { isStaged: false, deadline, holder: seat(holder) })
        gone.push(message.offset)
      }
    }
    return gone
  }

  /** What lies with the holder, or with whom it speaks for, in [from, to). */
  heldBy(holder: LeaseHolder, from: number, to: number): ModelMessage[] {
    return this.#range(from, to).filter((message) => isWith(message, holder) && !message.isStaged)
  }

  ackUpTo(holder: LeaseHolder, to: number, waitingToo: boolean): number {
    const gone = this.#range(0, to).filter((message) => {
      if (message.holder) return isWith(message, holder)
      return waitingToo && this.policy.ordered && message.kind !== 'unread' && !this.#isAside(message)
    })
    for (const { offset } of gone) this.messages.delete(offset)
    return gone.length
  }

  fail(message: ModelMessage, failure: Failure, notBefore: number): void {
    this.back(message, { failed: true, failure, notBefore })
  }

  giveBack(message: ModelMessage): void {
    this.back(message, { attempts: message.attempts - 1, notBefore: 0 })
  }

  back(message: ModelMessage, changes: Partial<ModelMessage>): void {
    Object.assign(message, { holder: null, isStaged: false, deadline: 0 }, changes)
    this.#place(message)
  }

  detach(holder: LeaseHolder): void {
    for (const message of this.all.filter((one) => isWith(one, holder))) {
      if (message.isStaged) this.giveBack(message)
      else this.back(message, { failure: 'disconnected', notBefore: 0 })
    }
  }

  advance(now: number): number {
    this.now = now
    const expired = this.all.filter((message) => message.holder && !message.isStaged && message.deadline <= now)
    for (const message of expired) this.fail(message, 'deadline', now + this.backoff(message.attempts))
    return expired.length
  }

  setPolicy(policy: KeyPolicy): void {
    this.policy = policy
    for (const message of this.all) if (message.kind !== 'leased' && message.kind !== 'unread') this.#place(message)
  }

  learn(message: ModelMessage, key: string | null): void {
    message.key = key
    this.#place(message)
  }

  skipTo(start: number): [number, number] | null {
    const lost = this.#range(0, start).filter(({ kind }) => kind !== 'leased' && kind !== 'doomed')
    for (const { offset } of lost) this.messages.delete(offset)
    const from = lost[0]?.offset ?? this.next
    const to = this.next < start ? start - 1 : lost.at(-1)?.offset
    this.next = Math.max(this.next, start)
    return to === undefined ? null : [from, to]
  }

  backoff(attempt: number): number {
    const { minMs, maxMs } = this.policy.backoff
    let delay = minMs
    for (let i = 1; i < attempt; i++) delay = Math.min(maxMs, delay * 2)
    return Math.min(maxMs, delay)
  }

  /** A restart: what lasts stays, keys are forgotten. */
  restart(): void {
    for (const message of this.all) {
      message.notBefore = lasting(message)
      Object.assign(message, { kind: 'unread', key: null, holder: null, isStaged: false, failure: null })
    }
  }

  /** One line a message of what a restart would find. */
  durable(): string[] {
    return this.all.map((message) => {
      const { offset, attempts, failed } = message
      return line(offset, attempts, failed, lasting(message))
    })
  }

  #place(message: ModelMessage): void {
    const { maxDeliveries, parks } = this.policy
    const isFinal = FINAL.includes(message.failure ?? '')
    const before = message.kind
    if (maxDeliveries === null || (!isFinal && message.attempts < maxDeliveries)) message.kind = 'waiting'
    else message.kind = parks && message.key !== null && !isFinal ? 'parked' : 'doomed'
    if (message.kind !== 'parked' || before === 'parked') return
    if (message.notBefore === 0 || message.notBefore > this.now) message.notBefore = this.now
  }

  #isBlocked(offset: number, key: string | null): boolean {
    // Nothing new goes out while any is unread; of what was staged before, nobody can say what it is behind.
    const earlier = this.#range(0, offset).filter(({ kind }) => kind !== 'unread')
    if (this.policy.ordered) {
      const isAside = earlier.some((other) => other.kind === 'parked' && other.key === key)
      return isAside || earlier.some((other) => (other.kind !== 'leased' || other.failed) && !this.#isAside(other))
    }
    return key !== null && earlier.some((other) => other.key === key && (other.kind !== 'leased' || other.failed))
  }

  /** Something before it had to wait, and is on its way. */
  #isBehindAgain({ offset, key }: ModelMessage): boolean {
    const earlier = this.#range(0, offset).filter(({ isStaged, isAgain }) => isStaged && isAgain)
    return earlier.some((other) => this.policy.ordered || (key !== null && other.key === key))
  }

  /** In order: out of the line, since its key is parked. */
  #isAside({ offset, key, kind }: ModelMessage): boolean {
    if (!this.policy.ordered || kind === 'leased' || key === null) return false
    return this.#range(0, offset + 1).some((other) => other.kind === 'parked' && other.key === key)
  }

  #isHeld(message: ModelMessage): boolean {
    if (message.kind !== 'waiting' && message.kind !== 'parked') return false
    if (this.policy.ordered) return this.#isAside(message)
    return message.key !== null && this.parkedFirst(message.key) !== undefined
  }

  #range(from: number, to: number): ModelMessage[] {
    return this.all.filter(({ offset }) => offset >= from && offset < to)
  }
}

export function line(offset: number, attempts: number, failed: boolean, notBefore: number): string {
  return `${offset}: ${attempts} attempts${failed ? ', failed' : ''}${notBefore === 0 ? '' : `, not before ${notBefore}`}`
}

function lasting({ kind, notBefore }: ModelMessage): number {
  return kind === 'leased' ? 0 : notBefore
}

function seat(holder: LeaseHolder): LeaseHolder {
  return holder.heir ?? holder
}

function isWith({ holder }: ModelMessage, asking: LeaseHolder): boolean {
  return holder !== null && (holder === asking || holder.speaker === asking)
}
