/**
 * What operators do to a simulated broker while it works: topics and subscriptions are deleted, topics grow,
 * subscriptions are sent elsewhere, and some of it is cut short by a crash. Called by the scenario.
 */
import type { Position } from '@tidings/sdk/protocol'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import { covers, identityOf, type Role } from './cast.ts'
import type { Life, Machine } from './machine.ts'
import type { Scene, Seat, Stage } from './stage.ts'
import type { Witness } from './witness.ts'

const PARTITIONS_MAX = 4

export class Administration {
  readonly #stage: Stage
  readonly #machine: Machine
  readonly #witness: Witness
  /** Whether the process may end in the middle of a task. */
  readonly #mayEnd: boolean

  constructor(parts: { stage: Stage; machine: Machine; witness: Witness; mayEnd: boolean }) {
    this.#stage = parts.stage
    this.#machine = parts.machine
    this.#witness = parts.witness
    this.#mayEnd = parts.mayEnd
  }

  /** Does one thing; false when it was cut short and the process must end. */
  async act(life: Life, random: SimRandom): Promise<boolean> {
    const what = random.pick(['delete topic', 'delete subscription', 'delete subscription', 'grow', 'grow'] as const)
    const limit = this.#mayEnd && random.chance(0.4) ? random.integer(30) : 5000
    const scene = random.pick(this.#stage.scenes.filter(({ exists }) => exists))
    this.#witness.note(what)
    this.#witness.count(what)
    if (what === 'grow') return this.#grow(life, scene, limit)
    if (what === 'delete topic') return this.#deleteTopic(life, scene, limit)
    return this.#deleteSubscription(life, random.pick([...this.#stage.seats.values()]), limit)
  }

  #grow(life: Life, scene: Scene, limit: number): Promise<boolean> {
    if (scene.partitions >= PARTITIONS_MAX) return Promise.resolve(true)
    scene.partitions += 1
    const { name, partitions } = scene
    return this.#within(life, limit, async () => void (await life.host.putTopic(name, { partitions })))
  }

  #deleteTopic(life: Life, scene: Scene, limit: number): Promise<boolean> {
    scene.exists = false
    scene.isDoomed = true
    this.#witness.topic(scene.name).forget()
    for (const { name, topic } of this.#stage.cast) if (topic === scene.name) this.#stage.doomed.delete(name)
    for (const seat of this.#stage.seats.values()) {
      if (seat.role.topic === scene.name) this.#stage.unseat(seat)
      else if (covers(seat.role, scene.name)) {
        this.#stage.forget(seat, (lane) => lane.startsWith(`${scene.name}/`))
        seat.seen.forgetTopic(scene.name)
      }
    }
    this.#stage.forgetTopic(scene.name)
    return this.#within(life, limit, () => life.host.deleteTopic(scene.name))
  }

  #deleteSubscription(life: Life, seat: Seat, limit: number): Promise<boolean> {
    const { topic, name } = identityOf(seat.role)
    this.#stage.unseat(seat)
    this.#stage.doomed.add(seat.role.name)
    return this.#within(life, limit, () => life.host.deleteSubscription(topic, name))
  }

  async #within(life: Life, limit: number, task: () => Promise<void>): Promise<boolean> {
    return (await this.#machine.whileStepping(life, task, limit)) || life.state !== 'serving'
  }

  seek(life: Life, random: SimRandom): void {
    if (!random.chance(0.2)) return
    const seat = random.pick([...this.#stage.seats.values()])
    const { lanes, to } = this.#target(life, seat.role, random)
    this.#witness.count('seek')
    this.#witness.note(`seek ${seat.role.name} ${JSON.stringify(to)}`)
    seat.seen.seeking(lanes)
    this.#stage.forget(seat, (lane) => lanes.has(lane))
    seat.seeks += 1
    const mine = seat.seeks
    this.#stage
      .subscription(life, seat.role)
      .seek(to)
      .then(
        () => {
          // A later seek may be answered before an earlier one; it is the last one that holds.
          if (life.state === 'over' || seat.seeks !== mine) return
          seat.seen.sought(lanes)
          this.#witness.answered()
        },
        () => this.#witness.count('seek refused'),
      )
  }

  /** Somewhere in some partitions; in a pattern's topics the only place that all have is the beginning. */
  #target(life: Life, role: Role, random: SimRandom): { lanes: Map<string, number>; to: Position } {
    const lanes = new Map<string, number>()
    const offsets: Record<string, number> = {}
    for (const { name, partitions } of this.#stage.topics(life).filter((topic) => covers(role, topic.name))) {
      for (const { number, startOffset, highWatermark } of partitions) {
        if (!role.isPattern && !random.chance(0.7)) continue
        offsets[number] = role.isPattern ? startOffset : startOffset + random.integer(highWatermark - startOffset + 1)
        lanes.set(`${name}/${number}`, offsets[number])
      }
    }
    return { lanes, to: role.isPattern ? 'earliest' : { offsets } }
  }

  /** Asks for some of the dead letters of a subscription. */
  redrive(life: Life, random: SimRandom): void {
    const dead = [...this.#stage.seats.values()].filter(({ role }) => role.deadLetter)
    if (dead.length === 0) return
    const seat = random.pick(dead)
    void this.moveBack(life, seat, 1 + random.integer(10))
  }

  /** Answers how many letters were moved; never when the life ends before. */
  async moveBack(life: Life, { role, seen }: Seat, max: number): Promise<number> {
    this.#witness.note(`redrive ${role.name} ${max}`)
    seen.redriving()
    try {
      const { moved } = await this.#stage.subscription(life, role).redrive({ max, dryRun: false, filter: null })
      if (life.state !== 'over') seen.deaths.redrove(false)
      this.#witness.count('redriven', moved)
      if (moved > 0) this.#witness.answered()
      this.#witness.note(`redriven ${role.name} ${moved}`)
      return moved
    } catch {
      if (life.state !== 'over') seen.deaths.redrove(true)
      this.#witness.count('redrive refused')
      return 0
    }
  }

  /** What the API shows of it must hold together. */
  look(life: Life): void {
    for (const { name, retention } of this.#stage.scenes) {
      const partitions = this.#stage.topics(life).find((topic) => topic.name === name)?.partitions ?? []
      for (const { number, startOffset } of partitions) {
        this.#witness.topic(name).start(number, startOffset)
        if (retention === 'until acked')
          for (const seat of this.#stage.seatsOf(name)) seat.seen.removed(name, number, startOffset)
      }
    }
    for (const { role, seen } of this.#stage.seats.values()) {
      for (const { topic = role.topic, partition, ackedThrough } of this.#stage.subscription(life, role).state()
        .cursors)
        if (this.#witness.topic(topic).isLive) seen.floor(topic, partition, ackedThrough)
    }
  }
}
