/**
 * The epochs of one log that other brokers copy: its history, and the highest epoch it was ever part of. A runner,
 * owned by its log, which has one only when somebody asks: a log that nobody copies pays nothing for it.
 *
 * Must stay true: the file tells of batches on stable storage only, and is lowered before any of them is cut off, so
 * that it is never wrong, only short. What it does not tell is read from the batches when the log is opened.
 */
import { type Disk, readWhole, replaceFile } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import { decodeEpochs, EPOCHS_FILE, encodeEpochs } from './epoch-file.ts'
import { EpochHistory } from './epoch-history.ts'
import { batchHeaders } from './known-batches.ts'
import type { Segment } from './segment.ts'

export class LogEpochs {
  readonly history: EpochHistory
  readonly #disk: Disk
  readonly #path: string
  #seen: number
  /** What the file says, 0 where there is none. */
  #writtenSeen: number
  #coveredTo: number

  private constructor(
    disk: Disk,
    path: string,
    history: EpochHistory,
    file: { seen: number; coveredTo: number } | null,
  ) {
    this.#disk = disk
    this.#path = path
    this.history = history
    this.#writtenSeen = file?.seen ?? 0
    this.#coveredTo = file?.coveredTo ?? 0
    this.#seen = Math.max(this.#writtenSeen, history.newest)
  }

  /** @param opened the segment is about to be read */
  static async load(
    disk: Disk,
    directory: string,
    segments: readonly Segment[],
    opened: (segment: Segment) => void,
  ): Promise<LogEpochs> {
    const path = `${directory}/${EPOCHS_FILE}`
    const bytes = await readWhole(disk, path)
    const file = bytes && decodeEpochs(bytes)
    const history = new EpochHistory(file?.entries)
    const coveredTo = file?.coveredTo ?? 0
    const end = segments.at(-1)?.nextOffset ?? 0
    history.truncated(Math.min(coveredTo, end))
    for (const segment of segments) {
      if (segment.content.isEmpty || segment.nextOffset <= coveredTo) continue
      opened(segment)
      await learn(history, segment, coveredTo)
    }
    history.droppedBelow(segments[0]?.baseOffset ?? 0)
    const epochs = new LogEpochs(disk, path, history, file)
    // A log that lost what was synced must not keep what was told of it: other records may come to stand there.
    await epochs.lower(end)
    return epochs
  }

  get seen(): number {
    return this.#seen
  }

  /** On stable storage when it resolves. */
  async begin(epoch: number, durableOffset: number): Promise<void> {
    assert(epoch >= this.#seen, `epoch ${epoch} comes after ${this.#seen}`)
    this.#seen = epoch
    if (this.#writtenSeen < epoch) await this.#write(durableOffset)
  }

  /** The log is about to be cut there: from here on the file tells of nothing behind it. The history is cut with the log. */
  async lower(nextOffset: number): Promise<void> {
    if (this.#coveredTo > nextOffset) await this.#write(nextOffset)
  }

  async #write(coveredTo: number): Promise<void> {
    const entries = this.history.entries.filter(({ startOffset }) => startOffset < coveredTo)
    const seen = this.#seen
    await replaceFile(this.#disk, this.#path, encodeEpochs({ seen, coveredTo, entries }))
    this.#coveredTo = coveredTo
    this.#writtenSeen = seen
  }
}

/** Adds what the segment has from the offset on; as epochs ascend, one whose last is known has nothing new. */
async function learn(history: EpochHistory, segment: Segment, from: number): Promise<void> {
  const { leaderEpoch, index } = segment.content
  if (history.newest === leaderEpoch) return
  const position = index.positionOf(Math.max(from, segment.baseOffset)) ?? index.entries[0]!.position
  for await (const batch of batchHeaders(segment, position)) {
    if (batch.nextOffset <= from) continue
    history.appended(batch.leaderEpoch, batch.baseOffset)
    if (history.newest === leaderEpoch) return
  }
}
