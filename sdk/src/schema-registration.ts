/**
 * Gives the broker the JSON Schema of a defined topic, once, before the first publish. Owns what is known about that: a
 * refusal is told to every publish, and the broker is asked again by the next one. When the broker cannot be reached, or
 * this user may not set schemas, publishes go on: values are checked here all the same.
 */

import type { Clock } from './platform.ts'
import { type ErrorCode, TidingsError } from './protocol/errors.ts'
import type { JsonSchema, SchemaCompatibility } from './protocol/subscription.ts'
import type { Ask } from './questions.ts'

const BY_HAND_MS = 15_000
/** After it could not be told, it is tried again with the first publish after so long. */
const AGAIN_MS = 1000
/** Somebody else sets the schemas. */
const NOT_OURS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['permission_denied', 'method_not_allowed', 'not_found'])

export class Registration {
  readonly #clock: Clock
  readonly #ask: Ask
  readonly #topic: string
  readonly #schema: JsonSchema | null
  readonly #compatibility: SchemaCompatibility | undefined
  #isDone: boolean
  #under: Promise<void> | null = null
  #notBefore = Number.NEGATIVE_INFINITY

  constructor(
    { clock, ask }: { clock: Clock; ask: Ask },
    topic: string,
    schema: JsonSchema | null,
    compatibility: SchemaCompatibility | undefined,
  ) {
    this.#clock = clock
    this.#ask = ask
    this.#topic = topic
    this.#schema = schema
    this.#compatibility = compatibility
    this.#isDone = schema === null
  }

  /** True: publish now. Else a promise that resolves when it may be, or rejects with why the broker does not take it. */
  ready(): true | Promise<void> {
    if (this.#isDone || this.#clock.monotonic() < this.#notBefore) return true
    this.#under ??= this.#attempt().finally(() => {
      this.#under = null
    })
    return this.#under
  }

  async now(): Promise<void> {
    if (this.#schema === null) {
      throw new TidingsError('invalid_argument', `topic ${this.#topic} has no JSON Schema: give one as jsonSchema`)
    }
    await this.#put(BY_HAND_MS)
    this.#isDone = true
  }

  async #attempt(): Promise<void> {
    try {
      await this.#put(0)
      this.#isDone = true
    } catch (error) {
      const { code, retryable } = TidingsError.from(error)
      if (NOT_OURS.has(code)) this.#isDone = true
      else if (retryable) this.#notBefore = this.#clock.monotonic() + AGAIN_MS
      else throw error
    }
  }

  async #put(timeoutMs: number): Promise<void> {
    const body = {
      schema: this.#schema,
      ...(this.#compatibility === undefined ? {} : { schemaCompatibility: this.#compatibility }),
    }
    await this.#ask({
      method: 'PUT',
      path: `/v1/topics/${encodeURIComponent(this.#topic)}`,
      body,
      timeoutMs,
    })
  }
}
