/**
 * The messages that lie with one consumer: those that wait, those that are being handled, and until when. Says which
 * may be handled next, whose deadline needs moving, and what to hand back when one before it failed. Key order is
 * kept here: messages of a key are handled one after the other where the subscription promises order. A decision.
 */
import { KeyLanes } from './key-lanes.ts'
import type { Message } from './message.ts'
import type { SubscriptionType } from './protocol/subscription.ts'

export interface Held<T> {
  readonly message: Message<T>
  readonly lane: string | null
  readonly arrivedAt: number
  /** The attempt of the delivery that it lies here by; higher than the message's own when it came again meanwhile. */
  attempt: number
  state: 'waiting' | 'running' | 'done'
  /** The delivery is good; false when its connection was lost, and after it was settled. */
  isLeased: boolean
  leasedAt: number
}

export interface HoldingSettings {
  type: SubscriptionType
  ackDeadlineMs: number
}

export class Holding<T> {
  /** Their deadlines are moved only while they are held no longer than this. */
  readonly #maxExtensionMs: number
  /** Whether who handles a message says when it is done; without, a message that comes again is another one. */
  readonly #hasHandler: boolean
  readonly #held = new Map<string, Held<T>>()
  readonly #lanes = new KeyLanes<Held<T>>(({ lane }) => lane)
  #running = 0
  settings: HoldingSettings

  constructor(settings: HoldingSettings, hasHandler: boolean, maxExtensionMs: number) {
    this.settings = settings
    this.#hasHandler = hasHandler
    this.#maxExtensionMs = maxExtensionMs
  }

  get runningCount(): number {
    return this.#running
  }

  get count(): number {
    return this.#held.size
  }

  /** How often deadlines must be looked at. */
  get extensionIntervalMs(): number {
    return Math.max(50, this.settings.ackDeadlineMs / 3)
  }

  /** A message came. False when it is one that is being handled: the handling goes on under the new delivery. */
  arrive(message: Message<T>, now: number): boolean {
    const before = this.#held.get(message.id)
    if (before && this.#hasHandler && before.state === 'running' && !before.message.isSettled) {
      before.attempt = message.attempt
      before.isLeased = true
      before.leasedAt = now
      return false
    }
    if (before?.state === 'waiting') this.#takeOut((item) => item === before)
    else if (before && !this.#hasHandler) this.finished(before)
    const lane = this.#laneOf(message)
    const { attempt } = message
    const held: Held<T> = { message, lane, arrivedAt: now, attempt, state: 'waiting', isLeased: true, leasedAt: now }
    this.#held.set(message.id, held)
    this.#lanes.add(held)
    return true
  }

  /** The next message that may be handled; it is being handled from now on. */
  next(): Held<T> | undefined {
    const held = this.#lanes.next()
    if (!held) return undefined
    held.state = 'running'
    this.#running++
    return held
  }

  find(message: Message<unknown>): Held<T> | undefined {
    const held = this.#held.get(message.id)
    return held?.message === message ? held : undefined
  }

  /** Its delivery is settled; its handler may go on, and its key waits for that. */
  settled(held: Held<T>): void {
    held.isLeased = false
    if (!this.#hasHandler) this.finished(held)
  }

  /** Nobody handles it any more. */
  finished(held: Held<T>): void {
    if (held.state !== 'running') return
    held.state = 'done'
    this.#running--
    this.#lanes.finished(held)
    // The same message may have come again, and wait.
    if (this.#held.get(held.message.id) === held) this.#held.delete(held.message.id)
  }

  /** Takes out what waits behind a message that failed, where order is promised, to be handed back with it. */
  behind(failed: Message<unknown>): Held<T>[] {
    const { type } = this.settings
    if (type === 'shared') return []
    return this.#takeOut(({ message }) => {
      if (message.topic !== failed.topic || message.partition !== failed.partition) return false
      return message.offset > failed.offset && (type !== 'key_shared' || message.key === failed.key)
    })
  }

  takeWaiting(): Held<T>[] {
    return this.#takeOut(() => true)
  }

  /** All that is being handled. */
  running(): Held<T>[] {
    return [...this.#held.values()].filter(({ state }) => state === 'running')
  }

  /** The connection is gone, and with it every delivery. What is being handled goes on. */
  left(): void {
    this.#takeOut(() => true)
    for (const held of this.#held.values()) {
      held.isLeased = false
      if (!this.#hasHandler) this.finished(held)
    }
  }

  /** Those whose deadline is to be moved now. Without a handler, what was handed out is its taker's to extend. */
  due(now: number): string[] {
    const ids: string[] = []
    for (const [id, held] of this.#held) {
      if (!held.isLeased || now - held.leasedAt < this.extensionIntervalMs) continue
      if (now - held.arrivedAt >= this.#maxExtensionMs) continue
      if (held.state === 'running' && !this.#hasHandler) continue
      held.leasedAt = now
      ids.push(id)
    }
    return ids
  }

  #takeOut(isMeant: (held: Held<T>) => boolean): Held<T>[] {
    const taken = this.#lanes.remove(isMeant)
    for (const { message } of taken) this.#held.delete(message.id)
    return taken
  }

  #laneOf({ topic, key }: Message<T>): string | null {
    return !this.#hasHandler || key === null || this.settings.type === 'shared' ? null : `${topic}/${key}`
  }
}
