/**
 * A topic as this node serves it: STUB, being written. The types are the agreed seam.
 */
import type { Receipt, TidingsError, TopicSettings } from '@tidings/sdk/protocol'
import type { Partition } from './partition.ts'

/** A message to publish, checked against LIMITS by whoever made it. */
export interface PublishInput {
  key: Uint8Array | null
  value: Uint8Array
  contentType: string
  headers: readonly (readonly [string, string])[]
  idempotencyKey: Uint8Array | null
  /** Explicit partition, else null: by key, else by idempotency key, else spread. */
  partition: number | null
  ttlMs: number | null
  /** The value was proven to be what its content type claims. */
  valueChecked: boolean
}

export type PublishReceipt = Receipt & { timestamp: number }

export interface Topic {
  readonly id: string
  readonly name: string
  readonly settings: TopicSettings
  readonly partitions: readonly Partition[]
  /**
   * Stores one message and calls `done` once: with the receipt when it is durable, or with the error.
   * Checks value size (`message_too_large`) and partition (`partition_not_found`); may call back
   * synchronously for errors.
   */
  publish(input: PublishInput, done: (error: TidingsError | null, receipt?: PublishReceipt) => void): void
  /**
   * Stores all of them, in order per partition. The caller has checked every entry with `check`
   * before; an error afterwards says in its detail which part was stored, if any was.
   */
  publishAll(inputs: readonly PublishInput[], done: (error: TidingsError | null, receipts?: PublishReceipt[]) => void): void
  /** Throws `message_too_large` or `partition_not_found` for an entry that publish would refuse. */
  check(input: PublishInput): void
}
