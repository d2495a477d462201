/**
 * What the broker has told over a connection of what it talks about: the subscription it is, and its topics by number.
 * Every connection has its own; whatever comes before it was told makes the connection useless. A decision.
 */

import { invalid } from './option-checks.ts'
import type { FrameRange, WelcomeEvent } from './protocol/consume-frames.ts'
import * as LIMITS from './protocol/limits.ts'
import type { Stretch } from './stretch.ts'

export class ToldTopics {
  #welcome: WelcomeEvent | null = null
  readonly #names: string[] = []
  readonly #numbers = new Map<string, number>()
  /** Topics that were asked for. */
  readonly #asked = new Set<string>()

  get isWelcome(): boolean {
    return this.#welcome !== null
  }

  welcome(event: WelcomeEvent): void {
    if (this.#welcome) throw invalid('the broker welcomes twice')
    this.#welcome = event
  }

  topic(number: number, name: string): void {
    const isNext = number === this.#names.length && number < LIMITS.topicsPerConnection
    if (!this.#welcome || !isNext || this.#numbers.has(name)) throw invalid('the broker numbers topics out of turn')
    this.#names.push(name)
    this.#numbers.set(name, number)
  }

  readonly numberOf = (name: string): number | undefined => this.#numbers.get(name)

  nameOf(number: number): string {
    const name = this.#names[number]
    if (name === undefined) throw invalid(`the broker speaks of topic ${number}, of which it never told`)
    return name
  }

  /** What ids of a topic's messages begin with. */
  idPrefixOf(name: string): string {
    return this.#welcome?.isPattern ? `${name}/` : ''
  }

  stretchOf({ topic, partition, from, to }: FrameRange): Stretch {
    return { topic: this.nameOf(topic), partition, from, to }
  }

  /** Those of the topics whose number must be asked for now. */
  unasked(topics: Iterable<string>): string[] {
    const unasked = [...topics].filter((name) => !this.#numbers.has(name) && !this.#asked.has(name))
    for (const name of unasked) this.#asked.add(name)
    return unasked
  }
}
