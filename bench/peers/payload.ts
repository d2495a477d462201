/**
 * The messages of the peers' bench: each carries its number and when it was due, so that a consumer can tell which
 * came and how late. As bytes, which every broker carries as they are, or as an object, which every client makes JSON of.
 */
import { hrtime } from 'node:process'

export type ValueKind = 'bytes' | 'json'

const HEAD_BYTES = 12

/** A message as its consumer reads it; `at` is 0 where its latency is not measured. */
export interface Mark {
  number: number
  at: number
}

/** Milliseconds on the machine's clock, which all processes share. */
const offsetMs = ((): number => {
  const [s, ns] = hrtime()
  return s * 1000 + ns / 1e6 - performance.now()
})()

export function sharedNow(): number {
  return performance.now() + offsetMs
}

export function toShared(localMs: number): number {
  return localMs + offsetMs
}

export class Payload {
  readonly #kind: ValueKind
  readonly #bytes: number
  readonly #template: Buffer

  constructor(kind: ValueKind, bytes: number) {
    this.#kind = kind
    this.#bytes = bytes
    this.#template = Buffer.alloc(bytes, 'tidings ')
  }

  make(number: number, at: number): Uint8Array | object {
    if (this.#kind === 'json') {
      const head = `{"number":${number},"at":${at},"text":""}`
      return { number, at, text: this.#template.toString('latin1', 0, Math.max(0, this.#bytes - head.length)) }
    }
    const value = Buffer.allocUnsafe(this.#bytes)
    this.#template.copy(value, HEAD_BYTES, HEAD_BYTES)
    value.writeDoubleLE(at, 0)
    value.writeUInt32LE(number, 8)
    return value
  }

  read(value: unknown): Mark {
    if (!(value instanceof Uint8Array)) return value as Mark
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    if (this.#kind === 'json') return JSON.parse(bytes.toString('latin1')) as Mark
    if (bytes.length !== this.#bytes)
      throw new Error(`a message of ${bytes.length} bytes came, ${this.#bytes} were sent`)
    return { at: bytes.readDoubleLE(0), number: bytes.readUInt32LE(8) }
  }
}

/** Which numbers came. */
export class Numbers {
  #bits = new Uint8Array(1 << 16)
  distinct = 0

  add(number: number): void {
    const at = number >>> 3
    if (at >= this.#bits.length) {
      const larger = new Uint8Array(Math.max(at + 1, this.#bits.length * 2))
      larger.set(this.#bits)
      this.#bits = larger
    }
    const bit = 1 << (number & 7)
    if ((this.#bits[at]! & bit) !== 0) return
    this.#bits[at]! |= bit
    this.distinct++
  }
}
