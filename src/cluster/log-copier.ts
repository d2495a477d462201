/**
 * One log of a follower while it is copied: batches are written as they come, and synced in groups while the next are
 * written. A runner over one log, used by follower.ts.
 *
 * Must stay true: `durable` rises only after a sync that began when the bytes had been written; a sync never begins while
 * a write (which may roll the segment) is under way; after `drop` nothing is started any more.
 */
import type { RecordBatch } from '../log/record-batch.ts'
import type { LogName } from '../partition/quorum.ts'
import type { ReplicaLog } from './replica.ts'

/** What is written in one go. */
const GROUP_BYTES = 4 * 1_048_576

export interface LogCopierEvents {
  /** `written` or `durable` has moved. */
  moved(): void
  failed(error: unknown): void
}

export class LogCopier {
  readonly name: LogName
  readonly log: ReplicaLog
  readonly #events: LogCopierEvents
  #queue: RecordBatch[] = []
  #queuedBytes = 0
  #isWriting = false
  #isSyncing = false
  #isDropped = false
  #removing: Promise<unknown> | null = null
  #removeBelow = 0
  readonly #awaitingIdle: (() => void)[] = []

  constructor(name: LogName, log: ReplicaLog, events: LogCopierEvents) {
    this.name = name
    this.log = log
    this.#events = events
  }

  get written(): number {
    return this.log.nextOffset
  }

  get durable(): number {
    return this.log.durableOffset
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  push(batches: readonly RecordBatch[]): void {
    for (const batch of batches) {
      this.#queue.push(batch)
      this.#queuedBytes += batch.bytes.length
    }
    this.#kick()
  }

  /** The leader has let go of what is below; whole segments of it go here too. */
  removeBelow(offset: number): void {
    if (offset <= Math.max(this.#removeBelow, this.log.startOffset)) return
    this.#removeBelow = offset
    if (this.#removing || this.#isDropped) return
    const below = this.#removeBelow
    this.#removing = this.log
      .removeBelow(below)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#removing = null
        const later = this.#removeBelow
        this.#removeBelow = below
        this.removeBelow(later)
        this.#kick()
      })
  }

  /** Forgets what is not written yet; resolves when nothing is under way. */
  drop(): Promise<void> {
    this.#isDropped = true
    this.#queue = []
    this.#queuedBytes = 0
    return new Promise((resolve) => {
      this.#awaitingIdle.push(resolve)
      this.#kick()
    })
  }

  #kick(): void {
    if (!this.#isDropped) {
      if (!this.#isWriting && !this.#isSyncing && this.durable < this.written) this.#run('sync', this.log.sync())
      if (!this.#isWriting && this.#queue.length > 0) this.#run('write', this.log.copy(this.#takeGroup()))
    }
    if (this.#isWriting || this.#isSyncing || this.#removing) return
    for (const resolve of this.#awaitingIdle.splice(0)) resolve()
  }

  #run(what: 'write' | 'sync', step: Promise<void>): void {
    const isUnderWay = (is: boolean): void => {
      if (what === 'write') this.#isWriting = is
      else this.#isSyncing = is
    }
    isUnderWay(true)
    step.then(
      () => {
        isUnderWay(false)
        if (!this.#isDropped) this.#events.moved()
        this.#kick()
      },
      (error: unknown) => {
        isUnderWay(false)
        this.#fail(error)
        this.#kick()
      },
    )
  }

  #fail(error: unknown): void {
    if (this.#isDropped) return
    this.#isDropped = true
    this.#queue = []
    this.#events.failed(error)
  }

  #takeGroup(): RecordBatch[] {
    let bytes = 0
    let count = 0
    while (count < this.#queue.length && (count === 0 || bytes + this.#queue[count]!.bytes.length <= GROUP_BYTES)) {
      bytes += this.#queue[count++]!.bytes.length
    }
    this.#queuedBytes -= bytes
    return this.#queue.splice(0, count)
  }
}
