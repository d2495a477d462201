/**
 * Tells when nothing more can happen by itself. Work that goes on in a later turn of the event loop (what is run soon,
 * requests, frames between client and broker) is noted here; everything else in the broker and the client is
 * promises, which have all run between two turns. What a test's own code waits for elsewhere (a real timer, a
 * file, a database) is not known here, and not waited for.
 */
import { nextTick } from 'node:process'
import { setImmediate } from 'node:timers'
import { TidingsError } from '@tidings/sdk/protocol'

/** Turns without anything noted, after turns with it. Some code gives way for a turn without telling. */
const CALM_TURNS = 4
/** So many events that made no work may follow each other before others in the process get a turn. */
const TICKS_MAX = 100
/** More than any burst takes: what does not rest by then is a circle. */
const TURNS_MAX = 1_000_000

export class Activity {
  #noted = 0
  /** What will run in the next turn. */
  #under = 0
  #ticks = 0

  note(): void {
    this.#noted++
  }

  /** In the next turn of the event loop. */
  soon(run: () => void): void {
    this.#noted++
    this.#under++
    setImmediate(() => {
      this.#noted++
      this.#under--
      run()
    })
  }

  /** As `quiet`, after a single event: turns of the event loop are for what made work for one. A quiet day has 100,000 events. */
  async lull(): Promise<void> {
    const seen = this.#noted
    await tick()
    if (this.#noted !== seen || this.#under > 0 || this.#ticks++ === TICKS_MAX) await this.quiet()
  }

  /** Resolves when everything has happened that can without time passing. Rejects when it goes round in circles. */
  async quiet(): Promise<void> {
    this.#ticks = 0
    let seen = this.#noted
    let calm = 0
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      await turn()
      calm = this.#noted === seen && this.#under === 0 ? calm + 1 : 0
      seen = this.#noted
      if (calm >= CALM_TURNS) return
    }
    throw new TidingsError(
      'internal',
      'the broker does not come to rest: does a handler fail without an end, with a backoff or a delay of 0?',
    )
  }
}

/** When all promises that can have run. */
function tick(): Promise<void> {
  return new Promise((resolve) => {
    nextTick(resolve)
  })
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
