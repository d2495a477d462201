/**
 * The bookkeeping of one batch publish: which entries go into which partition, which receipts are
 * there, and the one answer when the last of them is settled. Used by topic.ts alone.
 */
import { formatMessageId, type Receipt, TidingsError } from '@tidings/sdk/protocol'
import type { Records } from './commit-queue.ts'
import type { FirstPublish } from './idempotency-window.ts'
import type { LogPartition } from './partition.ts'
import type { FirstSchedule } from './schedule-keys.ts'
import type { LaterMessage } from './scheduler.ts'

/** `timestamp` in milliseconds since the epoch. */
export type PublishReceipt = Receipt & { timestamp: number }
/** The message enters the log later; `deliverAt` in milliseconds since the epoch. */
export interface ScheduledReceipt {
  scheduled: { id: string; deliverAt: number }
  duplicate?: true
}
/** What became of a publish. A repetition is answered with what became of the first, whichever it was. */
export type PublishOutcome = PublishReceipt | ScheduledReceipt
export type PublishDone = (error: TidingsError | null, outcome?: PublishOutcome) => void
export type BatchDone = (error: TidingsError | null, outcomes?: PublishOutcome[]) => void

/** The entries of one batch that go into one partition, as one append. */
export class Part {
  readonly partition: LogPartition
  /** Which entries of the request, in order. */
  readonly indexes: number[] = []
  readonly keys: { key: string; idempotencyKey: Uint8Array; position: number }[] = []
  size = 0
  #attributes = 0
  readonly #bytes: Uint8Array[] = []

  constructor(partition: LogPartition) {
    this.partition = partition
  }

  /** @param keyed the Idempotency-Key that this entry is the first to use, or null */
  add(index: number, records: Records, keyed: { key: string; idempotencyKey: Uint8Array } | null): void {
    if (keyed) this.keys.push({ ...keyed, position: this.indexes.length })
    this.indexes.push(index)
    this.#bytes.push(records.bytes)
    this.#attributes |= records.attributes
    this.size += records.bytes.length
  }

  records(): Records {
    return { bytes: Buffer.concat(this.#bytes), count: this.indexes.length, attributes: this.#attributes }
  }
}

/** Scheduled messages are stored in groups of about so many bytes, so that one of them can be read without megabytes. */
const LATER_BYTES = 262_144

/** Entries of one batch that are to be scheduled, as one append to the schedule log. */
export class LaterPart {
  readonly indexes: number[] = []
  readonly keys: { key: string; position: number }[] = []
  readonly messages: LaterMessage[] = []
  #size = 0

  get isFull(): boolean {
    return this.#size >= LATER_BYTES
  }

  get size(): number {
    return this.#size
  }

  add(index: number, message: LaterMessage, key: string | null): void {
    if (key !== null) this.keys.push({ key, position: this.indexes.length })
    this.indexes.push(index)
    this.messages.push(message)
    this.#size += message.bytes.length
  }
}

/** Collects the receipts of a batch and answers once, when its last entry is settled. */
export class BatchPublish {
  readonly #receipts: (PublishOutcome | undefined)[]
  readonly #repeats: { index: number; earlier: number }[] = []
  readonly #done: BatchDone
  #open = 1
  #error: TidingsError | null = null

  constructor(count: number, done: BatchDone) {
    this.#receipts = new Array<PublishOutcome | undefined>(count)
    this.#done = done
  }

  /** So many parts were made; the answer may leave once they, and all waiters, are settled. */
  expect(parts: number): void {
    this.#open += parts
    this.settled()
  }

  stored(index: number, receipt: PublishOutcome): void {
    this.#receipts[index] = receipt
  }

  /** The entry has the key of an earlier one of the same batch. */
  repeats(index: number, earlier: number): void {
    this.#repeats.push({ index, earlier })
  }

  /** Receives the outcome of a publish outside this batch that an entry repeats. */
  receiver(index: number): PublishDone {
    this.#open += 1
    return (error, receipt) => {
      this.#error ??= error
      if (receipt) this.#receipts[index] = receipt
      this.settled()
    }
  }

  /** @param what names the part that failed */
  failed(what: string, error: TidingsError): void {
    // What nobody knows is the graver news: the others are not stored for certain.
    if (this.#error === null || error.code === 'outcome_unknown') {
      this.#error = new TidingsError(error.code, `${what}: ${error.message}`, { cause: error })
    }
    this.settled()
  }

  settled(): void {
    this.#open -= 1
    if (this.#open > 0) return
    for (const { index, earlier } of this.#repeats) {
      const first = this.#receipts[earlier]
      if (first) this.#receipts[index] = { ...first, duplicate: true }
    }
    if (!this.#error) return this.#done(null, this.#receipts as PublishOutcome[])
    const stored = this.#receipts.flatMap((receipt, index) => (receipt ? [index] : []))
    const detail = stored.length === 0 ? '' : ` (stored before that: ${describe(stored)})`
    this.#done(new TidingsError(this.#error.code, `${this.#error.message}${detail}`, { cause: this.#error }))
  }
}

/** "entries 0-3, 7": which parts of a batch were stored, short also for large ones. */
function describe(indexes: readonly number[]): string {
  const ranges: string[] = []
  for (let i = 0; i < indexes.length && ranges.length < 20; ) {
    let end = i
    while (indexes[end + 1] === indexes[end]! + 1) end += 1
    ranges.push(end === i ? `${indexes[i]}` : `${indexes[i]}-${indexes[end]}`)
    i = end + 1
  }
  return `entries ${ranges.join(', ')}`
}

export function isScheduled(outcome: PublishOutcome): outcome is ScheduledReceipt {
  return 'scheduled' in outcome
}

export function scheduledReceiptOf({ id, deliverAt }: FirstSchedule): ScheduledReceipt {
  return { scheduled: { id: String(id), deliverAt } }
}

export function receiptOf(first: FirstPublish, duplicate: boolean): PublishReceipt {
  const { partition, offset, timestamp } = first
  const receipt = { partition, offset, id: formatMessageId(partition, offset), timestamp }
  return duplicate ? { ...receipt, duplicate: true } : receipt
}
