/**
 * What one simulated subscription was promised and its consumers have seen: that nothing is lost, comes
 * back after its acknowledgement, overtakes what it must not, or lies with two at once.
 *
 * A message is open from its first delivery until somebody settled it. Where there is an order (of a
 * partition, or of a key in it) a message may only come when every open one before it lies
 * with somebody and has not failed.
 */
import type { Role } from './cast.ts'
import type { Published } from './topic-witness.ts'
import type { Moment, Witness } from './witness.ts'

/** A message at its place. */
export interface Place {
  topic: string
  partition: number
  offset: number
}

export interface Arrival extends Place {
  value: string
  attempt: number
  /** With whom it is now. */
  holder: string
  /** It surely lies with the holder until then, and surely does not after `overAt`. */
  heldUntil: number
  overAt: number
  /** Not handed over before: what a pull got was on its way for a while. */
  since: Moment
}

/** One message as the subscription's consumers know it. */
interface Seen extends Place {
  published: Published
  attempt: number
  /** The same attempt may come again: it was handed back, or a power cut took the record of a first one. */
  mayRepeat: boolean
  /** Nothing can have counted that nobody saw. */
  isExact: boolean
  holder: string | null
  heldUntil: number
  overAt: number
  /** Was nacked: blocks what comes after it. */
  hasFailed: boolean
  isRejected: boolean
  /** When it last changed hands. */
  moment: number
  ack: 'none' | 'sent' | 'confirmed'
}

/** How long after a deadline the broker has surely noticed: its looks are spaced by less. */
const NOTICED_MS = 5

export class SubscriptionWitness {
  readonly role: Role
  readonly #witness: Witness
  /** First offset owed to it, by lane: where it was last sought to. */
  readonly #owedFrom: Map<string, number> = new Map()
  readonly #seen: Map<string, Seen> = new Map()
  /** Seen before a seek that was not answered: if it did not happen, they are not owed again. */
  readonly #seenBefore: Map<string, Seen> = new Map()
  /** Open messages by what is in order among itself. */
  readonly #open: Map<string, Set<Seen>> = new Map()
  /** The last message of each that was delivered for the first time. */
  readonly #newest: Map<string, number> = new Map()
  readonly #floors: Map<string, number> = new Map()
  /** What was acknowledged before the last of them says nothing about what is owed after it. */
  seeks = 0
  /** Somebody pulled. */
  hasPulls = false
  /** Of some pull nobody knows what it was given. */
  hasLostPulls = false
  /** What may have been given up on, ever; what was open in a crash may have been delivered once more. */
  readonly #givenUp: Set<string> = new Set()
  #hasCrashed = false
  #soughtLanes: Set<string> = new Set()

  constructor(witness: Witness, role: Role) {
    this.#witness = witness
    this.role = role
  }

