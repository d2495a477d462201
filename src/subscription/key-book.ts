/**
 * Where each message of a key ledger stands, and the moves from one state to another: every index follows,
 * and what must survive a restart is recorded. A decision; key-ledger.ts knows when which move is due.
 *
 * Must stay true: a message that waits stands in the queue it belongs to, a leased one in that which
 * it came from; a message whose attempts are used up, or that was refused for good, is parked or doomed
 * whenever it waits; `ready` has heard of every change of a queue.
 */
import { Heap } from '../base/heap.ts'
import { Changes } from './changes.ts'
import type { KeyQueue, Message } from './key-queue.ts'
import { KeyQueues } from './key-queues.ts'
import type { Failure, LeaseHolder, LedgerPolicy } from './ledger.ts'
import type { LedgerState, PendingRun } from './ledger-state.ts'
import { type KeyOwners, ReadyKeys } from './ready-keys.ts'
import { type Run, RunList } from './run-list.ts'

export interface KeyPolicy extends LedgerPolicy {
  /** What used up its deliveries parks its key, where it has one. */
  parks: boolean
}

/** How a message comes back from a lease. */
export type Return = Pick<Message, 'attempts' | 'failed' | 'failure' | 'notBefore'>

export const STAGED = Number.POSITIVE_INFINITY
/** Endings after which there is no other delivery, whatever the attempts. */
const FINAL: ReadonlySet<Failure | null> = new Set(['rejected', 'skipped', 'parking_full'])
const any = (): boolean => true
const ignore = (): void => undefined

export class KeyBook {
  readonly changes = new Changes()
  readonly messages = new Map<number, Message>()
  readonly leased = new Set<Message>()
  readonly delayed = new Set<Message>()
  readonly doomed = new RunList<Message>()
  readonly unread = new RunList<Run>()
  readonly queues: KeyQueues
  readonly ready: ReadyKeys
  /** The keys that are parked, and in the order of parking. */
  readonly parked = new Map<string, KeyQueue>()
  readonly parkedOrder = new Heap<KeyQueue>()
  policy: KeyPolicy
  /** Records that are delivered instead of those in the log. */
  readonly replaced = new Map<number, Uint8Array>()
  /** How many wait in queues of parked keys. */
  held = 0
  next = 0
  now = 0
  /** No deadline and no delay lies before it. */
  wakeAt = Number.POSITIVE_INFINITY
  /** Offsets below are not in the log any more; `hasLost`: some of them wait. */
  start = 0
  hasLost = false

  constructor(policy: KeyPolicy, owners: KeyOwners) {
    this.policy = policy
    this.queues = new KeyQueues(policy.ordered)
    this.ready = new ReadyKeys(owners)
  }

  /** Forgets everything. */
  clear(next: number): void {
    for (const { holder } of this.leased) if (holder) holder.outstanding--
    const { messages, leased, delayed, doomed, unread, parked, parkedOrder, replaced, queues, ready } = this
    const all = [messages, leased, delayed, doomed, unread, parked, parkedOrder, replaced, queues, ready]
    for (const index of all) index.clear()
    this.held = 0
    this.start = 0
    this.next = next
    this.wakeAt = Number.POSITIVE_INFINITY
    this.changes.requireWhole()
  }

  /** Messages [from, to) whose keys nobody has told yet. */
  addUnread({ from, to, attempts, failed, notBefore }: PendingRun): void {
    for (let at = from; at < to; at++) {
      const message = newMessage(at, null, this.queues.line)
      this.messages.set(at, Object.assign(message, { state: 'unread', attempts, failed, notBefore }))
    }
    this.unread.insert({ from, to })
    if (from < this.start) this.hasLost = true
  }

