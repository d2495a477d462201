/**
 * The entries of a commit queue that have their place in the log and did not hear of their end yet: one line in the
 * order of offsets. A first part of it has heard `written`; whoever hears `durable` leaves it. Owned by its queue.
 */
import type { TidingsError } from '@tidings/sdk/protocol'
import type { CommitEntry, Urgency } from './commit-entry.ts'
import type { Quorum } from './quorum.ts'

export interface Placed {
  entry: CommitEntry
  urgency: Urgency
  offset: number
  /** Offset after its last record. */
  next: number
  timestamp: number
}

/** What an entry takes in memory while it waits, beyond its records: tiny messages count for what they cost. */
export const ENTRY_BYTES = 512

export class PlacedEntries {
  readonly #quorum: Quorum
  #entries: Placed[] = []
  /** The first that did not hear `durable`, and the first that did not hear `written`. */
  #head = 0
  #unwritten = 0
  /** Before it they are synced here and counted in `waitingBytes`. */
  #counted = 0
  /** What waits for other replicas alone. */
  waitingBytes = 0

  constructor(quorum: Quorum) {
    this.#quorum = quorum
  }

  get isEmpty(): boolean {
    return this.#entries.length === this.#head
  }

  /** They are in the log, behind all that came before. */
  push(group: readonly Placed[]): void {
    for (const one of group) this.#entries.push(one)
  }

  /** Tells those below the mark that they are written. */
  written(mark: number): void {
    while (this.#unwritten < this.#entries.length && this.#quorum.holds) {
      const { entry, offset, next, timestamp } = this.#entries[this.#unwritten]!
      if (next > mark) return
      this.#unwritten += 1
      entry.written(offset, timestamp)
    }
  }

  /**
   * Tells those below the mark that they are durable; none that did not hear `written`.
   * @param local below it they are synced here
   */
  durable(mark: number, local: number): void {
    while (this.#head < this.#unwritten && this.#quorum.holds) {
      const { entry, offset, next, timestamp } = this.#entries[this.#head]!
      if (next > mark) break
      if (this.#head < this.#counted) this.waitingBytes -= entry.size + ENTRY_BYTES
      this.#head += 1
      entry.durable(offset, timestamp)
    }
    this.#count(local)
    this.#trim()
  }

  /** Nobody waits any more: all hear the error. */
  fail(error: TidingsError): void {
    const failing = this.#entries.slice(this.#head)
    this.#entries = []
    this.#head = this.#unwritten = this.#counted = 0
    this.waitingBytes = 0
    for (const { entry } of failing) entry.failed(error)
  }

  #count(local: number): void {
    this.#counted = Math.max(this.#counted, this.#head)
    while (this.#counted < this.#entries.length && this.#entries[this.#counted]!.next <= local) {
      this.waitingBytes += this.#entries[this.#counted]!.entry.size + ENTRY_BYTES
      this.#counted += 1
    }
  }

  #trim(): void {
    const gone = this.#head
    if (gone < this.#entries.length && (gone < 1024 || gone * 2 < this.#entries.length)) return
    this.#entries = gone === this.#entries.length ? [] : this.#entries.slice(gone)
    this.#head = 0
    this.#unwritten -= gone
    this.#counted -= gone
  }
}
