/**
 * One key's unsettled messages, in the order in which they may go out. A decision; key-ledger.ts owns all
 * of them and ready-keys.ts knows which have something to give.
 *
 * The order of a key: its next message is the lowest that waits. It may go out when nothing before it
 * has failed and is not settled yet, and when whoever holds leases of the key is who would get it.
 */
import type { HeapEntry } from '../base/heap.ts'
import type { Failure, LeaseHolder } from './ledger.ts'
import { type Run, RunList } from './run-list.ts'

/** One message that is not acknowledged: [from, from + 1). */
export interface Message extends Run {
  /**
   * `unread`: from before a restart, its key not known yet. `parked`: failed for the last time, and its key
   * waits for a person. `doomed`: to be given up on.
   */
  state: 'unread' | 'ready' | 'delayed' | 'parked' | 'doomed' | 'leased'
  /** Its key's bytes, one character each, or null. */
  key: string | null
  queue: KeyQueue
  /** Deliveries so far, the current one included. */
  attempts: number
  /** Was nacked or ran out of time: blocks what comes after it in its queue. */
  failed: boolean
  failure: Failure | null
  /** Delayed until then; of a parked message: since when. */
  notBefore: number
  holder: LeaseHolder | null
  /** Infinity: staged. */
  deadline: number
}

const NONE: readonly Message[] = []
const isAny = (): boolean => true
const ignore = (): void => undefined

export class KeyQueue {
  readonly key: string | null
  /** -1: anybody may get its messages. */
  readonly slot: number
  /** Most queues come and go with one message, which never waits. */
  #waiting: RunList<Message> | null = null
  /** Messages of it that lie with `holder`. */
  leases = 0
  holder: LeaseHolder | null = null
  /** Of the leased ones, those that failed before. */
  failed: readonly Message[] = NONE
  /** Of the leased ones, those that had waited and are not handed over yet. */
  #again: RunList<Message> | null = null
  /** How many of the waiting ones are parked, doomed. */
  parked = 0
  doomed = 0
  /** Where it stands among the parked keys. */
  parkedSpot: HeapEntry<KeyQueue> | null = null
  /** Where it stands among the keys that have something to give. */
  spot: { group: object; entry: HeapEntry<KeyQueue> } | null = null

  constructor(key: string | null, slot: number) {
    this.key = key
    this.slot = slot
  }

  /** Everything in it that lies with nobody. */
  get waiting(): RunList<Message> {
    this.#waiting ??= new RunList()
    return this.#waiting
  }

  get waitingCount(): number {
    return this.#waiting === null ? 0 : this.#waiting.size
  }

  get isEmpty(): boolean {
    return this.leases === 0 && this.waitingCount === 0
  }

  /** The message that goes out next, if nothing but its receiver is missing. */
  get candidate(): Message | null {
    const first = this.#waiting?.first
    return first?.state === 'ready' && !this.#hasFailedBefore(first.from) ? first : null
  }

  /** Whether a message at that offset would overtake one that has to be settled or delivered first. */
  isOvertaking(offset: number): boolean {
    if ((this.#waiting?.first?.from ?? offset) < offset || this.#hasFailedBefore(offset)) return true
    return (this.#again?.first?.from ?? offset) < offset
  }

  /** A message that had waited is leased. */
  goesAgain(message: Message): void {
    this.#again ??= new RunList()
    this.#again.insert(message)
  }

  /** It is handed over, or comes back. */
  wentAgain({ from, to }: Message): void {
    this.#again?.take(from, to, isAny, ignore)
  }

  /** The message that has to be settled or delivered before this one. */
  blockerOf(offset: number): number | null {
    const lowest = Math.min(this.#waiting?.first?.from ?? offset, ...this.failed.map(({ from }) => from))
    return lowest < offset ? lowest : null
  }

  /** The message that parked the key. */
  get parkedFirst(): Message | null {
    if (this.parked > 0) for (const message of this.waiting) if (message.state === 'parked') return message
    return null
  }

  #hasFailedBefore(offset: number): boolean {
    for (const message of this.failed) if (message.from < offset) return true
    return false
  }
}
