/**
 * The package's entry `tidings/testing`: the real broker inside a test's process, in memory, without a port and
 * without a native addon, on a clock that the test moves. Nothing in the broker knows of it.
 */
import type { Client, ClientOptions } from '@tidings/sdk/platform'
import { ERRORS, type ErrorCode, TidingsError } from '@tidings/sdk/protocol'
import { systemClock } from '../base/clock.ts'
import { type Duration, durationMs } from './duration.ts'
import { TestTopic } from './test-topic.ts'
import { type TestAnswer, Testbed, type TestMethod } from './testbed.ts'
import type { TestClock } from './virtual-time.ts'

export type { Client, ClientOptions } from '@tidings/sdk/platform'
export type { Duration } from './duration.ts'
export type { DeadLetter, TestMessage } from './test-message.ts'
export type { Settlement, TestSubscription } from './test-subscription.ts'
export type { TestTopic } from './test-topic.ts'
export type { TestAnswer, TestMethod } from './testbed.ts'
export type { TestClock } from './virtual-time.ts'

export interface TestBrokerOptions {
  /** Wall time at the start. Default: the system's. */
  now?: Date | number
  /** All chance (names, jitter, what is spread) comes from it; the same seed gives the same run. Default: 1. */
  seed?: number
  /** As `--auto-create-topics`. Default: true. */
  autoCreateTopics?: boolean
}

export interface MishapOptions {
  /** Only publishes to this topic. Default: to any. */
  topic?: string
}

export class TestBroker {
  /** A client, connected to this broker. More of them: `connect`. */
  readonly client: Client
  readonly clock: TestClock
  readonly #bed: Testbed

  constructor(bed: Testbed) {
    this.#bed = bed
    this.clock = bed.time
    this.client = bed.connect({})
  }

  /** Another client, with connections of its own. `close` ends it with the broker. */
  connect(options: Omit<ClientOptions, 'url'> = {}): Client {
    return this.#bed.connect(options)
  }

  topic<T = unknown>(name: string): TestTopic<T> {
    return new TestTopic<T>(this.#bed, name)
  }

  /**
   * Moves the time on by `'10m'`, `'1h30m'`, `'500ms'` or so many milliseconds. What is due on the way happens in
   * order, each with all that follows from it, before this resolves. Rejects with `invalid_argument`.
   */
  async advance(duration: Duration): Promise<void> {
    await this.#bed.time.advance(durationMs(duration))
  }

  /** Lets everything happen that can without time passing. */
  settle(): Promise<void> {
    return this.#bed.time.settle()
  }

  /** Anything of the HTTP API; a body that is no text or bytes is sent as JSON. Error answers are answers. */
  request(method: TestMethod, path: string, body?: unknown): Promise<TestAnswer> {
    return this.#bed.request(method, path, body)
  }

  // --- what goes wrong ---

  /** All connections and requests under way are lost, as if the cable was pulled for a moment. Clients come again. */
  dropConnections(): void {
    this.#bed.network.cutRequests()
    this.#bed.network.cutSockets()
  }

  /** The next publish is refused with this code, and nothing of it is stored. Called again, one more is. */
  refuseNextPublish(code: ErrorCode, { topic = null }: MishapOptions | { topic: null } = {}): void {
    if (!Object.hasOwn(ERRORS, code)) {
      const known = Object.keys(ERRORS).join(', ')
      throw new TidingsError('invalid_argument', `${JSON.stringify(code)} is no code of an error: give one of ${known}`)
    }
    this.#bed.mishaps.plan({ kind: 'refused', code, topic })
  }

  /** The next publish is stored, and its connection is lost before the answer. Called again, one more is. */
  loseNextAnswer({ topic = null }: MishapOptions | { topic: null } = {}): void {
    this.#bed.mishaps.plan({ kind: 'unanswered', code: 'outcome_unknown', topic })
  }

  /**
   * The broker is gone at once. `power` (the default): with the machine, so that only what was synced is left;
   * `process`: as by kill -9. Nobody answers until `restart`. Throws `unavailable` where it is down already.
   */
  crash(kind: 'power' | 'process' = 'power'): void {
    this.#bed.crash(kind)
  }

  /** Starts the broker again on the same disk; one that runs is stopped in order first. */
  async restart(): Promise<void> {
    if (!this.#bed.isDown) await this.#bed.stop()
    await this.#bed.start()
  }

  /**
   * Ends the clients (handlers may finish, as far as they wait for nothing outside), then the broker. Publishes that are
   * still waiting reject. Nothing is left behind that keeps a process alive.
   */
  close(): Promise<void> {
    return this.#bed.close()
  }
}

/** A broker of its own for each call, as many as you like side by side. */
export async function createTestBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const { now = systemClock.now(), seed = 1, autoCreateTopics = true } = options
  const wallMs = Math.floor(Number(now))
  if (!Number.isSafeInteger(wallMs) || wallMs < 0) {
    throw new TidingsError('invalid_argument', '"now" must be a Date or milliseconds since the epoch')
  }
  const bed = new Testbed({ wallMs, seed, autoCreateTopics })
  await bed.start()
  return new TestBroker(bed)
}
