/**
 * What a topic must know of what it stored, so that nothing is stored twice: the Idempotency-Keys within their window
 * and the last frames of its producers. Filled from the partitions when the topic is opened. Owned by its topic.
 */
import type { TopicSettings } from '@tidings/sdk/protocol'
import type { Clock, Random } from '../base/clock.ts'
import { isBrokerKey } from './broker-key.ts'
import { IdempotencyWindow } from './idempotency-window.ts'
import type { LogPartition } from './partition.ts'
import { ProducerWindow, rememberedMs } from './producer-window.ts'
import { RememberedAccount, type RememberedBudget } from './remembered-budget.ts'

/** Most Idempotency-Keys that one topic remembers: 64 bytes of memory each at worst. */
const IDEMPOTENCY_KEYS_LIMIT = 4_000_000
/**
 * Pairs of a producer and a partition that new producers may fill: half a kilobyte of memory each at worst. Enough for
 * a thousand clients that publish to all of 256 partitions within the time to remember them.
 */
const PRODUCERS_LIMIT = 262_144

export interface TopicMemoryPorts {
  clock: Clock
  random: Random
  budget: RememberedBudget
}

export class TopicMemory {
  readonly keys: IdempotencyWindow
  readonly producers: ProducerWindow
  readonly #clock: Clock
  readonly #account: RememberedAccount

  constructor({ deduplicationWindowMs }: TopicSettings, { clock, random, budget }: TopicMemoryPorts) {
    this.#account = new RememberedAccount(budget)
    this.keys = new IdempotencyWindow(deduplicationWindowMs, IDEMPOTENCY_KEYS_LIMIT, random, this.#account)
    this.producers = new ProducerWindow(rememberedMs(deduplicationWindowMs), PRODUCERS_LIMIT, this.#account)
    this.#clock = clock
  }

  configure({ deduplicationWindowMs }: TopicSettings): void {
    this.keys.windowMs = deduplicationWindowMs
    this.producers.windowMs = rememberedMs(deduplicationWindowMs)
  }

  /** Lets go of what is too old, also where nobody publishes any more. */
  expire(): void {
    this.keys.expire(this.#clock.now())
    this.producers.expire(this.#clock.monotonic())
  }

  /** The topic is gone: others may have the memory. */
  close(): void {
    this.#account.close()
  }

  /** What was stored, answered or not, must not be stored again. */
  async recover(partitions: readonly LogPartition[]): Promise<void> {
    const now = this.#clock.now()
    const monotonic = this.#clock.monotonic()
    const since = now - this.producers.windowMs
    for (const partition of partitions) {
      const { number } = partition
      await partition.recall(since, {
        key: (key, offset, timestamp) => {
          if (!isBrokerKey(key)) this.keys.remember(key, { partition: number, offset, timestamp })
        },
        frame: ({ id, sequence }, frame) => {
          const ageMs = Math.max(0, now - frame.timestamp)
          this.producers.recover(id, number, sequence, frame, monotonic - ageMs)
        },
      })
    }
  }
}
