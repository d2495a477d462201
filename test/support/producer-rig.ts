/**
 * A topic over a simulated disk, for tests of what producers send it: its partitions can crash, run out of disk, and
 * be read back.
 */
import { recordValueAt, type TopicSettings } from '@tidings/sdk/protocol'
import { nullLogger } from '../../src/base/telemetry.ts'
import { LogPartition, type PartitionEnvironment } from '../../src/partition/partition.ts'
import { aloneTerm, type Term } from '../../src/partition/quorum.ts'
import { HostedTopic } from '../../src/partition/topic.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import type { Survival } from '../../src/testing/sim-file.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from './settle.ts'
import { environment, topicSettings } from './storage.ts'

export interface ProducerRigOptions {
  partitions?: number
  settings?: Partial<TopicSettings>
  seed?: number
  term?: Term
}

export class ProducerRig {
  readonly clock: SimClock = new SimClock()
  readonly disk: SimDisk
  topic!: HostedTopic
  /** What was logged as an error in this life, and what tripped the latch. */
  errors: string[] = []
  poison: Error[] = []
  #environment!: PartitionEnvironment
  readonly #settings: TopicSettings
  readonly #term: Term

  constructor({ partitions = 1, settings = {}, seed = 2, term = aloneTerm(1) }: ProducerRigOptions) {
    this.#term = term
    this.disk = new SimDisk({ random: new SimRandom(seed) })
    this.#settings = topicSettings({ partitions, deduplicationWindowMs: 60_000, ...settings })
  }

  async open(isNew: boolean): Promise<void> {
    const mounted = this.disk.mount()
    const errors: string[] = []
    const logger = { ...nullLogger, error: (_: object, message: string) => void errors.push(message) }
    const shared = await environment(mounted, this.clock, { logger, term: this.#term })
    this.errors = errors
    this.poison = shared.poison
    this.#environment = shared
    if (isNew) {
      await mounted.makeDirectory('partitions')
      await mounted.syncDirectory('')
    }
    const partitions: LogPartition[] = []
    for (let number = 0; number < this.#settings.partitions; number++) {
      const make = isNew ? LogPartition.create : LogPartition.open
      partitions.push(await make(shared, 'topic', number, this.#settings))
    }
    const ports = { clock: this.clock, random: new SimRandom(5), environment: shared }
    this.topic = new HostedTopic({ id: 'topic', name: 'orders' }, this.#settings, partitions, ports)
    await this.topic.recover()
  }

  /** As after a power cut: what was not synced may be gone. */
  async crash(survival?: Survival): Promise<void> {
    this.disk.crash('power', survival)
    await this.open(false)
  }

  async close(): Promise<void> {
    await this.topic.close()
    for (const partition of this.topic.partitions) await partition.close()
  }

  /** Retention and the like, as far as they go by themselves. */
  async maintain(): Promise<void> {
    for (const partition of this.topic.partitions) await partition.maintain(() => 0)
  }

  /** The same, of which only so many operations of the disk take effect; answers whether those were all. */
  async maintainUpTo(operations: number): Promise<boolean> {
    const seen = new Set<number>()
    let isStalled = false
    let isOver = false
    this.disk.stall(({ id }) => {
      seen.add(id)
      const stalls = seen.size > operations
      isStalled ||= stalls
      return stalls
    })
    void this.maintain().then(() => (isOver = true))
    while (!isOver && !isStalled) await settle()
    return isOver
  }

  get space(): PartitionEnvironment['space'] {
    return this.#environment.space
  }

  /** The values of each partition, oldest first, as readers see them. */
  async values(): Promise<string[][]> {
    const all: string[][] = []
    for (const partition of this.topic.partitions) {
      const values: string[] = []
      for (let offset = partition.startOffset; offset < partition.highWatermark; ) {
        const batches = await partition.load(offset)
        for (const batch of batches) {
          for (const one of batch.offsets()) {
            const at = batch.positionOf(one)
            const end = at + 4 + batch.bytes.readUInt32BE(at)
            values.push(batch.bytes.toString('utf8', recordValueAt(batch.bytes, at), end))
          }
        }
        offset = batches.at(-1)!.nextOffset
      }
      all.push(values)
    }
    return all
  }
}

export async function producerRig(options: ProducerRigOptions = {}): Promise<ProducerRig> {
  const rig = new ProducerRig(options)
  await rig.open(true)
  return rig
}
