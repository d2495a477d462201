/**
 * Numbers by index, as many as there are, in chunks: growing it never copies more than one chunk, however long
 * it is, so that no single call takes long. It is short for a few and gives memory back. Pure.
 */

type Numbers = Float64Array | Uint32Array | Int32Array

const CHUNK_BITS = 14
const CHUNK = 1 << CHUNK_BITS
const MASK = CHUNK - 1
const FIRST = 16

export class LongArray {
  readonly #make: (length: number) => Numbers
  /** All but the only one are whole. */
  readonly #chunks: Numbers[] = []
  #length = 0

  /** @param make what holds numbers of the kind that are to be kept */
  constructor(make: (length: number) => Numbers) {
    this.#make = make
  }

  get length(): number {
    return this.#length
  }

  /** @param at below `length` */
  get(at: number): number {
    return this.#chunks[at >> CHUNK_BITS]![at & MASK]!
  }

  /** @param at below `length` */
  set(at: number, value: number): void {
    this.#chunks[at >> CHUNK_BITS]![at & MASK] = value
  }

  push(value: number): void {
    this.#makeRoom()
    this.set(this.#length++, value)
  }

  /** Takes the last one off. */
  pop(): void {
    this.#length -= 1
    // One chunk more than is needed stays, so that a length that goes up and down costs nothing.
    if (this.#length + CHUNK < (this.#chunks.length - 1) * CHUNK) this.#chunks.pop()
  }

  #makeRoom(): void {
    const [first] = this.#chunks
    if (this.#length >= CHUNK) {
      if (this.#length === this.#chunks.length * CHUNK) this.#chunks.push(this.#make(CHUNK))
    } else if (!first) this.#chunks.push(this.#make(FIRST))
    else if (this.#length === first.length) {
      const longer = this.#make(first.length * 2)
      longer.set(first)
      this.#chunks[0] = longer
    }
  }
}
