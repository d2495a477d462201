/**
 * The directories of topics' partitions as a whole: which belong to whom, and how they go. A runner over
 * the disk, used by the host.
 *
 * Must stay true (R12, row 27 of the fault matrix): files are removed only for a tombstone with their
 * topic's id, or when they were never part of a topic; always by way of the trash. Directories without
 * metadata are left alone: missing metadata is no order to delete.
 */
import { TidingsError, type TopicSettings } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import { type Disk, errorCode, isMissing } from '../base/disk.ts'
import { PARTITIONS_DIRECTORY, partitionDirectory } from '../partition/log-place.ts'
import { LogPartition, type PartitionEnvironment } from '../partition/partition.ts'

const TRASH_DIRECTORY = 'trash'

export class TopicFiles {
  readonly #disk: Disk
  readonly #random: Random

  constructor(disk: Disk, random: Random) {
    this.#disk = disk
    this.#random = random
  }

  /** Makes the directories, empties the trash. Refuses files beside a store that does not know them. */
  async prepare(catalogIsNew: boolean): Promise<void> {
    for (const directory of [PARTITIONS_DIRECTORY, TRASH_DIRECTORY]) {
      try {
        await this.#disk.makeDirectory(directory)
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error
      }
    }
    await this.#disk.syncDirectory('')
    for (const name of await this.#disk.list(TRASH_DIRECTORY)) await this.#disk.removeTree(`${TRASH_DIRECTORY}/${name}`)
    if (!catalogIsNew) return
    const found = await this.#disk.list(PARTITIONS_DIRECTORY)
    if (found.length === 0) return
    throw new TidingsError(
      'internal',
      `the data directory holds ${found.length} partitions, but the store that says whose they are is new: ` +
        'restore coordinator.sqlite from a backup, or start on an empty directory',
    )
  }

  /** Makes the partitions from this number on, all of them or none. */
  async createPartitions(
    environment: PartitionEnvironment,
    topicId: string,
    from: number,
    settings: TopicSettings,
  ): Promise<LogPartition[]> {
    const partitions: LogPartition[] = []
    if (from < settings.partitions && environment.space.full) {
      throw new TidingsError('storage_full', 'the disk is full: there is no room for more partitions')
    }
    let number = from
    try {
      for (; number < settings.partitions; number++) {
        await this.#discard(topicId, number)
        partitions.push(await LogPartition.create(environment, topicId, number, settings))
      }
    } catch (error) {
      // Nobody knows of them yet, and whoever tries again on a full disk must not fill it further.
      for (const partition of partitions) await partition.close()
      for (; number >= from; number--) await this.#discard(topicId, number)
      throw error
    }
    return partitions
  }

  /** Removes what an unfinished creation or growth of the topic left in place of this partition. */
  async #discard(topicId: string, partition: number): Promise<void> {
    const directory = partitionDirectory(topicId, partition)
    try {
      await this.#disk.list(directory)
    } catch (error) {
      if (isMissing(error)) return
      throw error
    }
    const trash = `${TRASH_DIRECTORY}/${this.#random.id()}`
    await this.#disk.rename(directory, trash)
    await this.#disk.syncDirectory(PARTITIONS_DIRECTORY)
    await this.#disk.removeTree(trash)
  }

  /** Removes the files of a deleted topic; `gone` is called when they can no longer come back. */
  async bury(topicId: string, gone: () => Promise<void>): Promise<void> {
    const theirs = (await this.#disk.list(PARTITIONS_DIRECTORY)).filter((name) => topicOf(name) === topicId)
    for (const name of theirs) {
      await this.#disk.rename(`${PARTITIONS_DIRECTORY}/${name}`, `${TRASH_DIRECTORY}/${name}`)
    }
    await this.#disk.syncDirectory(PARTITIONS_DIRECTORY)
    await this.#disk.syncDirectory(TRASH_DIRECTORY)
    await gone()
    for (const name of theirs) await this.#disk.removeTree(`${TRASH_DIRECTORY}/${name}`)
  }

  /** Names of directories that belong to none of these topics. */
  async strangers(topicIds: readonly string[]): Promise<string[]> {
    const known = new Set(topicIds)
    return (await this.#disk.list(PARTITIONS_DIRECTORY)).filter((name) => !known.has(topicOf(name)))
  }
}

/** The topic id in the name of a partition's directory. */
function topicOf(directory: string): string {
  return directory.slice(0, Math.max(0, directory.lastIndexOf('-')))
}

/** The numbers of the topic's partitions among these names of directories, in order. */
export function partitionsOf(topicId: string, directories: readonly string[]): number[] {
  return directories
    .filter((name) => topicOf(name) === topicId)
    .map((name) => Number(name.slice(topicId.length + 1)))
    .filter((number) => Number.isInteger(number))
    .sort((a, b) => a - b)
}
