/**
 * One seeded run of one broker: clients act, the disk does one thing at a time, faults and crashes
 * fall between any two of them; then everything heals, drains, and is compared with what was promised.
 * The same seed gives the same run: see `trace`.
 */
import { createHash } from 'node:crypto'
import type { Disk } from '../../src/base/disk.ts'
import { CorruptionError } from '../../src/log/log-recovery.ts'
import type { Topic } from '../../src/partition/topic.ts'
import type { Subscription } from '../../src/subscription/subscription.ts'
import { settle } from '../support/settle.ts'
import { SimRandom } from '../support/sim-random.ts'
import { Consumer, gone, Publisher, type Seat } from './clients.ts'
import { compare, isOnStableStorage } from './comparison.ts'
import { type Life, Machine } from './machine.ts'
import { type Published, SubscriptionWitness, Witness } from './witness.ts'

export interface ScenarioOptions {
  seed: number
  steps?: number
  /** Every line of what happened, for replaying by eye. */
  onLine?: (line: string) => void
  /** A deliberate bug between the broker and its disk. */
  wrapDisk?: (disk: Disk) => Disk
}

export interface ScenarioOutcome {
  /** SHA-256 over everything that happened, in order. */
  trace: string
  counts: Map<string, number>
}

const TOPIC = 'orders'
const ACK_DEADLINE_MS = 400
const TYPES = ['shared', 'exclusive', 'failover'] as const
/** Steps that a healed broker may take to drain: far more than any takes. */
const DRAIN_STEPS = 40_000

export class Scenario {
  readonly #random: SimRandom
  readonly #machine: Machine
  readonly #witness: Witness
  readonly #publisher: Publisher
  readonly #hash = createHash('sha256')
  readonly #onLine: ((line: string) => void) | undefined
  readonly #steps: number
  readonly #seats: Map<string, Seat> = new Map()
  readonly #faults: readonly string[]
  #partitions: number
  readonly #retention: object
  #consumers = 0
  #exists = false
  /** Deletions that were asked for; whether they happened nobody knows before they are asked for again. */
  #topicIsDoomed = false
  readonly #doomed: Set<string> = new Set()
  readonly #isBuffered: boolean
  #wallMs = 0

