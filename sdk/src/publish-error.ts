/**
 * How a publish fails: an error of the table that also says whether the message may be stored, and the key under
 * which it can be published again without doubling.
 */
import { TidingsError } from './protocol/errors.ts'

export class PublishError extends TidingsError {
  /** `unknown`: it was sent, and what became of it was not told. Repeat it with `idempotencyKey` to be sure. */
  readonly outcome: 'not_stored' | 'unknown'
  readonly idempotencyKey: string

  constructor(error: TidingsError, outcome: PublishError['outcome'], idempotencyKey: string) {
    super(error.code, error.message, { cause: error.cause ?? error })
    this.name = 'PublishError'
    this.outcome = outcome
    this.idempotencyKey = idempotencyKey
  }
}
