/**
 * Writes a whole sealed segment to a file that is not part of the log yet: header, batches, footer, sync. A runner,
 * for compaction, which puts the file in the place of the segment that it came from.
 */
import type { Disk, DiskFile } from '../base/disk.ts'
import { type EmptyStretch, emptyBatch, joined, type NewPlace, stretchOf, withoutRecords } from './compacted-batch.ts'
import { encodeFooter, encodeSegmentHeader, markOf, SEGMENT_HEADER_BYTES, type SegmentHeader } from './format.ts'
import type { RecordBatch } from './record-batch.ts'
import { SegmentContent } from './segment-content.ts'

/** Written at a time. */
const WRITE_BYTES = 1_048_576

export class SegmentWriter {
  readonly header: SegmentHeader
  readonly content: SegmentContent
  /** Bytes of the finished file. */
  size = 0
  readonly #file: DiskFile
  #parts: Buffer[]
  #partsBytes = SEGMENT_HEADER_BYTES
  #written = 0
  #isOpen = true
  /** Batches with nothing left, not written yet: the next may join them. */
  #stretch: EmptyStretch | null = null

  /** Frames from this time on keep their headers: producers may repeat them. */
  readonly #framesFrom: number

  private constructor(header: SegmentHeader, file: DiskFile, framesFrom: number) {
    this.header = header
    this.#framesFrom = framesFrom
    this.content = new SegmentContent(header.baseOffset)
    this.#file = file
    this.#parts = [encodeSegmentHeader(header)]
  }

  /** @param framesFrom frames of producers from this time on (ms) keep a header of their own */
  static async create(disk: Disk, path: string, header: SegmentHeader, framesFrom: number): Promise<SegmentWriter> {
    return new SegmentWriter(header, await disk.open(path, 'create'), framesFrom)
  }

  /** Adds what is left of the batch when the others have gone. */
  async add(batch: RecordBatch, isWanted: (offset: number) => boolean): Promise<void> {
    const isEmpty = ![...batch.offsets()].some(isWanted)
    if (isEmpty && batch.isFrame && batch.timestamp >= this.#framesFrom) {
      this.#flushStretch()
      this.#put(emptyBatch(stretchOf(batch), this.#place(), batch.producer))
    } else if (isEmpty) {
      const stretch = joined(this.#stretch, batch)
      if (!stretch) this.#flushStretch()
      this.#stretch = stretch ?? joined(null, batch)
    } else {
      this.#flushStretch()
      this.#put(withoutRecords(batch, isWanted, this.#place())!)
    }
    if (this.#partsBytes >= WRITE_BYTES) await this.#flush()
  }

  /** The file is whole and on stable storage when it resolves. */
  async finish(): Promise<void> {
    this.#flushStretch()
    this.#append(encodeFooter(this.content.toFooter(this.header.nonce)))
    await this.#flush()
    this.size = this.#written
    await this.#file.sync()
    await this.close()
  }

  /** Idempotent. A file that is not finished stays for whoever removes it. */
  async close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#file.close()
  }

  #place(): NewPlace {
    return { position: this.content.end, partitionTag: this.header.tag, mark: markOf(this.header.nonce) }
  }

  #flushStretch(): void {
    if (this.#stretch) this.#put(emptyBatch(this.#stretch, this.#place()))
    this.#stretch = null
  }

  #put(batch: RecordBatch): void {
    this.content.add(batch)
    this.#append(batch.bytes)
  }

  #append(bytes: Buffer): void {
    this.#parts.push(bytes)
    this.#partsBytes += bytes.length
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#parts)
    this.#parts = []
    this.#partsBytes = 0
    await this.#file.write(this.#written, bytes)
    this.#written += bytes.length
  }
}
