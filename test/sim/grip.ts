/**
 * What one simulated client holds of a subscription, and what it says about it: acknowledges, refuses, hands
 * back, holds on. Consumers and pulls have one each. It tells the witness everything it says.
 */
import { type MessageId, REDRIVEN_TO_HEADER, recordHeaders, recordValueAt } from '@tidings/sdk/protocol'
import { HAS_ADDRESSEE, type RecordBatch } from '../../src/log/record-batch.ts'
import type { Attachment, Delivery } from '../../src/subscription/subscription.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import { ACK_DEADLINE_MS } from './cast.ts'
import type { Life } from './machine.ts'
import { laneOf, type Place, placeOf } from './sighting.ts'
import type { SubscriptionWitness } from './subscription-witness.ts'
import type { Moment, Witness } from './witness.ts'

export type Verb = 'ack' | 'confirm' | 'nack' | 'release' | 'reject' | 'extend'

interface Held extends Place {
  heldUntil: number
}

export function valueAt(batch: RecordBatch, offset: number): string {
  const at = batch.positionOf(offset)
  return batch.bytes.toString('latin1', recordValueAt(batch.bytes, at), at + 4 + batch.bytes.readUInt32BE(at))
}

/** The subscription that the record was redriven to, with its topic or pattern. */
export function addresseeAt(batch: RecordBatch, offset: number): string | undefined {
  if ((batch.attributes & HAS_ADDRESSEE) === 0) return undefined
  const { headers } = recordHeaders(batch.bytes, batch.positionOf(offset))
  return headers.find(([name]) => name === REDRIVEN_TO_HEADER)?.[1]
}

/** Of ids that are ours, and so have a topic. */
function namesOf(ids: readonly MessageId[]): Set<string> {
  return new Set(ids.map(({ topic = '', partition, offset }) => placeOf({ topic, partition, offset })))
}

export class Grip {
  readonly name: string
  readonly #life: Life
  readonly #random: SimRandom
  readonly #witness: Witness
  readonly #seen: SubscriptionWitness
  readonly #held: Map<string, Held> = new Map()

  constructor(name: string, parts: { life: Life; random: SimRandom; witness: Witness; seen: SubscriptionWitness }) {
    this.name = name
    this.#life = parts.life
    this.#random = parts.random
    this.#witness = parts.witness
    this.#seen = parts.seen
  }

  /** How many it holds whose time is not over. */
  get live(): number {
    const { now } = this.#witness
    let count = 0
    for (const { heldUntil } of this.#held.values()) if (heldUntil > now) count++
    return count
  }

  get isEmpty(): boolean {
    return this.#held.size === 0
  }

  /** Takes over what arrived; it was handed over between `since` and now. */
  take({ topic, partition, batch, from, to, attempt }: Delivery, since: Moment): void {
    // A topic that is being deleted may still deliver, and nobody holds it to anything.
    if (!this.#witness.topic(topic).isLive) return
    const heldUntil = since.now + ACK_DEADLINE_MS
    const overAt = this.#witness.now + ACK_DEADLINE_MS
    for (let offset = from; offset < to; offset++) {
      const place = { topic, partition, offset }
      const value = valueAt(batch, offset)
      const addressee = addresseeAt(batch, offset)
      if (addressee !== undefined) this.#witness.topic(topic).addressed(`${partition}:${offset}`, addressee)
      this.#seen.delivered({
        ...place,
        value,
        timestamp: batch.timestamp,
        attempt,
        holder: this.name,
        heldUntil,
        overAt,
        since,
      })
      this.#held.set(placeOf(place), { ...place, heldUntil })
    }
  }

  say(verb: Verb, attachment: Attachment): void {
    const chosen = this.#choose()
    this.#witness.count(`consumer ${verb}`)
    switch (verb) {
      case 'ack':
        attachment.ack(chosen)
        return this.#settled(chosen, (place) => this.#seen.acked(place))
      case 'confirm':
        return this.#confirm(attachment, chosen)
      case 'nack':
        attachment.nack(chosen, this.#random.chance(0.5) ? this.#random.integer(300) : undefined, 'chance')
        return this.#settled(chosen, (place) => this.#seen.nacked(place))
      case 'release':
        attachment.release(chosen)
        return this.#settled(chosen, (place) => this.#seen.released(place))
      case 'reject':
        return this.#reject(attachment, chosen)
      default: {
        attachment.extend(chosen, ACK_DEADLINE_MS * 2)
        const heldUntil = this.#witness.now + ACK_DEADLINE_MS * 2
        for (const held of chosen) {
          held.heldUntil = heldUntil
          this.#seen.extended(held, heldUntil)
        }
      }
    }
  }

  /** Acknowledges everything, and waits for the confirmations. */
  finish(attachment: Attachment): void {
    if (this.#held.size > 0) this.#confirm(attachment, [...this.#held.values()])
  }

  /** All of it goes back, since the client went. */
  drop(): void {
    for (const held of this.#held.values()) this.#seen.returned(held)
    this.#held.clear()
  }

  /** The subscription moved in these lanes, or they are gone: what was held of them is no longer ours. */
  forget(isGone: (lane: string) => boolean): void {
    for (const [place, held] of this.#held) if (isGone(laneOf(held))) this.#held.delete(place)
  }

  #choose(): Held[] {
    const { now } = this.#witness
    const live = [...this.#held.values()].filter(({ heldUntil }) => heldUntil > now)
    if (live.length === 0) return []
    return this.#random.chance(0.5) ? live.slice(0, 1 + this.#random.integer(live.length)) : [this.#random.pick(live)]
  }

  #confirm(attachment: Attachment, chosen: Held[]): void {
    const { seeks } = this.#seen
    attachment.ack(chosen, (error, acked) => {
      if (this.#life.state === 'over') return
      if (error) return this.#witness.count('ack refused')
      // None of them: it does not say anything.
      if (this.#life.state === 'failed' && acked.length > 0)
        throw this.#witness.violated('S-LATCH', 'an acknowledgement was confirmed after the disk had failed')
      // A seek in between has made it owed again.
      if (this.#seen.seeks !== seeks) return
      const confirmed = namesOf(acked)
      for (const place of chosen) if (confirmed.has(placeOf(place))) this.#seen.confirmed(place)
      this.#witness.count('ack confirmed')
    })
    this.#settled(chosen, (place) => this.#seen.acked(place))
  }

  /** Gives up on them; once that is confirmed they are dead letters, or dropped for good. */
  #reject(attachment: Attachment, chosen: Held[]): void {
    const { seeks } = this.#seen
    attachment.reject(chosen, 'chance', (error, acked) => {
      if (this.#life.state === 'over' || this.#seen.seeks !== seeks) return
      if (error) return this.#witness.count('reject refused')
      const settled = namesOf(acked)
      for (const place of chosen) if (settled.has(placeOf(place))) this.#seen.rejectConfirmed(place)
      this.#witness.count('reject confirmed')
    })
    this.#settled(chosen, (place) => this.#seen.rejected(place))
  }

  #settled(chosen: readonly Held[], tell: (place: Held) => void): void {
    for (const held of chosen) {
      this.#held.delete(placeOf(held))
      tell(held)
    }
  }
}
