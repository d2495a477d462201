/**
 * Opens the segments of a log: gathers the facts, asks the table in recovery.ts, carries out what it
 * says. A crash at any point of it leaves a state from which the next attempt ends the same (S-IDEM):
 * every step is either a truncation to a place that is already the end, or the writing of a footer.
 * Sealed segments cost one small read; only the active one is scanned.
 */
import { type Disk, type DiskFile, isMissing, readWhole } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import type { CompactionState } from './compaction.ts'
import {
  CHECKPOINT_FILE,
  type Checkpoint,
  COMPACTING_FILE,
  decodeCheckpoint,
  type Footer,
  type SegmentHeader,
  segmentBase,
  segmentName,
} from './format.ts'
import { finishRestart } from './log-restart.ts'
import { recover, writtenBy } from './recovery.ts'
import { Segment } from './segment.ts'
import { SegmentContent } from './segment-content.ts'
import {
  closes,
  type ReadHeader,
  readFooter,
  readSegmentHeader,
  type SegmentScan,
  scanSegment,
} from './segment-scan.ts'

const REWRITE_BYTES = 1_048_576

/** A log whose durable bytes are damaged or gone. Nothing was changed; an operator must decide. */
export class CorruptionError extends Error {
  readonly path: string
  readonly position: number | null

  constructor(path: string, position: number | null, why: string) {
    super(`${path}${position === null ? '' : ` at byte ${position}`}: ${why}`)
    this.name = 'CorruptionError'
    this.path = path
    this.position = position
  }
}

export interface RecoveryReport {
  segments: number
  scannedBytes: number
  /** Bytes of a torn tail that were cut. */
  cutBytes: number
}

export interface RecoveredLog {
  sealed: Segment[]
  active: Segment
  startOffset: number
  compaction: CompactionState
  report: RecoveryReport
}

/** Files of another version of the format. Nothing was changed, and nothing is wrong with them. */
export class VersionError extends CorruptionError {}

/** Which log is opened, and how its new segments begin. */
export interface LogPlace {
  disk: Disk
  directory: string
  tag: number
  newHeader: (baseOffset: number) => SegmentHeader
}

interface Inspected extends ReadHeader {
  baseOffset: number
  path: string
  file: DiskFile
  footer: Footer | null
  scan: SegmentScan | null
  nextOffset: number
}

export async function recoverLog(place: LogPlace): Promise<RecoveredLog> {
  const { disk, directory, newHeader } = place
  let checkpoint = await readCheckpoint(disk, directory)
  if (checkpoint?.beginsAnew) checkpoint = await finishRestart(disk, directory, checkpoint, newHeader)
  const bases = await findSegments(disk, directory, checkpoint)
  if (!checkpoint && bases.length === 0) throw new CorruptionError(directory, null, 'there is no log where one was')
  const report: RecoveryReport = { segments: bases.length, scannedBytes: 0, cutBytes: 0 }
  const sealed: Segment[] = []
  let active: Segment | null = null
  for (const [i, baseOffset] of bases.entries()) {
    const next = bases[i + 1]
    const inspected = await inspect(place, baseOffset, next === undefined)
    report.scannedBytes += inspected.scan?.content.end ?? 0
    const segment = await settle(place, inspected, next, checkpoint, report)
    if (segment.sealed || next !== undefined) sealed.push(segment)
    else active = segment
  }
  active ??= await Segment.create(disk, directory, newHeader(sealed.at(-1)?.nextOffset ?? 0))
  // A segment may have been found whose creation had not come to syncing its name.
  await disk.syncDirectory(directory)
  const startOffset = sealed[0]?.baseOffset ?? active.baseOffset
  await removeUnfinished(disk, directory)
  const compaction = {
    through: checkpoint?.compactedThrough ?? 0,
    oldestTombstone: checkpoint?.oldestTombstone ?? 0,
  }
  return { sealed, active, startOffset, compaction, report }
}

/** What a compaction had not finished. */
async function removeUnfinished(disk: Disk, directory: string): Promise<void> {
  await disk.remove(`${directory}/${COMPACTING_FILE}`).catch((error: unknown) => {
    if (!isMissing(error)) throw error
  })
}

export async function readCheckpoint(disk: Disk, directory: string): Promise<Checkpoint | null> {
  const bytes = await readWhole(disk, `${directory}/${CHECKPOINT_FILE}`)
  if (bytes === null) return null
  const checkpoint = decodeCheckpoint(bytes)
  const path = `${directory}/${CHECKPOINT_FILE}`
  if (checkpoint === 'bad') throw new CorruptionError(path, null, 'the checkpoint is damaged')
  if (typeof checkpoint === 'string') throw new VersionError(path, null, writtenBy(checkpoint))
  return checkpoint
}

