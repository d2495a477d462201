/**
 * One segment file: append to its end, read at a position, seal. Single writer (the log); readers go
 * by position and never past what was written before they asked.
 *
 * Must stay true: bytes behind `content.end` are zeros or absent, so that a later scan finds nothing
 * there; a write never overlaps a runway extension that is under way.
 * The runway is space written ahead with zeros: an append into it changes no metadata of the file, so
 * its sync need not commit any.
 */
import type { Clock, Random } from '../base/clock.ts'
import { type Disk, type DiskFile, isFull, isMissing, parentOf } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import {
  drawNonce,
  encodeFooter,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentName,
} from './format.ts'
import type { RecordBatch } from './record-batch.ts'
import { SegmentContent } from './segment-content.ts'

/** Zeros behind the header of a new segment: thousands of quiet topics must not fill the disk. */
const RUNWAY_FIRST_BYTES = 16_384
/** The runway grows with what is written; at most so much at a time. */
const RUNWAY_STEP_BYTES = 524_288
const ZEROS = Buffer.alloc(RUNWAY_STEP_BYTES)

export function newHeader(
  { tag, clock, random }: { tag: number; clock: Clock; random: Random },
  baseOffset: number,
): SegmentHeader {
  return { baseOffset, tag, createdAt: clock.now(), nonce: drawNonce(random) }
}

export interface WholeSegment {
  header: SegmentHeader
  content: SegmentContent
  /** Of the file. */
  size: number
}

/** As told to whoever asks what a partition consists of. */
export interface SegmentInfo {
  baseOffset: number
  nextOffset: number
  bytes: number
  sealed: boolean
}

export class Segment {
  readonly baseOffset: number
  readonly path: string
  /** See format.ts: its batches and its footer prove by it that they are its own. */
  readonly nonce: Buffer
  readonly content: SegmentContent
  sealed: boolean
  /** Compaction has put another file in its place: whoever still reads it must look again. */
  isRetired = false
  /** Bytes known to be on stable storage. */
  durablePosition: number
  /** SHA-256 of the whole file, once it is sealed and somebody asked. */
  contentHash: Promise<string> | null = null
  /** The file's size in bytes, runway or footer included. */
  size: number
  #file: Promise<DiskFile> | null
  readonly #disk: Disk
  /** A runway extension under way; it never rejects: what went wrong fails the next write. */
  #extension: Promise<void> | null = null
  #extensionFailure: Error | null = null
  /** Behind its end the file still has what was cut off: nothing is written before that is gone for good. */
  #isUncut = false
  #reads = 0
  #awaitingIdle: (() => void)[] = []

  constructor(
    disk: Disk,
    path: string,
    { baseOffset, nonce }: Pick<SegmentHeader, 'baseOffset' | 'nonce'>,
    content: SegmentContent,
    file: DiskFile | null,
  ) {
    this.#disk = disk
    this.path = path
    this.baseOffset = baseOffset
    this.nonce = nonce
    this.content = content
    this.#file = file && Promise.resolve(file)
    this.sealed = false
    this.size = content.end
    this.durablePosition = 0
  }

  /** A new empty segment, its header and its name on stable storage. A half-made one is removed again. */
  static async create(disk: Disk, directory: string, header: SegmentHeader): Promise<Segment> {
    const { baseOffset } = header
    const path = `${directory}/${segmentName(baseOffset)}`
    const file = await disk.open(path, 'create')
    try {
      const runway = Buffer.alloc(SEGMENT_HEADER_BYTES + RUNWAY_FIRST_BYTES)
      encodeSegmentHeader(header).copy(runway)
      await file.write(0, runway)
      await file.sync()
      await disk.syncDirectory(directory)
    } catch (error) {
      await file.close()
      // Its name may have reached the disk, and must not come back once the segment before it has gone on.
      if (isFull(error)) {
        await disk.remove(path)
        await disk.syncDirectory(directory)
      }
      throw error
    }
    const segment = new Segment(disk, path, header, new SegmentContent(baseOffset), file)
    segment.size = SEGMENT_HEADER_BYTES + RUNWAY_FIRST_BYTES
    segment.durablePosition = SEGMENT_HEADER_BYTES
    return segment
  }

  /** A sealed segment that was written as a whole, under this name by now. */
  static written(disk: Disk, path: string, { header, content, size }: WholeSegment): Segment {
    const segment = new Segment(disk, path, header, content, null)
    segment.sealed = true
    segment.size = size
    segment.durablePosition = content.end
    return segment
  }

  /** The segment as it is to go on, its last batches gone: `rollback` makes its file so. */
  static cut(
    disk: Disk,
    { path, baseOffset, nonce, size, durablePosition }: Segment,
    content: SegmentContent,
  ): Segment {
    const segment = new Segment(disk, path, { baseOffset, nonce }, content, null)
    segment.size = size
    segment.durablePosition = Math.min(durablePosition, content.end)
    segment.#isUncut = true
    return segment
  }

  get nextOffset(): number {
    return this.content.nextOffset
  }

  get info(): SegmentInfo {
    const { baseOffset, nextOffset, sealed } = this
    return { baseOffset, nextOffset, bytes: sealed ? this.size : this.content.end, sealed }
  }

