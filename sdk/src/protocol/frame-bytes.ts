/**
 * Reading and writing the fields of a binary frame: big-endian integers, and texts with their length before them.
 * A reader never goes past the end of its bytes and never believes a length: what does not fit is
 * `invalid_argument`. A codec, used by the frames of `tidings.binary.v1` on both sides.
 */
import { TidingsError } from './errors.ts'
import { getU16, getU32, getU64, putU16, putU32, putU64 } from './record.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export class FrameReader {
  readonly bytes: Uint8Array
  at = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  /** Bytes that were not read. */
  get left(): number {
    return this.bytes.length - this.at
  }

  u8(): number {
    return this.bytes[this.#take(1)]!
  }

  u16(): number {
    return getU16(this.bytes, this.#take(2))
  }

  u32(): number {
    return getU32(this.bytes, this.#take(4))
  }

  /** A number below 2^53. */
  u64(): number {
    const value = getU64(this.bytes, this.#take(8))
    if (value > Number.MAX_SAFE_INTEGER) throw malformed('a number in it is 2^53 or more')
    return value
  }

  /** UTF-8 after its u16 length, `most` bytes at most. */
  text(most: number): string {
    const length = this.u16()
    if (length > most) throw malformed(`a text in it has ${length} bytes, more than ${most}`)
    const from = this.#take(length)
    try {
      return decoder.decode(this.bytes.subarray(from, from + length))
    } catch {
      throw malformed('a text in it is not UTF-8')
    }
  }

  /** All that is left, as a view. */
  rest(): Uint8Array {
    const from = this.at
    this.at = this.bytes.length
    return this.bytes.subarray(from)
  }

  /** The frame, when nothing is left. */
  whole<T>(frame: T): T {
    this.end()
    return frame
  }

  /** Nothing may be left. */
  end(): void {
    if (this.left > 0) throw malformed(`${this.left} bytes stand behind its end`)
  }

  #take(count: number): number {
    const from = this.at
    if (count > this.left) throw malformed('it ends in the middle of a field')
    this.at += count
    return from
  }
}

/** Grows as it is written to; numbers are the caller's to check. */
export class FrameWriter {
  #bytes: Uint8Array
  #at = 0

  constructor(sizeHint = 64) {
    this.#bytes = new Uint8Array(sizeHint)
  }

  u8(value: number): this {
    const at = this.#room(1)
    this.#bytes[at] = value
    return this
  }

  u16(value: number): this {
    const at = this.#room(2)
    putU16(this.#bytes, at, value)
    return this
  }

  u32(value: number): this {
    const at = this.#room(4)
    putU32(this.#bytes, at, value)
    return this
  }

  u64(value: number): this {
    const at = this.#room(8)
    putU64(this.#bytes, at, value)
    return this
  }

  /** UTF-8 after its u16 length; cut to `most` bytes, between characters. */
  text(value: string, most = 0xffff): this {
    const bytes = encoder.encode(value)
    let length = Math.min(bytes.length, most)
    while (length < bytes.length && length > 0 && (bytes[length]! & 0xc0) === 0x80) length--
    this.u16(length)
    const at = this.#room(length)
    this.#bytes.set(bytes.subarray(0, length), at)
    return this
  }

  take(): Uint8Array {
    return this.#bytes.subarray(0, this.#at)
  }

  /** Where so many bytes may be written; it may replace the bytes. */
  #room(count: number): number {
    const from = this.#at
    this.#at += count
    if (this.#at > this.#bytes.length) {
      const longer = new Uint8Array(Math.max(this.#at, 2 * this.#bytes.length))
      longer.set(this.#bytes)
      this.#bytes = longer
    }
    return from
  }
}

export function malformed(why: string): TidingsError {
  return new TidingsError('invalid_argument', `malformed frame: ${why}`)
}
