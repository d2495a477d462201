/**
 * A delivered message as its handler sees it: a view of the bytes that came, read as far as it is looked at. It can be
 * settled once; what comes after changes nothing. It knows nothing of connections: whoever made it hears what was decided.
 * A verb that is told something unusable throws `invalid_argument`, and the message is not settled.
 */

import { invalid } from './option-checks.ts'
import type { Parcel } from './parcel.ts'
import * as LIMITS from './protocol/limits.ts'

/** How a message is handed back for another attempt. */
export interface NackOptions {
  /** Default: the subscription's backoff. */
  delayMs?: number
  /** Kept with the message until it is acknowledged: `explain`, and its dead letter, tell it. */
  reason?: string
}

export type Decision =
  | { verb: 'ack' }
  | { verb: 'nack'; delayMs?: number; reason?: string }
  | { verb: 'reject'; reason?: string }
  | { verb: 'release' }

/** Hears a message's decision; the promise says whether the broker confirmed it. */
export interface Decided {
  settle(decision: Decision, isAwaited: boolean): Promise<boolean>
  extend(ms: number): void
}

/** One delivery of a message. Settle it once: `ack`, `nack`, `reject` or `release`. */
export class Message<T> {
  readonly #parcel: Parcel
  readonly #index: number
  readonly #decided: Decided
  #settled: Promise<boolean> | undefined
  #headers: Readonly<Record<string, string>> | undefined
  #value: T | undefined
  #hasValue = false

  constructor(parcel: Parcel, index: number, decided: Decided) {
    this.#parcel = parcel
    this.#index = index
    this.#decided = decided
  }

  /** `<partition>:<offset>`, with `<topic>/` before it where the subscription follows a pattern. */
  get id(): string {
    return this.#parcel.idOf(this.#index)
  }

  /** Where it was published; of interest where the subscription follows a pattern. */
  get topic(): string {
    return this.#parcel.topic
  }

  /** From 0. */
  get partition(): number {
    return this.#parcel.partition
  }

  /** Its position in the partition, from 0. */
  get offset(): number {
    return this.#parcel.baseOffset + this.#index
  }

  /** The key that it was published with, or null. */
  get key(): string | null {
    return this.#parcel.keyOf(this.#index)
  }

  /** What JSON gives back; a string for text; a Uint8Array for everything else, and for JSON or text that is not what it claims to be. */
  get value(): T {
    if (!this.#hasValue) this.adopt(this.#parcel.valueOf(this.#index) as T)
    return this.#value as T
  }

  /**
   * The value as it came, whatever its content type, and not copied: a view of the frame that brought it and others. For
   * decoders of one's own. Copy what is kept for long, and what is transferred to a worker.
   */
  get bytes(): Uint8Array {
    return this.#parcel.bytesOf(this.#index)
  }

  /** By their names in lower case. */
  get headers(): Readonly<Record<string, string>> {
    this.#headers ??= this.#parcel.headersOf(this.#index)
    return this.#headers
  }

  /** What the publisher said that the value is. */
  get contentType(): string {
    return this.#parcel.contentTypeOf(this.#index)
  }

  /** RFC 3339, UTC. */
  get timestamp(): string {
    return this.#parcel.timestamp
  }

  /** 1 on the first delivery. */
  get attempt(): number {
    return this.#parcel.attempt
  }

  /** What `JSON.stringify` shows of it. */
  toJSON(): Record<string, unknown> {
    const { id, topic, partition, offset, key, value, headers, contentType, timestamp, attempt } = this
    return { id, topic, partition, offset, key, value, headers, contentType, timestamp, attempt }
  }

  /** Gives it the value that a schema made of its own. Only before anybody sees it. */
  adopt(value: T): void {
    this.#value = value
    this.#hasValue = true
  }

  get isSettled(): boolean {
    return this.#settled !== undefined
  }

  /**
   * Done. Resolves when the broker says that the acknowledgement is durable: true; or false when the message did not
   * lie here any more (its deadline had passed, the connection was lost), so that it may be delivered again. Never rejects.
   */
  ack(): Promise<boolean> {
    return this.#settle({ verb: 'ack' })
  }

  /** Failed: deliver it again, later. */
  nack(options: NackOptions = {}): void {
    const { delayMs, reason } = options
    const delay = delayMs === undefined ? {} : { delayMs: wholeMs('delayMs', delayMs) }
    void this.#settle({ verb: 'nack', ...delay, ...checkedReason(reason) })
  }

  /** Hopeless: to the dead-letter topic at once. Resolves as `ack` does. */
  reject(reason?: string): Promise<boolean> {
    return this.#settle({ verb: 'reject', ...checkedReason(reason) })
  }

  /** Not handled: hand it to another, without counting this attempt. */
  release(): void {
    void this.#settle({ verb: 'release' })
  }

  /** A new deadline, `ms` from now. With a handler this happens by itself. */
  extend(ms: number): void {
    const checked = wholeMs('ms', ms)
    if (!this.isSettled) this.#decided.extend(checked)
  }

  #settle(decision: Decision): Promise<boolean> {
    const isAwaited = decision.verb === 'ack' || decision.verb === 'reject'
    this.#settled ??= this.#decided.settle(decision, isAwaited)
    return this.#settled
  }
}

/** A backoff that somebody reckons is seldom a whole number. */
function wholeMs(name: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= LIMITS.delayMs) return Math.trunc(value)
  throw invalid(`${name} must be a number from 0 to ${LIMITS.delayMs}`)
}

function checkedReason(reason: unknown): { reason?: string } {
  if (reason === undefined) return {}
  if (typeof reason === 'string') return { reason }
  throw invalid('reason must be a string')
}
