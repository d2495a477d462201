/**
 * What may be handled next, when messages of one lane go one after the other and different lanes side by side. An
 * item without a lane waits for nobody. A decision.
 */

export class KeyLanes<T> {
  readonly #laneOf: (item: T) => string | null
  /** Those that may start now, first come first. */
  #ready: T[] = []
  #at = 0
  /** Lanes with somebody ready or started, and who waits behind. */
  readonly #lanes = new Map<string, T[]>()

  constructor(laneOf: (item: T) => string | null) {
    this.#laneOf = laneOf
  }

  add(item: T): void {
    const lane = this.#laneOf(item)
    const behind = lane === null ? undefined : this.#lanes.get(lane)
    if (behind) {
      behind.push(item)
      return
    }
    if (lane !== null) this.#lanes.set(lane, [])
    this.#ready.push(item)
  }

  /** The next to start; its lane is closed until `finished`. */
  next(): T | undefined {
    if (this.#at === this.#ready.length) return undefined
    const item = this.#ready[this.#at++]!
    if (this.#at === this.#ready.length || this.#at > 1024) {
      this.#ready = this.#ready.slice(this.#at)
      this.#at = 0
    }
    return item
  }

  finished(lane: string | null): void {
    if (lane === null) return
    const following = this.#lanes.get(lane)?.shift()
    if (following === undefined) this.#lanes.delete(lane)
    else this.#ready.push(following)
  }

  /** Takes out all that have not started and that `isMeant`, in order within their lanes. */
  remove(isMeant: (item: T) => boolean): T[] {
    const removed: T[] = []
    const ready: T[] = []
    for (const first of this.#ready.slice(this.#at)) {
      const lane = this.#laneOf(first)
      let item: T | undefined = first
      while (item !== undefined && isMeant(item)) {
        removed.push(item)
        item = lane === null ? undefined : this.#lanes.get(lane)?.shift()
      }
      if (item !== undefined) ready.push(item)
      else if (lane !== null) this.#lanes.delete(lane)
    }
    this.#ready = ready
    this.#at = 0
    for (const [lane, behind] of this.#lanes) {
      if (behind.length === 0) continue
      removed.push(...behind.filter(isMeant))
      this.#lanes.set(
        lane,
        behind.filter((item) => !isMeant(item)),
      )
    }
    return removed
  }
}
