/**
 * A subscription over partitions without a disk, on a clock that the test drives.
 */
import {
  isPattern,
  type MessageId,
  SUBSCRIPTION_DEFAULTS,
  type SubscriptionSettings,
  type TidingsError,
} from '@tidings/sdk/protocol'
import { type Logger, type Metrics, nullLogger, nullMetrics } from '../../src/base/telemetry.ts'
import { CursorStore } from '../../src/subscription/cursor-store.ts'
import { SubscriptionRunner } from '../../src/subscription/subscription-runner.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { MemoryPartition } from './memory-partition.ts'
import { MemoryDirectory } from './memory-topic.ts'
import { settle } from './settle.ts'

export class SubscriptionRig {
  readonly clock: SimClock
  readonly partitions: MemoryPartition[]
  readonly stores: CursorStore[]
  readonly subscription: SubscriptionRunner
  readonly returned: Record<string, number> = {}
  /** The topics beside its own. */
  readonly directory: MemoryDirectory
  filtered = 0

  private constructor(
    clock: SimClock,
    partitions: MemoryPartition[],
    stores: CursorStore[],
    settings: SubscriptionSettings,
    logger: Logger,
    name: string,
    topic: string,
  ) {
    this.clock = clock
    this.partitions = partitions
    this.stores = stores
    this.directory = new MemoryDirectory(clock)
    const metrics: Metrics = {
      ...nullMetrics,
      returned: (reason, count) => {
        this.returned[reason] = (this.returned[reason] ?? 0) + count
      },
      filtered: (count) => {
        this.filtered += count
      },
    }
    this.subscription = new SubscriptionRunner({
      id: name === 'billing' && topic === 'orders' ? 'id' : `${topic} ${name}`,
      name,
      topic,
      isPattern: isPattern(topic),
      settings,
      partitions: partitions.map((partition, i) => ({ topic: 'orders', partition, cursors: stores[i]! })),
      directory: this.directory,
      clock,
      metrics,
      logger,
    })
  }

  /** A subscription that starts at the beginning of empty partitions. */
  static async open(
    patch: Partial<SubscriptionSettings> = {},
    options: { partitions?: number; logger?: Logger } = {},
  ): Promise<SubscriptionRig> {
    const clock = new SimClock()
    const partitions = Array.from({ length: options.partitions ?? 1 }, (_, i) => new MemoryPartition(clock, i))
    return SubscriptionRig.over(clock, partitions, patch, options.logger)
  }

  static async over(
    clock: SimClock,
    partitions: MemoryPartition[],
    patch: Partial<SubscriptionSettings>,
    logger: Logger = nullLogger,
    name = 'billing',
    topic = 'orders',
  ): Promise<SubscriptionRig> {
    const stores = await Promise.all(partitions.map((partition) => CursorStore.open(partition, clock, logger)))
    return new SubscriptionRig(clock, partitions, stores, { ...SUBSCRIPTION_DEFAULTS, ...patch }, logger, name, topic)
  }

  get partition(): MemoryPartition {
    return this.partitions[0]!
  }

  /** The process dies and another takes over, on a clock of its own. */
  async restart(how: 'kill' | 'power'): Promise<SubscriptionRig> {
    const clock = new SimClock({ wallMs: this.clock.now(), monotonicMs: 7 })
    const partitions = this.partitions.map((partition) => partition.crashed(clock, how))
    return SubscriptionRig.over(clock, partitions, this.subscription.settings)
  }

  /** Lets everything happen that needs no time. */
  async rest(): Promise<void> {
    for (let turn = 0; turn < 8; turn++) await settle()
  }

  /** Time passes, and what it brings happens. */
  async pass(ms: number): Promise<void> {
    const until = this.clock.monotonic() + ms
    await this.rest()
    for (let due = this.clock.nextDue(); due !== undefined && due <= until; due = this.clock.nextDue()) {
      this.clock.runNext()
      await this.rest()
    }
    this.clock.advanceTo(until)
    await this.rest()
  }
}

export function ids(partition: number, ...offsets: number[]): MessageId[] {
  return offsets.map((offset) => ({ partition, offset }))
}

/** The code of what a call throws, or `none`. */
export function codeOf(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return (error as TidingsError).code
  }
  return 'none'
}
