/**
 * The checkpoint of one log: what is proven about it from outside its segments. Written whole, always
 * synced, one after the other, and only when it says something new. A runner, owned by its log.
 */
import { type Disk, replaceFile } from '../base/disk.ts'
import { CHECKPOINT_FILE, type Checkpoint, encodeCheckpoint } from './format.ts'

export class CheckpointFile {
  readonly #disk: Disk
  readonly #path: string
  /** What was written last. */
  #written: Buffer = Buffer.alloc(0)
  /** The one being written, or that was. */
  #writing: Promise<void> = Promise.resolve()

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#path = `${directory}/${CHECKPOINT_FILE}`
  }

  /** `content` is asked when the turn has come. */
  write(content: () => Checkpoint): Promise<void> {
    const written = this.#writing.then(() => this.#write(encodeCheckpoint(content())))
    this.#writing = written.catch(() => undefined)
    return written
  }

  async #write(bytes: Buffer): Promise<void> {
    if (bytes.equals(this.#written)) return
    await replaceFile(this.#disk, this.#path, bytes)
    this.#written = bytes
  }
}
