/** SHA-256 over bytes that come in pieces: what makes two contents the same. Its one owner in the broker. */
import { createHash } from 'node:crypto'

export class ContentHash {
  readonly #hash = createHash('sha256')

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes)
  }

  /** In lower-case hex; nothing can be added afterwards. */
  digest(): string {
    return this.#hash.digest('hex')
  }
}
