/**
 * Runs of contiguous offsets, sorted, never overlapping: the one container of the ledger.
 *
 * Kept in chunks of bounded length, so that taking a run out of the middle moves at most one chunk,
 * however many runs there are (a subscription may have a million messages unacknowledged). Work at
 * the front and at the back, which is where deliveries in order happen, touches one chunk only.
 * Decision part: no time, no effects.
 */

/** Offsets [from, to), never empty. */
export interface Run {
  from: number
  to: number
}

const CHUNK_RUNS = 128

export class RunList<R extends Run> {
  /** None is empty. */
  #chunks: R[][] = []
  #size = 0

  /** How many runs. */
  get size(): number {
    return this.#size
  }

  get first(): R | undefined {
    return this.#chunks[0]?.[0]
  }

  get last(): R | undefined {
    return this.#chunks.at(-1)?.at(-1)
  }

  *[Symbol.iterator](): Generator<R> {
    for (const chunk of this.#chunks) yield* chunk
  }

  /** Runs that hold something at or past the offset. */
  *from(offset: number): Generator<R> {
    for (let at = this.#chunkOf(offset); at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]!
      for (let index = indexIn(chunk, offset); index < chunk.length; index++) yield chunk[index]!
    }
  }

  /** The run that holds the offset. */
  find(offset: number): R | undefined {
    const chunk = this.#chunks[this.#chunkOf(offset)]
    const run = chunk?.[indexIn(chunk, offset)]
    return run && run.from <= offset ? run : undefined
  }

  /** Adds a run; no offset of it may be here already. */
  insert(run: R): void {
    const last = this.#chunks.length - 1
    const tail = this.#chunks[last]
    this.#size++
    if (!tail) this.#chunks.push([run])
    else if (tail[tail.length - 1]!.to <= run.from) this.#insertAt(last, tail.length, run)
    else {
      const at = this.#chunkOf(run.from)
      this.#insertAt(at, indexIn(this.#chunks[at]!, run.from), run)
    }
  }

  /**
   * Takes the offsets [from, to) out of those runs that `wanted` picks, telling `taken` each piece
   * with the run it belonged to. Neither callback may touch this list. Answers how many offsets went.
   */
  take(
    from: number,
    to: number,
    wanted: (run: R) => boolean,
    taken: (run: R, from: number, to: number) => void,
  ): number {
    let count = 0
    let at = this.#chunkOf(from)
    let index = at < this.#chunks.length ? indexIn(this.#chunks[at]!, from) : 0
    while (at < this.#chunks.length) {
      const chunk = this.#chunks[at]!
      if (index >= chunk.length) {
        at++
        index = 0
        continue
      }
      const run = chunk[index]!
      if (run.from >= to) break
      if (!wanted(run)) {
        index++
        continue
      }
      const pieceFrom = Math.max(run.from, from)
      const pieceTo = Math.min(run.to, to)
      const isLast = run.to >= to
      count += pieceTo - pieceFrom
      taken(run, pieceFrom, pieceTo)
      index = this.#cut(at, index, pieceFrom, pieceTo)
      // Cutting a hole may split the chunk, after which the place of this walk is not known any more.
      if (isLast) break
    }
    return count
  }

  clear(): void {
    this.#chunks = []
    this.#size = 0
  }

  /** Removes [from, to) from one run and answers the index of what comes next in this chunk. */
  #cut(at: number, index: number, from: number, to: number): number {
    const chunk = this.#chunks[at]!
    const run = chunk[index]!
    if (run.from === from && run.to === to) {
      if (chunk.length === 1) this.#chunks.splice(at, 1)
      else if (index === 0) chunk.shift()
      else if (index === chunk.length - 1) chunk.pop()
      else chunk.splice(index, 1)
      this.#size--
      return index
    }
    if (run.from === from) run.from = to
    else {
      const end = run.to
      run.to = from
      if (end > to) {
        this.#size++
        this.#insertAt(at, index + 1, { ...run, from: to, to: end })
      }
    }
    return index + 1
  }

  #insertAt(at: number, index: number, run: R): void {
    const chunk = this.#chunks[at]!
    if (index === chunk.length) chunk.push(run)
    else chunk.splice(index, 0, run)
    if (chunk.length <= CHUNK_RUNS) return
    // A list that grows at its end leaves full chunks behind; one that grows inside, half full ones.
    const keep = index === chunk.length - 1 ? CHUNK_RUNS : CHUNK_RUNS / 2
    this.#chunks.splice(at + 1, 0, chunk.splice(keep))
  }

  /** The last chunk that begins at or before the offset; the first one when none does. */
  #chunkOf(offset: number): number {
    let low = 0
    let high = this.#chunks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#chunks[middle]![0]!.from <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** Index of the first run that ends after the offset. */
function indexIn(chunk: readonly Run[], offset: number): number {
  let low = 0
  let high = chunk.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (chunk[middle]!.to <= offset) low = middle + 1
    else high = middle
  }
  return low
}
