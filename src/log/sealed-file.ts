/**
 * A sealed segment's file, opened for somebody who wants its bytes as they are. The handle is its own: whatever
 * happens to the segment meanwhile (retention removes it, compaction puts another in its place), this goes on
 * reading the bytes that were there when it was opened. A runner; opened by the log, closed by whoever asked.
 */

import { ContentHash } from '../base/content-hash.ts'
import type { DiskFile } from '../base/disk.ts'
import type { Segment } from './segment.ts'

/** Read at a time while hashing: a slice of work that nobody notices. */
const HASH_BYTES = 262_144

export class SealedFile {
  readonly baseOffset: number
  readonly nextOffset: number
  /** Of the file, header and footer included. */
  readonly bytes: number
  readonly #segment: Segment
  readonly #file: DiskFile
  /** Whoever opened it, and a hash under way. */
  #users = 1
  #isClosed = false

  constructor(segment: Segment, file: DiskFile) {
    this.baseOffset = segment.baseOffset
    this.nextOffset = segment.nextOffset
    this.bytes = segment.size
    this.#segment = segment
    this.#file = file
  }

  /** SHA-256 of all the bytes: computed once a segment, by the first who asks, and kept with it. */
  contentHash(): Promise<string> {
    const segment = this.#segment
    segment.contentHash ??= this.#hash().catch((error: unknown) => {
      segment.contentHash = null
      throw error
    })
    return segment.contentHash
  }

  /** Bytes from a position on, as many as asked for: fewer mean that the file is not what it was. */
  async read(position: number, length: number): Promise<Buffer> {
    const bytes = await this.#file.read(position, length)
    if (bytes.length === length) return bytes
    throw new Error(`${this.#segment.path}: ${bytes.length} bytes at ${position} where ${length} were`)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#release()
  }

  async #hash(): Promise<string> {
    this.#users += 1
    try {
      const hash = new ContentHash()
      for (let at = 0; at < this.bytes; at += HASH_BYTES) {
        hash.update(await this.read(at, Math.min(HASH_BYTES, this.bytes - at)))
      }
      return hash.digest()
    } finally {
      await this.#release()
    }
  }

  async #release(): Promise<void> {
    this.#users -= 1
    if (this.#users === 0) await this.#file.close()
  }
}
