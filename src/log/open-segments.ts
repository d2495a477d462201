/**
 * Keeps the number of open files in check: sealed segments open when they are read and are closed
 * again when others were used more lately. One for the whole broker.
 */
import type { Segment } from './segment.ts'

export class OpenSegments {
  readonly #limit: number
  /** In the order of use, the least lately used first. */
  readonly #open: Set<Segment> = new Set()
  readonly #onError: (error: unknown) => void

  constructor(limit: number, onError: (error: unknown) => void) {
    this.#limit = limit
    this.#onError = onError
  }

  /** A segment is about to be read. The active one is kept open by its log and is not counted. */
  opened(segment: Segment): void {
    if (!segment.sealed) return
    this.#open.delete(segment)
    this.#open.add(segment)
    if (this.#open.size <= this.#limit) return
    for (const candidate of this.#open) {
      if (!candidate.isIdle || candidate === segment) continue
      this.#open.delete(candidate)
      candidate.close().catch(this.#onError)
      return
    }
  }

  forget(segment: Segment): void {
    this.#open.delete(segment)
  }
}
