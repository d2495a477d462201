/**
 * How far a watch of etcd has come, over all the streams that it takes: a decision. A stream may break off anywhere and
 * the next one begin where this says; what a person behind the watch is told is every change once, in order, all
 * changes of a revision together.
 */
import type { Change } from './coordinator.ts'
import { revisionOf, type WatchMessage } from './etcd-codec.ts'

export type WatchStep =
  | { kind: 'nothing' }
  | { kind: 'tell'; changes: Change[] }
  /** What came between is gone: the watch is over. */
  | { kind: 'lost' }
  /** The stream is over, the watch goes on with another. */
  | { kind: 'again'; reason: string }

/** A revision that etcd sends in parts is held until it is whole; one transaction is far smaller. */
const PART_CHANGES_MAX = 1_000_000

export class WatchPosition {
  #revision: number
  /** Parts of a message that has not come to its end. */
  #parts: Change[] = []

  /** `revision`: all up to it is known. */
  constructor(revision: number) {
    this.#revision = revision
  }

  /** What the next stream has to begin after. */
  get revision(): number {
    return this.#revision
  }

  /** A new stream begins after `revision`; what the last one left unfinished comes again. */
  restart(): void {
    this.#parts = []
  }

  take(message: WatchMessage): WatchStep {
    if (message.kind === 'created') return { kind: 'nothing' }
    if (message.kind === 'lost') return { kind: 'lost' }
    if (message.kind === 'ended') return { kind: 'again', reason: message.reason }
    for (const change of message.changes) if (revisionOf(change) > this.#revision) this.#parts.push(change)
    if (message.more && this.#parts.length <= PART_CHANGES_MAX) return { kind: 'nothing' }
    if (message.more) return { kind: 'lost' }
    const changes = this.#parts
    this.#parts = []
    this.#revision = Math.max(this.#revision, message.revision)
    return changes.length === 0 ? { kind: 'nothing' } : { kind: 'tell', changes }
  }
}
