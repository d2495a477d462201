/**
 * The batches that a lane works with: from memory, or else read from the disk, one read at a time. What
 * was read is held for one pass only, so that a subscription that stands still costs no memory. A runner,
 * owned by its lane.
 */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'

export interface ShelfHost {
  readonly clock: Clock
  readonly logger: Logger
  readonly isOpen: boolean
  /** What was asked for is there, or worth another look. */
  wake(): void
}

/** How long to wait after a failed read. */
const RELOAD_MS = 1000

export class Shelf {
  readonly #host: ShelfHost
  readonly #partition: Partition
  #loaded: readonly RecordBatch[] = []
  #recent: RecordBatch | undefined
  #isLoading = false
  /** After a failed read: not again before. 0: none failed. */
  #reloadAt = 0
  /** The time of the one message that was asked for last. */
  #stamp = { offset: -1, timestamp: 0 }
  #wantedStamp = -1

  constructor(host: ShelfHost, partition: Partition) {
    this.#host = host
    this.#partition = partition
  }

  get isLoading(): boolean {
    return this.#isLoading
  }

  /** When a read that failed is tried again. */
  get wakeAt(): number {
    return this.#reloadAt > 0 ? this.#reloadAt : Number.POSITIVE_INFINITY
  }

  /** A pass begins. */
  open(now: number): void {
    if (now >= this.#reloadAt) this.#reloadAt = 0
  }

  /** The pass is over. */
  close(): void {
    this.#loaded = []
    this.#recent = undefined
  }

  /** The batch that holds the offset; null: it must be read first, and `wake` tells when to ask again. */
  batchAt(offset: number): RecordBatch | null {
    if (this.#recent && holds(this.#recent, offset)) return this.#recent
    this.#recent = this.#loaded.find((batch) => holds(batch, offset)) ?? this.#partition.cached(offset)
    if (this.#recent) return this.#recent
    if (this.#reloadAt === 0) this.#load(offset)
    return null
  }

  /** The message's timestamp, where it is known without a wait; else what was known last, or null. */
  timestampOf(offset: number): number | null {
    const batch = this.#partition.cached(offset)
    if (batch) this.#stamp = { offset, timestamp: batch.timestamp }
    else if (this.#stamp.offset !== offset) {
      this.#wantedStamp = offset
      this.#load(offset)
    }
    return this.#stamp.offset === -1 ? null : this.#stamp.timestamp
  }

  #load(offset: number): void {
    if (this.#isLoading) return
    this.#isLoading = true
    this.#partition.load(offset).then(
      (batches) => this.#didLoad(offset, batches),
      (error: unknown) => {
        this.#didLoad(offset, [])
        // Retention may have been faster; anything else is worth a look.
        if (offset < this.#partition.startOffset) return
        this.#host.logger.error({ err: error, partition: this.#partition.number, offset }, 'reading the log failed')
      },
    )
  }

  #didLoad(offset: number, batches: readonly RecordBatch[]): void {
    this.#isLoading = false
    if (!this.#host.isOpen) return
    const batch = batches.find((one) => holds(one, offset))
    if (batch) {
      this.#reloadAt = 0
      this.#loaded = batches
      if (offset === this.#wantedStamp) this.#stamp = { offset, timestamp: batch.timestamp }
    } else if (offset >= this.#partition.startOffset) this.#reloadAt = this.#host.clock.monotonic() + RELOAD_MS
    this.#host.wake()
  }
}

function holds(batch: RecordBatch, offset: number): boolean {
  return batch.baseOffset <= offset && offset < batch.nextOffset
}
