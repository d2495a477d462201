/**
 * One seeded run of one broker: clients act, the disk does one thing at a time, faults and crashes
 * fall between any two of them; then everything heals, drains, and is compared with what was promised.
 * The same seed gives the same run: see `trace`.
 */
import { createHash } from 'node:crypto'
import type { Disk } from '../../src/base/disk.ts'
import { CorruptionError } from '../../src/log/log-recovery.ts'
import type { Topic } from '../../src/partition/topic.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from '../support/settle.ts'
import { ACTION_LIST } from './actions.ts'
import { Administration } from './administration.ts'
import { castOf, type Retention, retentionOf, SIDE_TOPIC, TOPIC } from './cast.ts'
import { compare, isOnStableStorage } from './comparison.ts'
import { FrameProducer } from './frame-producer.ts'
import { judgeLetters } from './letters.ts'
import { type Life, Machine } from './machine.ts'
import { ParkingDesk } from './parking-desk.ts'
import { Publisher } from './publisher.ts'
import { Stage } from './stage.ts'
import type { Published } from './topic-witness.ts'
import { Witness } from './witness.ts'

export interface ScenarioOptions {
  seed: number
  steps?: number
  /** Every line of what happened, for replaying by eye. */
  onLine?: (line: string) => void
  /** A deliberate bug between the broker and its disk. */
  wrapDisk?: (disk: Disk) => Disk
  theme?: Theme
}

/** What a run is to be about; the rest is left to chance. */
export interface Theme {
  /** Kinds of subscriptions that take part. */
  roles?: readonly string[]
  /** All of them expire when nobody attends to them. */
  isBrief?: boolean
  retention?: Retention
  /** There is a producer of numbered frames. */
  produces?: boolean
  /** Chance of a message to be scheduled. */
  schedules?: number
  /** Chance that all that can be repeated is, in the end, after one more crash. */
  repeats?: number
  /** Crashes of both kinds happen, with this chance at every step. */
  crashes?: number
}

export interface ScenarioOutcome {
  /** SHA-256 over everything that happened, in order. */
  trace: string
  counts: Map<string, number>
}

const FAULTS = ['crash process', 'crash power', 'sync', 'write', 'room', 'full'] as const
/** Steps that a healed broker may take to drain: far more than any takes. */
const DRAIN_STEPS = 40_000
/** Longer than maintenance takes to come round twice. */
const REST_MS = 11_000
const WAIT_MS = 6000
/** Chance that the process ends, or the power goes, right after an answer that must last. */
const CRASH_AFTER_ANSWER = 0.2
const WAIT_STEPS = 300

export class Scenario {
  readonly #random: SimRandom
  readonly #machine: Machine
  readonly #witness: Witness
  readonly #stage: Stage
  readonly #administration: Administration
  readonly #desk: ParkingDesk
  readonly #publisher: Publisher
  /** Null: all that is published in this run is published singly. */
  readonly #frames: FrameProducer | null
  readonly #hash = createHash('sha256')
  readonly #onLine: ((line: string) => void) | undefined
  readonly #steps: number
  readonly #faults: readonly string[]
  readonly #crashes: number
  readonly #repeats: number
  readonly #isBuffered: boolean
  #wallMs = 0

