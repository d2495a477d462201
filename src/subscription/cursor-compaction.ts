/**
 * When a subscription log is written anew, and when its old records may go. A round has every cursor
 * of the partition write its whole state; when all of these are synced, what lies before the first
 * of them is not needed. A crash on the way does no harm: states say everything, and the older records
 * are still there.
 */
import type { Logger } from '../base/telemetry.ts'
import type { Partition } from '../partition/partition.ts'
import type { Cursor } from './cursor.ts'

/** A round begins when the log has grown by this since the last, and by so many times that round's states. */
const GROWTH_BYTES = 8 * 1_048_576
const GROWTH_FACTOR = 4

interface Round {
  number: number
  pending: Set<Cursor>
  /** Offset of the first of the new states. */
  before: number
  bytes: number
}

export class Compaction {
  readonly #partition: Partition
  readonly #logger: Logger
  #round: Round | null = null
  #rounds = 0
  readonly #growthBytes: number
  /** Size of the log at which the next round begins. */
  #dueBytes: number

  constructor(partition: Partition, logger: Logger) {
    this.#partition = partition
    this.#logger = logger
    this.#growthBytes = partition.cursorGrowthBytes ?? GROWTH_BYTES
    this.#dueBytes = this.#growthBytes
  }

  /** Marks a whole state that is encoded now: one from before the round does not count in it. */
  get round(): number {
    return this.#round?.number ?? 0
  }

  /** The cursor's whole state is written, in the entry at this offset. */
  written(cursor: Cursor, mark: number, baseOffset: number, bytes: number): void {
    const round = this.#round
    if (round?.number !== mark || !round.pending.has(cursor)) return
    round.before = Math.min(round.before, baseOffset)
    round.bytes += bytes
  }

  /** The cursor's whole state is synced. */
  durable(cursor: Cursor, mark: number): void {
    if (this.#round?.number === mark) this.#round.pending.delete(cursor)
  }

  /** The cursor is gone. */
  forget(cursor: Cursor): void {
    this.#round?.pending.delete(cursor)
  }

  /** Ends a round that is complete, or begins one that is due: the answer must write their whole states. */
  next(cursors: Iterable<Cursor>): Iterable<Cursor> {
    if (this.#round?.pending.size === 0) this.#end(this.#round)
    if (this.#round || this.#partition.cursorLogBytes <= this.#dueBytes) return []
    const pending = new Set(cursors)
    const { durableOffset } = this.#partition.cursorQueue
    const before = pending.size > 0 ? Number.POSITIVE_INFINITY : durableOffset
    this.#round = { number: ++this.#rounds, pending, before, bytes: 0 }
    return [...pending]
  }

  #end(round: Round): void {
    // Not again before the old records are gone and new ones have come.
    this.#dueBytes = Number.POSITIVE_INFINITY
    this.#round = null
    const settled = (): void => {
      const { cursorLogBytes } = this.#partition
      this.#dueBytes = cursorLogBytes + Math.max(this.#growthBytes, GROWTH_FACTOR * round.bytes)
    }
    if (round.before === Number.POSITIVE_INFINITY) return settled()
    this.#partition.trimCursorLog(round.before).then(settled, (error: unknown) => {
      this.#logger.error({ err: error }, 'old records of the subscription log could not be removed')
      settled()
    })
  }
}
