/** What a log is handed: its ports, and which log it is. */
import type { Clock, Random } from '../base/clock.ts'
import type { Disk } from '../base/disk.ts'
import type { BatchCache } from './batch-cache.ts'
import type { OpenSegments } from './open-segments.ts'

export interface LogOptions {
  disk: Disk
  clock: Clock
  random: Random
  directory: string
  /** partitionTag of format.ts: whose log this is. */
  tag: number
  segmentBytes: number
  cache: BatchCache
  openSegments: OpenSegments
  /** Of a new log: where it begins. A copy of one whose beginning has gone begins where that begins. */
  baseOffset?: number
}
