/**
 * Tells when nothing more can happen by itself. Work that goes on in a later turn of the event loop (what is run soon,
 * requests, frames between client and broker) is noted here; everything else in the broker and the client is
 * promises, which have all run between two turns. What a test's own code waits for elsewhere (a real timer, a
 * file, a database) is not known here, and not waited for.
 */
import { setImmediate } from 'node:timers'
import { TidingsError } from '@tidings/sdk/protocol'

/** Turns without anything noted, after turns with it. Some code gives way for a turn without telling. */
const CALM_TURNS = 4
/** More than any burst takes: what does not rest by then is a circle. */
const TURNS_MAX = 1_000_000

export class Activity {
  #noted = 0

  note(): void {
    this.#noted++
  }

  /** In the next turn of the event loop. */
  soon(run: () => void): void {
    this.#noted++
    setImmediate(() => {
      this.#noted++
      run()
    })
  }

  /** Resolves when everything has happened that can without time passing. Rejects when it goes round in circles. */
  async quiet(): Promise<void> {
    const before = this.#noted
    let seen = before
    let calm = 0
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      await turn()
      calm = this.#noted === seen ? calm + 1 : 0
      seen = this.#noted
      if (calm >= (seen === before ? 1 : CALM_TURNS)) return
    }
    throw new TidingsError(
      'internal',
      'the broker does not come to rest: does a handler fail without an end, with a backoff or a delay of 0?',
    )
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
