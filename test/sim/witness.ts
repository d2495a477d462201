/**
 * What the clients of a simulated broker saw, and whether it may have been: the invariants of one node
 * (S-…, D-…, O-… as numbered in the reliability notes), checked at the moment something is seen. This is
 * the whole of it; `topic-witness.ts` and `subscription-witness.ts` are its parts.
 * It knows nothing of the broker's insides; a violation is thrown and ends the run with its seed.
 */
import { TopicWitness } from './topic-witness.ts'

export class Violation extends Error {
  constructor(invariant: string, detail: string) {
    super(`${invariant}: ${detail}`)
    this.name = 'Violation'
  }
}

/** What the judge may look up besides what it is told. */
export interface WitnessPorts {
  note: (line: string) => void
  /** Monotonic milliseconds. */
  now: () => number
  /** Milliseconds since the epoch. */
  wall: () => number
  /** The first offset that the topic's partition still has; 0 while nobody can say. */
  startOf: (topic: string, partition: number) => number
  /** Whether the topic holds the value in a way that a power cut would leave it there. */
  holds: (topic: string, value: string) => boolean
}

/** A time, and a place in the order of all that was told to the witness. */
export interface Moment {
  readonly now: number
  readonly moment: number
}

export class Witness {
  readonly topics: Map<string, TopicWitness> = new Map()
  readonly #ports: WitnessPorts
  /** How often each kind of thing happened: a run in which a fault never fired proves nothing. */
  readonly counts: Map<string, number> = new Map()
  /** The first violation: kept, since whoever calls a client may swallow what it throws. */
  violation: Violation | null = null
  #moment = 0
  #isAnswered = false

  constructor(ports: WitnessPorts) {
    this.#ports = ports
  }

  get now(): number {
    return this.#ports.now()
  }

  get wall(): number {
    return Math.floor(this.#ports.wall())
  }

  get moment(): number {
    return this.#moment
  }

  get present(): Moment {
    return { now: this.now, moment: this.#moment }
  }

  startOf(topic: string, partition: number): number {
    return this.#ports.startOf(topic, partition)
  }

  holds(topic: string, value: string): boolean {
    return this.#ports.holds(topic, value)
  }

  topic(name: string): TopicWitness {
    let topic = this.topics.get(name)
    if (!topic) {
      topic = new TopicWitness(this, name)
      this.topics.set(name, topic)
    }
    return topic
  }

  /** A line of the trace: what clients did and saw is part of what must be the same for a seed. */
  note(line: string): void {
    this.#moment += 1
    this.#ports.note(line)
  }

  /** Something rare was answered that must outlast whatever comes now. */
  answered(): void {
    this.#isAnswered = true
  }

  /** Whether something was, since this was asked last. */
  takeAnswered(): boolean {
    const isAnswered = this.#isAnswered
    this.#isAnswered = false
    return isAnswered
  }

  violated(invariant: string, detail: string): Violation {
    const violation = new Violation(invariant, detail)
    this.violation ??= violation
    return violation
  }

  count(what: string, times = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + times)
  }
}
