/**
 * One log in memory, for what copies logs: with what is written and what is on stable storage apart, as a disk would
 * have them after a crash. What an operation does happens when the clock says so, not when it is asked for.
 */

import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../../src/base/clock.ts'
import type { SourceOfTerm } from '../../src/cluster/leader-feed.ts'
import type { ReplicaLog } from '../../src/cluster/replica.ts'
import type { EpochEntry } from '../../src/log/epoch-history.ts'
import { checkBatch, RecordBatch } from '../../src/log/record-batch.ts'

/** What stays of a log between two lives of its process. */
export interface LogContent {
  start: number
  batches: RecordBatch[]
  /** How many of them are on stable storage. */
  durable: number
}

export function emptyLog(start = 0): LogContent {
  return { start, batches: [], durable: 0 }
}

export class MemoryLog implements ReplicaLog, SourceOfTerm {
  readonly content: LogContent
  readonly #clock: Clock
  readonly #delayMs: () => number
  /** Batches from this offset on are found in memory; the rest must be read. */
  cachedFrom = 0
  copies = 0

  constructor(content: LogContent, clock: Clock, delayMs: () => number = () => 0) {
    this.content = content
    this.#clock = clock
    this.#delayMs = delayMs
  }

  get startOffset(): number {
    return this.content.start
  }

  get nextOffset(): number {
    return this.content.batches.at(-1)?.nextOffset ?? this.content.start
  }

  get durableOffset(): number {
    const { batches, durable, start } = this.content
    return durable === 0 ? start : batches[durable - 1]!.nextOffset
  }

  get epochs(): { entries: readonly EpochEntry[] } {
    const entries: EpochEntry[] = []
    for (const { leaderEpoch: epoch, baseOffset: startOffset } of this.content.batches) {
      if (entries.at(-1)?.epoch !== epoch) entries.push({ epoch, startOffset })
    }
    return { entries }
  }

  readonly cache = {
    find: (offset: number): RecordBatch | undefined => (offset < this.cachedFrom ? undefined : this.#find(offset)),
  }

  async read(offset: number): Promise<RecordBatch[]> {
    await this.#later(() => undefined)
    if (offset < this.startOffset) throw new TidingsError('offset_out_of_range', `${offset} is no longer kept`)
    const first = this.content.batches.findIndex((batch) => batch.nextOffset > offset)
    return first === -1 ? [] : this.content.batches.slice(first, first + 3)
  }

  copy(batches: readonly RecordBatch[]): Promise<void> {
    for (const batch of batches) {
      if (checkBatch(batch.bytes, 0).kind !== 'batch') throw new TidingsError('invalid_argument', 'no batch')
    }
    return this.#later(() => {
      this.copies += 1
      for (const batch of batches) this.append(batch)
    })
  }

  append(batch: RecordBatch): void {
    if (batch.baseOffset !== this.nextOffset) {
      throw new TidingsError('invalid_argument', `a batch of ${batch.baseOffset} at ${this.nextOffset}`)
    }
    const last = this.content.batches.at(-1)
    if (last && last.leaderEpoch > batch.leaderEpoch) throw new TidingsError('invalid_argument', 'an older epoch')
    this.content.batches.push(new RecordBatch(Buffer.from(batch.bytes)))
  }

  async sync(): Promise<void> {
    const count = this.content.batches.length
    const { batches } = this.content
    await this.#later(() => {
      if (this.content.batches === batches) this.content.durable = Math.max(this.content.durable, count)
    })
  }

  truncate(nextOffset: number): Promise<void> {
    return this.#later(() => {
      const { content } = this
      content.batches = content.batches.filter((batch) => batch.nextOffset <= nextOffset)
      content.durable = Math.min(content.durable, content.batches.length)
      if (this.nextOffset !== nextOffset) throw new Error(`no batch ends at ${nextOffset}`)
    })
  }

  restart(baseOffset: number): Promise<void> {
    return this.#later(() => {
      this.content.batches = []
      this.content.durable = 0
      this.content.start = baseOffset
    })
  }

  removeBelow(offset: number): Promise<boolean> {
    return this.#later(() => {
      const { content } = this
      let gone = 0
      while (gone < content.durable && content.batches[gone]!.nextOffset <= offset) gone += 1
      if (gone === 0) return false
      content.start = content.batches[gone - 1]!.nextOffset
      content.batches = content.batches.slice(gone)
      content.durable -= gone
      return true
    })
  }

  #find(offset: number): RecordBatch | undefined {
    const { batches } = this.content
    let [low, high] = [0, batches.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (batches[middle]!.nextOffset <= offset) low = middle + 1
      else high = middle
    }
    const batch = batches[low]
    return batch && batch.baseOffset <= offset ? batch : undefined
  }

  #later<T>(act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#clock.after(this.#delayMs(), () => {
        try {
          resolve(act())
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }
}
