/**
 * The messages that wait to be handled, first come first served; where keys have an order, those of a key one after the
 * other (key-lanes.ts). Without such an order they wait in spans of the parcels that they came in, so that one that
 * waits costs nothing. A decision, owned by holding.ts.
 */
import { KeyLanes } from './key-lanes.ts'
import type { Parcel, Span } from './parcel.ts'

/** One message. */
interface Slot {
  readonly parcel: Parcel
  readonly index: number
  readonly lane: string | null
}

/** Taken spans are dropped when so many have piled up. */
const TAKEN_MAX = 1024

export class WaitingMessages {
  readonly #lanes = new KeyLanes<Slot>(({ lane }) => lane)
  #spans: { parcel: Parcel; from: number; to: number }[] = []
  #at = 0
  #inSpans = 0
  readonly #slots = new Set<Slot>()

  get count(): number {
    return this.#inSpans + this.#slots.size
  }

  add(parcel: Parcel, from: number, to: number): void {
    this.#spans.push({ parcel, from, to })
    this.#inSpans += to - from
  }

  addToLane(parcel: Parcel, index: number, lane: string | null): void {
    const slot = { parcel, index, lane }
    this.#slots.add(slot)
    this.#lanes.add(slot)
  }

  /** The next to be handled, as `made` of it; its lane is closed until `finished`. */
  next<H>(made: (parcel: Parcel, index: number, lane: string | null) => H): H | undefined {
    const span = this.#spans[this.#at]
    if (!span) {
      const slot = this.#lanes.next()
      if (!slot) return undefined
      this.#slots.delete(slot)
      return made(slot.parcel, slot.index, slot.lane)
    }
    const { parcel } = span
    const index = span.from++
    this.#inSpans--
    if (span.from === span.to && ++this.#at >= Math.min(this.#spans.length, TAKEN_MAX)) {
      this.#spans = this.#spans.slice(this.#at)
      this.#at = 0
    }
    return made(parcel, index, null)
  }

  finished(lane: string | null): void {
    this.#lanes.finished(lane)
  }

  /** Takes out those that `isMeant`. */
  remove(isMeant: (parcel: Parcel, index: number) => boolean): Span[] {
    const taken: { parcel: Parcel; from: number; to: number }[] = []
    const take = (parcel: Parcel, index: number): void => {
      const last = taken.at(-1)
      if (last?.parcel === parcel && last.to === index) last.to++
      else taken.push({ parcel, from: index, to: index + 1 })
    }
    const kept: { parcel: Parcel; from: number; to: number }[] = []
    for (const { parcel, from, to } of this.#spans.slice(this.#at)) {
      let start = from
      for (let index = from; index < to; index++) {
        if (!isMeant(parcel, index)) continue
        take(parcel, index)
        if (start < index) kept.push({ parcel, from: start, to: index })
        start = index + 1
      }
      if (start < to) kept.push({ parcel, from: start, to })
    }
    this.#spans = kept
    this.#at = 0
    this.#inSpans = kept.reduce((sum, { from, to }) => sum + to - from, 0)
    if (this.#slots.size > 0) {
      for (const slot of this.#lanes.remove(({ parcel, index }) => isMeant(parcel, index))) {
        this.#slots.delete(slot)
        take(slot.parcel, slot.index)
      }
    }
    return taken
  }

  /** All that wait. */
  *spans(): Generator<Span> {
    for (let at = this.#at; at < this.#spans.length; at++) yield this.#spans[at]!
    for (const { parcel, index } of this.#slots) yield { parcel, from: index, to: index + 1 }
  }
}
