/**
 * What compaction removes, and when it is worth a round: decisions. A round reads the newest offset of each key
 * into a table, from where the last round ended, and then goes over all sealed segments, oldest first.
 *
 * Must stay true: the newest record of a key stays, until it is a tombstone whose time is over and nothing older of
 * its key is left on stable storage (segments are rewritten in order, so nothing older can come back); a record
 * whose idempotency key is within the window stays, since the window is rebuilt from the log; a record without
 * a key stays; one that was brought back for one subscription only is nobody's last value and hides nothing.
 */
import {
  REDRIVEN_TO_HEADER,
  recordEnd,
  recordHeaders,
  recordIdempotencyKey,
  recordKey,
  recordValueAt,
} from '@tidings/sdk/protocol'
import type { KeyTable } from './key-table.ts'
import { HAS_ADDRESSEE, type RecordBatch } from './record-batch.ts'

export interface CompactionPolicy {
  /** How long a tombstone (a key with an empty value) stays, counted from its timestamp. */
  tombstoneMs: number
  /** How long an idempotency key is remembered. */
  windowMs: number
  /** How long the frames of producers are: their headers stay so long, whatever becomes of the records. */
  framesMs: number
}

/** What is known of the log; kept in its checkpoint. */
export interface CompactionState {
  /** Below it no key has more than one record, and no record hides an older one. */
  through: number
  /** Time of the oldest tombstone that was kept, 0: none was. */
  oldestTombstone: number
}

/** Sealed segments, oldest first. */
interface Measured {
  nextOffset: number
  size: number
}

/** A round begins when so much of the sealed bytes is new since the last. */
const DIRTY_RATIO = 0.5
/** Rounds for tombstones alone: so many within their time at most. */
const ROUNDS_A_LIFE = 4

export interface LastRound {
  /** Time since then; Infinity where there was none in this life. */
  sinceMs: number
  /** Some record was kept for its idempotency key alone. */
  keptYoung: boolean
}

export function isDue(
  { through, oldestTombstone }: CompactionState,
  sealed: readonly Measured[],
  { tombstoneMs, windowMs }: CompactionPolicy,
  now: number,
  last: LastRound,
): boolean {
  if (last.keptYoung && last.sinceMs < windowMs) return false
  let all = 0
  let dirty = 0
  for (const { nextOffset, size } of sealed) {
    all += size
    if (nextOffset > through) dirty += size
  }
  if (dirty > 0 && dirty >= all * DIRTY_RATIO) return true
  const isTombstoneOver = oldestTombstone > 0 && now - oldestTombstone > tombstoneMs
  return all > 0 && isTombstoneOver && last.sinceMs >= tombstoneMs / ROUNDS_A_LIFE
}

/** The key of which the record is a value: it hides older records of it. */
export function valuedKey(batch: RecordBatch, offset: number): Uint8Array | null {
  const at = batch.positionOf(offset)
  return isAddressed(batch, at) ? null : recordKey(batch.bytes, at)
}

function isAddressed(batch: RecordBatch, at: number): boolean {
  if ((batch.attributes & HAS_ADDRESSEE) === 0) return false
  return recordHeaders(batch.bytes, at).headers.some(([name]) => name === REDRIVEN_TO_HEADER)
}

/** The verdicts of one round, asked for every record in the order of offsets. */
export class CompactionRound {
  /** Records judged to go. */
  removed = 0
  /** The first record that only its idempotency key has kept. */
  firstYoung: number = Number.POSITIVE_INFINITY
  readonly #table: KeyTable
  readonly #end: number
  readonly #policy: CompactionPolicy
  readonly #now: number
  #oldestTombstone = 0

  /** @param end the table has the newest record of each key below it */
  constructor(table: KeyTable, end: number, policy: CompactionPolicy, now: number) {
    this.#table = table
    this.#end = end
    this.#policy = policy
    this.#now = now
  }

  isWanted(batch: RecordBatch, offset: number): boolean {
    const isWanted = this.#isWanted(batch, offset)
    if (!isWanted) this.removed += 1
    return isWanted
  }

  /** What is known when all records were judged, and what went is gone. */
  get state(): CompactionState {
    return { through: Math.min(this.#end, this.firstYoung), oldestTombstone: this.#oldestTombstone }
  }

  #isWanted(batch: RecordBatch, offset: number): boolean {
    const { bytes, timestamp } = batch
    const at = batch.positionOf(offset)
    const key = recordKey(bytes, at)
    if (!key) return true
    const age = this.#now - timestamp
    const isYoung = age < this.#policy.windowMs && recordIdempotencyKey(bytes, at) !== null
    if (this.#table.newestOf(key) > offset) {
      if (isYoung) this.firstYoung = Math.min(this.firstYoung, offset)
      return isYoung
    }
    const isTombstone = recordValueAt(bytes, at) === recordEnd(bytes, at, bytes.length)
    if (!isTombstone || isAddressed(batch, at)) return true
    // Behind a young record that was kept, something older of the same key may still be there.
    const isOver = age > this.#policy.tombstoneMs && !isYoung
    if (isOver && offset < this.#end && offset < this.firstYoung) return false
    if (this.#oldestTombstone === 0 || timestamp < this.#oldestTombstone) this.#oldestTombstone = timestamp
    return true
  }
}