  /** A message arrived at a consumer. */
  delivered(arrival: Arrival): void {
    const { topic, partition, offset, value, attempt, holder } = arrival
    const place = placeOf(arrival)
    const { name } = this.role
    const label = `${name} ${place} (${value.slice(0, 12)}, attempt ${attempt}) to ${holder} at ${this.#witness.now}`
    this.#witness.note(`deliver ${label}`)
    const published = this.#witness.topic(topic).saw(`${partition}:${offset}`, value, `a delivery to ${name}`)
    const before = this.#seen.get(place)
    if (before) this.#checkAgain(before, arrival, label)
    const scope = this.#scopeOf(arrival, published)
    if (scope !== null) {
      // What had expired may come after all when the wall clock was set back over a crash.
      if (!before && !published.expires && !this.#isBesidePulls) this.#checkFirst(scope, offset, label)
      this.#checkOrder(scope, arrival, label)
    }
    if (this.role.refuses?.(published)) throw this.#witness.violated('D-FILTER', `its filter refuses ${label}`)
    if (published.key !== null && this.role.order === 'key')
      this.#witness.count(`keyed ${attempt === 1 ? 'delivered' : 'redelivered'}`)
    this.#witness.count(attempt === 1 ? 'delivered' : 'redelivered')
    // What was still with somebody comes again only because its time was over.
    const hasFailed = before !== undefined && (before.hasFailed || before.holder !== null)
    const seen: Seen = {
      ...arrival,
      moment: this.#witness.moment,
      published,
      mayRepeat: false,
      isExact: true,
      hasFailed,
      isRejected: before?.isRejected ?? false,
      ack: 'none',
    }
    if (this.role.deadLetter && attempt >= this.role.deadLetter.maxDeliveries) this.#givenUp.add(place)
    this.#seen.set(place, seen)
    if (before) this.#close(before)
    this.#openIn(scope ?? NO_ORDER, seen)
  }

  #checkAgain(before: Seen, { attempt, holder }: Arrival, label: string): void {
    if (before.ack === 'confirmed')
      throw this.#witness.violated('D-NORES', `delivered after its acknowledgement was confirmed: ${label}`)
    const least = before.mayRepeat ? before.attempt : before.attempt + 1
    if (attempt < least) throw this.#witness.violated('D-ATT', `attempt ${attempt} after ${before.attempt}: ${label}`)
    if (before.isExact && !this.hasPulls && attempt > least)
      throw this.#witness.violated('D-COUNT', `attempt ${attempt} where ${least} was next: ${label}`)
    if (attempt > (this.role.deadLetter?.maxDeliveries ?? attempt))
      throw this.#witness.violated('D-DEAD', `delivered once too often: ${label}`)
    if (before.holder !== null && before.holder !== holder && before.heldUntil > this.#witness.now)
      throw this.#witness.violated('D-EXCL', `with ${before.holder} already: ${label}`)
  }

  /**
   * In a partition later messages go out beside what a pull was given and nobody saw yet; when that pull ends
   * without an answer, an earlier one comes after them. Within a key the pull has them all.
   */
  get #isBesidePulls(): boolean {
    return this.hasPulls && this.role.order !== 'key'
  }