/**
 * Base offsets of the segments that belong to the log, in order. What a retention had begun to remove
 * (below the checkpoint's start) is removed to the end; anything else that is missing is corruption.
 */
async function findSegments(disk: Disk, directory: string, checkpoint: Checkpoint | null): Promise<number[]> {
  const names = await disk.list(directory)
  const bases = names.map(segmentBase).filter((base) => base !== null)
  if (!checkpoint) return bases
  const { startOffset, segmentBase: active } = checkpoint
  const kept = bases.filter((base) => base >= startOffset)
  if (kept[0] !== startOffset) {
    throw new CorruptionError(directory, null, `the segment with offset ${startOffset} is missing`)
  }
  if (kept.at(-1)! < active) throw new CorruptionError(directory, null, `the segment ${segmentName(active)} is missing`)
  for (const base of bases) {
    if (base >= startOffset) break
    await disk.remove(`${directory}/${segmentName(base)}`)
  }
  if (kept.length < bases.length) await disk.syncDirectory(directory)
  return kept
}

/**
 * A footer speaks for a segment that has a successor. In the last one, which was being appended to, whatever
 * looks like a footer may be the end of a message that somebody made so: there the scan decides.
 */
async function inspect({ disk, directory, tag }: LogPlace, baseOffset: number, isLast: boolean): Promise<Inspected> {
  const path = `${directory}/${segmentName(baseOffset)}`
  const file = await disk.open(path, 'edit')
  const { header, nonce } = await readSegmentHeader(file, baseOffset, tag)
  const footer = await readFooter(file, nonce)
  const scan = footer && !isLast ? null : await scanSegment(file, baseOffset, tag)
  const found = { baseOffset, path, file, header, nonce }
  if (footer && (!scan || closes(footer, scan))) return { ...found, footer, scan: null, nextOffset: footer.nextOffset }
  assert(scan, 'without a footer there was a scan')
  return { ...found, footer: null, scan, nextOffset: scan.content.nextOffset }
}

async function settle(
  { disk, directory, newHeader }: LogPlace,
  inspected: Inspected,
  next: number | undefined,
  checkpoint: Checkpoint | null,
  report: RecoveryReport,
): Promise<Segment> {
  const { baseOffset, path, file, footer, scan, header, nonce } = inspected
  const promised = checkpoint?.segmentBase === baseOffset ? checkpoint.durablePosition : 0
  const proven = provenDurable(scan, promised)
  const { action, why } = recover({
    role: next === undefined ? 'last' : 'inner',
    header,
    footer: footer ? 'valid' : 'none',
    meetsNext: next === undefined || inspected.nextOffset === next,
    rest: scan?.rest ?? 'nothing',
    provenLost: scan !== null && scan.content.end < proven,
  })
  const content = footer ? SegmentContent.fromFooter(baseOffset, footer) : scan!.content
  if (action === 'corrupt') {
    await file.close()
    throw new CorruptionError(path, scan?.content.end ?? null, scan ? `${why} (${scan.stoppedBy})` : why)
  }
  if (action === 'older' || action === 'newer') {
    await file.close()
    throw new VersionError(path, null, why)
  }
  if (action === 'recreate') {
    await file.close()
    await disk.remove(path)
    return Segment.create(disk, directory, newHeader(baseOffset))
  }
  assert(nonce, 'a segment that stays has a header')
  const segment = new Segment(disk, path, { baseOffset, nonce }, content, file)
  segment.size = await file.size()
  switch (action) {
    case 'cut':
      report.cutBytes += segment.size - content.end
      await file.truncate(content.end)
      segment.size = content.end
      break
    case 'keep':
      segment.sealed = true
      segment.durablePosition = content.end
      await segment.close()
      return segment
    case 'seal':
      await file.sync()
      segment.durablePosition = content.end
      await segment.seal()
      await segment.close()
      return segment
    case 'continue':
      break
  }
  await rewriteUnproven(file, proven, content.end)
  await segment.sync()
  return segment
}

/**
 * How far the segment was on stable storage for certain. The header is synced before anything is
 * appended, so that a batch behind a damaged header proves at least itself.
 */
function provenDurable(scan: SegmentScan | null, promised: number): number {
  if (!scan) return promised
  const proven = Math.max(scan.provenDurable, promised)
  const holdsBatches = scan.content.batches > 0 || scan.resumesAt !== null
  return scan.header === 'bad' && holdsBatches ? Math.max(proven, scan.content.end + 1) : proven
}

/**
 * Writes again what was read but is not proven durable, so that the sync that follows covers it: after
 * a failed sync of an earlier process it may be in the page cache only, marked clean.
 */
async function rewriteUnproven(file: DiskFile, proven: number, end: number): Promise<void> {
  for (let position = proven; position < end; position += REWRITE_BYTES) {
    await file.write(position, await file.read(position, Math.min(REWRITE_BYTES, end - position)))
  }
}
