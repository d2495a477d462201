/**
 * Whether what one simulated subscription delivers comes in its order: of a partition, or of a key in it.
 * A message is open from its first delivery until somebody settled it; another may only come when
 * every open one before it lies with somebody and has not failed. Of one key nothing lies with two at once.
 */
import type { Role } from './cast.ts'
import { type Arrival, laneOf, type Place, placeOf, type Sighting } from './sighting.ts'
import type { Published } from './topic-witness.ts'
import type { Witness } from './witness.ts'

/** How long after a deadline the broker has surely noticed: its looks are spaced by less. */
const NOTICED_MS = 5

export class OrderWitness {
  readonly #witness: Witness
  readonly #role: Role
  /** Whether the broker may have settled it without a word from a consumer. */
  readonly #mayBeGone: (sighting: Sighting) => boolean
  /** Open messages by what is in order among itself. */
  readonly #open: Map<string, Set<Sighting>> = new Map()
  /** The last message of each that was delivered for the first time. */
  readonly #newest: Map<string, number> = new Map()
  /** Somebody pulled. */
  hasPulls = false

  constructor(witness: Witness, role: Role, mayBeGone: (sighting: Sighting) => boolean) {
    this.#witness = witness
    this.#role = role
    this.#mayBeGone = mayBeGone
  }

  arrived(arrival: Arrival, published: Published, isNew: boolean, label: string): void {
    const scope = this.#scopeOf(arrival, published)
    if (scope === null) return
    // What had expired may come after all when the wall clock was set back over a crash.
    if (isNew && !published.expires && !this.#isBesidePulls) this.#checkFirst(scope, arrival.offset, label)
    for (const other of this.#open.get(scope) ?? []) this.#checkBeside(other, arrival, label)
  }

  open(sighting: Sighting): void {
    const scope = this.#scopeOf(sighting, sighting.published)
    if (scope === null) return
    const open = this.#open.get(scope)
    if (open) open.add(sighting)
    else this.#open.set(scope, new Set([sighting]))
  }

  close(sighting: Sighting): void {
    const scope = this.#scopeOf(sighting, sighting.published)
    if (scope !== null) this.#open.get(scope)?.delete(sighting)
  }

  /** What is new in the lane may have been before. */
  forgetNewest(lane: string): void {
    for (const scope of this.#newest.keys())
      if (scope === lane || scope.startsWith(`${lane} `)) this.#newest.delete(scope)
  }

  /**
   * In a partition later messages go out beside what a pull was given and nobody saw yet; when that pull ends
   * without an answer, an earlier one comes after them. Within a key the pull has them all.
   */
  get #isBesidePulls(): boolean {
    return this.hasPulls && (this.#role.order !== 'key' || this.#role.isSingle === true)
  }

  /** What is new comes in the order of offsets. */
  #checkFirst(scope: string, offset: number, label: string): void {
    const newest = this.#newest.get(scope)
    if (newest !== undefined && offset < newest)
      throw this.#witness.violated('D-FIRST', `comes for the first time, after ${newest}: ${label}`)
    this.#newest.set(scope, offset)
  }

  #checkBeside(other: Sighting, { offset, holder, since }: Arrival, label: string): void {
    const isElsewhere = other.holder !== null && other.holder !== holder && other.heldUntil > this.#witness.now
    if (this.#role.order === 'key' && !this.#role.isSingle && isElsewhere)
      throw this.#witness.violated('D-KEY', `${placeOf(other)} of its key is with ${other.holder}: ${label}`)
    if (other.offset >= offset || other.moment > since.moment) return
    const hasFailed = other.hasFailed || other.overAt + NOTICED_MS < since.now
    const mustGoFirst = other.holder === null && !this.#isBesidePulls
    if ((!hasFailed && !mustGoFirst) || this.#mayBeGone(other)) return
    if (hasFailed) throw this.#witness.violated('D-PART', `${placeOf(other)} had failed before it: ${label}`)
    throw this.#witness.violated('D-ORDER', `${placeOf(other)} must go before it: ${label}`)
  }

  #scopeOf(place: Place, { key }: Published): string | null {
    const { order } = this.#role
    if (order === 'partition') return laneOf(place)
    return order === 'key' && key !== null ? `${laneOf(place)} ${key}` : null
  }
}
