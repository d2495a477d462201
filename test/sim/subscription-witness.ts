/**
 * What one simulated subscription was promised and its consumers have seen: that nothing is lost, comes
 * back after its acknowledgement, overtakes what it must not (`order-witness.ts`), is given up on too
 * soon or without a trace (`death-witness.ts`), or lies with two at once.
 */
import { addresseeOf } from '../../src/subscription/addressee.ts'
import type { Delivery } from '../../src/subscription/subscription.ts'
import { AttendanceWitness } from './attendance-witness.ts'
import { identityOf, type Role } from './cast.ts'
import { DeathWitness } from './death-witness.ts'
import { OrderWitness } from './order-witness.ts'
import { ParkingWitness } from './parking-witness.ts'
import { type Arrival, laneOf, type Place, placeOf, type Sighting } from './sighting.ts'
import type { Published } from './topic-witness.ts'
import type { Witness } from './witness.ts'

const NEVER = Number.POSITIVE_INFINITY

export class SubscriptionWitness {
  readonly role: Role
  readonly deaths: DeathWitness
  readonly parking: ParkingWitness
  readonly attendance: AttendanceWitness
  readonly #witness: Witness
  readonly #order: OrderWitness
  /** As copies that were redriven to it name it. */
  readonly #address: string
  /** First offset owed to it, by lane: where it was last sought to. */
  readonly #owedFrom: Map<string, number> = new Map()
  readonly #seen: Map<string, Sighting> = new Map()
  /** Seen before a seek that was not answered: if it did not happen, they are not owed again. */
  readonly #seenBefore: Map<string, Sighting> = new Map()
  readonly #floors: Map<string, number> = new Map()
  /** What was acknowledged before the last of them says nothing about what is owed after it. */
  seeks = 0
  /** Attempts may have been made that nobody saw. */
  #hasPulls = false
  readonly #soughtLanes: Set<string> = new Set()

  /** @param since when it was asked for */
  constructor(witness: Witness, role: Role, since: number) {
    this.#witness = witness
    this.role = role
    this.#address = addresseeOf(identityOf(role))
    this.attendance = new AttendanceWitness(witness, role, since)
    this.deaths = new DeathWitness(witness, role)
    this.parking = new ParkingWitness(witness, role.name, {
      sightingOf: (place) => this.#seen.get(place),
      acked: (place) => this.acked(place),
      confirmed: (place) => this.confirmed(place),
    })
    this.#order = new OrderWitness(witness, role, (sighting) => this.#mayBeGone(sighting))
  }

  /** Somebody pulls. */
  pulling(): void {
    this.#hasPulls = true
    this.#order.hasPulls = true
  }

