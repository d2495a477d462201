/**
 * A topic over a simulated disk, for tests of what producers send it: its partitions can crash, run out of disk, and
 * be read back.
 */
import { recordValueAt, type TopicSettings } from '@tidings/sdk/protocol'
import { LogPartition, type PartitionEnvironment } from '../../src/partition/partition.ts'
import { HostedTopic } from '../../src/partition/topic.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { environment, topicSettings } from './storage.ts'

export interface ProducerRigOptions {
  partitions?: number
  settings?: Partial<TopicSettings>
  seed?: number
}

export class ProducerRig {
  readonly clock: SimClock = new SimClock()
  readonly disk: SimDisk
  topic!: HostedTopic
  #environment!: PartitionEnvironment
  readonly #settings: TopicSettings

  constructor({ partitions = 1, settings = {}, seed = 2 }: ProducerRigOptions) {
    this.disk = new SimDisk({ random: new SimRandom(seed) })
    this.#settings = topicSettings({ partitions, deduplicationWindowMs: 60_000, ...settings })
  }

  async open(isNew: boolean): Promise<void> {
    const mounted = this.disk.mount()
    const shared = await environment(mounted, this.clock)
    this.#environment = shared
    if (isNew) await mounted.makeDirectory('partitions')
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
  async crash(): Promise<void> {
    this.disk.crash('power')
    await this.open(false)
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
