/**
 * The bytes of a sealed segment as a response body: read in chunks, and only as fast as they are taken. Somebody
 * who takes nothing for too long is cut off, since a file handle hangs on it. Closes the file, however it ends.
 */
import { Readable } from 'node:stream'
import type { Clock, Timer } from '../base/clock.ts'
import type { SealedFile } from '../log/sealed-file.ts'
import type { ByteRange } from './byte-range.ts'

const CHUNK_BYTES = 65_536

export interface SegmentBodyOptions {
  clock: Clock
  /** Longest time in which nothing is taken. */
  writeTimeoutMs: number
  /** So many bytes were read for it. */
  read(bytes: number): void
  /** It is over, well or not. */
  ended(): void
}

export class SegmentBody extends Readable {
  readonly #file: SealedFile
  readonly #options: SegmentBodyOptions
  readonly #to: number
  #at: number
  #timer: Timer | null = null

  constructor(file: SealedFile, { from, to }: ByteRange, options: SegmentBodyOptions) {
    super({ highWaterMark: CHUNK_BYTES })
    this.#file = file
    this.#at = from
    this.#to = to
    this.#options = options
  }

  override _read(): void {
    this.#timer?.cancel()
    const length = Math.min(CHUNK_BYTES, this.#to - this.#at)
    if (length === 0) {
      this.push(null)
      return
    }
    this.#file.read(this.#at, length).then(
      (bytes) => this.#took(bytes),
      (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
    )
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#timer?.cancel()
    this.#options.ended()
    const finish = (failure: Error | null): void => done(error ?? failure)
    this.#file.close().then(
      () => finish(null),
      (failure: unknown) => finish(failure as Error),
    )
  }

  #took(bytes: Buffer): void {
    if (this.destroyed) return
    const { clock, writeTimeoutMs } = this.#options
    this.#at += bytes.length
    this.#options.read(bytes.length)
    this.#timer = clock.after(writeTimeoutMs, () => this.destroy(new Error('the client takes nothing')))
    this.push(bytes)
  }
}
