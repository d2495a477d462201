/**
 * Where a simulated run plays: its topics and the seats of its subscriptions, as they should be, and what of
 * it is there. It makes what is missing, hands out clients, and lets go of everything in a crash. Deletions
 * are kept in mind until they are known to have happened. Called by the scenario.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Topic } from '../../src/partition/topic.ts'
import { addresseeOf } from '../../src/subscription/addressee.ts'
import type { Subscription } from '../../src/subscription/subscription.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import { covers, identityOf, RETENTION, type Retention, type Role } from './cast.ts'
import { Consumer } from './consumer.ts'
import type { DeathWitness } from './death-witness.ts'
import { Grip } from './grip.ts'
import type { Life, Machine } from './machine.ts'
import { Puller } from './puller.ts'
import { SubscriptionWitness } from './subscription-witness.ts'
import type { Witness } from './witness.ts'

/** A topic of the run. */
export interface Scene {
  name: string
  settings: Record<string, unknown>
  retention: Retention
  partitions: number
  /** It was made, and nobody asked for its deletion since. */
  exists: boolean
  /** Its deletion was asked for; whether it happened nobody knows before it is asked for again. */
  isDoomed: boolean
}

/** A subscription of the run, with its clients in the present life. */
export interface Seat {
  role: Role
  seen: SubscriptionWitness
  consumers: Consumer[]
  pullers: Puller[]
  seeks: number
}

const CONSUMERS_MAX = 3
const PULLERS_MAX = 2
/** How late an expiry may come: the broker looks every second. */
const EXPIRY_NOTICED_MS = 2500
const GONE: readonly string[] = ['topic_not_found', 'subscription_not_found']

export class Stage {
  readonly scenes: readonly Scene[]
  readonly cast: readonly Role[]
  readonly seats: Map<string, Seat> = new Map()
  /** Subscriptions whose deletion was asked for. */
  readonly doomed: Set<string> = new Set()
  /** Those that were found expired: they may not come back by themselves. */
  readonly #expired: Set<string> = new Set()
  /** What subscriptions of these names gave up on before they were deleted. */
  readonly #retired: Map<string, DeathWitness> = new Map()
  readonly #machine: Machine
  readonly #witness: Witness
  readonly #random: SimRandom
  #clients = 0

  constructor(parts: {
    scenes: readonly Scene[]
    cast: readonly Role[]
    machine: Machine
    witness: Witness
    random: SimRandom
  }) {
    this.scenes = parts.scenes
    this.cast = parts.cast
    this.#machine = parts.machine
    this.#witness = parts.witness
    this.#random = parts.random
  }

  get isComplete(): boolean {
    return this.scenes.every(({ exists }) => exists) && this.seats.size === this.cast.length
  }

