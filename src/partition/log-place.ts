/**
 * Where each log of a topic lies and how it is opened: the same for the broker that leads the topic and for those that
 * only copy it. Names of logs are those of quorum.ts.
 */
import { errorCode, isMissing, parentOf } from '../base/disk.ts'
import { BatchCache, CacheBudget } from '../log/batch-cache.ts'
import { partitionTag } from '../log/format.ts'
import { Log, type LogOptions } from '../log/log.ts'
import type { PartitionEnvironment } from './partition-environment.ts'
import type { LogName } from './quorum.ts'

export const PARTITIONS_DIRECTORY = 'partitions'
/** Of the log of a topic's scheduled messages. */
export const SCHEDULE_LOG = 'schedule'

const KINDS = ['data', 'cursors', 'remembered'] as const
/** The logs of a partition. */
export type LogKind = (typeof KINDS)[number]

const SEGMENT_BYTES = 4 * 1_048_576
/** What was scheduled lately is rarely what is due next: its memory is better used by the topics' tails. */
const SCHEDULE_CACHE_BYTES = 262_144

export function partitionDirectory(topicId: string, number: number): string {
  return `${PARTITIONS_DIRECTORY}/${topicId}-${number}`
}

export function logName(partition: number, kind: LogKind): LogName {
  return `${partition}/${kind}`
}

/** The partition and the kind in a log's name; null for the schedule. Throws where it is no name of a log. */
export function partitionLog(name: LogName): { partition: number; kind: LogKind } | null {
  if (name === SCHEDULE_LOG) return null
  const [, number, kind] = /^(0|[1-9]\d{0,5})\/(\w+)$/.exec(name) ?? []
  const known = KINDS.find((one) => one === kind)
  if (number === undefined || !known) throw new Error(`${JSON.stringify(name)} is no log of a topic`)
  return { partition: Number(number), kind: known }
}

export interface LogPlace {
  options: LogOptions
  /** Where it is made: its own name is to prove it whole. */
  unfinished: string
}

/** @param segmentBytes of the topic's messages, as its settings say */
export function placeOf(
  environment: Omit<PartitionEnvironment, 'term'>,
  topicId: string,
  name: LogName,
  segmentBytes: number,
): LogPlace {
  const { disk, clock, random, openSegments, cacheBudget, cursorLog, scheduleLog } = environment
  const shared = { disk, clock, random, openSegments }
  const of = partitionLog(name)
  if (!of) {
    const options = {
      ...shared,
      directory: `${PARTITIONS_DIRECTORY}/${topicId}-schedule`,
      tag: partitionTag(topicId, 0, 'schedule'),
      segmentBytes: scheduleLog?.segmentBytes ?? SEGMENT_BYTES,
      cache: new BatchCache(new CacheBudget(SCHEDULE_CACHE_BYTES)),
    }
    return { options, unfinished: `${PARTITIONS_DIRECTORY}/${topicId}-newschedule` }
  }
  const { partition, kind } = of
  const directory = `${partitionDirectory(topicId, partition)}/${kind}`
  const bytes = { data: segmentBytes, cursors: cursorLog?.segmentBytes ?? SEGMENT_BYTES, remembered: SEGMENT_BYTES }
  const options = {
    ...shared,
    directory,
    tag: partitionTag(topicId, partition, kind),
    segmentBytes: bytes[kind],
    // What is remembered is read once.
    cache: new BatchCache(kind === 'remembered' ? new CacheBudget(0) : cacheBudget),
  }
  return { options, unfinished: `${directory}-new` }
}

/** Whether a log is there; one that was not finished is not. */
export async function hasLog({ options: { disk, directory } }: LogPlace): Promise<boolean> {
  try {
    await disk.list(directory)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/** A new, empty log, under another name until it is whole; durable with its own name when it resolves. */
export async function createLog({ options, unfinished }: LogPlace, baseOffset = 0): Promise<Log> {
  const { disk, directory } = options
  await removeIfThere(disk, unfinished)
  const log = await Log.create({ ...options, directory: unfinished, baseOffset })
  await log.close()
  await disk.rename(unfinished, directory)
  await disk.syncDirectory(parentOf(directory))
  return (await Log.open(options)).log
}

/** The log on a broker that only copies it: what is there, or a new one that begins at the offset. Its epochs are loaded. */
export async function openCopy(place: LogPlace, baseOffset: number): Promise<Log> {
  if (!(await hasLog(place))) await makeParent(place.options)
  const log = (await hasLog(place)) ? (await Log.open(place.options)).log : await createLog(place, baseOffset)
  await log.loadEpochs()
  return log
}

async function makeParent({ disk, directory }: LogOptions): Promise<void> {
  const parent = parentOf(directory)
  await disk.makeDirectory(parent).catch((error: unknown) => {
    if (errorCode(error) !== 'EEXIST') throw error
  })
  await disk.syncDirectory(parentOf(parent))
}

export async function removeIfThere(disk: LogOptions['disk'], path: string): Promise<void> {
  await disk.removeTree(path).catch((error: unknown) => {
    if (!isMissing(error)) throw error
  })
}