  learn(message: Message, key: string | null, slot: number): void {
    this.unread.take(message.from, message.to, any, ignore)
    message.key = key
    message.queue = this.queues.of(key, slot)
    if (this.#enter(message)) this.#record(message)
  }

  /** Takes in the message at `next`: it waits, and that is recorded. */
  passOver(queue: KeyQueue, key: string | null): void {
    const message = this.#admit(queue, key)
    this.#put(message)
    this.#record(message)
  }

  leaseNext(holder: LeaseHolder, queue: KeyQueue, key: string | null): void {
    this.#grant(holder, this.#admit(queue, key))
  }

  /** Leases a message that is ready. */
  lease(holder: LeaseHolder, message: Message): void {
    this.#pull(message)
    this.#grant(holder, message)
    // Later ones of its key may be staged already; they must not leave before it does.
    message.queue.goesAgain(message)
  }

  /** A leased message is handed over. */
  handOver(message: Message, deadline: number): void {
    message.deadline = deadline
    message.queue.wentAgain(message)
  }

  /** A leased message is acknowledged. */
  settle(message: Message): void {
    this.#end(message)
    this.#forget(message)
    this.#tidy(message.queue)
  }

  /** A message that lies with nobody is acknowledged. */
  drop(message: Message): void {
    if (message.state === 'unread') this.unread.take(message.from, message.to, any, ignore)
    else this.#pull(message)
    this.#forget(message)
    this.#free(message.queue)
  }

  /** A leased message waits again. */
  comeBack(message: Message, how: Return): void {
    const { queue } = message
    this.#end(message)
    Object.assign(message, how)
    this.#enter(message)
    this.#record(message)
    this.#tidy(queue)
  }

  /** A waiting message is looked at anew: its time has come, or what is known of it has changed. */
  reenter(message: Message, changes: Partial<Return> = {}): void {
    const { queue } = message
    this.#pull(message)
    Object.assign(message, changes)
    if (this.#enter(message) || changes.attempts !== undefined) this.#record(message)
    this.#free(queue)
  }

  inherit(message: Message, heir: LeaseHolder): void {
    if (message.holder) message.holder.outstanding--
    heir.outstanding++
    message.holder = heir
  }

  /** In the order of offsets. */
  sorted(): Message[] {
    return [...this.messages.values()].sort((a, b) => a.from - b.from)
  }

  /** The lowest offset that is not acknowledged, where none below `from` is. */
  lowest(from: number): number {
    const { messages, next } = this
    let at = from
    // Far ahead of it may be acknowledged: a step for each of those could take long.
    for (let looks = messages.size; at < next && !messages.has(at); at++) {
      if (looks-- > 0) continue
      let lowest = next
      for (const offset of messages.keys()) lowest = Math.min(lowest, offset)
      return lowest
    }
    return at
  }

  state(): LedgerState {
    const runs: PendingRun[] = []
    for (const message of this.sorted()) {
      const { from, to, attempts, failed } = message
      const notBefore = lastingTime(message)
      const last = runs.at(-1)
      const isAlike = last?.to === from && last.attempts === attempts && last.failed === failed
      if (isAlike && last.notBefore === notBefore) last.to = to
      else runs.push({ from, to, attempts, failed, notBefore })
    }
    const replaced = [...this.replaced].map(([offset, record]) => ({ offset, record }))
    return { next: this.next, runs, ...(replaced.length > 0 ? { replaced } : {}) }
  }

  /** In which state the message waits. */
  stateOf(message: Message): 'ready' | 'delayed' | 'parked' | 'doomed' {
    const { maxDeliveries, parks } = this.policy
    const isFinal = FINAL.has(message.failure)
    if (maxDeliveries !== null && (isFinal || message.attempts >= maxDeliveries)) {
      return parks && message.key !== null && !isFinal ? 'parked' : 'doomed'
    }
    return message.notBefore > this.now ? 'delayed' : 'ready'
  }

  #admit(queue: KeyQueue, key: string | null): Message {
    const message = newMessage(this.next, key, queue)
    this.messages.set(this.next++, message)
    return message
  }

  /** Puts it where it belongs; answers whether it is parked from now on. */
  #enter(message: Message): boolean {
    message.state = this.stateOf(message)
    const isNew = message.state === 'parked' && (message.notBefore === 0 || message.notBefore > this.now)
    // Of a parked message it is the time since when; time 0 would mean that there is none.
    if (isNew) message.notBefore = this.now || 1
    message.queue = this.queues.homeOf(message)
    this.#put(message)
    if (message.state === 'parked') for (const other of this.queues.behind(message)) this.#move(other)
    return isNew
  }

