/**
 * Messages that came in one frame: consecutive offsets of a partition, still as bytes. Made into messages one by one
 * when their turn comes, and then only as far as somebody looks. Remembers when they came and how long they are
 * leased, for those of them that nobody has taken.
 */
import type { MessagesEvent } from './protocol/consume-frames.ts'
import { formatMessageId, formatTimestamp, valueKind } from './protocol/message.ts'
import { recordContentType, recordHeaders, recordKey, recordValueAt } from './protocol/record.ts'

/** Strict, and leaves a byte order mark where it is: what is not what it claims to be is given as bytes. */
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const lenient = new TextDecoder('utf-8', { ignoreBOM: true })

/** Some of a parcel: the messages from index `from` until before `to`. */
export interface Span {
  readonly parcel: Parcel
  readonly from: number
  readonly to: number
}

export class Parcel {
  readonly topic: string
  readonly partition: number
  readonly baseOffset: number
  readonly attempt: number
  readonly count: number
  readonly arrivedAt: number
  leasedAt: number
  readonly #idPrefix: string
  readonly #time: number
  readonly #bytes: Uint8Array
  readonly #positions: Int32Array

  /** `idPrefix` is what ids begin with: the topic, where the subscription follows a pattern. `now` is monotonic. */
  constructor(event: MessagesEvent, topic: string, idPrefix: string, now: number) {
    this.topic = topic
    this.partition = event.partition
    this.baseOffset = event.baseOffset
    this.attempt = event.attempt
    this.count = event.positions.length - 1
    this.arrivedAt = now
    this.leasedAt = now
    this.#idPrefix = idPrefix
    this.#time = event.timestamp
    this.#bytes = event.bytes
    this.#positions = event.positions
  }

  /** RFC 3339, UTC. */
  get timestamp(): string {
    return formatTimestamp(this.#time)
  }

  idOf(index: number): string {
    return this.#idPrefix + formatMessageId(this.partition, this.baseOffset + index)
  }

  keyOf(index: number): string | null {
    const key = recordKey(this.#bytes, this.#positions[index]!)
    return key && lenient.decode(key)
  }

  contentTypeOf(index: number): string {
    return recordContentType(this.#bytes, this.#positions[index]!)
  }

  headersOf(index: number): Record<string, string> {
    return Object.fromEntries(recordHeaders(this.#bytes, this.#positions[index]!).headers)
  }

  /** The value as it came: a view. */
  bytesOf(index: number): Uint8Array {
    const bytes = this.#bytes
    const from = recordValueAt(bytes, this.#positions[index]!)
    // Not a subarray, which is a Buffer's own way where the frame is one.
    return new Uint8Array(bytes.buffer, bytes.byteOffset + from, this.#positions[index + 1]! - from)
  }

  /** What the content type claims, where it is that; else the bytes. */
  valueOf(index: number): unknown {
    const bytes = this.bytesOf(index)
    const kind = valueKind(this.contentTypeOf(index))
    if (kind !== 'binary') {
      try {
        const text = strict.decode(bytes)
        return kind === 'text' ? text : JSON.parse(text)
      } catch {
        // As bytes, then.
      }
    }
    return bytes.slice()
  }
}
