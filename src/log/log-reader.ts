/**
 * Reads a log: by offset, by time, whole. Readers may come at any time, several at once, while the log is written to
 * and while segments go. A runner, owned by its log.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { RecordBatch } from './record-batch.ts'
import type { SealedSegments } from './sealed-segments.ts'
import type { Segment } from './segment.ts'
import { offsetAtTime, readFrom } from './segment-read.ts'

/** The log as it is at this moment. */
export interface ReadLog {
  readonly sealed: SealedSegments
  active: () => Segment
  /** The first offset that is there. */
  readonly start: { readonly offset: number }
  /** The segment is about to be read: others, read less lately, may have to close their files. */
  opened: (segment: Segment) => void
}

export class LogReader {
  readonly #log: ReadLog
  /** Where a sequential reader goes on: offset → segment position. */
  #hint: { offset: number; segment: Segment; position: number } | null = null

  constructor(log: ReadLog) {
    this.#log = log
  }

  async read(offset: number): Promise<RecordBatch[]> {
    const start = this.#log.start.offset
    if (offset < start) {
      throw new TidingsError('offset_out_of_range', `offset ${offset} is no longer kept: the first one is ${start}`)
    }
    const active = this.#log.active()
    if (offset >= active.nextOffset) return []
    const segment = offset >= active.baseOffset ? active : this.#log.sealed.holding(offset)
    const hinted = this.#hint?.offset === offset && this.#hint.segment === segment ? this.#hint.position : null
    this.#log.opened(segment)
    try {
      const { batches, end } = await readFrom(segment, offset, hinted)
      const last = batches.at(-1)
      if (last) this.#hint = { offset: last.nextOffset, segment, position: end }
      return batches
    } catch (error) {
      if (segment.isRetired) return this.read(offset)
      throw error
    }
  }

  async offsetAt(timestamp: number): Promise<number> {
    const active = this.#log.active()
    const segments = [...this.#log.sealed.list, active]
    const segment = segments.find(({ content }) => !content.isEmpty && content.maxTimestamp >= timestamp)
    if (!segment) return active.nextOffset
    this.#log.opened(segment)
    try {
      return await offsetAtTime(segment, timestamp)
    } catch (error) {
      if (segment.isRetired) return this.offsetAt(timestamp)
      throw error
    }
  }

  async *all(): AsyncGenerator<RecordBatch> {
    for (let offset = this.#log.start.offset, to = this.#log.active().nextOffset; offset < to; ) {
      const batches = await this.read(offset)
      yield* batches
      offset = batches.at(-1)?.nextOffset ?? to
    }
  }

  /** What was read last may not be there any more. */
  forget(): void {
    this.#hint = null
  }
}