  /** To where it belongs by now. */
  #move(message: Message): void {
    this.#pull(message)
    this.ready.update(message.queue)
    message.queue = this.queues.homeOf(message)
    this.#put(message)
  }

  #put(message: Message): void {
    const { queue, state } = message
    queue.waiting.insert(message)
    this.queues.joined(message)
    if (state === 'doomed') {
      queue.doomed++
      this.doomed.insert(message)
    } else if (queue.parked > 0) this.held++
    if (state === 'parked' && ++queue.parked === 1) {
      this.held += queue.waitingCount - queue.doomed
      this.parked.set(queue.key!, queue)
      queue.parkedSpot = this.parkedOrder.push(message.notBefore, queue)
    }
    if (state === 'delayed') {
      this.delayed.add(message)
      this.wakeAt = Math.min(this.wakeAt, message.notBefore)
    }
    if (message.from < this.start) this.hasLost = true
    this.ready.update(queue)
  }

  /** Takes it out of its queue; `ready` is told by whoever asks for this. */
  #pull(message: Message): void {
    const { queue, state } = message
    if (state === 'parked' && --queue.parked === 0) {
      this.held -= queue.waitingCount - queue.doomed
      this.parked.delete(queue.key!)
      if (queue.parkedSpot) this.parkedOrder.remove(queue.parkedSpot)
      queue.parkedSpot = null
    }
    queue.waiting.take(message.from, message.to, any, ignore)
    this.queues.left(message)
    if (state === 'doomed') {
      queue.doomed--
      this.doomed.take(message.from, message.to, any, ignore)
    } else if (queue.parked > 0) this.held--
    if (state === 'delayed') this.delayed.delete(message)
  }

  #grant(holder: LeaseHolder, message: Message): void {
    const { queue } = message
    message.state = 'leased'
    message.attempts++
    message.notBefore = 0
    message.holder = holder
    message.deadline = STAGED
    holder.outstanding++
    this.leased.add(message)
    queue.leases++
    queue.holder = holder.heir ?? holder
    if (message.failed) queue.failed = [...queue.failed, message]
    this.changes.pending(message.from, message.to, message.attempts, message.failed, 0)
    this.ready.update(queue)
  }

  #end(message: Message): void {
    const { queue } = message
    message.holder!.outstanding--
    message.holder = null
    this.leased.delete(message)
    if (--queue.leases === 0) queue.holder = null
    if (message.failed) queue.failed = queue.failed.filter((other) => other !== message)
    queue.wentAgain(message)
  }

  #forget({ from, to }: Message): void {
    this.messages.delete(from)
    if (this.replaced.delete(from)) this.changes.replaced(from, null)
    this.changes.acked(from, to)
  }

  /** Something has left the queue: what it held back there goes home. */
  #free(queue: KeyQueue): void {
    for (const message of this.queues.freed(queue)) this.#move(message)
    this.#tidy(queue)
  }

  #tidy(queue: KeyQueue): void {
    this.queues.tidy(queue)
    this.ready.update(queue)
  }

  #record(message: Message): void {
    const { from, to, attempts, failed } = message
    this.changes.pending(from, to, attempts, failed, lastingTime(message))
  }
}

function newMessage(offset: number, key: string | null, queue: KeyQueue): Message {
  return {
    from: offset,
    to: offset + 1,
    state: 'ready',
    key,
    queue,
    attempts: 0,
    failed: false,
    failure: null,
    notBefore: 0,
    holder: null,
    deadline: STAGED,
  }
}

/** What a restart must know of its time. */
function lastingTime({ state, notBefore }: Message): number {
  return state === 'leased' ? 0 : notBefore
}