  /** A message arrived at a consumer. */
  delivered(arrival: Arrival): void {
    const { topic, partition, offset, value, attempt, holder } = arrival
    const { name } = this.role
    const place = placeOf(arrival)
    const label = `${name} ${place} (${value.slice(0, 12)}, attempt ${attempt}) to ${holder} at ${this.#witness.now}`
    this.#witness.note(`deliver ${label}`)
    const scene = this.#witness.topic(topic)
    const original = scene.at(`${partition}:${offset}`)
    const isReplaced = this.parking.isReplacement(place, value, label)
    const published =
      isReplaced && original ? original : scene.saw(`${partition}:${offset}`, value, `a delivery to ${name}`)
    scene.storedAt(published, arrival.timestamp)
    const addressee = scene.addresseeOf(`${partition}:${offset}`)
    if (addressee !== undefined && addressee !== this.#address)
      throw this.#witness.violated('D-DEAD', `it was redriven to ${addressee}: ${label}`)
    if (this.role.refuses?.(published)) throw this.#witness.violated('D-FILTER', `its filter refuses ${label}`)
    const before = this.#seen.get(place)
    if (before) this.#checkAgain(before, arrival, label)
    if (attempt > (this.role.deadLetter?.maxDeliveries ?? attempt))
      throw this.#witness.violated('D-DEAD', `delivered once too often: ${label}`)
    const isNew = before === undefined && !this.deaths.mayComeBack(place)
    this.#order.arrived(arrival, published, isNew, label)
    this.#witness.count(`${this.role.order === 'key' ? 'keyed ' : ''}${attempt === 1 ? 'delivered' : 'redelivered'}`)
    if (this.role.isPattern) this.#witness.count('pattern delivered')
    this.deaths.delivered(arrival, attempt)
    if (before) this.#order.close(before)
    const seen: Sighting = {
      ...arrival,
      moment: this.#witness.moment,
      published,
      mayRepeat: false,
      isExact: true,
      // What was still with somebody comes again only because its time was over.
      hasFailed: before !== undefined && before.attempt > 0 && (before.hasFailed || before.holder !== null),
      isRejected: before?.isRejected ?? false,
      ack: 'none',
    }
    this.#seen.set(place, seen)
    this.#order.open(seen)
  }

  /** A pull was answered with them, and nobody got the answer. */
  lost(deliveries: readonly Delivery[]): void {
    this.deaths.hasLostPulls = true
    for (const { topic, partition, from, to, attempt } of deliveries) {
      if (!this.#witness.topic(topic).isLive) continue
      for (let offset = from; offset < to; offset++) this.deaths.delivered({ topic, partition, offset }, attempt)
    }
  }

  #checkAgain(before: Sighting, { attempt, holder }: Arrival, label: string): void {
    const isMoved = attempt === 1 && this.deaths.mayHaveMoved(placeOf(before), before.moment)
    if (before.ack === 'confirmed' && !(isMoved && this.deaths.isDoubtful(placeOf(before))))
      throw this.#witness.violated('D-NORES', `delivered after its acknowledgement was confirmed: ${label}`)
    if (isMoved) return
    const least = before.mayRepeat ? before.attempt : before.attempt + 1
    if (attempt < least) throw this.#witness.violated('D-ATT', `attempt ${attempt} after ${before.attempt}: ${label}`)
    if (before.isExact && !this.#hasPulls && attempt > least)
      throw this.#witness.violated('D-COUNT', `attempt ${attempt} where ${least} was next: ${label}`)
    if (before.holder !== null && before.holder !== holder && before.heldUntil > this.#witness.now)
      throw this.#witness.violated('D-EXCL', `with ${before.holder} already: ${label}`)
  }

  /** Whether the broker may have settled it without a word from a consumer. */
  #mayBeGone({ topic, partition, offset, published }: Sighting): boolean {
    if (published.expires || offset < this.#witness.startOf(topic, partition)) return true
    return (
      this.#witness.topic(topic).mayBeSuperseded(published, partition, offset) ||
      this.#isBuried(published, `${topic}/${partition}:${offset}`)
    )
  }

  #isBuried({ value }: Published, place: string): boolean {
    return [value, ...this.parking.valuesOf(place)].some((one) => this.deaths.isBuried(one))
  }

  // --- what its clients say ---

  acked(place: Place): void {
    const seen = this.#heard('ack', place)
    if (!seen) return
    if (seen.ack === 'none') seen.ack = 'sent'
    if (this.#witness.now >= seen.heldUntil) this.deaths.ackedLate(placeOf(place))
    this.#settle(seen)
  }

  confirmed(place: Place): void {
    const seen = this.#heard('confirmed', place)
    if (!seen) return
    seen.ack = 'confirmed'
    this.#settle(seen)
  }

  nacked(place: Place): void {
    const seen = this.#heard('nack', place)
    if (seen) this.#putBack(seen, { hasFailed: true })
  }

  released(place: Place): void {
    const seen = this.#heard('release', place)
    if (seen) this.#putBack(seen, { mayRepeat: true })
  }

  /** Given up on: a dead letter, or dropped where there are none. */
  rejected(place: Place): void {
    if (!this.role.deadLetter) return this.acked(place)
    const seen = this.#heard('reject', place)
    if (!seen) return
    this.deaths.givenUp(placeOf(place))
    this.#putBack(seen, { hasFailed: true, isRejected: true })
  }

  rejectConfirmed(place: Place): void {
    const seen = this.#heard('reject confirmed', place)
    if (!seen?.isRejected || this.#mayBeGone(seen)) return
    throw this.#witness.violated('D-DEAD', `no letter of ${placeOf(place)}, which ${this.role.name} rejected`)
  }

  /** Its consumer went away with it. */
  returned(place: Place): void {
    const seen = this.#heard('return', place)
    if (seen) this.#putBack(seen, {})
  }

  extended(place: Place, heldUntil: number): void {
    const seen = this.#heard('extend', place)
    if (seen) Object.assign(seen, { heldUntil, overAt: heldUntil })
  }

  #heard(what: string, place: Place): Sighting | undefined {
    this.#witness.note(`${what} ${this.role.name} ${placeOf(place)}`)
    return this.#seen.get(placeOf(place))
  }

  // --- what happens to it ---

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
    const what = `${this.role.name}: gap ${from} to ${to} of ${topic}/${partition}`
    if (this.#witness.topic(topic).keepsUntilAcked) throw this.#witness.violated('R-ACKED', what)
    if (to >= start) throw this.#witness.violated('S-GAP', `${what}, which starts at ${start}`)
  }

  /**
   * A seek was asked for in these lanes. Until it is answered either position may hold, so only what both
   * promise is owed.
   */
  seeking(offsets: ReadonlyMap<string, number>): void {
    this.seeks += 1
    this.deaths.sought()
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
      this.#forgetBefore(lane)
    }
  }

  /** Dead letters may come back, as if they had never been delivered. */
  redriving(): void {
    const places = this.deaths.redriving()
    for (const place of places) this.parking.forgetPlace(place)
    for (const place of new Set([...places, ...this.#copies()])) {
      const seen = this.#seen.get(place)
      if (!seen || (seen.ack === 'confirmed' && !this.deaths.isDoubtful(place))) continue
      Object.assign(seen, { attempt: Math.min(seen.attempt, 0), isExact: false, isRejected: false })
      if (seen.ack === 'confirmed') seen.ack = 'sent'
    }
  }

  /** Where copies lie whose letters belong to a topic that is gone: a subscription made anew moves those again, to the same places. */
  *#copies(): Iterable<string> {
    for (const [place, { topic, partition, offset }] of this.#seen) {
      if (this.#witness.topic(topic).addresseeOf(`${partition}:${offset}`) === this.#address) yield place
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
      this.#forgetBefore(lane)
    }
    for (const lane of this.#floors.keys()) if (lane.startsWith(`${topic}/`)) this.#floors.delete(lane)
    this.deaths.forgetTopic(topic)
    this.parking.forgetTopic(topic)
  }

  floor(topic: string, partition: number, ackedThrough: number): void {
    const lane = `${topic}/${partition}`
    const before = this.#floors.get(lane) ?? 0
    if (ackedThrough < before && this.deaths.redrives === 0)
      throw this.#witness.violated('D-FLOOR', `${this.role.name} ${lane} went from ${before} to ${ackedThrough}`)
    this.#floors.set(lane, ackedThrough)
  }

  /** After a crash unconfirmed acknowledgements may be undone; after a power cut so may a first attempt. */
  crashed(kind: 'process' | 'power'): void {
    this.#floors.clear()
    this.attendance.crashed()
    this.deaths.crashed()
    for (const [place, seen] of this.#seen) {
      if (seen.ack !== 'confirmed') this.deaths.openInCrash(place)
      Object.assign(seen, { holder: null, overAt: NEVER, hasFailed: false, isExact: false })
      if (kind === 'power' && seen.attempt === 1) seen.mayRepeat = true
    }
    // A seek that was not answered may be undone: what was new for it may be old again.
    for (const lane of this.#soughtLanes) this.#order.forgetNewest(lane)
  }

  /** After the last fault, with everything drained: whatever is owed was settled by somebody. */
  drained(topic: string, partition: number, startOffset: number, nextOffset: number): void {
    for (let offset = Math.max(startOffset, this.#owedIn(topic, partition)); offset < nextOffset; offset++) {
      const missing = this.#missing({ topic, partition, offset })
      if (missing) throw this.#witness.violated('D-ALO', missing)
    }
  }

  /** Whether a letter of what stood at the place may be. */
  mayBeBuried(place: string): boolean {
    return this.deaths.mayBeBuried(place, this.#seen.has(place))
  }

  #owedIn(topic: string, partition: number): number {
    return this.#owedFrom.get(`${topic}/${partition}`) ?? 0
  }

  /** What is still owed of a message that should have been settled; null: nothing. */
  #missing(place: Place): string | null {
    const { topic, partition, offset } = place
    const scene = this.#witness.topic(topic)
    const published = scene.at(`${partition}:${offset}`)
    if (!published || published.expires || this.role.refuses?.(published)) return null
    if (scene.isSuperseded(`${partition}:${offset}`)) return null
    const addressee = scene.addresseeOf(`${partition}:${offset}`)
    if (addressee !== undefined && addressee !== this.#address) return null
    const name = placeOf(place)
    if (!this.deaths.isOver && this.#isBuried(published, name)) return null
    // A replaced message's letter comes back as a copy.
    if (this.parking.valuesOf(name).some((value) => this.deaths.isBuried(value))) return null
    const known = [this.#seen.get(name), this.#seenBefore.get(name)].filter((seen) => seen !== undefined)
    if (known.length === 0) return `${this.role.name} never got ${name}`
    return known.every(({ ack }) => ack === 'none') ? `no consumer of ${this.role.name} acknowledged ${name}` : null
  }

  #putBack(seen: Sighting, change: Partial<Sighting>): void {
    Object.assign(seen, { holder: null, overAt: NEVER, moment: this.#witness.moment }, change)
  }

  #settle(seen: Sighting): void {
    Object.assign(seen, { holder: null, overAt: NEVER, hasFailed: false })
    this.#order.close(seen)
  }

  #forgetLane(lane: string, kept: Map<string, Sighting>): void {
    this.#floors.delete(lane)
    this.parking.forget(lane)
    this.#order.forgetNewest(lane)
    for (const [place, seen] of this.#seen) {
      if (laneOf(seen) !== lane) continue
      this.#seen.delete(place)
      this.#order.close(seen)
      kept.set(place, seen)
    }
  }

  #forgetBefore(lane: string): void {
    for (const [place, seen] of this.#seenBefore) if (laneOf(seen) === lane) this.#seenBefore.delete(place)
  }
}
