/**
 * The records of a subscription log, bytes and meaning. One log per partition serves all its
 * subscriptions; the record's key is the subscription's id (UTF-8), its value is one of:
 *
 *    u8 1 state    next, number of runs, runs, [number of replacements, replacements]
 *    u8 2 delta    number of changes, changes, [number of replacements, replacements]
 *    u8 3 deleted
 *
 *    run      from, length, attempts * 2 + failed, notBefore     delivered, not acknowledged
 *    change   from, length, 0                                    acknowledged
 *             from, length, 1 + attempts * 2 + failed, notBefore pending: like a run
 *    replacement  offset, length, bytes of a record that is delivered instead of the one at the offset
 *
 * All numbers are varints (7 bits a byte, lowest first, high bit: more follow). `from` is the zigzag
 * difference to the end of the run or change before it (0 for the first). `notBefore` is wall time in
 * milliseconds since the epoch, since it outlives the process; 0: at once.
 *
 * `CursorFold` is what reading the log from its start gives. A state says everything anew, so that
 * older records may be dropped or not. Deltas stand on those before; where one is missing, what it
 * may have acknowledged counts as never acknowledged: messages come twice, none is lost.
 */
import { encodeRecord, recordKey, recordValueAt, utf8 } from '@tidings/sdk/protocol'
import type { Changes } from './changes.ts'
import type { LedgerState, PendingRun, Replacement } from './ledger-state.ts'
import { RunList } from './run-list.ts'

const STATE = 1
const DELTA = 2
const DELETED = 3

const encoder = new TextEncoder()

/** The whole state; `wallOffsetMs` is wall time minus the clock that the runs' times are in. */
export function encodeState(id: string, state: LedgerState, wallOffsetMs: number): Uint8Array {
  const out = new Writer(STATE)
  out.number(state.next)
  out.number(state.runs.length)
  for (const run of state.runs) {
    out.span(run.from, run.to)
    out.number(run.attempts * 2 + (run.failed ? 1 : 0))
    out.time(run.notBefore, wallOffsetMs)
  }
  out.replacements(state.replaced ?? [])
  return out.record(id)
}

export function encodeDelta(id: string, changes: Changes, wallOffsetMs: number): Uint8Array {
  const out = new Writer(DELTA)
  out.number(changes.count)
  changes.each(
    (from, to) => {
      out.span(from, to)
      out.number(0)
    },
    (from, to, attempts, failed, notBefore) => {
      out.span(from, to)
      out.number(1 + attempts * 2 + (failed ? 1 : 0))
      out.time(notBefore, wallOffsetMs)
    },
  )
  out.replacements(changes.replacements)
  return out.record(id)
}

export function encodeDeleted(id: string): Uint8Array {
  return new Writer(DELETED).record(id)
}

/** One subscription's state as its records tell it; times are wall times. */
export class CursorFold {
  next: number
  readonly runs = new RunList<PendingRun>()
  readonly #replaced = new Map<number, Uint8Array>()

  constructor(state: LedgerState) {
    this.next = state.next
    for (const run of state.runs) this.runs.insert({ ...run })
    for (const replacement of state.replaced ?? []) this.replaced(replacement)
  }

  state(): LedgerState {
    const replaced = [...this.#replaced].map(([offset, record]) => ({ offset, record }))
    const runs = [...this.runs].map((run) => ({ ...run }))
    return { next: this.next, runs, ...(replaced.length > 0 ? { replaced } : {}) }
  }

  acked(from: number, to: number): void {
    this.#reach(from, to)
    this.runs.take(from, to, any, ignore)
    this.#forget(from, to)
  }

  replaced({ offset, record }: Replacement): void {
    if (this.runs.find(offset)) this.#replaced.set(offset, record)
  }

  pending(run: PendingRun): void {
    this.#reach(run.from, run.to)
    this.runs.take(run.from, run.to, any, ignore)
    this.runs.insert(run)
  }

  /** Offsets at and past `next` do not exist any more: the log was cut (only where it was never synced). */
  cutAt(next: number): void {
    this.runs.take(next, Number.POSITIVE_INFINITY, any, ignore)
    this.next = Math.min(this.next, next)
    this.#forget(next, Number.POSITIVE_INFINITY)
  }

  #forget(from: number, to: number): void {
    for (const offset of this.#replaced.keys()) if (offset >= from && offset < to) this.#replaced.delete(offset)
  }

  #reach(from: number, to: number): void {
    // A record between is missing: nobody knows what became of these, so they are delivered again.
    if (from > this.next) {
      this.runs.insert({ from: this.next, to: from, attempts: 0, failed: false, notBefore: 0 })
    }
    this.next = Math.max(this.next, to)
  }
}

