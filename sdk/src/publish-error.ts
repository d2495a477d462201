/** How a publish fails: an error of the table that also says whether the message may be stored. */
import { TidingsError } from './protocol/errors.ts'

export class PublishError extends TidingsError {
  /** `unknown`: it was sent, and what became of it was not told. With a key of yours, repeat it to be sure. */
  readonly outcome: 'not_stored' | 'unknown'
  /** The key that it was published with: published again with it, the message is there once. Empty: it had none. */
  readonly idempotencyKey: string

  constructor(error: TidingsError, outcome: PublishError['outcome'], idempotencyKey: string) {
    super(error.code, error.message, { cause: error.cause ?? error })
    this.name = 'PublishError'
    this.outcome = outcome
    this.idempotencyKey = idempotencyKey
  }
}
