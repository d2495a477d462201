/**
 * Checks every byte of a data directory's logs while no broker runs on it: headers, every batch and
 * record, offsets without gaps, footers against what the batches say. Reads only; `tidings verify`
 * prints what it found.
 */
import { type Disk, isMissing } from '../base/disk.ts'
import { type Checkpoint, partitionTag, segmentBase, segmentName } from './format.ts'
import { CorruptionError, readCheckpoint } from './log-recovery.ts'
import { writtenBy } from './recovery.ts'
import { closes, readFooter, readSegmentHeader, type SegmentScan, scanSegment } from './segment-scan.ts'

export interface Finding {
  /** Path below the data directory, and the byte where the trouble begins. */
  path: string
  position: number | null
  /** `torn` is what the next start will cut by itself; `damaged` needs an operator. */
  severity: 'torn' | 'damaged'
  what: string
}

export interface VerifiedLog {
  directory: string
  segments: number
  batches: number
  records: number
  bytes: number
  startOffset: number
  nextOffset: number
  findings: Finding[]
}

/** Verifies one log directory. `tag`: whose log it should be, see partitionTag. */
export async function verifyLog(disk: Disk, directory: string, tag: number): Promise<VerifiedLog> {
  const result: VerifiedLog = {
    directory,
    segments: 0,
    batches: 0,
    records: 0,
    bytes: 0,
    startOffset: 0,
    nextOffset: 0,
    findings: [],
  }
  const report = (path: string, position: number | null, severity: Finding['severity'], what: string): void => {
    result.findings.push({ path, position, severity, what })
  }
  let checkpoint: Checkpoint | null = null
  try {
    checkpoint = await readCheckpoint(disk, directory)
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    report(error.path, error.position, 'damaged', error.message)
  }
  if (checkpoint?.beginsAnew) {
    report(directory, null, 'torn', `it was to begin anew at offset ${checkpoint.startOffset}: what was there is void`)
    return { ...result, startOffset: checkpoint.startOffset, nextOffset: checkpoint.startOffset }
  }
  const all = (await disk.list(directory)).map(segmentBase).filter((base) => base !== null)
  const bases = all.filter((base) => base >= (checkpoint?.startOffset ?? 0))
  result.startOffset = bases[0] ?? 0
  if (bases.length === 0) report(directory, null, 'damaged', 'there is no segment')
  if (checkpoint && bases.length > 0 && bases[0] !== checkpoint.startOffset) {
    report(directory, null, 'damaged', `the segment with offset ${checkpoint.startOffset} is missing`)
  }
  if (checkpoint && !bases.includes(checkpoint.segmentBase)) {
    report(directory, null, 'damaged', `the segment ${segmentName(checkpoint.segmentBase)} is missing`)
  }
  for (const [i, base] of bases.entries()) {
    const promised = checkpoint?.segmentBase === base ? checkpoint.durablePosition : 0
    const nextOffset = await verifySegment(disk, directory, base, tag, bases[i + 1] === undefined, promised, result)
    const next = bases[i + 1]
    if (next !== undefined && nextOffset !== null && nextOffset !== next) {
      report(
        `${directory}/${segmentName(next)}`,
        0,
        'damaged',
        `offsets ${nextOffset} to ${next - 1} are missing before it`,
      )
    }
    result.nextOffset = nextOffset ?? next ?? result.nextOffset
  }
  return result
}