  #open(): Promise<DiskFile> {
    if (this.isRetired && !this.#file) return Promise.reject(new Error(`${this.path} was replaced`))
    this.#file ??= this.#disk.open(this.path, this.sealed ? 'read' : 'edit').catch((error: unknown) => {
      this.#file = null
      throw error
    })
    return this.#file
  }

  /** No read is under way: its file may be closed, to be opened again when needed. */
  get isIdle(): boolean {
    return this.#reads === 0
  }

  /** Writes a group of batches to the end. When it fails, call `rollback` or give up the segment. */
  write(bytes: Buffer, batches: readonly RecordBatch[]): Promise<void> {
    return this.#append(bytes, batches, (file, position) => file.write(position, bytes))
  }

  /** The same, and it is on stable storage when it resolves. Only while everything before it is. */
  async writeDurably(bytes: Buffer, batches: readonly RecordBatch[]): Promise<void> {
    assert(this.durablePosition === this.content.end, 'a sync of a group alone does not cover what is before it')
    await this.#append(bytes, batches, (file, position) => file.writeDurably(position, bytes))
    this.durablePosition = this.content.end
  }

  async #append(
    bytes: Buffer,
    batches: readonly RecordBatch[],
    write: (file: DiskFile, position: number) => Promise<void>,
  ): Promise<void> {
    if (this.#isUncut) await this.rollback()
    const position = this.content.end
    if (position + bytes.length > this.size) await this.#extension
    if (this.#extensionFailure) throw this.#extensionFailure
    const file = await this.#open()
    await write(file, position)
    this.size = Math.max(this.size, position + bytes.length)
    for (const batch of batches) this.content.add(batch)
  }

  /**
   * After a failed write (disk full): nothing of it stays, not even after a power cut, since its publishers
   * will be told so. Throws when that cannot be proven.
   */
  async rollback(): Promise<void> {
    const file = await this.#open()
    await this.#extension
    await file.truncate(this.content.end)
    this.size = await file.size()
    if (this.size !== this.content.end)
      throw new Error(`${this.path}: cut to ${this.content.end}, but has ${this.size} bytes`)
    await file.sync()
    this.durablePosition = this.content.end
    this.#isUncut = false
  }

  /** Everything written before the call is on stable storage when it resolves. */
  async sync(): Promise<void> {
    const written = this.content.end
    const file = await this.#open()
    await file.sync()
    this.durablePosition = Math.max(this.durablePosition, written)
  }

  /**
   * Makes sure that the next appends, about as large as the last one, find zeros ahead. A full disk only
   * means that they do not.
   */
  extendRunway(lastBytes: number, limit: number): void {
    const ahead = this.size - this.content.end
    if (this.#extension || this.sealed || ahead > Math.max(RUNWAY_FIRST_BYTES / 2, 2 * lastBytes)) return
    const step = Math.max(this.content.end, 4 * lastBytes, RUNWAY_FIRST_BYTES)
    const bytes = Math.min(step, RUNWAY_STEP_BYTES, limit - this.size)
    if (bytes <= 0) return
    this.#extension = this.#extend(this.size, bytes)
      .catch((error: unknown) => {
        this.#extensionFailure = error instanceof Error ? error : new Error(String(error))
      })
      .finally(() => {
        this.#extension = null
      })
  }

  /** The runway goes back to the disk; what is appended next takes new room. */
  async giveBackRunway(): Promise<void> {
    await this.#extension
    if (this.sealed || this.size <= this.content.end) return
    await (await this.#open()).truncate(this.content.end)
    this.size = this.content.end
  }

  async #extend(from: number, bytes: number): Promise<void> {
    const file = await this.#open()
    try {
      await file.write(from, ZEROS.subarray(0, bytes))
    } catch (error) {
      if (!isFull(error)) throw error
      return file.truncate(from)
    }
    // Else the first group in it that is synced by itself would have to commit the file's growth.
    await file.sync()
    this.size = from + bytes
  }

  /** Writes the footer behind the last batch; without room for it the segment stays whole but unsealed. */
  async seal(): Promise<void> {
    await this.#extension
    const file = await this.#open()
    const footer = encodeFooter(this.content.toFooter(this.nonce))
    try {
      await file.truncate(this.content.end)
      this.size = this.content.end
      await file.write(this.content.end, footer)
      this.size += footer.length
    } catch (error) {
      if (!isFull(error)) throw error
      await file.truncate(this.content.end)
      this.size = this.content.end
      return
    }
    await file.sync()
    this.sealed = true
    this.durablePosition = this.content.end
  }

  /** Bytes of the batches from a position on, never past the last batch. */
  async read(position: number, length: number): Promise<Buffer> {
    const end = this.content.end
    if (position >= end) return Buffer.alloc(0)
    this.#reads += 1
    try {
      return await (await this.#open()).read(position, Math.min(length, end - position))
    } finally {
      this.#readEnded()
    }
  }

  /** Keeps the file open, as a read would, until the answer is called: its name may then go to another file. */
  async hold(): Promise<() => void> {
    this.#reads += 1
    try {
      await this.#open()
    } catch (error) {
      this.#readEnded()
      throw error
    }
    return () => this.#readEnded()
  }

  #readEnded(): void {
    this.#reads -= 1
    if (this.#reads === 0) for (const resolve of this.#awaitingIdle.splice(0)) resolve()
  }

  /** Closes the file once no read is under way; a later read opens it again. */
  async close(): Promise<void> {
    await this.#extension
    while (this.#reads > 0) await new Promise<void>((resolve) => this.#awaitingIdle.push(resolve))
    const file = this.#file
    this.#file = null
    await (await file)?.close()
  }

  /** Removes the file; durable once the directory is synced, which this does. */
  async remove(): Promise<void> {
    await this.close()
    await this.#disk.remove(this.path).catch((error: unknown) => {
      if (!isMissing(error)) throw error
    })
    await this.#disk.syncDirectory(parentOf(this.path))
  }
}
