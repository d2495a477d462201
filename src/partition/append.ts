/**
 * Messages on their way into a partition's log: one entry of its commit queue, which tells its listener
 * once what became of it, at the moment that the topic's durability names. Made by partition.ts.
 */
import type { TidingsError } from '@tidings/sdk/protocol'
import type { CommitEntry, Records } from './commit-queue.ts'

/** Who hears what became of an append. */
export interface AppendListener {
  /** As durable as the topic promises. */
  committed(baseOffset: number, timestamp: number): void
  /** Not stored, unless it is `outcome_unknown`. */
  failed(error: TidingsError): void
  /** Asked once, when it is about to be written; false: it is not, and its listener hears nothing more. */
  isWanted?(): boolean
}

export class Append implements CommitEntry {
  readonly size: number
  readonly #records: Records
  readonly #listener: AppendListener
  readonly #buffered: boolean
  #isCommitted = false

  constructor(records: Records, listener: AppendListener, buffered: boolean) {
    this.size = records.bytes.length
    this.#records = records
    this.#listener = listener
    this.#buffered = buffered
  }

  take(): Records | null {
    return this.#listener.isWanted?.() === false ? null : this.#records
  }

  written(baseOffset: number, timestamp: number): void {
    if (!this.#buffered) return
    this.#isCommitted = true
    this.#listener.committed(baseOffset, timestamp)
  }

  durable(baseOffset: number, timestamp: number): void {
    if (!this.#buffered) this.#listener.committed(baseOffset, timestamp)
  }

  failed(error: TidingsError): void {
    // What a buffered topic promises was kept when it was written.
    if (!this.#isCommitted) this.#listener.failed(error)
  }
}
