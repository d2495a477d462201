/**
 * Tells the broker a fresh token before the one that a connection was opened with ends, so that the connection lives
 * on. Runs while a connection is open; a token that never says when it ends is never renewed.
 */
import type { Connector } from './connector.ts'
import type { Timer } from './platform.ts'
import { TidingsError } from './protocol/errors.ts'

const RETRY_MS = 10_000

export class TokenRenewal {
  readonly #connector: Connector
  readonly #tell: (token: string) => void
  readonly #trouble: (error: TidingsError) => void
  #timer: Timer | undefined
  /** Answers to questions from before the last stop are not for this connection. */
  #run = 0

  constructor(connector: Connector, tell: (token: string) => void, trouble: (error: TidingsError) => void) {
    this.#connector = connector
    this.#tell = tell
    this.#trouble = trouble
  }

  start(delayMs = this.#connector.credentials.dueInMs()): void {
    this.#timer?.cancel()
    if (delayMs === null) return
    const run = this.#run
    this.#timer = this.#connector.clock.after(delayMs, () => {
      const { credentials } = this.#connector
      // Another part of the client may have renewed it already.
      const token = credentials.peek()?.token
      const fresh = token === undefined ? credentials.ask() : Promise.resolve(token)
      fresh.then(
        (given) => {
          if (run !== this.#run || given === undefined) return
          this.#tell(given)
          this.start()
        },
        (error: unknown) => {
          if (run !== this.#run) return
          this.#trouble(TidingsError.from(error))
          this.start(RETRY_MS)
        },
      )
    })
  }

  stop(): void {
    this.#run++
    this.#timer?.cancel()
  }
}