  /** What is new comes in the order of offsets. */
  #checkFirst(scope: string, offset: number, label: string): void {
    const newest = this.#newest.get(scope)
    if (newest !== undefined && offset < newest)
      throw this.#witness.violated('D-FIRST', `comes for the first time, after ${newest}: ${label}`)
    this.#newest.set(scope, offset)
  }

  #checkOrder(scope: string, { offset, holder, since }: Arrival, label: string): void {
    const { now } = this.#witness
    for (const other of this.#open.get(scope) ?? []) {
      const isElsewhere = other.holder !== null && other.holder !== holder && other.heldUntil > now
      if (this.role.order === 'key' && isElsewhere)
        throw this.#witness.violated('D-KEY', `${placeOf(other)} of its key is with ${other.holder}: ${label}`)
      if (other.offset >= offset || other.moment > since.moment || this.#mayBeGone(other)) continue
      if (other.hasFailed || other.overAt + NOTICED_MS < since.now)
        throw this.#witness.violated('D-PART', `${placeOf(other)} had failed before it: ${label}`)
      if (other.holder === null && !this.#isBesidePulls)
        throw this.#witness.violated('D-ORDER', `${placeOf(other)} must go before it: ${label}`)
    }
  }

  /** Whether the broker may have settled it without a word from a consumer. */
  #mayBeGone({ topic, partition, offset, published }: Seen): boolean {
    return published.expires || offset < this.#witness.startOf(topic, partition) || this.#isBuried(published)
  }

  /** Whether its dead letter is where it must be before the message is acknowledged. */
  #isBuried({ value }: Published): boolean {
    return this.role.deadLetter !== undefined && this.#witness.holds(this.role.deadLetter.topic, value)
  }

  /** Whether a dead letter of it may be: it was rejected, or delivered as often as it may be. */
  mayBeBuried(place: string): boolean {
    return this.#givenUp.has(place) || this.hasLostPulls || (this.#hasCrashed && !this.#seen.has(place))
  }

  acked(place: Place): void {
    const seen = this.#seen.get(placeOf(place))
    this.#witness.note(`ack ${this.role.name} ${placeOf(place)}`)
    if (!seen) return
    if (seen.ack === 'none') seen.ack = 'sent'
    this.#settle(seen)
  }

  confirmed(place: Place): void {
    this.#witness.note(`confirmed ${this.role.name} ${placeOf(place)}`)
    const seen = this.#seen.get(placeOf(place))
    if (!seen) return
    seen.ack = 'confirmed'
    this.#settle(seen)
  }

  nacked(place: Place): void {
    const seen = this.#seen.get(placeOf(place))
    this.#witness.note(`nack ${this.role.name} ${placeOf(place)}`)
    if (seen) this.#putBack(seen, { hasFailed: true })
  }

  released(place: Place): void {
    this.#witness.note(`released ${this.role.name} ${placeOf(place)}`)
    const seen = this.#seen.get(placeOf(place))
    if (seen) this.#putBack(seen, { mayRepeat: true })
  }

  /** Given up on: a dead letter, or dropped where there are none. */
  rejected(place: Place): void {
    const seen = this.#seen.get(placeOf(place))
    if (!this.role.deadLetter || !seen) return this.acked(place)
    this.#witness.note(`reject ${this.role.name} ${placeOf(place)}`)
    this.#givenUp.add(placeOf(place))
    this.#putBack(seen, { hasFailed: true, isRejected: true })
  }

  rejectConfirmed(place: Place): void {
    const seen = this.#seen.get(placeOf(place))
    if (!seen?.isRejected) return
    const name = `${this.role.name} ${placeOf(place)}`
    this.#witness.note(`reject confirmed ${name}`)
    if (!this.#mayBeGone(seen)) throw this.#witness.violated('D-DEAD', `no dead letter of ${name}, which was rejected`)
  }

  /** Its consumer went away with it. */
  returned(place: Place): void {
    this.#witness.note(`returned ${this.role.name} ${placeOf(place)}`)
    const seen = this.#seen.get(placeOf(place))
    if (seen) this.#putBack(seen, {})
  }

  extended(place: Place, heldUntil: number): void {
    this.#witness.note(`extended ${this.role.name} ${placeOf(place)}`)
    const seen = this.#seen.get(placeOf(place))
    if (seen) Object.assign(seen, { heldUntil, overAt: heldUntil })
  }

  /** It begins there in this lane: it was just made. */
  starts(topic: string, partition: number, offset: number): void {
    this.#owedFrom.set(`${topic}/${partition}`, offset)
  }

  /** Nothing below `startOffset` is there any more, and it had to stay until it was acknowledged. */
  removed(topic: string, partition: number, startOffset: number): void {
    for (let offset = this.#owedIn(topic, partition); offset < startOffset; offset++) {
      const missing = this.#missing({ topic, partition, offset })
      if (missing) throw this.#witness.violated('R-ACKED', `removed, and ${missing}`)
    }
  }

  /** Retention took [from, to] before somebody acknowledged it, and said so. */
  gap(topic: string, partition: number, from: number, to: number): void {
    this.#witness.count('gap')
    const start = this.#witness.startOf(topic, partition)
    if (this.#witness.topic(topic).keepsUntilAcked)
      throw this.#witness.violated('R-ACKED', `${this.role.name} lost ${from} to ${to} of ${topic}/${partition}`)
    if (to >= start)
      throw this.#witness.violated(
        'S-GAP',
        `${this.role.name}: gap ${from} to ${to}, and ${topic}/${partition} starts at ${start}`,
      )
  }

  /**
   * A seek was asked for in these lanes. Until it is answered either position may hold, so only what both
   * promise is owed.
   */
  seeking(offsets: ReadonlyMap<string, number>): void {
    this.seeks += 1
    for (const [lane, offset] of offsets) {
      this.#owedFrom.set(lane, Math.max(offset, this.#owedFrom.get(lane) ?? 0))
      this.#soughtLanes.add(lane)
      this.#forgetLane(lane, this.#seenBefore)
    }
  }

  /** The last seek that was asked for was answered. */
  sought(offsets: ReadonlyMap<string, number>): void {
    for (const [lane, offset] of offsets) {
      this.#owedFrom.set(lane, offset)
      this.#soughtLanes.delete(lane)
      for (const [place, seen] of this.#seenBefore) if (laneOf(seen) === lane) this.#seenBefore.delete(place)
    }
  }

  /** A topic of its pattern is gone. */
  forgetTopic(topic: string): void {
    const lanes = new Set([...this.#seen.values(), ...this.#seenBefore.values()].map(laneOf))
    for (const lane of [...lanes, ...this.#owedFrom.keys()]) {
      if (!lane.startsWith(`${topic}/`)) continue
      this.#forgetLane(lane, new Map())
      this.#owedFrom.delete(lane)
      this.#soughtLanes.delete(lane)
      for (const [place, seen] of this.#seenBefore) if (laneOf(seen) === lane) this.#seenBefore.delete(place)
    }
    for (const lane of this.#floors.keys()) if (lane.startsWith(`${topic}/`)) this.#floors.delete(lane)
  }

  floor(topic: string, partition: number, ackedThrough: number): void {
    const lane = `${topic}/${partition}`
    const before = this.#floors.get(lane) ?? 0
    if (ackedThrough < before)
      throw this.#witness.violated('D-FLOOR', `${this.role.name} ${lane} went from ${before} to ${ackedThrough}`)
    this.#floors.set(lane, ackedThrough)
  }

  /** After a crash unconfirmed acknowledgements may be undone; after a power cut so may a first attempt. */
  crashed(kind: 'process' | 'power'): void {
    this.#floors.clear()
    this.#hasCrashed = true
    for (const [place, seen] of this.#seen) {
      if (seen.ack === 'none') this.#givenUp.add(place)
      seen.holder = null
      seen.overAt = NEVER
      seen.hasFailed = false
      seen.isExact = false
      if (kind === 'power' && seen.attempt === 1) seen.mayRepeat = true
    }
    // A seek that was not answered may be undone: what was new for it may be old again.
    for (const lane of this.#soughtLanes) this.#forgetNewest(lane)
  }

  /** After the last fault, with everything drained: whatever is owed was settled by somebody. */
  drained(topic: string, partition: number, startOffset: number, nextOffset: number): void {
    for (let offset = Math.max(startOffset, this.#owedIn(topic, partition)); offset < nextOffset; offset++) {
      const missing = this.#missing({ topic, partition, offset })
      if (missing) throw this.#witness.violated('D-ALO', missing)
    }
  }

  #owedIn(topic: string, partition: number): number {
    return this.#owedFrom.get(`${topic}/${partition}`) ?? 0
  }

  /** What is still owed of a message that should have been settled; null: nothing. */
  #missing(place: Place): string | null {
    const { topic, partition, offset } = place
    const published = this.#witness.topic(topic).at(`${partition}:${offset}`)
    if (!published || published.expires || this.role.refuses?.(published)) return null
    const name = placeOf(place)
    const known = [this.#seen.get(name), this.#seenBefore.get(name)].filter((seen) => seen !== undefined)
    if (this.#isBuried(published)) return null
    if (known.length === 0) return `${this.role.name} never got ${name}`
    return known.every(({ ack }) => ack === 'none') ? `no consumer of ${this.role.name} acknowledged ${name}` : null
  }

  #scopeOf({ topic, partition }: Place, { key }: Published): string | null {
    const { order } = this.role
    if (order === 'partition') return `${topic}/${partition}`
    return order === 'key' && key !== null ? `${topic}/${partition} ${key}` : null
  }

  #openIn(scope: string, seen: Seen): void {
    const open = this.#open.get(scope)
    if (open) open.add(seen)
    else this.#open.set(scope, new Set([seen]))
  }

  #putBack(seen: Seen, change: Partial<Seen>): void {
    Object.assign(seen, { holder: null, overAt: NEVER, moment: this.#witness.moment }, change)
  }

  #settle(seen: Seen): void {
    seen.holder = null
    seen.hasFailed = false
    seen.overAt = NEVER
    this.#close(seen)
  }

  #close(seen: Seen): void {
    this.#open.get(this.#scopeOf(seen, seen.published) ?? NO_ORDER)?.delete(seen)
  }

  #forgetLane(lane: string, kept: Map<string, Seen>): void {
    this.#floors.delete(lane)
    this.#forgetNewest(lane)
    for (const [place, seen] of this.#seen) {
      if (laneOf(seen) !== lane) continue
      this.#seen.delete(place)
      this.#close(seen)
      kept.set(place, seen)
    }
  }

  #forgetNewest(lane: string): void {
    for (const scope of this.#newest.keys())
      if (scope === lane || scope.startsWith(`${lane} `)) this.#newest.delete(scope)
  }
}

const NEVER = Number.POSITIVE_INFINITY
const NO_ORDER = ''

export function placeOf({ topic, partition, offset }: Place): string {
  return `${topic}/${partition}:${offset}`
}

export function laneOf({ topic, partition }: Place): string {
  return `${topic}/${partition}`
}
