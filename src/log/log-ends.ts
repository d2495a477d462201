/**
 * Moves the ends of a log. Retention moves the start; a copy that has more than its leader, or other things, has its end
 * cut off, or all of it. A runner; its log calls one at a time, the cuts while nothing is written.
 *
 * Must stay true (S6): a crash at any operation leaves the log as it was, as it is to be, or with a first part of
 * what is to go; never a gap, never with something of it behind something new. So what proves that bytes were durable
 * is lowered before they go, segments go highest first, each for good before the next, and nothing is written before
 * the last cut is on stable storage. For a restart the checkpoint is the one moment: log-restart.ts.
 */
import type { Disk } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import type { BatchCache } from './batch-cache.ts'
import type { SegmentHeader } from './format.ts'
import type { LogCompaction } from './log-compaction.ts'
import type { LogEpochs } from './log-epochs.ts'
import type { LogReader } from './log-reader.ts'
import type { SealedSegments } from './sealed-segments.ts'
import { Segment } from './segment.ts'
import { contentBelow } from './segment-read.ts'

/** Where a log begins. */
export interface LogStart {
  offset: number
  /** What checkpoints say: moves before `offset` does, which waits until that is on stable storage. */
  next: number
  /** Moves first. */
  keptFrom: number
  /** Everything is on its way out, and the log begins anew at `next`. */
  isAnew?: boolean
}

/** What a log hands over of itself. */
export interface LogEnds {
  readonly disk: Disk
  readonly directory: string
  readonly sealed: SealedSegments
  readonly start: LogStart
  readonly cache: BatchCache
  readonly reader: LogReader
  readonly compaction: LogCompaction
  newHeader: (baseOffset: number) => SegmentHeader
  active: () => Segment
  committed: () => number
  epochs: () => LogEpochs | null
  durableOffset: () => number
  /** The segment that is written to from now on; what is below the offset is on stable storage. */
  goOn: (active: Segment, durableOffset: number) => void
  checkpoint: () => Promise<void>
  forget: (segment: Segment) => void
}

/**
 * Removes the sealed segments that end at or before the offset and are committed. The new start is on stable storage
 * before the first file goes (S8); files left behind by a crash are removed by the next recovery.
 * @param save as Log.retain says
 */
export async function removeBelow(
  log: LogEnds,
  offset: number,
  save?: (to: number) => Promise<boolean>,
): Promise<boolean> {
  const before = Math.min(offset, log.committed())
  const going = log.sealed.list.filter((segment) => segment.nextOffset <= before)
  if (going.length === 0) return false
  // Nothing is given up before this: without room for it the next call finds the same segments again.
  const start = going.at(-1)!.nextOffset
  log.start.keptFrom = Math.max(log.start.keptFrom, start)
  if (save && !(await save(start))) return false
  log.start.next = Math.max(log.start.next, start)
  await log.checkpoint()
  log.sealed.dropFirst(going.length)
  log.start.offset = start
  log.epochs()?.history.droppedBelow(start)
  log.reader.forget()
  for (const segment of going) {
    log.forget(segment)
    await segment.remove()
  }
  return true
}

/** Ends the log at the offset, or before the batch that holds it. */
export async function truncateLog(log: LogEnds, nextOffset: number): Promise<void> {
  if (nextOffset >= log.active().nextOffset) return
  const { start, reader } = log
  assert(nextOffset >= start.offset, `offset ${nextOffset} is in the log, which begins at ${start.offset}`)
  const all = [...log.sealed.list, log.active()]
  const at = all.findLastIndex(({ baseOffset }) => baseOffset <= nextOffset)
  const last = all[at]!
  const content = await contentBelow(last, nextOffset)
  await log.epochs()?.lower(content.nextOffset)
  const cut = Segment.cut(log.disk, last, content)
  const before = { list: log.sealed.list, active: log.active(), durableOffset: log.durableOffset() }
  log.sealed.list = all.slice(0, at)
  log.goOn(cut, Math.min(before.durableOffset, content.nextOffset))
  log.cache.truncate(content.nextOffset)
  reader.forget()
  const { state } = log.compaction
  log.compaction.state = { ...state, through: Math.min(state.through, content.nextOffset) }
  try {
    await log.checkpoint()
  } catch (error) {
    // Nothing has gone yet. What is lowered by now is lowered for nothing, which is harmless.
    log.sealed.list = before.list
    log.goOn(before.active, before.durableOffset)
    throw error
  }
  log.epochs()?.history.truncated(content.nextOffset)
  for (const segment of all.slice(at + 1).reverse()) await remove(log, segment)
  last.isRetired = true
  log.forget(last)
  await last.close()
  await cut.rollback()
  log.goOn(cut, content.nextOffset)
}

/** Everything goes; the log begins at the offset, empty. What failed on the way may be asked for again. */
export async function restartLog(log: LogEnds, baseOffset: number): Promise<void> {
  const { start, reader } = log
  await log.epochs()?.lower(0)
  const { next } = start
  start.isAnew = true
  start.next = baseOffset
  try {
    await log.checkpoint()
  } catch (error) {
    start.isAnew = false
    start.next = next
    throw error
  }
  for (const segment of [...log.sealed.list, log.active()].reverse()) await remove(log, segment)
  log.sealed.list = []
  log.epochs()?.history.truncated(0)
  log.cache.truncate(0)
  reader.forget()
  log.compaction.state = { through: 0, oldestTombstone: 0 }
  log.goOn(await Segment.create(log.disk, log.directory, log.newHeader(baseOffset)), baseOffset)
  start.offset = baseOffset
  start.keptFrom = baseOffset
  start.isAnew = false
  await log.checkpoint()
}

async function remove(log: LogEnds, segment: Segment): Promise<void> {
  segment.isRetired = true
  log.forget(segment)
  await segment.remove()
}
