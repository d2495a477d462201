/**
 * A log that gives up everything it has and begins anew at another offset: a copy whose leader does not have what
 * would come next any more. The moment is a checkpoint that says so: from then on no segment counts, until the new one
 * is there and the checkpoint says that. Recovery finishes what a crash interrupted.
 */
import { type Disk, replaceFile } from '../base/disk.ts'
import {
  CHECKPOINT_FILE,
  type Checkpoint,
  encodeCheckpoint,
  type SegmentHeader,
  segmentBase,
  segmentName,
} from './format.ts'
import { Segment } from './segment.ts'

export function restartAt(baseOffset: number): Checkpoint {
  return {
    startOffset: baseOffset,
    segmentBase: baseOffset,
    durablePosition: 0,
    compactedThrough: 0,
    oldestTombstone: 0,
    beginsAnew: true,
  }
}

/** Answers the checkpoint of the log that is there then: empty. */
export async function finishRestart(
  disk: Disk,
  directory: string,
  { startOffset }: Checkpoint,
  newHeader: (baseOffset: number) => SegmentHeader,
): Promise<Checkpoint> {
  const bases = (await disk.list(directory)).map(segmentBase).filter((base) => base !== null)
  for (const base of bases.reverse()) {
    await disk.remove(`${directory}/${segmentName(base)}`)
    await disk.syncDirectory(directory)
  }
  const segment = await Segment.create(disk, directory, newHeader(startOffset))
  await segment.close()
  const { durablePosition } = segment
  const checkpoint = { ...restartAt(startOffset), durablePosition, beginsAnew: false }
  await replaceFile(disk, `${directory}/${CHECKPOINT_FILE}`, encodeCheckpoint(checkpoint))
  return checkpoint
}
