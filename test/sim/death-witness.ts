/**
 * Which messages one simulated subscription may have given up on, which letters of them it owes, and which of
 * them a redrive may bring back. A letter is where it must be only when a power cut would leave it there.
 */
import type { Role } from './cast.ts'
import { type Place, placeOf } from './sighting.ts'
import type { Witness } from './witness.ts'

export class DeathWitness {
  readonly #witness: Witness
  readonly #role: Role
  /** What may have been given up on, ever; what was open in a crash may have been delivered once more. */
  readonly #places: Set<string> = new Set()
  /** Open in a crash, or when its time was over: a letter may be there of what was acknowledged after it. */
  readonly #doubtful: Set<string> = new Set()
  /** Of some pull nobody knows what it was given. */
  hasLostPulls = false
  #hasCrashed = false
  /** Letters may be there of messages that were acknowledged since, or moves that nothing knows of any more. */
  #isDoubtful = false
  #underWay = 0
  #movedAt = -1
  /** Redrives that were asked for: each may let a message die once more. */
  redrives = 0
  /** From here on all letters have been moved back: one that is still there is no excuse. */
  isOver = false

  constructor(witness: Witness, role: Role) {
    this.#witness = witness
    this.#role = role
  }

  /** What an earlier subscription of the name gave up on is this one's to redrive. */
  inherit(earlier: DeathWitness): void {
    for (const place of earlier.#places) this.#places.add(place)
    this.redrives += earlier.redrives + 1
    this.hasLostPulls ||= earlier.hasLostPulls
    this.#hasCrashed ||= earlier.#hasCrashed
    this.#isDoubtful = true
  }

  forgetTopic(topic: string): void {
    for (const places of [this.#places, this.#doubtful])
      for (const place of places) if (place.startsWith(`${topic}/`)) places.delete(place)
  }

  delivered(place: Place, attempt: number): void {
    if (attempt >= (this.#role.deadLetter?.maxDeliveries ?? Number.POSITIVE_INFINITY)) this.givenUp(placeOf(place))
  }

  givenUp(place: string): void {
    this.#places.add(place)
  }

  openInCrash(place: string): void {
    this.#places.add(place)
    this.#doubtful.add(place)
  }

  /** Its time was over: it may have been given up on before, and be acknowledged for that. */
  ackedLate(place: string): void {
    this.#doubtful.add(place)
  }

  /** The subscription moved: what it gave up on may be acknowledged as well. */
  sought(): void {
    this.#isDoubtful = true
  }

  crashed(): void {
    this.#hasCrashed = true
    if (this.#underWay > 0) this.#isDoubtful = true
    this.#underWay = 0
  }

  /** Whether a letter of it may be there that it was acknowledged beside. */
  isDoubtful(place: string): boolean {
    return this.#isDoubtful || this.#doubtful.has(place)
  }

  /** Answers what may come back. */
  redriving(): ReadonlySet<string> {
    this.redrives += 1
    this.#underWay += 1
    return this.#places
  }

  /** Where it was refused, some letters may have been moved and not be known to be. */
  redrove(isRefused: boolean): void {
    this.#underWay -= 1
    this.#movedAt = this.#witness.moment
    if (isRefused) this.#isDoubtful = true
  }

  /** Whether a redrive that was asked for earlier may have found the letter of what was seen at that moment. */
  mayHaveMoved(place: string, seenAt: number): boolean {
    return this.#places.has(place) && (this.#underWay > 0 || this.#movedAt >= seenAt)
  }

  /** Whether a redrive may bring what was never seen, also to where it was passed over in a seek. */
  mayComeBack(place: string): boolean {
    return this.redrives > 0 && this.mayBeBuried(place, false)
  }

  /** Whether the message's letter is where it must be before the message is acknowledged. */
  isBuried(value: string): boolean {
    const { deadLetter } = this.#role
    return deadLetter !== undefined && this.#witness.holds(deadLetter.topic, value)
  }

  /** Whether there may be a letter of it: it was rejected, or delivered as often as it may be. */
  mayBeBuried(place: string, isSeen: boolean): boolean {
    return this.#places.has(place) || this.hasLostPulls || (this.#hasCrashed && !isSeen)
  }
}
