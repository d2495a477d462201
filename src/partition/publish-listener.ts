/**
 * What hears of an append that messages are under way in: passes the outcome on to whoever published, and
 * to the keys of those that carried one. Made by topic.ts, one for each append.
 */
import type { TidingsError } from '@tidings/sdk/protocol'
import type { AppendListener } from './append.ts'
import { type BatchPublish, type Part, type PublishDone, type PublishOutcome, receiptOf } from './batch-publish.ts'
import type { FirstPublish } from './idempotency-window.ts'
import type { PublishInput } from './publish-input.ts'

/** The keyed publishes under way. */
export interface PublishKeys {
  /** One has ended: answers those that waited for it. */
  settleKey(key: string, outcome: PublishOutcome | null, error: TidingsError | null): void
  /** The same for one that is in the log now: its key is remembered. */
  stored(key: string, idempotencyKey: Uint8Array, first: FirstPublish): void
}

/** One message under way. */
export class SinglePublish implements AppendListener {
  readonly #keys: PublishKeys
  readonly #partition: number
  readonly #idempotencyKey: Uint8Array | null
  readonly #key: string | null
  readonly #done: PublishDone

  constructor(keys: PublishKeys, partition: number, input: PublishInput, key: string | null, done: PublishDone) {
    this.#keys = keys
    this.#partition = partition
    this.#idempotencyKey = input.idempotencyKey
    this.#key = key
    this.#done = done
  }

  committed(offset: number, timestamp: number): void {
    const first = { partition: this.#partition, offset, timestamp }
    if (this.#key !== null) this.#keys.stored(this.#key, this.#idempotencyKey!, first)
    this.#done(null, receiptOf(first, false))
  }

  failed(error: TidingsError): void {
    if (this.#key !== null) this.#keys.settleKey(this.#key, null, error)
    this.#done(error)
  }
}

export class BatchPart implements AppendListener {
  readonly #keys: PublishKeys
  readonly #part: Part
  readonly #batch: BatchPublish

  constructor(keys: PublishKeys, part: Part, batch: BatchPublish) {
    this.#keys = keys
    this.#part = part
    this.#batch = batch
  }

  committed(baseOffset: number, timestamp: number): void {
    const { number } = this.#part.partition
    for (const { key, idempotencyKey, position } of this.#part.keys) {
      this.#keys.stored(key, idempotencyKey, { partition: number, offset: baseOffset + position, timestamp })
    }
    this.#part.indexes.forEach((index, i) => {
      this.#batch.stored(index, receiptOf({ partition: number, offset: baseOffset + i, timestamp }, false))
    })
    this.#batch.settled()
  }

  failed(error: TidingsError): void {
    for (const { key } of this.#part.keys) this.#keys.settleKey(key, null, error)
    this.#batch.failed(`partition ${this.#part.partition.number}`, error)
  }
}
