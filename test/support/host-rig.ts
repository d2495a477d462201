/**
 * A broker's host over a simulated disk and a clock that the test drives: topics, publishes, pulls and
 * acknowledgements in a line each, and lives that end in a crash.
 */
import { BrokerHost } from '../../src/cluster/broker-host.ts'
import { Catalog } from '../../src/cluster/catalog.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import type { PublishReceipt } from '../../src/partition/topic.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from './settle.ts'
import { environment } from './storage.ts'

/** How often the host looks after its partitions. */
const MAINTENANCE_MS = 5000
/** Turns of the event loop in which everything that can go on without time has gone on. */
const TURNS = 200

export interface MessageOptions {
  key?: string
  partition?: number
  idempotencyKey?: string
}

export class HostRig {
  readonly disk: SimDisk
  readonly clock: SimClock = new SimClock()
  host!: BrokerHost
  /** What tripped the latch. */
  poison: Error[] = []
  readonly #random: SimRandom
  readonly #coordinator: MemoryCoordinator
  #process: ReturnType<SimClock['process']> | null = null
  #boots = 0

  constructor(seed = 1, schedule: 'auto' | 'manual' = 'auto') {
    this.#random = new SimRandom(seed)
    this.disk = new SimDisk({ random: this.#random, schedule })
    this.#coordinator = new MemoryCoordinator({ clock: this.clock, random: this.#random })
  }

  static async start(seed = 1): Promise<HostRig> {
    const rig = new HostRig(seed)
    await rig.boot()
    return rig
  }

  async boot(): Promise<void> {
    const catalogIsNew = this.#boots++ === 0
    this.#process = this.clock.process()
    const shared = await environment(this.disk.mount(), this.#process)
    this.poison = shared.poison
    this.host = new BrokerHost({
      catalog: new Catalog(this.#coordinator, this.#random),
      catalogIsNew,
      random: this.#random,
      nodeId: 'n',
      autoCreateTopics: true,
      maxTopics: 1000,
      environment: shared,
    })
    await this.host.open()
  }

  /** The process ends as by kill -9, or with the machine's power, and starts again. */
  async crash(kind: 'process' | 'power'): Promise<void> {
    this.#process?.kill()
    this.disk.crash(kind)
    await this.boot()
  }

  publish(
    topic: string,
    value: string,
    { key, partition, idempotencyKey }: MessageOptions = {},
  ): Promise<PublishReceipt> {
    const input = {
      key: key === undefined ? null : Buffer.from(key),
      value: Buffer.from(value),
      contentType: 'text/plain',
      headers: [],
      idempotencyKey: idempotencyKey === undefined ? null : Buffer.from(idempotencyKey),
      partition: partition ?? null,
      ttlMs: null,
      valueChecked: true,
    }
    return new Promise((resolve, reject) => {
      this.host
        .topic(topic)
        .publish(input, (error, receipt) => (error ? reject(error) : resolve(receipt as PublishReceipt)))
    })
  }

  /** So many messages of about a kilobyte, one batch each: three or four of them fill the smallest segment. */
  async publishMany(topic: string, count: number, options: MessageOptions = {}): Promise<void> {
    for (let i = 0; i < count; i++) await this.publish(topic, `${i}`.padEnd(1000, '.'), options)
  }

  /** Takes up to so many messages and acknowledges them durably; answers their offsets. */
  async consume(topic: string, subscription: string, max: number): Promise<number[]> {
    const { pull, pulled } = this.#subscription(topic, subscription)
    const deliveries = await pull(max)
    const ids = deliveries.flatMap(({ partition, from, to }) =>
      Array.from({ length: to - from }, (_, i) => ({ partition, offset: from + i })),
    )
    await new Promise<void>((resolve, reject) => {
      pulled.ack(ids, (error) => (error ? reject(error) : resolve()))
    })
    return ids.map(({ offset }) => offset)
  }

  #subscription(topic: string, name: string) {
    const subscription = this.host.subscription(topic, name)
    return { pulled: subscription.pulled, pull: (max: number) => subscription.pull(max, 0) }
  }

  /** Everything that can happen without time has happened. */
  async settle(turns = TURNS): Promise<void> {
    for (let turn = 0; turn < turns; turn++) await settle()
  }

  /** Lets the host look after its partitions once. */
  async maintain(): Promise<void> {
    this.clock.advance(MAINTENANCE_MS)
    await this.settle()
  }

  start(topic: string, partition = 0): number {
    return this.host.topic(topic).partitions[partition]!.startOffset
  }

  /** End of the oldest segment. */
  firstEnd(topic: string, partition = 0): number {
    return this.host.topic(topic).partitions[partition]!.segments[0]!.nextOffset
  }
}
