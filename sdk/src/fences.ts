/**
 * Failures of which the broker may not know yet, where order is promised: what it has sent meanwhile of the same key (on
 * `exclusive` and `failover`, of the same partition) must not be handled before the one that failed, and goes back
 * as well. A fence falls when the broker has answered a question that was asked after it was told, or when it
 * delivers the failed message again. A decision; consumer.ts asks the questions.
 */
import type { Parcel, Span } from './parcel.ts'

interface Fence {
  /** Of the message that failed. */
  offset: number
  /** The question whose answer comes behind everything sent before; 0 until it is asked. */
  question: number
}

/** Above all numbers of acknowledgements, and below that of the sign of life. */
const FIRST_QUESTION = 0x80000000
const LAST_QUESTION = 0xfffffffe

export class Fences {
  readonly #fences = new Map<string, Fence>()
  #question = LAST_QUESTION

  get isEmpty(): boolean {
    return this.#fences.size === 0
  }

  /** `key` is null where the whole partition waits. */
  raise(topic: string, partition: number, key: string | null, offset: number): void {
    const lane = laneOf(topic, partition, key)
    const before = this.#fences.get(lane)?.offset ?? offset
    this.#fences.set(lane, { offset: Math.min(before, offset), question: 0 })
  }

  /** The number of the question to ask now, after the broker was told of all failures; null when there is no need. */
  ask(): number | null {
    let isAsked = true
    for (const { question } of this.#fences.values()) isAsked &&= question !== 0
    if (isAsked) return null
    this.#question = this.#question === LAST_QUESTION ? FIRST_QUESTION : this.#question + 1
    for (const fence of this.#fences.values()) if (fence.question === 0) fence.question = this.#question
    return this.#question
  }

  answered(question: number): void {
    for (const [lane, fence] of this.#fences) if (fence.question === question) this.#fences.delete(lane)
  }

  /** The connection is gone: everything comes again, in order. */
  left(): void {
    this.#fences.clear()
  }

  /** Parts what has come into what may be handled and what goes back. `isByKey`: whether each key has an order of its own. */
  part({ parcel, from, to }: Span, isByKey: boolean): { free: Span[]; back: Span[] } {
    const parts = { free: new Array<Span>(), back: new Array<Span>() }
    let start = from
    let wasBack = false
    for (let index = from; index < to; index++) {
      const isBack = this.#holdsBack(parcel, index, isByKey)
      if (isBack !== wasBack && start < index)
        (wasBack ? parts.back : parts.free).push({ parcel, from: start, to: index })
      if (isBack !== wasBack) start = index
      wasBack = isBack
    }
    if (start < to) (wasBack ? parts.back : parts.free).push({ parcel, from: start, to })
    return parts
  }

  #holdsBack(parcel: Parcel, index: number, isByKey: boolean): boolean {
    const key = isByKey ? parcel.keyOf(index) : null
    if (isByKey && key === null) return false
    const lane = laneOf(parcel.topic, parcel.partition, key)
    const fence = this.#fences.get(lane)
    if (!fence) return false
    const offset = parcel.baseOffset + index
    if (offset === fence.offset) this.#fences.delete(lane)
    return offset > fence.offset
  }
}

function laneOf(topic: string, partition: number, key: string | null): string {
  return key === null ? `${topic}/${partition}` : `${topic}/${partition}/${key}`
}