  /** Makes what is missing, unless an earlier life already did. */
  async prepare(life: Life): Promise<void> {
    await this.#machine.whileStepping(life, async () => {
      const [first, ...later] = this.scenes
      if (!first!.exists) await this.#make(life, first!)
      for (const role of this.cast) if (!this.seats.has(role.name)) await this.#seat(life, role)
      // A pattern finds topics that come after it.
      for (const scene of later) if (!scene.exists) await this.#make(life, scene)
    })
  }

  async #make(life: Life, scene: Scene): Promise<void> {
    if (scene.isDoomed) await gone(life.host.deleteTopic(scene.name))
    scene.isDoomed = false
    await life.host.putTopic(scene.name, {
      ...scene.settings,
      ...RETENTION[scene.retention],
      partitions: scene.partitions,
    })
    scene.exists = true
    const witness = this.#witness.topic(scene.name)
    witness.isLive = true
    witness.keepsUntilAcked = scene.retention === 'until acked'
    witness.isCompacted = scene.retention === 'compacted'
  }

  async #seat(life: Life, role: Role): Promise<void> {
    const { name, patch } = role
    const own = identityOf(role)
    if (this.doomed.has(name)) await gone(life.host.deleteSubscription(own.topic, own.name))
    this.doomed.delete(name)
    if (this.#expired.delete(name) && this.#isThere(life, role))
      throw this.#witness.violated('D-EXPIRE', `${name} is there again after it was deleted`)
    const askedAt = this.#witness.now
    await life.host.putSubscription(own.topic, own.name, patch)
    const seen = new SubscriptionWitness(this.#witness, role, askedAt)
    for (const { name: read, partitions } of this.topics(life).filter((one) => covers(role, one.name)))
      for (const { number, startOffset } of partitions) seen.starts(read, number, startOffset)
    const earlier = this.#retired.get(name)
    if (earlier) seen.deaths.inherit(earlier)
    this.seats.set(name, { role, seen, consumers: [], pullers: [], seeks: 0 })
  }

  topics(life: Life): Topic[] {
    const live = new Set(this.scenes.filter(({ exists }) => exists).map(({ name }) => name))
    return life.host.topics().filter(({ name }) => live.has(name))
  }

  /** The subscription's deletion was asked for. */
  unseat({ role, seen, consumers }: Seat): void {
    for (const consumer of consumers) consumer.detach()
    seen.attendance.over()
    this.#retired.set(role.name, seen.deaths)
    this.seats.delete(role.name)
  }

  /** The topic's deletion was asked for, and with it all that was said of its messages. */
  forgetTopic(topic: string): void {
    for (const deaths of this.#retired.values()) deaths.forgetTopic(topic)
  }

  scene(topic: string): Scene {
    return this.scenes.find(({ name }) => name === topic)!
  }

  /** The seat that letters and copies name so. */
  seatAt(address: string): Seat | undefined {
    return [...this.seats.values()].find(({ role }) => addresseeOf(identityOf(role)) === address)
  }

  /** The subscriptions that get what is published to the topic. */
  seatsOf(topic: string): Seat[] {
    return [...this.seats.values()].filter(({ role }) => covers(role, topic))
  }

  subscription(life: Life, role: Role): Subscription {
    const { topic, name } = identityOf(role)
    return life.host.subscription(topic, name)
  }

  /** Lets go of the subscriptions that have expired, if they may. */
  notice(life: Life): void {
    for (const seat of this.seats.values()) {
      if (this.#isThere(life, seat.role)) continue
      seat.seen.attendance.vanished()
      this.#witness.answered()
      this.#expired.add(seat.role.name)
      this.unseat(seat)
    }
  }

  #isThere(life: Life, role: Role): boolean {
    try {
      this.subscription(life, role)
      return true
    } catch (error) {
      if (TidingsError.is(error) && GONE.includes(error.code)) return false
      throw error
    }
  }

  /** Everybody goes; then those that expire have to, and no others. Drives the machine with `pass`. */
  async expire(life: Life, pass: (ms: number) => Promise<void>): Promise<void> {
    for (const { consumers } of this.seats.values()) for (const consumer of consumers) consumer.detach()
    await pass(Math.max(0, ...this.cast.map(({ expireAfterMs = 0 }) => expireAfterMs)) + EXPIRY_NOTICED_MS)
    for (const { role, seen } of this.seats.values()) {
      if (!this.#isThere(life, role)) seen.attendance.vanished()
      else if (role.expireAfterMs !== undefined)
        throw this.#witness.violated('D-EXPIRE', `nobody has attended to ${role.name} for long, and it is still there`)
    }
  }

  /** One client does something, or one more comes. */
  act(life: Life, random: SimRandom, isArrival: boolean): void {
    const seat = random.pick([...this.seats.values()])
    seat.consumers = seat.consumers.filter(({ attachment }) => attachment)
    seat.pullers = seat.pullers.filter(({ isOver }) => !isOver)
    const clients = [...seat.consumers, ...seat.pullers]
    const arrives = isArrival || clients.length === 0 || (seat.role.churns && random.chance(0.15))
    if (!arrives) {
      if (seat.role.churns && seat.consumers.length > 0 && random.chance(0.1)) random.pick(seat.consumers).detach()
      else random.pick(clients).act()
    } else if (random.chance(0.25)) {
      if (seat.pullers.length < PULLERS_MAX) seat.pullers.push(this.#puller(life, seat))
    } else if (seat.consumers.length < CONSUMERS_MAX) seat.consumers.push(this.consumer(life, seat))
  }

  /** A new consumer of the seat, attached if the type lets it. */
  consumer(life: Life, seat: Seat): Consumer {
    const { grip, random } = this.#client(life, seat)
    const consumer = new Consumer(grip, { random, witness: this.#witness, seen: seat.seen })
    consumer.attach(this.subscription(life, seat.role))
    return consumer
  }

  #puller(life: Life, seat: Seat): Puller {
    const { grip, random } = this.#client(life, seat)
    const subscription = this.subscription(life, seat.role)
    const puller = new Puller(grip, { random, witness: this.#witness, seen: seat.seen, subscription })
    puller.pull(life)
    return puller
  }

  #client(life: Life, { role, seen }: Seat): { grip: Grip; random: SimRandom } {
    const label = `${role.name}#${this.#clients++}`
    const random = this.#random.split(label)
    return { random, grip: new Grip(label, { life, random, witness: this.#witness, seen }) }
  }

  /** The subscription moved in these lanes, or they are gone. */
  forget(seat: Seat, isGone: (lane: string) => boolean): void {
    for (const client of [...seat.consumers, ...seat.pullers]) client.forget(isGone)
  }

  /** From now on one consumer a seat, which acknowledges all that it gets. */
  lastConsumers(life: Life): void {
    for (const seat of this.seats.values()) {
      for (const consumer of seat.consumers) consumer.detach()
      seat.consumers = [this.consumer(life, seat)]
    }
  }

  finish(): void {
    for (const { consumers, pullers } of this.seats.values())
      for (const client of [...consumers, ...pullers]) client.finish()
  }

  isDrained(life: Life): boolean {
    const isSettled = ({ name }: Scene): boolean =>
      this.#witness.topic(name).published.every(({ outcome }) => outcome !== 'pending')
    const isEmpty = ({ role }: Seat): boolean => this.subscription(life, role).state().backlog === 0
    const isDue = this.topics(life).every(({ scheduledCount }) => scheduledCount === 0)
    return isDue && [...this.seats.values()].every(isEmpty) && this.scenes.every(isSettled)
  }

  /** For whoever wonders why it does not drain. */
  backlogs(life: Life): string {
    const backlog = ({ role }: Seat): string => {
      const subscription = this.subscription(life, role)
      return `${role.name} ${subscription.state().backlog} (${subscription.explain().verdict})`
    }
    return [...this.seats.values()].map(backlog).join(', ')
  }

  crashed(kind: 'process' | 'power'): void {
    for (const { name } of this.scenes) this.#witness.topic(name).crashed()
    for (const seat of this.seats.values()) {
      seat.seen.crashed(kind)
      if (seat.pullers.length > 0) seat.seen.deaths.hasLostPulls = true
      seat.consumers = []
      seat.pullers = []
    }
  }
}

/** A deletion asked for again may find nothing to delete. */
export async function gone(deletion: Promise<void>): Promise<void> {
  try {
    await deletion
  } catch (error) {
    if (!TidingsError.is(error) || !GONE.includes(error.code)) throw error
  }
}
