/**
 * The keys that have a message to give, by whom it may go to, the lowest offset first: what makes finding
 * the next delivery of a consumer independent of how many messages wait for others. A decision; key-ledger.ts
 * tells it of every change.
 *
 * Must stay true: a key stands in one group at most; a key with leases stands in nobody's group but
 * their holder's. Where the owner changed it waits until they are settled (it drains).
 */
import { Heap } from '../base/heap.ts'
import type { KeyQueue, Message } from './key-queue.ts'
import type { LeaseHolder } from './ledger.ts'

/** Who the slots belong to; `generation` changes with that. */
export interface KeyOwners {
  readonly generation: number
  ownerOf(slot: number): LeaseHolder | null
}

/** The group of what anybody may get. */
export const ANYBODY: object = {}

export class ReadyKeys {
  readonly #owners: KeyOwners
  #generation = -1
  readonly #groups = new Map<object, Heap<KeyQueue>>()
  /** Have something to give, but to nobody now: their leases lie with a former owner, or no consumer is there. */
  readonly #stuck = new Set<KeyQueue>()

  constructor(owners: KeyOwners) {
    this.#owners = owners
  }

  /** The owners may have changed: to be called before anything is asked. */
  refresh(): void {
    if (this.#generation === this.#owners.generation) return
    this.#generation = this.#owners.generation
    const queues = [...this.#stuck]
    for (const heap of this.#groups.values()) for (let top = heap.pop(); top; top = heap.pop()) queues.push(top.value)
    this.#groups.clear()
    for (const queue of queues) queue.spot = null
    for (const queue of queues) this.update(queue)
  }

  /** The queue has changed. */
  update(queue: KeyQueue): void {
    const { candidate, spot } = queue
    const group = candidate ? this.groupOf(queue) : null
    if (spot && candidate && spot.group === group && spot.entry.key === candidate.from) return
    this.#leave(queue)
    if (!candidate) return
    if (!group) {
      this.#stuck.add(queue)
      return
    }
    let heap = this.#groups.get(group)
    if (!heap) this.#groups.set(group, (heap = new Heap()))
    queue.spot = { group, entry: heap.push(candidate.from, queue) }
  }

  /** Who a message of the key may go to: a receiver, ANYBODY, or null for nobody now. */
  groupOf(queue: KeyQueue): object | null {
    if (queue.slot < 0) return ANYBODY
    const owner = this.#owners.ownerOf(queue.slot)
    return owner && (queue.leases === 0 || queue.holder === (owner.heir ?? owner)) ? owner : null
  }

  /** The lowest message that the group may get. */
  first(group: object): Message | null {
    return this.#groups.get(group)?.peek()?.value.candidate ?? null
  }

  clear(): void {
    this.#groups.clear()
    this.#stuck.clear()
  }

  #leave(queue: KeyQueue): void {
    const { spot } = queue
    if (!spot) {
      this.#stuck.delete(queue)
      return
    }
    queue.spot = null
    const heap = this.#groups.get(spot.group)
    heap?.remove(spot.entry)
    if (heap?.size === 0) this.#groups.delete(spot.group)
  }
}
