/**
 * A delivered message as its handler sees it. It can be settled once; what comes after changes nothing. It
 * knows nothing of connections: whoever made it hears what was decided.
 */
import { fromBase64 } from './base64.ts'
import type { MessageJson } from './protocol/message.ts'

export interface NackOptions {
  /** Default: the subscription's backoff. */
  delayMs?: number
  reason?: string
}

export type Decision =
  | { verb: 'ack' }
  | { verb: 'nack'; delayMs?: number; reason?: string }
  | { verb: 'reject'; reason?: string }
  | { verb: 'release' }

/** Hears a message's decision; the promise says whether the broker confirmed it. */
export interface Decided {
  settle(message: Message<unknown>, decision: Decision, isAwaited: boolean): Promise<boolean>
  extend(message: Message<unknown>, ms: number): void
}

export class Message<T> {
  readonly id: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  /** What JSON gives back; a string for text; a Uint8Array for everything else, and for JSON or text that is not what it claims to be. */
  readonly value: T
  readonly headers: Readonly<Record<string, string>>
  readonly contentType: string
  /** RFC 3339, UTC. */
  readonly timestamp: string
  /** 1 on the first delivery. */
  readonly attempt: number
  readonly #decided: Decided
  #settled: Promise<boolean> | undefined

  constructor(json: MessageJson, decided: Decided) {
    this.id = json.id
    this.topic = json.topic
    this.partition = json.partition
    this.offset = json.offset
    this.key = json.key
    this.value = (json.base64 === undefined ? json.value : fromBase64(json.base64)) as T
    this.headers = json.headers
    this.contentType = json.contentType
    this.timestamp = json.timestamp
    this.attempt = json.attempt ?? 1
    this.#decided = decided
  }

  /** Gives it the value that a schema made of its own. Only before anybody sees it. */
  adopt(value: T): void {
    ;(this as { value: T }).value = value
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
    void this.#settle({ verb: 'nack', ...options })
  }

  /** Hopeless: to the dead-letter topic at once. Resolves as `ack` does. */
  reject(reason?: string): Promise<boolean> {
    return this.#settle(reason === undefined ? { verb: 'reject' } : { verb: 'reject', reason })
  }

  /** Not handled: hand it to another, without counting this attempt. */
  release(): void {
    void this.#settle({ verb: 'release' })
  }

  /** A new deadline, `ms` from now. With a handler this happens by itself. */
  extend(ms: number): void {
    if (!this.isSettled) this.#decided.extend(this, ms)
  }

  #settle(decision: Decision): Promise<boolean> {
    const isAwaited = decision.verb === 'ack' || decision.verb === 'reject'
    this.#settled ??= this.#decided.settle(this, decision, isAwaited)
    return this.#settled
  }
}
