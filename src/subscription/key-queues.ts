/**
 * Which queue a message stands in: a decision. By key where keys have an order each (`key_shared`); messages
 * without one stand alone. In the order of offsets (`exclusive`) all stand in one line, and only what waits
 * for a parked key has a queue beside it, so that the line goes on.
 */
import { KeyQueue, type Message } from './key-queue.ts'

export class KeyQueues {
  /** Where the order is that of offsets: everything but what waits for a parked key. */
  line = new KeyQueue(null, -1)
  readonly #isOrdered: boolean
  readonly #byKey = new Map<string, KeyQueue>()
  /** What waits in the line, by key: many keys may be parked at once, and the line be long. */
  readonly #inLine = new Map<string, Set<Message>>()

  constructor(isOrdered: boolean) {
    this.#isOrdered = isOrdered
  }

  /** Where a message that was never delivered belongs. */
  of(key: string | null, slot: number): KeyQueue {
    if (this.#isOrdered) return (key === null ? undefined : this.#byKey.get(key)) ?? this.line
    if (key === null) return new KeyQueue(null, -1)
    return this.#byKey.get(key) ?? this.#add(key, slot)
  }

  /** Where a message belongs that waits from now on. */
  homeOf(message: Message): KeyQueue {
    const { key, from, state } = message
    if (!this.#isOrdered) return message.queue
    if (key === null) return this.line
    const aside = this.#byKey.get(key)
    if (state === 'parked') return aside ?? this.#add(key, -1)
    const parked = aside?.parkedFirst
    return aside && parked && parked.from < from ? aside : this.line
  }

  /** Messages in the line that belong behind this one, which parked its key. */
  behind({ key, from, queue }: Message): Message[] {
    if (queue === this.line || !this.#isOrdered) return []
    const waiting = key === null ? undefined : this.#inLine.get(key)
    return [...(waiting ?? [])].filter((message) => message.from > from).sort((a, b) => a.from - b.from)
  }

  /** The message waits in its queue from now on. */
  joined(message: Message): void {
    const { key, queue } = message
    if (!this.#isOrdered || key === null || queue !== this.line) return
    const waiting = this.#inLine.get(key)
    if (waiting) waiting.add(message)
    else this.#inLine.set(key, new Set([message]))
  }

  /** It does not wait in its queue any more. */
  left(message: Message): void {
    const { key, queue } = message
    if (!this.#isOrdered || key === null || queue !== this.line) return
    const waiting = this.#inLine.get(key)
    waiting?.delete(message)
    if (waiting?.size === 0) this.#inLine.delete(key)
  }

  /** Messages that no parked one is before any more. */
  freed(queue: KeyQueue): Message[] {
    if (!this.#isOrdered || queue === this.line) return []
    const parked = queue.parkedFirst
    return [...queue.waiting].filter(({ from }) => !parked || from < parked.from)
  }

  /** Something that is parked holds back a message of this key and offset which is not in its queue. */
  isHeldBack({ key, from }: Message): boolean {
    if (!this.#isOrdered || key === null) return false
    const parked = this.#byKey.get(key)?.parkedFirst
    return parked !== null && parked !== undefined && parked.from < from
  }

  /** The queue may have become empty. */
  tidy(queue: KeyQueue): void {
    if (queue.isEmpty && queue.key !== null && this.#byKey.get(queue.key) === queue) this.#byKey.delete(queue.key)
  }

  clear(): void {
    this.line = new KeyQueue(null, -1)
    this.#byKey.clear()
    this.#inLine.clear()
  }

  #add(key: string, slot: number): KeyQueue {
    const queue = new KeyQueue(key, slot)
    this.#byKey.set(key, queue)
    return queue
  }
}