  constructor({ seed, steps = 350, onLine, wrapDisk }: ScenarioOptions) {
    this.#random = new SimRandom(seed)
    this.#onLine = onLine
    this.#witness = new Witness((line) => this.#note(line))
    this.#steps = steps
    const random = this.#random.split('scenario')
    // A quarter of the runs is quiet, the others draw some of the faults.
    const all = ['crash process', 'crash power', 'sync', 'write', 'room', 'full']
    this.#isBuffered = random.chance(0.15)
    const drawn = random.chance(0.25) ? [] : all.filter(() => random.chance(0.5))
    // What is only buffered may be gone after a power cut, so that nothing would be left to hold it to.
    this.#faults = this.#isBuffered ? drawn.filter((fault) => fault !== 'crash power') : drawn
    this.#partitions = 1 + random.integer(2)
    this.#retention = random.chance(0.3) ? { maxBytes: 5000 } : {}
    const journal = (line: string): void => this.#note(line)
    this.#machine = new Machine({ random: this.#random.split('machine'), journal, ...(wrapDisk ? { wrapDisk } : {}) })
    this.#publisher = new Publisher(this.#random.split('publisher'), this.#witness, (published) =>
      this.#checkBarrier(published),
    )
  }

  async run(): Promise<ScenarioOutcome> {
    const random = this.#random.split('steps')
    for (let step = 0; step < this.#steps; step++) {
      await this.#step(random)
      this.#check()
    }
    await this.#heal()
    await this.#drain()
    await compare(
      this.#machine,
      TOPIC,
      this.#witness,
      [...this.#seats.values()].map(({ seen }) => seen),
    )
    this.#check()
    return { trace: this.#hash.digest('hex'), counts: this.#witness.counts }
  }

  async #step(random: SimRandom): Promise<void> {
    const { life } = this.#machine
    if (!life) {
      this.#note('boot')
      this.#machine.boot()
      return settle()
    }
    if (life.state === 'failed') return this.#end(life, random)
    if (random.chance(0.012)) return this.#crash(random)
    if (random.chance(0.012)) this.#fault(random)
    if (life.state === 'serving' && random.chance(0.35)) return this.#act(life, random)
    const moved = random.chance(0.75)
      ? (await this.#machine.stepDisk()) || (await this.#machine.stepClock(false))
      : (await this.#machine.stepClock(false)) || (await this.#machine.stepDisk())
    if (!moved || random.chance(0.02)) await this.#machine.stepClock(true)
  }

  /** The broker could not boot, or its disk failed: the process ends, and is started again. */
  async #end(life: Life, random: SimRandom): Promise<void> {
    this.#note(`failed ${String(life.failure)}`)
    if (life.failure instanceof CorruptionError)
      throw this.#witness.violated('S-TORN', `refused to start: ${life.failure.message}`)
    this.#witness.count('failed')
    await this.#crashAs(!this.#isBuffered && random.chance(0.3) ? 'power' : 'process')
  }

  async #crash(random: SimRandom): Promise<void> {
    const kinds = (['process', 'power'] as const).filter((kind) => this.#faults.includes(`crash ${kind}`))
    const { life } = this.#machine
    if (life?.state === 'serving' && random.chance(0.15)) {
      this.#witness.count('orderly end')
      this.#note('orderly end')
      await this.#machine.whileStepping(life, () => life.host.close())
      return this.#crashAs(this.#isBuffered || random.chance(0.5) ? 'process' : 'power')
    }
    if (kinds.length === 0) return
    if (random.chance(0.3)) this.#machine.performUntold()
    await this.#crashAs(random.pick(kinds))
  }

  async #crashAs(kind: 'process' | 'power'): Promise<void> {
    this.#note(`crash ${kind}`)
    this.#witness.count(`crash ${kind}`)
    for (const published of this.#witness.published) if (published.outcome === 'pending') published.outcome = 'unknown'
    for (const { seen, consumers, holders } of this.#seats.values()) {
      seen.crashed(kind)
      consumers.length = 0
      holders.clear()
    }
    await this.#machine.crash(kind)
  }

  #fault(random: SimRandom): void {
    const { disk } = this.#machine
    const fault = random.pick(['sync', 'write', 'room', 'full', 'space', 'wall'] as const)
    if (fault === 'space') {
      disk.capacityBytes = 2 ** 40
      return
    }
    if (fault === 'wall') {
      // Never so far that a key leaves its window or a delay outlasts the drain.
      const to = random.integer(60_000) - 30_000
      this.#machine.clock.jumpWall(to - this.#wallMs)
      this.#wallMs = to
      this.#witness.count('wall jump')
      return
    }
    if (!this.#faults.includes(fault)) return
    this.#note(`fault ${fault}`)
    this.#witness.count(`fault ${fault}`)
    this.#machine.inject(fault, random)
  }

  async #act(life: Life, random: SimRandom): Promise<void> {
    if (!this.#exists || this.#seats.size < TYPES.length) {
      await this.#prepare(life)
      return
    }
    const topic = this.#topic(life)
    if (!topic) return
    if (random.chance(0.012)) return this.#administer(life, random)
    const action = random.pick([
      'publish',
      'publish',
      'publish',
      'retry',
      'consumer',
      'consumer',
      'consumer',
      'join',
      'seek',
      'look',
    ])
    if (action === 'publish') this.#publisher.publish(topic, life)
    else if (action === 'retry') this.#publisher.retry(topic, life)
    else if (action === 'look') this.#look(life, topic)
    else if (action === 'seek') this.#seek(life, random)
    else this.#consumer(life, random, action === 'join')
    await settle()
  }

  /** Makes the topic and its subscriptions, unless an earlier life already did. */
  async #prepare(life: Life): Promise<void> {
    const settings = {
      partitions: this.#partitions,
      segmentBytes: 4096,
      deduplicationWindowMs: 10_000_000,
      retention: this.#retention,
      durability: this.#isBuffered ? 'buffered' : 'fsync',
    }
    await this.#machine.whileStepping(life, async () => {
      if (this.#topicIsDoomed) await gone(life.host.deleteTopic(TOPIC))
      this.#topicIsDoomed = false
      await life.host.putTopic(TOPIC, settings)
      this.#exists = true
      for (const type of TYPES.filter((name) => !this.#seats.has(name))) {
        if (this.#doomed.has(type)) await gone(life.host.deleteSubscription(TOPIC, type))
        this.#doomed.delete(type)
        const patch = {
          type,
          start: 'earliest',
          ackDeadlineMs: ACK_DEADLINE_MS,
          backoff: { minMs: 50, maxMs: 400 },
          maxUnacked: 40,
        }
        await life.host.putSubscription(TOPIC, type, patch)
        const owed = Array.from({ length: this.#partitions }, () => 0)
        this.#seats.set(type, {
          seen: new SubscriptionWitness(this.#witness, type, type !== 'shared', owed),
          holders: new Map(),
          consumers: [],
          seeks: 0,
        })
      }
    })
  }

  /** Deletes the topic or a subscription, or lets the topic grow; some of it is cut short by a crash. */
  async #administer(life: Life, random: SimRandom): Promise<void> {
    const what = random.pick(['delete topic', 'delete subscription', 'delete subscription', 'grow', 'grow'])
    const limit = this.#faults.includes('crash process') && random.chance(0.4) ? random.integer(30) : 5000
    this.#note(what)
    this.#witness.count(what)
    if (what === 'grow') {
      if (this.#partitions >= 4) return
      this.#partitions += 1
      const partitions = this.#partitions
      return this.#cutShort(life, async () => void (await life.host.putTopic(TOPIC, { partitions })), limit)
    }
    const names = what === 'delete topic' ? [...this.#seats.keys()] : [random.pick([...this.#seats.keys()])]
    for (const name of names) {
      for (const consumer of this.#seats.get(name)!.consumers) consumer.detach()
      this.#seats.delete(name)
    }
    if (what === 'delete subscription') {
      this.#doomed.add(names[0]!)
      return this.#cutShort(life, () => life.host.deleteSubscription(TOPIC, names[0]!), limit)
    }
    this.#exists = false
    this.#topicIsDoomed = true
    this.#doomed.clear()
    this.#witness.forget()
    return this.#cutShort(life, () => life.host.deleteTopic(TOPIC), limit)
  }

  async #cutShort(life: Life, task: () => Promise<void>, limit: number): Promise<void> {
    const ended = await this.#machine.whileStepping(life, task, limit)
    if (!ended && life.state === 'serving') await this.#crashAs('process')
  }

  #topic(life: Life): Topic | null {
    return life.host.topics().find(({ name }) => name === TOPIC) ?? null
  }

  #subscription(life: Life, name: string): Subscription {
    return life.host.subscription(TOPIC, name)
  }

  #consumer(life: Life, random: SimRandom, join: boolean): void {
    const [name, seat] = random.pick([...this.#seats])
    seat.consumers = seat.consumers.filter(({ attachment }) => attachment)
    if (join || seat.consumers.length === 0) {
      if (seat.consumers.length >= 3) return
      seat.consumers.push(this.#newConsumer(life, name, seat))
    } else random.pick(seat.consumers).act()
  }

  #newConsumer(life: Life, name: string, seat: Seat): Consumer {
    const label = `${name}#${this.#consumers++}`
    const consumer = new Consumer(label, {
      life,
      clock: this.#machine.clock,
      random: this.#random.split(label),
      witness: this.#witness,
      seen: seat.seen,
      holders: seat.holders,
      ackDeadlineMs: ACK_DEADLINE_MS,
    })
    consumer.attach(this.#subscription(life, name))
    return consumer
  }

  #seek(life: Life, random: SimRandom): void {
    if (!random.chance(0.2)) return
    const [name, seat] = random.pick([...this.#seats])
    const subscription = this.#subscription(life, name)
    const topic = this.#topic(life)!
    const offsets = topic.partitions.map(({ startOffset, highWatermark }) =>
      random.chance(0.7) ? startOffset + random.integer(highWatermark - startOffset + 1) : undefined,
    )
    const to = {
      offsets: Object.fromEntries(offsets.flatMap((offset, i) => (offset === undefined ? [] : [[String(i), offset]]))),
    }
    this.#witness.count('seek')
    this.#note(`seek ${name} ${offsets.join(' ')}`)
    seat.seen.seeking(offsets)
    for (const consumer of seat.consumers) consumer.forget()
    seat.holders.clear()
    seat.seeks += 1
    const mine = seat.seeks
    subscription.seek(to).then(
      () => {
        // A later seek may be answered before an earlier one; it is the last one that holds.
        if (life.state !== 'over' && seat.seeks === mine) seat.seen.sought(offsets)
      },
      () => this.#witness.count('seek refused'),
    )
  }

  /** What the API shows of it must hold together. */
  #look(life: Life, topic: Topic): void {
    for (const { number, startOffset } of topic.partitions) this.#witness.start(number, startOffset)
    for (const [name, { seen }] of this.#seats) {
      for (const { partition, ackedThrough } of this.#subscription(life, name).state().cursors)
        seen.floor(partition, ackedThrough)
    }
  }

  /** S-BARRIER: at the moment of the answer the bytes are on stable storage. */
  #checkBarrier({ value, partition, offset }: Published): void {
    const found = isOnStableStorage(this.#machine, partition, value)
    const isRetained = 'maxBytes' in this.#retention
    if (!found && !isRetained && !this.#isBuffered)
      throw this.#witness.violated('S-BARRIER', `${partition}:${offset} was answered before it was durable`)
  }

  #check(): void {
    if (this.#witness.violation) throw this.#witness.violation
    for (const [path, times] of this.#machine.disk.syncsAfterFailure) {
      throw this.#witness.violated('S-LATCH', `${path} was synced ${times} times after a failed sync`)
    }
  }

  /** No more faults: a broker that is down comes up, and everything that is missing is made. */
  async #heal(): Promise<void> {
    const { disk } = this.#machine
    disk.heal()
    disk.capacityBytes = 2 ** 40
    this.#note('heal')
    for (let step = 0; step < DRAIN_STEPS; step++) {
      const { life } = this.#machine
      if (!life) this.#machine.boot()
      else if (life.state === 'failed') await this.#end(life, this.#random)
      else if (life.state === 'serving' && life.host.notReady() === null) {
        if (this.#exists && this.#seats.size === TYPES.length) return
        await this.#prepare(life)
      }
      if (!(await this.#machine.stepDisk()) && !(await this.#machine.stepClock(false)))
        await this.#machine.stepClock(true)
      this.#check()
    }
    throw this.#witness.violated('D-LIVE', 'the broker did not come back after the last fault')
  }

  async #drain(): Promise<void> {
    const life = this.#machine.life!
    for (const [name, seat] of this.#seats) {
      for (const consumer of seat.consumers) consumer.detach()
      seat.consumers = [this.#newConsumer(life, name, seat)]
    }
    const isDrained = (): boolean =>
      [...this.#seats.keys()].every((name) => this.#subscription(life, name).state().backlog === 0) &&
      this.#witness.published.every(({ outcome }) => outcome !== 'pending')
    for (let step = 0; step < DRAIN_STEPS; step++) {
      if (isDrained()) return
      for (const { consumers } of this.#seats.values()) for (const consumer of consumers) consumer.finish()
      if (!(await this.#machine.stepDisk()) && !(await this.#machine.stepClock(false)))
        await this.#machine.stepClock(true)
      this.#check()
    }
    const states = [...this.#seats.keys()].map((name) => `${name} ${this.#subscription(life, name).state().backlog}`)
    throw this.#witness.violated('D-LIVE', `not drained: ${states.join(', ')}`)
  }

  #note(line: string): void {
    this.#hash.update(line).update('\n')
    this.#onLine?.(line)
  }
}
