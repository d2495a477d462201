/**
 * Batches kept in memory so that live consumers, and several readers of the same stretch, do not go to
 * the disk: what was appended lately, and what was loaded lately. One budget in bytes for the whole
 * broker; the oldest goes first, whichever partition it belongs to.
 */
import type { RecordBatch } from './record-batch.ts'

/** Something that can give up its oldest part. */
interface Evictable {
  evictOldest(): void
}

/** Room a batch takes beyond its bytes: its JSON text, made at most once, is about as long again. */
const OVERHEAD_FACTOR = 2

export class CacheBudget {
  readonly #limitBytes: number
  #bytes = 0
  /** In the order of arrival; `#head` is the oldest that is still here. */
  #queue: { owner: Evictable; bytes: number }[] = []
  #head = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** The owner has added a part at its end; older parts may be evicted, of any owner. */
  charge(owner: Evictable, bytes: number): void {
    this.#queue.push({ owner, bytes })
    this.#bytes += bytes
    while (this.#bytes > this.#limitBytes && this.#head < this.#queue.length - 1) {
      const oldest = this.#queue[this.#head]!
      this.#head += 1
      this.#bytes -= oldest.bytes
      oldest.owner.evictOldest()
    }
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }
}

/** The cached batches of one log: its tail, and stretches that were loaded from the disk. */
export class BatchCache {
  readonly #budget: CacheBudget
  readonly #tail: Fifo
  readonly #loaded: Fifo[] = []
  /** The tail counts from here. */
  #tailFrom = 0
  /** Raised whenever something was forgotten: what was read before is not to be kept after. */
  generation = 0
  readonly #stretches: Evictable = { evictOldest: () => void this.#loaded.shift() }

  constructor(budget: CacheBudget) {
    this.#budget = budget
    this.#tail = new Fifo()
  }

  /** A batch was appended to the log. */
  append(batch: RecordBatch): void {
    this.#tail.push(batch)
    this.#budget.charge(this.#tail, batch.bytes.length * OVERHEAD_FACTOR)
  }

  /** Consecutive batches were read from the disk. */
  keep(batches: readonly RecordBatch[]): void {
    if (batches.length === 0) return
    const stretch = new Fifo()
    let bytes = 0
    for (const batch of batches) {
      stretch.push(batch)
      bytes += batch.bytes.length
    }
    this.#loaded.push(stretch)
    this.#budget.charge(this.#stretches, bytes * OVERHEAD_FACTOR)
  }

  find(offset: number): RecordBatch | undefined {
    const live = offset < this.#tailFrom ? undefined : this.#tail.find(offset)
    if (live) return live
    for (let i = this.#loaded.length - 1; i >= 0; i--) {
      const batch = this.#loaded[i]!.find(offset)
      if (batch) return batch
    }
    return undefined
  }

  /** Compaction took records out of [from, to): what is kept of it is out of date. */
  forget(from: number, to: number): void {
    this.generation += 1
    this.#tailFrom = Math.max(this.#tailFrom, to)
    this.#forgetLoaded(from, to)
  }

  /** The log ends there now. */
  truncate(offset: number): void {
    this.generation += 1
    this.#tail.truncate(offset)
    this.#tailFrom = Math.min(this.#tailFrom, offset)
    this.#forgetLoaded(offset, Number.POSITIVE_INFINITY)
  }

  #forgetLoaded(from: number, to: number): void {
    this.#loaded.forEach((stretch, i) => {
      // Something must stay in its place, to be evicted when its turn comes.
      if (stretch.overlaps(from, to)) this.#loaded[i] = new Fifo()
    })
  }
}

/** Stands where an evicted batch was, so that the batch itself can be collected. */
const GONE = undefined as unknown as RecordBatch

/** Consecutive batches, oldest first. */
class Fifo implements Evictable {
  #batches: RecordBatch[] = []
  #head = 0

  push(batch: RecordBatch): void {
    this.#batches.push(batch)
  }

  evictOldest(): void {
    if (this.#head < this.#batches.length) this.#batches[this.#head++] = GONE
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head)
      this.#head = 0
    }
  }

  overlaps(from: number, to: number): boolean {
    const first = this.#batches[this.#head]
    return first !== undefined && first.baseOffset < to && this.#batches.at(-1)!.nextOffset > from
  }

  truncate(offset: number): void {
    while (this.#batches.length > this.#head && this.#batches.at(-1)!.nextOffset > offset) this.#batches.pop()
  }

  find(offset: number): RecordBatch | undefined {
    let low = this.#head
    let high = this.#batches.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#batches[middle]!.nextOffset <= offset) low = middle + 1
      else high = middle
    }
    const batch = this.#batches[low]
    return batch && batch.baseOffset <= offset ? batch : undefined
  }
}
