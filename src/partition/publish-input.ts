/** What a publish is given, whatever it came by: a request, an entry of a batch, the broker itself. */

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
  /** When it is to enter the log, milliseconds since the epoch; absent, null or past: at once. */
  deliverAt?: number | null
  /** The value was proven to be what its content type claims. */
  valueChecked: boolean
  /** The broker's own copy of a message (a dead letter, one that is moved back): no schema is asked. */
  byBroker?: true
  /** The schema that admitted the value: it need not be asked twice. */
  admittedBy?: object
  /** It has a header that says to which one subscription it goes: a redriven copy. */
  isAddressed?: true
}
