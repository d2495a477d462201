/**
 * Whole frames out of pieces of a byte stream: a u32 length and so many bytes, where a length of 0 is no frame. Pure. No
 * length is believed that is above the limit, and no memory is taken for bytes that have not come.
 */
import { TidingsError } from '@tidings/sdk/protocol'

const HEAD_BYTES = 4

export class FrameAssembler {
  /** Longest frame that is taken. */
  limitBytes: number
  #pieces: Buffer[] = []
  #bytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  push(piece: Buffer): void {
    if (piece.length === 0) return
    this.#pieces.push(piece)
    this.#bytes += piece.length
  }

  /** The next whole frame, its bytes nobody else's; null: more must come. Throws `invalid_argument` for one too long. */
  next(): Buffer | null {
    for (;;) {
      if (this.#bytes < HEAD_BYTES) return null
      const length = this.#peekLength()
      if (length > this.limitBytes) {
        throw new TidingsError('invalid_argument', `a frame of ${length} bytes, and ${this.limitBytes} are allowed`)
      }
      if (this.#bytes < HEAD_BYTES + length) return null
      this.#take(HEAD_BYTES)
      if (length > 0) return this.#take(length)
    }
  }

  #peekLength(): number {
    const [first] = this.#pieces
    if (first!.length >= HEAD_BYTES) return first!.readUInt32BE(0)
    this.#pieces = [Buffer.concat(this.#pieces)]
    return this.#pieces[0]!.readUInt32BE(0)
  }

  #take(count: number): Buffer {
    const taken = Buffer.allocUnsafe(count)
    let at = 0
    let used = 0
    while (at < count) {
      const piece = this.#pieces[used]!
      const part = Math.min(piece.length, count - at)
      piece.copy(taken, at, 0, part)
      at += part
      if (part === piece.length) used += 1
      else this.#pieces[used] = piece.subarray(part)
    }
    this.#pieces.splice(0, used)
    this.#bytes -= count
    return taken
  }
}
