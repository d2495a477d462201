/**
 * One round of compaction over a log's sealed segments, in slices with a pause between them: reads the newest
 * offset of each key, then goes over the segments, oldest first, and writes those anew of which something goes. A
 * runner; what goes is compaction.ts.
 *
 * Must stay true: a segment's new file is whole and synced before it takes the old one's name, and that is durable
 * before the next segment is touched: a crash at any point leaves the old file or the new one, and at most
 * an unfinished file that the next start removes. Memory is bounded by the table of keys and a bit for every
 * record of one segment.
 */
import type { Random } from '../base/clock.ts'
import { type Disk, isMissing } from '../base/disk.ts'
import { type CompactionPolicy, CompactionRound, type CompactionState, valuedKey } from './compaction.ts'
import { COMPACTING_FILE, type SegmentHeader } from './format.ts'
import { KeyTable } from './key-table.ts'
import type { RecordBatch } from './record-batch.ts'
import type { SealedSegments } from './sealed-segments.ts'
import type { Segment } from './segment.ts'
import { readBatches } from './segment-read.ts'
import { SegmentWriter } from './segment-writer.ts'

export interface CompactionOptions {
  policy: CompactionPolicy
  now: number
  random: Random
  /** Keys that one round takes in at most: where there are more, it ends before the next. */
  keysMax: number
  /** Lets others go on. */
  pause: () => Promise<void>
  /** False: the round is to end, as it stands. */
  mayGoOn: () => boolean
}

/** What a round needs of its log. */
export interface CompactedLog {
  readonly disk: Disk
  readonly directory: string
  readonly sealed: SealedSegments
  /** Segments that end behind it are left as they are. */
  committed: () => number
  newHeader: (baseOffset: number) => SegmentHeader
  /** The segment is about to be read: others, read less lately, may have to close their files. */
  opened: (segment: Segment) => void
  /** Puts the finished file in the segment's place; false when the segment has gone. */
  replace: (segment: Segment, written: SegmentWriter, path: string) => Promise<boolean>
}

export interface CompactionReport {
  state: CompactionState
  /** Some record was kept for its idempotency key alone. */
  keptYoung: boolean
  removedRecords: number
  removedBytes: number
}

/** Records looked at between two pauses: a millisecond or two. */
const SLICE_RECORDS = 1000

/** Null: it ended before its time, and what it found out counts for nothing. */
export function compactSegments(
  log: CompactedLog,
  { through }: CompactionState,
  options: CompactionOptions,
): Promise<CompactionReport | null> {
  return new Compaction(log, options).run(through)
}

class Compaction {
  readonly #log: CompactedLog
  readonly #options: CompactionOptions
  #slice = 0

  constructor(log: CompactedLog, options: CompactionOptions) {
    this.#log = log
    this.#options = options
  }

