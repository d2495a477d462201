/**
 * A binary min-heap that knows where each entry stands, so that any of them can be removed in
 * logarithmic time: for deadlines, most of which are cancelled before they are due. Entries of equal
 * key leave in the order in which they came. Pure; used for timers and for lease deadlines.
 */

export interface HeapEntry<T> {
  readonly key: number
  readonly value: T
}

interface Slot<T> extends HeapEntry<T> {
  /** Order of arrival, decides between equal keys. */
  readonly arrival: number
  /** Where it stands in the heap; -1 once it has left. */
  index: number
}

export class Heap<T> {
  #slots: Slot<T>[] = []
  #arrivals = 0

  get size(): number {
    return this.#slots.length
  }

  /** The returned entry is the handle for `remove`. */
  push(key: number, value: T): HeapEntry<T> {
    const slot: Slot<T> = { key, value, arrival: this.#arrivals++, index: this.#slots.length }
    this.#slots.push(slot)
    this.#rise(slot)
    return slot
  }

  /** The entry with the smallest key. */
  peek(): HeapEntry<T> | undefined {
    return this.#slots[0]
  }

  pop(): HeapEntry<T> | undefined {
    const first = this.#slots[0]
    if (first) this.remove(first)
    return first
  }

  /** False when the entry is not (or no longer) in this heap. */
  remove(entry: HeapEntry<T>): boolean {
    const slot = entry as Slot<T>
    if (this.#slots[slot.index] !== slot) return false
    const last = this.#slots.pop()!
    if (last !== slot) {
      this.#place(last, slot.index)
      this.#rise(last)
      this.#sink(last)
    }
    slot.index = -1
    return true
  }

  clear(): void {
    this.#slots = []
  }

  #rise(slot: Slot<T>): void {
    while (slot.index > 0) {
      const parent = this.#slots[(slot.index - 1) >> 1]!
      if (!isBefore(slot, parent)) return
      this.#swap(slot, parent)
    }
  }

  #sink(slot: Slot<T>): void {
    for (;;) {
      const left = this.#slots[2 * slot.index + 1]
      const right = this.#slots[2 * slot.index + 2]
      const child = left && right && isBefore(right, left) ? right : left
      if (!child || !isBefore(child, slot)) return
      this.#swap(slot, child)
    }
  }

  #swap(a: Slot<T>, b: Slot<T>): void {
    const index = a.index
    this.#place(a, b.index)
    this.#place(b, index)
  }

  #place(slot: Slot<T>, index: number): void {
    this.#slots[index] = slot
    slot.index = index
  }
}

function isBefore<T>(a: Slot<T>, b: Slot<T>): boolean {
  return a.key < b.key || (a.key === b.key && a.arrival < b.arrival)
}
