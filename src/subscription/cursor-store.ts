/**
 * The subscription log of one partition: all its subscriptions' cursors, written through the
 * partition's cursor queue and read back when it opens. A runner.
 *
 * Changes are not queued one by one. A cursor that changed is dirty; when the queue builds a group,
 * one record per dirty cursor is encoded with everything that changed until then. So at most one entry
 * per urgency is queued, and the first of them that is taken carries it all.
 * Must stay true: a hand-over happens after its lease is written, a confirmation after the sync that
 * covers it; after a failed append the next record of the cursors concerned is a whole state; a state
 * is dropped from the log only when newer ones of all subscriptions are synced.
 */
import { getU32, TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import { assert } from '../base/invariant.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Records, Urgency } from '../partition/commit-queue.ts'
import type { Partition } from '../partition/partition.ts'
import { type Confirm, Cursor, type CursorLog, type HandOver, type Reader } from './cursor.ts'
import { Compaction } from './cursor-compaction.ts'
import { type CursorFold, encodeDeleted, encodeDelta, encodeState, foldRecord } from './cursor-record.ts'

/** One entry takes no more than this, unless a single record is longer. */
const ENTRY_BYTES = 262_144
/** How long to wait after the disk or the queue was full. */
const RETRY_MS = 250

const NONE: readonly HandOver[] = []
const RANK: Record<Urgency, number> = { lazy: 0, written: 1, durable: 2 }
const URGENCIES: readonly Urgency[] = ['lazy', 'written', 'durable']

/**
 * The broker's own cursors, which hold no message back, have a colon in their id; ids of subscriptions are random
 * letters, digits, `_` and `-`.
 */
export function isInternalCursor(id: string): boolean {
  return id.includes(':')
}

/** One cursor's share of an entry. */
interface Part {
  cursor: Cursor
  floor: number
  handOvers: readonly HandOver[]
  confirms: Confirm[]
  /** Bytes of the record where it is a whole state, and the compaction that it is part of. */
  stateBytes: number
  round: number
}

interface Entry {
  urgency: Urgency
  size: number
  taken: boolean
  parts: Part[]
  deleted: string[]
}

export class CursorStore implements CursorLog {
  readonly partition: Partition
  /** Set while appends fail; deliveries stop, acknowledgements go on in memory. */
  stalled: TidingsError | null = null
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #cursors = new Map<string, Cursor>()
  readonly #compaction: Compaction
  #dirty: Cursor[] = []
  /** Subscriptions whose end is in no record yet. */
  #deleted: string[] = []
  /** What is submitted and not taken, by rank of urgency. */
  readonly #queued: (Entry | null)[] = [null, null, null]
  /** A record did not fit into an entry: what the next one must hold. */
  #needs = 0
  #retry: Timer | null = null
  #closed = false

  private constructor(partition: Partition, clock: Clock, logger: Logger) {
    this.partition = partition
    this.#clock = clock
    this.#logger = logger
    this.#compaction = new Compaction(partition, logger)
  }

  /** Reads the log. Cursors past the end of the partition are cut, durably, before this resolves. */
  static async open(partition: Partition, clock: Clock, logger: Logger): Promise<CursorStore> {
    const folds = new Map<string, CursorFold>()
    for await (const batch of partition.readCursorLog()) {
      for (let offset = batch.baseOffset; offset < batch.baseOffset + batch.count; offset++) {
        const at = batch.positionOf(offset)
        foldRecord(folds, batch.bytes, at, at + 4 + getU32(batch.bytes, at))
      }
    }
    const store = new CursorStore(partition, clock, logger)
    await store.#restore(folds)
    return store
  }

  get subscriptionIds(): string[] {
    return [...this.#cursors.keys()].filter((id) => !isInternalCursor(id))
  }

  /** Names of the broker's own cursors. */
  get internalIds(): string[] {
    return [...this.#cursors.keys()].filter(isInternalCursor)
  }

  /** Every subscription has durably acknowledged what is below; 0 when there is none. */
  get ackedThrough(): number {
    return this.hindmost?.offset ?? 0
  }

  /** The subscription that has acknowledged least, and through which offset, now and after a restart. */
  get hindmost(): { reader: Reader | null; offset: number } | null {
    let hindmost: Cursor | null = null
    for (const cursor of this.#cursors.values()) {
      if (!isInternalCursor(cursor.id) && (!hindmost || cursor.keptFloor < hindmost.keptFloor)) hindmost = cursor
    }
    return hindmost && { reader: hindmost.owner?.reader ?? null, offset: hindmost.keptFloor }
  }

  /** The cursor of that id, where there is one. */
  find(id: string): Cursor | undefined {
    return this.#cursors.get(id)
  }

  /** The subscription's cursor; without a record it begins at offset 0, so that nothing is passed over. */
  cursor(id: string): Cursor {
    return this.#cursors.get(id) ?? this.#add(id, 0)
  }

  /** Makes the start of a new subscription durable: before anybody can know of it. */
  async create(id: string, offset: number): Promise<void> {
    assert(!this.#cursors.has(id), `subscription ${id} has no cursor yet`)
    const cursor = this.#add(id, offset)
    try {
      await cursor.durable()
    } catch (error) {
      this.delete(id)
      throw error
    }
  }

  /** The subscription is gone from the catalog; its records will go too. Idempotent. */
  delete(id: string): void {
    const cursor = this.#cursors.get(id)
    if (!cursor) return
    this.#cursors.delete(id)
    cursor.deleted = true
    cursor.dirty = false
    this.#dirty = this.#dirty.filter((other) => other !== cursor)
    this.#compaction.forget(cursor)
    const error = new TidingsError('subscription_not_found', 'the subscription was deleted')
    this.#refuse(cursor.confirms.splice(0), error)
    for (const handOver of cursor.handOvers.splice(0)) handOver(false)
    this.#deleted.push(id)
    this.#submit('lazy')
  }

  touched(cursor: Cursor, urgency: Urgency): void {
    if (cursor.deleted) return
    if (!cursor.dirty) {
      cursor.dirty = true
      this.#dirty.push(cursor)
    }
    // While the disk is full only somebody who waits for an answer makes us try before the timer does.
    if (!this.stalled || urgency === 'durable') this.#submit(urgency)
  }

  soon(run: () => void): void {
    this.#clock.soon(run)
  }

  /** Everything changed until now is durable. Rejects with the reason when it cannot be. */
  async flush(): Promise<void> {
    await Promise.all([...this.#cursors.values()].map((cursor) => cursor.durable()))
  }

  /** Nothing is written any more. */
  close(): void {
    this.#closed = true
    this.#retry?.cancel()
  }

  async #restore(folds: ReadonlyMap<string, CursorFold>): Promise<void> {
    const end = this.partition.nextOffset
    const wallOffsetMs = this.#wallOffsetMs()
    for (const [id, fold] of folds) {
      const isCut = fold.next > end
      if (isCut) {
        this.#logger.warn({ subscription: id, next: fold.next, end }, 'the log ends before this cursor: it is set back')
        fold.cutAt(end)
      }
      const state = fold.state()
      // A time before the ledger's clock began is negative: since when a key is parked.
      for (const run of state.runs) if (run.notBefore !== 0) run.notBefore -= wallOffsetMs
      const cursor = new Cursor(this, id, state)
      this.#cursors.set(id, cursor)
      if (!isCut) continue
      cursor.requireWhole()
      this.touched(cursor, 'lazy')
    }
    // Else offsets that are given out anew would count as acknowledged after the next restart.
    await this.flush()
  }

  #add(id: string, offset: number): Cursor {
    const cursor = new Cursor(this, id, { next: offset, runs: [] })
    this.#cursors.set(id, cursor)
    cursor.requireWhole()
    this.touched(cursor, 'lazy')
    return cursor
  }

  /** What must be added to the ledgers' clock to be wall time. */
  #wallOffsetMs(): number {
    return this.#clock.now() - this.#clock.monotonic()
  }

  #submit(urgency: Urgency): void {
    const rank = RANK[urgency]
    // Nobody waits for a lazy one, so any other does. The others each get their own, since what the
    // queue does next (write at once, sync at once) depends on what is in it.
    if (this.#closed || this.#queued[rank] || (rank === 0 && (this.#queued[1] || this.#queued[2]))) return
    const size = Math.max(ENTRY_BYTES, this.#needs)
    const entry: Entry = { urgency, size, taken: false, parts: [], deleted: [] }
    this.#needs = 0
    this.#queued[rank] = entry
    try {
      this.partition.cursorQueue.submit(
        {
          size,
          take: () => this.#take(entry),
          written: (baseOffset) => this.#written(entry, baseOffset),
          durable: () => this.#durable(entry),
          failed: (error) => this.#failed(entry, error),
        },
        urgency,
      )
    } catch (error) {
      this.#failed(entry, TidingsError.from(error))
    }
  }

  #take(entry: Entry): Records | null {
    const rank = RANK[entry.urgency]
    this.#queued[rank] = null
    if (this.#isForLater(rank)) return null
    entry.taken = true
    const records: Uint8Array[] = []
    let room = entry.size
    const add = (record: Uint8Array): boolean => {
      if (record.length > room) {
        this.#needs = Math.max(this.#needs, record.length + ENTRY_BYTES)
        return false
      }
      room -= record.length
      records.push(record)
      return true
    }
    while (this.#deleted.length > 0 && add(encodeDeleted(this.#deleted[0]!))) entry.deleted.push(this.#deleted.shift()!)
    const wallOffsetMs = this.#wallOffsetMs()
    let done = 0
    while (done < this.#dirty.length && this.#takeCursor(this.#dirty[done]!, entry, wallOffsetMs, add)) done++
    this.#dirty = this.#dirty.slice(done)
    if (this.#dirty.length > 0 || this.#deleted.length > 0) this.#clock.soon(() => this.#submit(this.#wanted()))
    return records.length === 0 ? null : { bytes: Buffer.concat(records), count: records.length, attributes: 0 }
  }

  /** An entry that waits for less than a later one leaves everything to that, where it is in time. */
  #isForLater(rank: number): boolean {
    if (rank === RANK.lazy) return this.#queued[1] !== null || this.#queued[2] !== null
    return rank === RANK.written && this.#queued[2] !== null
  }

  #takeCursor(cursor: Cursor, entry: Entry, wallOffsetMs: number, add: (record: Uint8Array) => boolean): boolean {
    const { opened } = cursor
    const isWhole = cursor.needsWhole || !opened || opened.changes.whole
    const record = isWhole
      ? encodeState(cursor.id, cursor.state(), wallOffsetMs)
      : encodeDelta(cursor.id, opened.changes, wallOffsetMs)
    if (!add(record)) return false
    entry.parts.push({
      cursor,
      floor: opened ? opened.floor : cursor.durableFloor,
      handOvers: cursor.handOvers,
      confirms: cursor.confirms,
      stateBytes: isWhole ? record.length : 0,
      round: this.#compaction.round,
    })
    opened?.changes.clear()
    cursor.needsWhole = false
    cursor.handOvers = []
    cursor.confirms = []
    cursor.dirty = false
    cursor.unsynced++
    return true
  }

  #written(entry: Entry, baseOffset: number): void {
    this.#resume()
    for (const part of entry.parts) {
      const { cursor, handOvers, stateBytes, round } = part
      if (stateBytes > 0) this.#compaction.written(cursor, round, baseOffset, stateBytes)
      // It may still fail, and then not these.
      part.handOvers = NONE
      for (const handOver of handOvers) handOver(true)
    }
  }

  #durable(entry: Entry): void {
    for (const { cursor, floor, confirms, stateBytes, round } of entry.parts) {
      cursor.unsynced--
      cursor.durableFloor = floor
      if (stateBytes > 0) this.#compaction.durable(cursor, round)
      for (const confirm of confirms) confirm(null)
    }
    for (const cursor of this.#compaction.next(this.#cursors.values())) {
      cursor.requireWhole()
      this.touched(cursor, 'lazy')
    }
  }

  #failed(entry: Entry, error: TidingsError): void {
    const rank = RANK[entry.urgency]
    if (this.#queued[rank] === entry) this.#queued[rank] = null
    this.#stall(error)
    // An entry that was never taken had nothing of its own: what it would have carried is what is dirty now.
    const refused = new Set(entry.taken ? [] : this.#dirty)
    const confirms: Confirm[] = []
    const handOvers: HandOver[] = []
    this.#deleted.unshift(...entry.deleted)
    for (const part of entry.parts) {
      confirms.push(...part.confirms)
      handOvers.push(...part.handOvers)
      part.cursor.unsynced--
      part.cursor.requireWhole()
      this.touched(part.cursor, 'lazy')
      refused.add(part.cursor)
    }
    for (const cursor of refused) {
      if (!entry.taken) confirms.push(...cursor.confirms.splice(0))
      handOvers.push(...cursor.handOvers.splice(0))
    }
    for (const handOver of handOvers) handOver(false)
    for (const cursor of refused) cursor.owner?.refused(error)
    this.#refuse(confirms, error)
  }

  /** Never within the call that asked: it may not have returned yet. */
  #refuse(confirms: readonly Confirm[], error: TidingsError): void {
    if (confirms.length === 0) return
    this.#clock.soon(() => {
      for (const confirm of confirms) confirm(error)
    })
  }

  #stall(error: TidingsError): void {
    if (!this.stalled) {
      this.#logger.warn({ code: error.code, detail: error.message }, 'the subscription log cannot be written')
    }
    this.stalled = error
    if (this.#closed || this.#retry) return
    this.#retry = this.#clock.after(RETRY_MS, () => {
      this.#retry = null
      this.stalled = null
      if (this.#dirty.length > 0 || this.#deleted.length > 0) this.#submit(this.#wanted())
      if (!this.stalled) this.#wakeOwners()
    })
  }

  #resume(): void {
    if (!this.stalled) return
    this.stalled = null
    this.#retry?.cancel()
    this.#retry = null
    this.#wakeOwners()
  }

  #wakeOwners(): void {
    for (const cursor of this.#cursors.values()) cursor.owner?.resumed()
  }

  /** The most urgent wish among what is dirty. */
  #wanted(): Urgency {
    let rank = 0
    for (const { confirms, handOvers } of this.#dirty) {
      rank = Math.max(rank, confirms.length > 0 ? RANK.durable : handOvers.length > 0 ? RANK.written : RANK.lazy)
    }
    return URGENCIES[rank]!
  }
}
