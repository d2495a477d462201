/**
 * Takes batches over from another broker's log as that one stamped them: offset, epoch, time and body stay, what speaks
 * of the segment is stamped for the one they go into. A runner over one log; the follower calls it through the log.
 */
import { isFull } from '../base/disk.ts'
import { emptyBatch } from './compacted-batch.ts'
import { checkBatch, RecordBatch, stampHeader } from './record-batch.ts'

/** The log, as its one writer has it. */
export interface CopyTarget {
  readonly nextOffset: number
  /** Of the newest batch. */
  readonly leaderEpoch: number
  readonly room: number
  readonly durablePosition: number
  readonly tag: number
  readonly mark: Buffer
  prepare(bytes: number): Promise<void>
  write(bytes: Buffer, batches: readonly RecordBatch[]): Promise<void>
  rollback(): Promise<void>
}

/** What came is damaged, or does not follow what is there. Of it and what came behind it nothing was written. */
export class CopyError extends Error {
  constructor(what: string) {
    super(what)
    this.name = 'CopyError'
  }
}

/** Written at a time. */
const GROUP_BYTES = 4 * 1_048_576

export async function copyBatches(log: CopyTarget, batches: readonly RecordBatch[]): Promise<void> {
  const whole = checked(log, batches)
  for (let from = 0; from < whole.length; ) {
    await log.prepare(whole[from]!.bytes.length)
    const limit = Math.min(log.room, GROUP_BYTES)
    let bytes = whole[from]!.bytes.length
    let to = from + 1
    while (to < whole.length && bytes + whole[to]!.bytes.length <= limit) bytes += whole[to++]!.bytes.length
    await writeGroup(log, whole.slice(from, to), bytes)
    from = to
  }
}

async function writeGroup(log: CopyTarget, batches: readonly RecordBatch[], length: number): Promise<void> {
  const bytes = Buffer.allocUnsafeSlow(length)
  const { durablePosition, tag: partitionTag, mark } = log
  let at = 0
  const own = batches.map((batch) => {
    const slice = bytes.subarray(at, (at += batch.bytes.length))
    batch.bytes.copy(slice)
    stampHeader(slice, { durablePosition, partitionTag, mark })
    return new RecordBatch(slice)
  })
  try {
    await log.write(bytes, own)
  } catch (error) {
    if (isFull(error)) await log.rollback()
    throw error
  }
}

/** All of them, or none: nothing is written of what does not fit as a whole. */
function checked(log: CopyTarget, batches: readonly RecordBatch[]): RecordBatch[] {
  let { nextOffset, leaderEpoch } = log
  return batches.map((batch) => {
    const check = checkBatch(batch.bytes, 0)
    if (check.kind !== 'batch' || check.batch.bytes.length !== batch.bytes.length)
      throw new CopyError(`the batch at offset ${batch.baseOffset} is damaged`)
    const fitting = batch.baseOffset < nextOffset ? restOf(log, batch, nextOffset) : batch
    if (fitting?.baseOffset !== nextOffset)
      throw new CopyError(`a batch at offset ${batch.baseOffset} does not follow offset ${nextOffset}`)
    if (batch.leaderEpoch < leaderEpoch)
      throw new CopyError(`a batch of epoch ${batch.leaderEpoch} does not follow one of epoch ${leaderEpoch}`)
    ;({ nextOffset, leaderEpoch } = fitting)
    return fitting
  })
}

/** Compaction joins empty batches: of one that begins before our end, what is behind it. */
function restOf(log: CopyTarget, batch: RecordBatch, baseOffset: number): RecordBatch | null {
  const { count, nextOffset, timestamp, leaderEpoch } = batch
  if (count > 0 || nextOffset <= baseOffset || batch.isFrame) return null
  const place = { position: log.durablePosition, partitionTag: log.tag, mark: log.mark }
  return emptyBatch({ baseOffset, nextOffset, timestamp, leaderEpoch }, place)
}