async function verifySegment(
  disk: Disk,
  directory: string,
  base: number,
  tag: number,
  isLast: boolean,
  promised: number,
  result: VerifiedLog,
): Promise<number | null> {
  const path = `${directory}/${segmentName(base)}`
  const file = await disk.open(path, 'read')
  try {
    const { nonce } = await readSegmentHeader(file, base, tag)
    let footer = await readFooter(file, nonce)
    // As recovery does: in the last segment the scan decides.
    if (footer && isLast && !closes(footer, await scanSegment(file, base, tag))) footer = null
    const scan = await scanSegment(file, base, tag, footer ? { limit: footer.dataEnd } : {})
    result.segments += 1
    result.batches += scan.content.batches
    result.records += scan.content.records
    result.bytes += await file.size()
    // A promise is of the time when the segment was the active one. Its footer says more, and compaction makes it shorter.
    const trouble = troubleOf(scan, footer !== null, isLast, footer ? 0 : promised)
    if (trouble) {
      result.findings.push({ path, ...trouble })
      return null
    }
    if (footer && JSON.stringify(footer) !== JSON.stringify(scan.content.toFooter(footer.nonce))) {
      const position = footer.dataEnd
      result.findings.push({
        path,
        position,
        severity: 'damaged',
        what: 'the footer does not say what the batches say',
      })
    }
    return scan.content.nextOffset
  } finally {
    await file.close()
  }
}

function troubleOf(
  scan: SegmentScan,
  sealed: boolean,
  isLast: boolean,
  promised: number,
): Omit<Finding, 'path'> | null {
  const { content, stoppedBy, rest } = scan
  if (scan.header === 'older' || scan.header === 'newer')
    return { position: 0, severity: 'damaged', what: writtenBy(scan.header) }
  const proven = Math.max(scan.provenDurable, promised)
  if (scan.header === 'bad') {
    // As recovery has it: a header that was cut short is of a segment that was just begun, and held nothing.
    const empty = isLast && content.batches === 0 && scan.resumesAt === null && content.end >= proven
    return { position: 0, severity: empty ? 'torn' : 'damaged', what: 'the segment header is damaged' }
  }
  if (content.end < proven) {
    return { position: content.end, severity: 'damaged', what: `${stoppedBy}: bytes up to ${proven} were durable` }
  }
  if (rest !== 'garbage') return null
  if (sealed || !isLast) return { position: content.end, severity: 'damaged', what: stoppedBy }
  return { position: content.end, severity: 'torn', what: `${stoppedBy}: the last write was cut short` }
}

const PARTITION_NAME = /^(.+)-(\d+)$/
/** The logs of a partition. What else is there was not finished, or put aside as damaged. */
const KINDS = ['data', 'cursors', 'remembered']
/** The log of a topic's scheduled messages: no partition, so its number is 0 and the directory is the log. */
const SCHEDULE_NAME = /^(.+)-(schedule)$/

/**
 * Verifies every log below the data directory that belongs to a topic. `strangers` are directories
 * that do not: left by a creation that a crash cut short, or of a topic that metadata has lost.
 */
export async function verifyAll(
  disk: Disk,
  partitionsDirectory: string,
  isKnown: (topicId: string, partition: number) => boolean,
): Promise<{ logs: VerifiedLog[]; strangers: string[] }> {
  const logs: VerifiedLog[] = []
  const strangers: string[] = []
  for (const name of await namesIn(disk, partitionsDirectory)) {
    const [, topicId, number] = PARTITION_NAME.exec(name) ?? []
    const directory = `${partitionsDirectory}/${name}`
    const [, scheduled, kind] = SCHEDULE_NAME.exec(name) ?? []
    if (scheduled !== undefined && kind !== undefined && isKnown(scheduled, 0)) {
      logs.push(await verifyLog(disk, directory, partitionTag(scheduled, 0, kind)))
      continue
    }
    if (topicId === undefined || !isKnown(topicId, Number(number))) {
      strangers.push(directory)
      continue
    }
    for (const kind of await disk.list(directory)) {
      if (!KINDS.includes(kind)) strangers.push(`${directory}/${kind}`)
      else logs.push(await verifyLog(disk, `${directory}/${kind}`, partitionTag(topicId, Number(number), kind)))
    }
  }
  return { logs, strangers }
}

async function namesIn(disk: Disk, directory: string): Promise<string[]> {
  try {
    return await disk.list(directory)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}