  async run(from: number): Promise<CompactionReport | null> {
    const segments = wholePrefix(compactable(this.#log))
    const { keysMax, random, policy, now } = this.#options
    const table = new KeyTable(keysMax, random)
    const end = await this.#learn(segments, from, table)
    if (end === null) return null
    const round = new CompactionRound(table, end, policy, now)
    let removedBytes = 0
    for (const segment of segments) {
      const going = await this.#judge(segment, round)
      if (!going) return null
      if (going.count === 0) continue
      const freed = await this.#rewrite(segment, going)
      if (freed === null) return null
      removedBytes += freed
    }
    const keptYoung = round.firstYoung !== Number.POSITIVE_INFINITY
    return { state: round.state, keptYoung, removedRecords: round.removed, removedBytes }
  }

  /** Fills the table from where the last round ended; answers up to where it came. */
  async #learn(segments: readonly Segment[], from: number, table: KeyTable): Promise<number | null> {
    for (const segment of segments) {
      if (segment.nextOffset <= from) continue
      for await (const batch of this.#batchesOf(segment)) {
        for (const offset of batch.offsets()) {
          if (offset < from) continue
          const key = valuedKey(batch, offset)
          if (key && !table.put(key, offset)) return offset
          if (this.#isSliceOver() && !(await this.#goOn())) return null
        }
      }
      if (!(await this.#goOn())) return null
    }
    return segments.at(-1)?.nextOffset ?? 0
  }

  /** Which of the segment's records go. */
  async #judge(segment: Segment, round: CompactionRound): Promise<OffsetSet | null> {
    const going = new OffsetSet(segment.baseOffset, segment.nextOffset)
    for await (const batch of this.#batchesOf(segment)) {
      for (const offset of batch.offsets()) {
        if (!round.isWanted(batch, offset)) going.add(offset)
        if (this.#isSliceOver() && !(await this.#goOn())) return null
      }
    }
    return (await this.#goOn()) ? going : null
  }

  /** Writes the segment anew and puts it in place; answers how many bytes that freed. */
  async #rewrite(segment: Segment, going: OffsetSet): Promise<number | null> {
    const { disk, directory } = this.#log
    const path = `${directory}/${COMPACTING_FILE}`
    await removeFile(disk, path)
    const before = segment.size
    try {
      const { policy, now } = this.#options
      const framesFrom = now - policy.framesMs
      const writer = await SegmentWriter.create(disk, path, this.#log.newHeader(segment.baseOffset), framesFrom)
      try {
        for await (const batch of this.#batchesOf(segment)) {
          await writer.add(batch, (offset) => !going.has(offset))
          this.#slice += batch.count
          if (this.#isSliceOver() && !(await this.#goOn())) return null
        }
        // A segment that has gone meanwhile may have ended early.
        if (!this.#isThere(segment)) return 0
        await writer.finish()
      } finally {
        await writer.close()
      }
      return (await this.#log.replace(segment, writer, path)) ? before - writer.size : 0
    } finally {
      // Where it has become the segment, it is not there any more.
      await removeFile(disk, path)
    }
  }

  /** Ends early when retention removes the segment. */
  async *#batchesOf(segment: Segment): AsyncGenerator<RecordBatch> {
    const { end } = segment.content
    for (let position = segment.content.index.entries[0]?.position ?? end; position < end; ) {
      let stretch: Awaited<ReturnType<typeof readBatches>>
      if (this.#isThere(segment)) this.#log.opened(segment)
      try {
        stretch = await readBatches(segment, position)
      } catch (error) {
        if (!this.#isThere(segment)) return
        throw error
      }
      yield* stretch.batches
      position = stretch.end
    }
  }

  #isThere(segment: Segment): boolean {
    return this.#log.sealed.list.includes(segment)
  }

  #isSliceOver(): boolean {
    return ++this.#slice >= SLICE_RECORDS
  }

  async #goOn(): Promise<boolean> {
    this.#slice = 0
    await this.#options.pause()
    return this.#options.mayGoOn()
  }
}

/** What is still to be committed might be cut off again. */
export function compactable({ sealed, committed }: CompactedLog): readonly Segment[] {
  const before = committed()
  return sealed.list.filter(({ nextOffset }) => nextOffset <= before)
}

/** One that could not be sealed ends what can be compacted: it is sealed by the next start. */
function wholePrefix(segments: readonly Segment[]): readonly Segment[] {
  const open = segments.findIndex(({ sealed }) => !sealed)
  return open === -1 ? segments : segments.slice(0, open)
}

async function removeFile(disk: Disk, path: string): Promise<void> {
  await disk.remove(path).catch((error: unknown) => {
    if (!isMissing(error)) throw error
  })
}

/** Some offsets of one segment, a bit each. */
class OffsetSet {
  count = 0
  readonly #from: number
  readonly #bits: Uint8Array

  constructor(from: number, to: number) {
    this.#from = from
    this.#bits = new Uint8Array(Math.ceil((to - from) / 8))
  }

  add(offset: number): void {
    const bit = offset - this.#from
    this.#bits[Math.floor(bit / 8)]! |= 1 << (bit % 8)
    this.count += 1
  }

  has(offset: number): boolean {
    const bit = offset - this.#from
    return ((this.#bits[Math.floor(bit / 8)]! >> (bit % 8)) & 1) === 1
  }
}
