/**
 * What a test wants to go wrong with the next publishes: it stands between the broker's server and its host, where every
 * publish of a client comes through, whatever carried it there. What the broker publishes itself (dead letters,
 * scheduled messages that are due) does not come this way.
 *
 * A refused frame of a producer keeps its number: as the broker would, this refuses the producer's later frames until
 * that number comes again, or they would overtake it.
 */
import { type ErrorCode, TidingsError } from '@tidings/sdk/protocol'
import type { Host } from '../cluster/host.ts'
import type { Topic } from '../partition/topic.ts'
import { overridden } from './overridden.ts'

export interface Mishap {
  /** `refused`: nothing is stored. `unanswered`: it is stored, and the connection is lost before the answer. */
  kind: 'refused' | 'unanswered'
  /** What a refusal says. */
  code: ErrorCode
  /** Only publishes to this topic; null: to any. */
  topic: string | null
}

/** Ends a publish, with an error or without. */
type Done = (error: TidingsError | null, ...rest: unknown[]) => void

const PUBLISHES = ['publish', 'publishAll', 'produce']

export class PublishMishaps {
  readonly #planned: Mishap[] = []
  /** The refused frame of each producer and topic, until it comes again. */
  readonly #refused = new Map<string, { sequence: number; code: ErrorCode }>()
  readonly #guarded = new WeakMap<Topic, Topic>()
  readonly #lose: () => void

  /** `lose` cuts off those who wait for the answer to a publish. */
  constructor(lose: () => void) {
    this.#lose = lose
  }

  plan(mishap: Mishap): void {
    this.#planned.push(mishap)
  }

  /** The same host; publishes to its topics may go wrong. */
  guard(host: Host): Host {
    return overridden(host, {
      topic: (name: string) => this.#topic(host.topic(name)),
      ensureTopic: async (name: string) => this.#topic(await host.ensureTopic(name)),
    })
  }

  #topic(topic: Topic): Topic {
    let guarded = this.#guarded.get(topic)
    if (!guarded) {
      const publish =
        (name: string) =>
        (input: unknown, done: Done): void =>
          this.#publish(topic, name, input, done)
      guarded = overridden(topic, Object.fromEntries(PUBLISHES.map((name) => [name, publish(name)])))
      this.#guarded.set(topic, guarded)
    }
    return guarded
  }

  #publish(topic: Topic, name: string, input: unknown, done: Done): void {
    const store = (stored: Done): void => {
      const method = Reflect.get(topic, name) as (input: unknown, done: Done) => void
      method.call(topic, input, stored)
    }
    const producer = producerOf(topic, input)
    const before = producer === null ? undefined : this.#refused.get(producer.key)
    if (before && producer!.sequence !== before.sequence) return done(refusal(before.code))
    if (producer) this.#refused.delete(producer.key)
    const mishap = this.#take(topic.name)
    if (!mishap) return store(done)
    if (mishap.kind === 'refused') {
      if (producer) this.#refused.set(producer.key, { sequence: producer.sequence, code: mishap.code })
      return done(refusal(mishap.code))
    }
    store((...outcome) => {
      this.#lose()
      done(...outcome)
    })
  }

  #take(topic: string): Mishap | undefined {
    const at = this.#planned.findIndex((mishap) => mishap.topic === null || mishap.topic === topic)
    return at === -1 ? undefined : this.#planned.splice(at, 1)[0]
  }
}

/** Numbered frames, where the publish is one. */
function producerOf({ name }: Topic, input: unknown): { key: string; sequence: number } | null {
  const { producerId, sequence } = input as { producerId?: unknown; sequence?: unknown }
  if (typeof producerId !== 'number' || typeof sequence !== 'number') return null
  return { key: `${producerId}/${name}`, sequence }
}

function refusal(code: ErrorCode): TidingsError {
  return new TidingsError(code, 'the test wanted this publish refused; nothing of it is stored')
}
