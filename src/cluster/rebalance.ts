/**
 * Where copies should move so that all brokers have about the same: a decision. What is right stays where it is; moved
 * is what sits on brokers that may have none, what fails together though it need not, and then, one by one,
 * what is above the average of whoever has most, to whoever has least: never more than that takes.
 *
 * Topics that go together (`like`) move as one. The same input in any order gives the same answer.
 */
import { assert } from '../base/invariant.ts'
import { next, type Place, type PlacedTopic, score, sharing } from './placement.ts'

export interface BalancedTopic extends PlacedTopic {
  readonly replicationFactor: number
  /** The topic whose replicas it gets, or null. */
  readonly like: string | null
}

/** What moves as one. */
interface Unit {
  readonly id: string
  readonly copies: number
  readonly members: readonly BalancedTopic[]
  places: Place[]
}

/** The topics whose replicas should be others, with those; the first of them should lead. */
export function rebalance(topics: Iterable<BalancedTopic>, places: readonly Place[]): Map<string, string[]> {
  const moves = new Map<string, string[]>()
  if (places.length === 0) return moves
  const units = unitsOf([...topics], places)
  const plan = new Balance(units, places)
  plan.complete()
  plan.spread()
  plan.level()
  plan.levelLeaders()
  for (const { members, places: found } of units) {
    const replicas = found.map(({ nodeId }) => nodeId)
    for (const { topicId, replicas: now } of members) {
      if (now.length !== replicas.length || now.some((node, i) => node !== replicas[i])) moves.set(topicId, replicas)
    }
  }
  return moves
}

function unitsOf(topics: readonly BalancedTopic[], places: readonly Place[]): Unit[] {
  const byId = new Map(topics.map((topic) => [topic.topicId, topic]))
  const byNode = new Map(places.map((one) => [one.nodeId, one]))
  const members = new Map<string, BalancedTopic[]>()
  for (const topic of topics) {
    const id = topic.like !== null && byId.has(topic.like) ? topic.like : topic.topicId
    const unit = members.get(id)
    if (unit) unit.push(topic)
    else members.set(id, [topic])
  }
  return [...members.keys()].sort().map((id) => {
    const { replicas, replicationFactor } = byId.get(id)!
    return {
      id,
      copies: Math.min(replicationFactor, places.length),
      members: members.get(id)!,
      places: replicas.flatMap((node) => byNode.get(node) ?? []),
    }
  })
}

class Balance {
  readonly #units: readonly Unit[]
  readonly #places: readonly Place[]
  readonly #copies: Map<string, number>
  /** What nobody should have more of. */
  readonly #copiesMax: number
  /** Of each broker all units, those first that belong there most. */
  readonly #wishes = new Map<string, Unit[]>()

  constructor(units: readonly Unit[], places: readonly Place[]) {
    this.#units = units
    this.#places = [...places].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
    this.#copies = new Map(places.map(({ nodeId }) => [nodeId, 0]))
    for (const unit of units) for (const one of unit.places) this.#count(one, 1)
    this.#copiesMax = Math.ceil(units.reduce((sum, { copies }) => sum + copies, 0) / places.length)
  }

  /** Every unit gets as many copies as it should have. */
  complete(): void {
    for (const unit of this.#units) {
      while (unit.places.length > unit.copies) this.#drop(unit, this.#mostDispensable(unit))
      while (unit.places.length < unit.copies) {
        this.#add(unit, next(unit.id, unit.places, this.#places, this.#copies, this.#copiesMax))
      }
    }
  }

