/**
 * The files of one topic as a broker has them that only copies it: all logs that are there, opened; more as the leader
 * has them. A runner over the disk, for the follower, which is stopped before they are closed.
 *
 * Must stay true: an epoch is remembered in all logs that there are, and in those that come later, before anything is
 * accepted in it; a log's own name proves it whole.
 */
import { isMissing, parentOf } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import { Log } from '../log/log.ts'
import {
  createLog,
  hasLog,
  type LogPlace,
  logName,
  PARTITIONS_DIRECTORY,
  partitionDirectory,
  partitionLog,
  placeOf,
  SCHEDULE_LOG,
} from '../partition/log-place.ts'
import type { PartitionEnvironment } from '../partition/partition.ts'
import type { LogName } from '../partition/quorum.ts'
import type { Replica } from './replica.ts'
import { partitionsOf } from './topic-files.ts'

const KINDS = ['data', 'cursors', 'remembered'] as const

export class ReplicaFiles implements Replica {
  readonly logs = new Map<LogName, Log>()
  readonly #environment: Omit<PartitionEnvironment, 'term'>
  readonly #topicId: string
  readonly #segmentBytes: number

  private constructor(environment: Omit<PartitionEnvironment, 'term'>, topicId: string, segmentBytes: number) {
    this.#environment = environment
    this.#topicId = topicId
    this.#segmentBytes = segmentBytes
  }

  /**
   * Opens what is there of the topic, which may be nothing. Throws CorruptionError.
   * @param segmentBytes of its messages, as its settings say
   */
  static async open(
    environment: Omit<PartitionEnvironment, 'term'>,
    topicId: string,
    segmentBytes: number,
  ): Promise<ReplicaFiles> {
    const files = new ReplicaFiles(environment, topicId, segmentBytes)
    const names = await environment.disk.list(PARTITIONS_DIRECTORY)
    const found = partitionsOf(topicId, names).flatMap((number) => KINDS.map((kind) => logName(number, kind)))
    try {
      for (const name of [...found, SCHEDULE_LOG]) {
        const place = files.#place(name)
        if (!(await hasLog(place))) continue
        const { log } = await Log.open(place.options)
        files.logs.set(name, log)
        await log.loadEpochs()
      }
    } catch (error) {
      await files.close()
      throw error
    }
    return files
  }

  /** Whether there is what a topic of so many partitions consists of: its copy can lead. */
  isWhole(partitions: number): boolean {
    const needed = Array.from({ length: partitions }, (_, i) => [logName(i, 'data'), logName(i, 'cursors')]).flat()
    return needed.every((name) => this.logs.has(name))
  }

  get seenEpoch(): number {
    return Math.max(0, ...[...this.logs.values()].map((log) => log.seenEpoch))
  }

  async beginEpoch(epoch: number): Promise<void> {
    for (const log of this.logs.values()) if (log.seenEpoch < epoch) await log.beginEpoch(epoch)
  }

  async createLog(name: LogName, baseOffset: number): Promise<Log> {
    assert(!this.logs.has(name), `log ${name} is not there yet`)
    const of = partitionLog(name)
    if (of) await this.#makeDirectory(partitionDirectory(this.#topicId, of.partition))
    const { seenEpoch } = this
    const log = await createLog(this.#place(name), baseOffset)
    await log.beginEpoch(seenEpoch)
    this.logs.set(name, log)
    return log
  }

  async close(): Promise<void> {
    for (const log of this.logs.values()) await log.close()
    this.logs.clear()
  }

  async #makeDirectory(path: string): Promise<void> {
    const { disk } = this.#environment
    try {
      await disk.list(path)
    } catch (error) {
      if (!isMissing(error)) throw error
      await disk.makeDirectory(path)
      await disk.syncDirectory(parentOf(path))
    }
  }

  #place(name: LogName): LogPlace {
    return placeOf(this.#environment, this.#topicId, name, this.#segmentBytes)
  }
}
