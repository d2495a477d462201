/**
 * Removes the subscriptions that nobody has attended to for their `expireAfterMs`. A runner with one timer:
 * it asks every runner in turn, and lets the host delete those that say so, as a client would. The host
 * starts and stops it.
 *
 * Must stay true: it is asked again in the row of changes of its topic, right before the deletion, so a
 * consumer that came meanwhile keeps its subscription; one that comes later is told that it was deleted.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'

/** What it needs of a subscription's runner. */
export interface Expirable {
  readonly name: string
  /** The topic, or the pattern. */
  readonly topic: string
  /** Nobody has attended to it for as long as its settings say. */
  readonly isExpired: boolean
}

export interface ExpiryParts {
  clock: Clock
  logger: Logger
  subscriptions(): Iterable<Expirable>
  /** Deletes it if it is still expired when its turn comes; false when it is not. */
  remove(subscription: Expirable): Promise<boolean>
}

/** How late an expiry may be noticed. */
const LOOK_MS = 1000

export class SubscriptionExpiry {
  readonly #parts: ExpiryParts
  #timer: Timer | null = null
  #removing: Promise<void> = Promise.resolve()

  constructor(parts: ExpiryParts) {
    this.#parts = parts
  }

  start(): void {
    this.#timer = this.#parts.clock.after(LOOK_MS, () => {
      this.#removing = this.#removeExpired().then(() => {
        if (this.#timer) this.start()
      })
    })
  }

  /** No further one is removed once it resolves. */
  stop(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = null
    return this.#removing
  }

  async #removeExpired(): Promise<void> {
    const { logger } = this.#parts
    const expired = [...this.#parts.subscriptions()].filter((subscription) => subscription.isExpired)
    for (const subscription of expired) {
      if (!this.#timer) return
      const { topic, name } = subscription
      try {
        if (await this.#parts.remove(subscription))
          logger.info({ topic, subscription: name }, 'deleted an expired subscription')
      } catch (error) {
        // Deleted by somebody else meanwhile, or the store is full: what is left is looked at again.
        const { code } = TidingsError.from(error)
        if (code !== 'subscription_not_found' && code !== 'topic_not_found') {
          logger.warn({ err: error, topic, subscription: name }, 'an expired subscription could not be deleted')
        }
      }
    }
  }
}