  /** No two copies fail together where a broker elsewhere could have one of them. */
  spread(): void {
    for (const unit of this.#units) {
      for (const from of [...unit.places].reverse()) {
        const others = unit.places.filter((one) => one !== from)
        const to = next(unit.id, others, this.#places, this.#copies, this.#copiesMax)
        if (sharing(to, others) < sharing(from, others)) this.#move(unit, from, to)
      }
    }
  }

  /** From whoever has more than the average to whoever has less, as long as there is such a pair. */
  level(): void {
    const stuck = new Set<string>()
    for (;;) {
      const from = this.#most(stuck)
      if (!from || this.#of(from) <= this.#copiesMax) return
      if (!this.#relieve(from)) stuck.add(from.nodeId)
    }
  }

  /** Nobody is preferred by more units than the average, where others have copies too. */
  levelLeaders(): void {
    const max = Math.ceil(this.#units.length / this.#places.length)
    const led = new Map<string, Unit[]>(this.#places.map(({ nodeId }) => [nodeId, []]))
    for (const unit of this.#units) led.get(unit.places[0]!.nodeId)!.push(unit)
    for (const { nodeId } of this.#places) {
      while (led.get(nodeId)!.length > max) {
        const path = pathToFewer(nodeId, led, max)
        if (!path) break
        for (const { unit, from, to } of path) {
          led.get(from)!.splice(led.get(from)!.indexOf(unit), 1)
          led.get(to)!.push(unit)
          const first = unit.places.find((one) => one.nodeId === to)!
          unit.places = [first, ...unit.places.filter((one) => one !== first)]
        }
      }
    }
  }

  /** Moves one copy away from there; false: none can go anywhere. */
  #relieve(from: Place): boolean {
    const takers = this.#places
      .filter((one) => this.#of(one) < this.#copiesMax)
      .sort((a, b) => this.#of(a) - this.#of(b) || (a.nodeId < b.nodeId ? -1 : 1))
    for (const to of takers) {
      const unit = this.#wishesOf(to).find((one) => this.#canMove(one, from, to))
      if (!unit) continue
      this.#move(unit, from, to)
      return true
    }
    return false
  }

  #canMove(unit: Unit, from: Place, to: Place): boolean {
    if (!unit.places.includes(from) || unit.places.includes(to)) return false
    const others = unit.places.filter((one) => one !== from)
    return sharing(to, others) <= sharing(from, others)
  }

  #wishesOf(place: Place): Unit[] {
    const known = this.#wishes.get(place.nodeId)
    if (known) return known
    const scored = this.#units.map((unit) => ({ unit, score: score(place.nodeId, unit.id) }))
    const wishes = scored.sort((a, b) => b.score - a.score).map(({ unit }) => unit)
    this.#wishes.set(place.nodeId, wishes)
    return wishes
  }

  #most(except: ReadonlySet<string>): Place | null {
    const candidates = this.#places.filter(({ nodeId }) => !except.has(nodeId))
    return candidates.reduce<Place | null>((a, b) => (a && this.#of(a) >= this.#of(b) ? a : b), null)
  }

  /** Of the copies that are too many: what fails together with most, then what has most beside it. */
  #mostDispensable(unit: Unit): Place {
    const rank = (one: Place): number => sharing(one, unit.places) * 1e9 + this.#of(one)
    return [...unit.places].reverse().reduce((a, b) => (rank(b) > rank(a) ? b : a))
  }

  #move(unit: Unit, from: Place, to: Place): void {
    assert(!unit.places.includes(to), 'a broker has one copy of a topic')
    unit.places = unit.places.map((one) => (one === from ? to : one))
    this.#count(from, -1)
    this.#count(to, 1)
  }

  #drop(unit: Unit, place: Place): void {
    unit.places = unit.places.filter((one) => one !== place)
    this.#count(place, -1)
  }

  #add(unit: Unit, place: Place): void {
    unit.places.push(place)
    this.#count(place, 1)
  }

  #of({ nodeId }: Place): number {
    return this.#copies.get(nodeId)!
  }

  #count({ nodeId }: Place, by: number): void {
    this.#copies.set(nodeId, this.#copies.get(nodeId)! + by)
  }
}

interface Handing {
  unit: Unit
  from: string
  to: string
}

/** The shortest way to hand leaderships on so that one that leads fewer than `max` gets one. */
function pathToFewer(start: string, led: ReadonlyMap<string, readonly Unit[]>, max: number): Handing[] | null {
  const reached = new Map<string, Handing | null>([[start, null]])
  for (const from of reached.keys()) {
    if (led.get(from)!.length < max) return wayBack(from, reached)
    for (const unit of led.get(from)!) {
      for (const { nodeId: to } of unit.places) if (!reached.has(to)) reached.set(to, { unit, from, to })
    }
  }
  return null
}

function wayBack(end: string, reached: ReadonlyMap<string, Handing | null>): Handing[] {
  const path: Handing[] = []
  for (let step = reached.get(end); step; step = reached.get(step.from)) path.push(step)
  return path
}