/**
 * Takes the record that begins at `at` into the subscriptions' states. Throws RangeError for bytes
 * that are no such record (they passed the batch's checksum: they were written by something else).
 */
export function foldRecord(folds: Map<string, CursorFold>, bytes: Uint8Array, at: number, end: number): void {
  const key = recordKey(bytes, at)
  if (!key) throw new RangeError('subscription log: a record without a subscription')
  const id = utf8(key, 0, key.length)
  const reader = new Reader(bytes, recordValueAt(bytes, at), end)
  const kind = reader.byte()
  if (kind === DELETED) folds.delete(id)
  else if (kind === STATE) folds.set(id, readState(reader))
  else if (kind === DELTA) {
    const fold = folds.get(id)
    // Without a state to stand on the subscription begins at the log's start, which is the safe side.
    if (fold) readDelta(reader, fold)
  } else throw new RangeError(`subscription log: a record of unknown kind ${kind}`)
}

function readState(reader: Reader): CursorFold {
  const fold = new CursorFold({ next: reader.number(), runs: [] })
  for (let left = reader.number(); left > 0; left--) {
    const { from, to } = reader.span()
    fold.runs.insert(reader.pending(from, to, reader.number()))
  }
  for (const replacement of reader.replacements()) fold.replaced(replacement)
  return fold
}

function readDelta(reader: Reader, fold: CursorFold): void {
  for (let left = reader.number(); left > 0; left--) {
    const { from, to } = reader.span()
    const what = reader.number()
    if (what === 0) fold.acked(from, to)
    else fold.pending(reader.pending(from, to, what - 1))
  }
  for (const replacement of reader.replacements()) fold.replaced(replacement)
}

const any = (): boolean => true
const ignore = (): void => undefined

class Writer {
  #bytes = new Uint8Array(256)
  #length = 1
  #last = 0

  constructor(kind: number) {
    this.#bytes[0] = kind
  }

  number(value: number): void {
    if (this.#length + 8 > this.#bytes.length) this.#grow()
    let rest = value
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#bytes[this.#length++] = rest
  }

  span(from: number, to: number): void {
    const step = from - this.#last
    this.number(step < 0 ? -step * 2 - 1 : step * 2)
    this.number(to - from)
    this.#last = to
  }

  time(time: number, wallOffsetMs: number): void {
    this.number(time === 0 ? 0 : Math.max(1, Math.ceil(time + wallOffsetMs)))
  }

  /** Nothing at all where there are none, which is the rule. */
  replacements(all: readonly Replacement[]): void {
    if (all.length > 0) this.number(all.length)
    for (const { offset, record } of all) {
      this.number(offset)
      this.number(record.length)
      while (this.#length + record.length > this.#bytes.length) this.#grow()
      this.#bytes.set(record, this.#length)
      this.#length += record.length
    }
  }

  record(id: string): Uint8Array {
    return encodeRecord({
      key: encoder.encode(id),
      value: this.#bytes.subarray(0, this.#length),
      contentType: 'application/octet-stream',
      headers: [],
      idempotencyKey: null,
      expiresAt: null,
      valueChecked: false,
    })
  }

  #grow(): void {
    const bytes = new Uint8Array(this.#bytes.length * 2)
    bytes.set(this.#bytes)
    this.#bytes = bytes
  }
}

class Reader {
  readonly #bytes: Uint8Array
  readonly #end: number
  #at: number
  #last = 0

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes
    this.#at = at
    this.#end = end
  }

  byte(): number {
    if (this.#at >= this.#end) throw new RangeError('subscription log: a record ends early')
    return this.#bytes[this.#at++]!
  }

  number(): number {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (!Number.isSafeInteger(value)) throw new RangeError('subscription log: a number is too large')
      if (byte < 0x80) return value
      scale *= 0x80
    }
  }

  span(): { from: number; to: number } {
    const zigzag = this.number()
    const from = this.#last + (zigzag % 2 === 1 ? -(zigzag + 1) / 2 : zigzag / 2)
    const to = from + this.number()
    if (from < 0 || to <= from) throw new RangeError('subscription log: a range is impossible')
    this.#last = to
    return { from, to }
  }

  replacements(): Replacement[] {
    const all: Replacement[] = []
    for (let left = this.#at < this.#end ? this.number() : 0; left > 0; left--) {
      const offset = this.number()
      const end = this.number() + this.#at
      if (end > this.#end) throw new RangeError('subscription log: a record ends early')
      // A copy: what was read around it must not stay in memory for it.
      all.push({ offset, record: this.#bytes.slice(this.#at, end) })
      this.#at = end
    }
    return all
  }

  pending(from: number, to: number, what: number): PendingRun {
    return { from, to, attempts: Math.floor(what / 2), failed: what % 2 === 1, notBefore: this.number() }
  }
}
