/**
 * Publishes of one topic on their way to the broker as one frame: records back to back behind room for the header,
 * which is written when the frame is sent. Owns the bytes and knows whose record is whose. outbox.ts fills it and
 * decides when it goes.
 */
import type { TidingsError } from './protocol/errors.ts'
import {
  KEYED_ENTRY_BYTES,
  KEYED_HEADER_BYTES,
  PUBLISH_HEADER_BYTES,
  putKeyedEntry,
} from './protocol/publish-frames.ts'
import type { PublishReceipt } from './publish-answer.ts'
import { type Draft, draftRoom, writeDraft } from './publish-entry.ts'
import type { PublishError } from './publish-error.ts'

/** One publish that is not settled. */
export interface Pending {
  readonly resolve: (receipt: PublishReceipt) => void
  readonly reject: (error: PublishError) => void
  /** Monotonic milliseconds. */
  readonly deadline: number
  /** Of its record, as they count for the buffer. */
  bytes: number
  /** Under which it may be published again; empty where it has none. */
  readonly idempotencyKey: string
  /** Stops listening to its signal; null where it has none. */
  unlisten: (() => void) | null
  isSettled: boolean
  /** In which it travels. */
  shipment: Shipment | null
}

export class Shipment {
  /** Keyed entries instead of numbered records. */
  readonly isKeyed: boolean
  readonly entries: Pending[] = []
  /** Of the frame, once it was sent; may change while `isFrozen` is false. */
  sequence = -1
  partitionCount = 0
  isFlying = false
  /** It may be stored: it goes again as it was, or not at all. */
  isFrozen = false
  lastError: TidingsError | null = null
  /** Entries that nobody waits for any more. */
  settledCount = 0
  #bytes: Uint8Array
  /** Where each entry ends. */
  readonly #ends: number[] = []
  #end: number

  /** `bytes`: room for it, which nobody else uses; it takes more when that is not enough. */
  constructor(isKeyed: boolean, bytes: Uint8Array) {
    this.isKeyed = isKeyed
    this.#end = isKeyed ? KEYED_HEADER_BYTES : PUBLISH_HEADER_BYTES
    this.#bytes = bytes
  }

  get size(): number {
    return this.#end
  }

  get isDead(): boolean {
    return this.settledCount === this.entries.length
  }

  /** All the room it has, for the next one to use. */
  get room(): Uint8Array {
    return this.#bytes
  }

  /** The frame, but for its header. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#end)
  }

  /** Writes the draft behind the last entry, for `add` to count. Answers its bytes; throws what is wrong with it. */
  write(draft: Draft): number {
    const at = this.#end + (this.isKeyed ? KEYED_ENTRY_BYTES : 0)
    this.#reserve(at + draftRoom(draft))
    if (this.isKeyed) putKeyedEntry(this.#bytes, this.#end, draft)
    return writeDraft(this.#bytes, at, draft) - this.#end
  }

  add(entry: Pending): void {
    this.#end += entry.bytes
    this.#ends.push(this.#end)
    this.entries.push(entry)
    entry.shipment = this
  }

  /** Takes out what is settled. */
  shake(): void {
    if (this.settledCount === 0) return
    const old = this.entries.splice(0)
    const ends = this.#ends.splice(0)
    let from = this.isKeyed ? KEYED_HEADER_BYTES : PUBLISH_HEADER_BYTES
    this.#end = from
    // What was sent before may still lie in a socket.
    const bytes = new Uint8Array(this.#bytes.length)
    old.forEach((entry, i) => {
      const to = ends[i]!
      if (!entry.isSettled) {
        bytes.set(this.#bytes.subarray(from, to), this.#end)
        this.add(entry)
      }
      from = to
    })
    this.#bytes = bytes
    this.settledCount = 0
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#bytes.length) return
    const longer = new Uint8Array(Math.max(bytes, 4 * this.#bytes.length))
    longer.set(this.bytes)
    this.#bytes = longer
  }
}
