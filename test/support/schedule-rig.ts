/**
 * A topic with its log of scheduled messages on a simulated disk, life after life: what the test asks of it, what
 * it answered, and what must be in the partitions in the end. The logs roll and are compacted after every
 * few records.
 */
import { recordEnd, recordIdempotencyKey, recordValueAt } from '@tidings/sdk/protocol'
import { LogPartition } from '../../src/partition/partition.ts'
import { HostedTopic, isScheduled, type PublishInput } from '../../src/partition/topic.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from './settle.ts'
import { environment, topicSettings } from './storage.ts'

export const PARTITIONS = 2

/** One message, and all that is known of it from answers. */
export interface Fate {
  value: string
  deliverAt: number
  key: string | null
  /** The id; `unknown`: no answer came before the crash; `refused`; `published`: at once, the time had come. */
  scheduling: string
  cancelling: 'never' | 'unknown' | 'cancelled' | 'missed'
}

export interface Stored {
  value: string
  timestamp: number
  isMarked: boolean
}

export class ScheduleRig {
  readonly disk: SimDisk
  readonly clock = new SimClock()
  readonly fates: Fate[] = []
  topic: HostedTopic | null = null
  /** From the next life on. */
  windowMs: number
  #process = this.clock.process()
  #partitions: LogPartition[] = []
  #life = 0

  constructor(seed: number, deduplicationWindowMs: number) {
    this.windowMs = deduplicationWindowMs
    this.disk = new SimDisk({ random: new SimRandom(seed), schedule: 'manual' })
  }

  /** Starts a life: makes the topic (in the first one, which must get that far), or recovers it. */
  async boot(): Promise<void> {
    const life = ++this.#life
    this.#process = this.clock.process()
    const mounted = this.disk.mount()
    const isNew = life === 1
    const shared = await environment(mounted, this.#process, {
      scheduleLog: { segmentBytes: 700, growthBytes: 500 },
      maxQueuedBytes: 100_000,
    })
    const settings = topicSettings({ partitions: PARTITIONS, deduplicationWindowMs: this.windowMs })
    const partitions: LogPartition[] = []
    if (isNew) {
      await mounted.makeDirectory('partitions')
      await mounted.syncDirectory('')
    }
    for (let number = 0; number < PARTITIONS; number++) {
      const make = isNew ? LogPartition.create : LogPartition.open
      partitions.push(await make(shared, 'topic', number, settings))
    }
    const ports = { clock: this.#process, random: new SimRandom(life), environment: shared }
    const topic = new HostedTopic({ id: 'topic', name: 'orders' }, settings, partitions, ports)
    await topic.recover()
    if (life !== this.#life) return
    topic.start()
    this.topic = topic
    this.#partitions = partitions
  }

  schedule(value: string, delayMs: number, key: string | null): void {
    const deliverAt = Math.floor(this.clock.now()) + delayMs
    const fate: Fate = { value, deliverAt, key, scheduling: 'unknown', cancelling: 'never' }
    this.fates.push(fate)
    this.#publish(fate)
  }

  /** Asks the same again: the key makes it one message. */
  repeat(fate: Fate): void {
    if (fate.key !== null && this.windowMs > 0) this.#publish(fate)
  }

  cancel(fate: Fate): void {
    const { topic } = this
    if (!topic || !/^\d+$/.test(fate.scheduling)) return
    const life = this.#life
    if (fate.cancelling === 'never') fate.cancelling = 'unknown'
    topic.cancelScheduled(Number(fate.scheduling)).then(
      (isCancelled) => {
        if (life !== this.#life) return
        if (isCancelled) fate.cancelling = 'cancelled'
        else if (fate.cancelling === 'unknown') fate.cancelling = 'missed'
      },
      () => undefined,
    )
  }

  async stepDisk(): Promise<boolean> {
    const stepped = this.disk.step() !== null
    await settle()
    return stepped
  }

  /** Ends the life at once. */
  crash(kind: 'process' | 'power'): void {
    this.#life += 1
    this.topic = null
    this.#process.kill()
    this.disk.crash(kind)
  }

  /** Runs what can run without time passing. */
  async quiesce(): Promise<void> {
    for (let idle = 0; idle < 5; ) idle = (await this.stepDisk()) ? 0 : idle + 1
  }

  /** Lets everything come to its end, and reads what is in the partitions. */
  async finish(withinMs = 200_000): Promise<Stored[]> {
    if (!this.topic) {
      const booted = this.boot()
      await this.quiesce()
      await booted
    }
    await this.quiesce()
    for (let round = 0; round < 100 && this.topic!.scheduledCount > 0; round++) {
      this.clock.advance(withinMs / 100)
      await this.quiesce()
    }
    const stored: Stored[] = []
    for (const partition of this.#partitions) {
      for (let offset = 0; offset < partition.highWatermark; ) {
        const loading = partition.load(offset)
        await this.quiesce()
        for (const batch of await loading) {
          for (; offset < batch.nextOffset; offset++) {
            const at = batch.positionOf(offset)
            const { bytes, timestamp } = batch
            const value = bytes.toString('utf8', recordValueAt(bytes, at), recordEnd(bytes, at, bytes.length))
            stored.push({ value, timestamp, isMarked: recordIdempotencyKey(bytes, at)?.[0] === 0xff })
          }
        }
      }
    }
    return stored
  }

  #publish(fate: Fate): void {
    const life = this.#life
    this.topic?.publish(input(fate), (error, outcome) => {
      if (life !== this.#life) return
      if (error) {
        if (fate.scheduling === 'unknown') fate.scheduling = 'refused'
      } else if (outcome && isScheduled(outcome)) fate.scheduling = outcome.scheduled.id
      else fate.scheduling = 'published'
    })
  }
}

function input({ value, deliverAt, key }: Fate): PublishInput {
  return {
    key: null,
    value: Buffer.from(value),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: key === null ? null : Buffer.from(key),
    partition: null,
    ttlMs: null,
    deliverAt,
    valueChecked: true,
  }
}

/** What is wrong with what came of the messages, one sentence each. */
export function complaints(fates: readonly Fate[], stored: readonly Stored[]): string[] {
  const wrong: string[] = []
  for (const fate of fates) {
    const found = stored.filter(({ value }) => value === fate.value)
    const what = `${fate.value} (${fate.scheduling}, ${fate.cancelling})`
    if (found.length > 1) wrong.push(`${what} is in the log ${found.length} times`)
    if (fate.cancelling === 'cancelled' && found.length > 0) wrong.push(`${what} was cancelled and is in the log`)
    const isPromised = /^\d+$/.test(fate.scheduling) && (fate.cancelling === 'never' || fate.cancelling === 'missed')
    if (isPromised && found.length === 0) wrong.push(`${what} is not in the log`)
    for (const { timestamp, isMarked } of found) {
      if (timestamp < fate.deliverAt) wrong.push(`${what} came ${fate.deliverAt - timestamp} ms too early`)
      // Without an answer it may have been published at once, its time having come: only an id promises a mark.
      if (!isMarked && /^\d+$/.test(fate.scheduling)) wrong.push(`${what} carries no mark`)
    }
  }
  return wrong
}