  constructor({ seed, steps = 300, onLine, wrapDisk, theme = {} }: ScenarioOptions) {
    this.#random = new SimRandom(seed)
    this.#onLine = onLine
    this.#steps = steps
    const random = this.#random.split('scenario')
    this.#isBuffered = random.chance(0.15)
    // A quarter of the runs is quiet, the others draw some of the faults.
    const drawn = random.chance(0.25) ? [] : FAULTS.filter(() => random.chance(0.5))
    // What is only buffered may be gone after a power cut, so that nothing would be left to hold it to.
    this.#faults = this.#isBuffered ? drawn.filter((fault) => fault !== 'crash power') : drawn
    if (theme.crashes !== undefined && !this.#isBuffered) this.#faults = ['crash process', 'crash power']
    this.#crashes = theme.crashes ?? 0.012
    this.#repeats = theme.repeats ?? 0.3
    const partitions = 1 + random.integer(2)
    const drawnRetention = retentionOf(random)
    const retention = theme.retention ?? drawnRetention
    // Segments must fill for something to be removed.
    const habits = {
      bytes: retention === 'everything stays' ? 120 : 700,
      // What can be repeated cannot be compacted.
      repeats: retention === 'compacted' && random.chance(0.7) ? 0 : 0.5,
      schedules: theme.schedules ?? (random.chance(0.4) ? 0.2 : 0),
    }
    const journal = (line: string): void => this.#note(line)
    this.#machine = new Machine({ random: this.#random.split('machine'), journal, ...(wrapDisk ? { wrapDisk } : {}) })
    this.#witness = new Witness({
      note: journal,
      now: () => this.#machine.clock.monotonic(),
      wall: () => this.#machine.clock.now(),
      startOf: (topic, partition) => this.#startOf(topic, partition),
      holds: (topic, value) => this.#holds(topic, value),
    })
    const settings = {
      segmentBytes: 4096,
      deduplicationWindowMs: 10_000_000,
      durability: this.#isBuffered ? 'buffered' : 'fsync',
    }
    const cast = castOf(this.#random.split('cast'), theme.roles, theme.isBrief)
    const isDoomed = false
    const scenes = [{ name: TOPIC, settings, retention, partitions, exists: false, isDoomed }]
    if (cast.some(({ isPattern }) => isPattern))
      scenes.push({ name: SIDE_TOPIC, settings, retention, partitions: 1, exists: false, isDoomed })
    this.#stage = new Stage({
      scenes,
      cast,
      machine: this.#machine,
      witness: this.#witness,
      random: this.#random.split('clients'),
    })
    this.#desk = new ParkingDesk(this.#stage, this.#witness, this.#random.split('parking'))
    this.#administration = new Administration({
      stage: this.#stage,
      machine: this.#machine,
      witness: this.#witness,
      mayEnd: this.#faults.includes('crash process'),
    })
    const checkBarrier = (topic: Topic, published: Published): void => this.#checkBarrier(topic, published)
    this.#publisher = new Publisher(this.#random.split('publisher'), this.#witness, habits, checkBarrier)
    const produces = random.chance(0.4)
    this.#frames =
      (theme.produces ?? produces)
        ? new FrameProducer(this.#random.split('frames'), this.#witness, habits, checkBarrier)
        : null
  }

  async run(): Promise<ScenarioOutcome> {
    const random = this.#random.split('steps')
    for (let step = 0; step < this.#steps; step++) {
      await this.#step(random)
      this.#check()
    }
    await this.#heal()
    if (random.chance(this.#repeats)) await this.#repeatAll()
    await this.#drain()
    const life = this.#machine.life!
    await this.#machine.whileStepping(life, () => judgeLetters(life.host.topics(), this.#stage, this.#witness))
    await this.#redriveAll(life)
    await this.#stage.expire(life, (ms) => this.#pass(ms))
    await compare(this.#machine, this.#stage, this.#witness)
    this.#judge()
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
    const chance = this.#witness.takeAnswered() ? CRASH_AFTER_ANSWER : this.#crashes
    if (random.chance(chance)) return this.#crash(random)
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
    this.#stage.crashed(kind)
    this.#desk.crashed()
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
    if (!this.#stage.isComplete) return this.#stage.prepare(life)
    if (random.chance(0.012)) {
      const isWhole = await this.#administration.act(life, random)
      if (!isWhole && life.state === 'serving') await this.#crashAs('process')
      return
    }
    const topics = this.#stage.topics(life)
    if (topics.length === 0) return
    const action = random.pick(ACTION_LIST)
    if (action === 'produce' && this.#frames) this.#frames.act(random.pick(topics), life)
    else if (action === 'repeat') this.#publisher.repeat(random.pick(topics), life)
    else if (action === 'publish' || action === 'produce') this.#publisher.publish(random.pick(topics), life)
    else if (action === 'retry') this.#publisher.retry(random.pick(topics), life)
    else if (action === 'look') this.#administration.look(life)
    else if (action === 'cancel') this.#publisher.cancel(random.pick(topics), life)
    else if (action === 'park') this.#desk.attend(life)
    else if (action === 'wait') await this.#wait(life, random)
    else if (action === 'redrive') this.#administration.redrive(life, random)
    else if (action === 'seek') this.#administration.seek(life, random)
    else this.#stage.act(life, random, action === 'arrival')
    await settle()
  }

  #startOf(topic: string, partition: number): number {
    const { life } = this.#machine
    if (life?.state !== 'serving') return 0
    const found = life.host.topics().find(({ name }) => name === topic)
    return found?.partitions[partition]?.startOffset ?? 0
  }

  #holds(topic: string, value: string): boolean {
    const { life } = this.#machine
    const found = life?.state === 'serving' ? life.host.topics().find(({ name }) => name === topic) : undefined
    return found !== undefined && isOnStableStorage(this.#machine, found.id, '', value)
  }

  /** S-BARRIER: at the moment of the answer the bytes are on stable storage. */
  #checkBarrier({ id, name }: Topic, published: Published): void {
    const { value, partition, offset, schedule } = published
    if (this.#isBuffered || isOnStableStorage(this.#machine, id, schedule ? '' : partition, value)) return
    // A repetition may be answered with a place that has been removed since.
    if (
      offset < this.#startOf(name, partition) ||
      this.#witness.topic(name).mayBeSuperseded(published, partition, offset)
    )
      return
    throw this.#witness.violated('S-BARRIER', `${name}/${partition}:${offset} was answered before it was durable`)
  }

  #check(): void {
    const { life } = this.#machine
    if (life?.state === 'serving') this.#stage.notice(life)
    this.#judge()
  }

  #judge(): void {
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
        if (this.#stage.isComplete) return
        await this.#stage.prepare(life)
      }
      await this.#idle()
      this.#check()
    }
    throw this.#witness.violated('D-LIVE', 'the broker did not come back after the last fault')
  }

  /** All dead letters go back, and are acknowledged: then nothing excuses a message that nobody acknowledged. */
  async #redriveAll(life: Life): Promise<void> {
    for (const seat of this.#stage.seats.values()) {
      if (!seat.role.deadLetter) continue
      await this.#machine.whileStepping(life, async () => {
        const moved = await this.#administration.moveBack(life, seat, 100_000)
        this.#witness.note(`${seat.role.name} got ${moved} letters back`)
      })
      seat.seen.deaths.isOver = true
    }
    await this.#untilDrained(life)
  }

  /** What was stored and can be repeated is known after a restart, also where it is gone. */
  async #repeatAll(): Promise<void> {
    await this.#pass(WAIT_MS)
    this.#check()
    await this.#crashAs(this.#isBuffered ? 'process' : 'power')
    await this.#heal()
    const life = this.#machine.life!
    for (const topic of this.#stage.topics(life)) {
      await this.#machine.whileStepping(life, () => this.#publisher.repeatAll(topic, life))
      this.#frames?.repeatAll(topic, life)
    }
    this.#check()
  }

  async #drain(): Promise<void> {
    const life = this.#machine.life!
    this.#stage.lastConsumers(life)
    await this.#untilDrained(life)
    await this.#rest(life)
  }

  async #untilDrained(life: Life): Promise<void> {
    for (let step = 0; step < DRAIN_STEPS; step++) {
      if (this.#stage.isDrained(life)) return
      this.#stage.finish()
      if (step % 50 === 0) this.#desk.attend(life)
      await this.#idle()
      this.#check()
    }
    throw this.#witness.violated('D-LIVE', `not drained: ${this.#stage.backlogs(life)}`)
  }

  /** Nobody does anything for so long that maintenance comes round, whoever is behind. */
  async #wait(life: Life, random: SimRandom): Promise<void> {
    if (!random.chance(0.2)) return
    this.#witness.count('wait')
    const until = this.#witness.now + WAIT_MS
    for (let step = 0; step < WAIT_STEPS && life.state === 'serving' && this.#witness.now < until; step++)
      await this.#idle()
  }

  /** Nobody does anything for a while, so that maintenance removes what may go. */
  async #rest(life: Life): Promise<void> {
    await this.#pass(REST_MS)
    this.#administration.look(life)
  }

  async #pass(ms: number): Promise<void> {
    const until = this.#witness.now + ms
    while (this.#witness.now < until) await this.#idle()
  }

  /** Whatever is next, disk or clock. */
  async #idle(): Promise<void> {
    if (!(await this.#machine.stepDisk()) && !(await this.#machine.stepClock(false)))
      await this.#machine.stepClock(true)
  }

  #note(line: string): void {
    this.#hash.update(line).update('\n')
    this.#onLine?.(line)
  }
}
