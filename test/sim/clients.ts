/**
 * The clients of a simulated broker: a publisher that repeats what was never answered, and consumers
 * that acknowledge, refuse, hand back, hold on, run late and vanish, as chance has it. They tell
 * the witness everything they do and see. Each belongs to one life of the broker.
 */
import { recordValueAt, TidingsError } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../../src/log/record-batch.ts'
import type { PublishInput, Topic } from '../../src/partition/topic.ts'
import type { Attachment, ConsumerPort, Delivery, Gap, Subscription } from '../../src/subscription/subscription.ts'
import type { SimClock } from '../support/sim-clock.ts'
import type { SimRandom } from '../support/sim-random.ts'
import type { Life } from './machine.ts'
import type { Published, SubscriptionWitness, Witness } from './witness.ts'

export function valueAt(batch: RecordBatch, offset: number): string {
  const at = batch.positionOf(offset)
  return batch.bytes.toString('latin1', recordValueAt(batch.bytes, at), at + 4 + batch.bytes.readUInt32BE(at))
}

export class Publisher {
  readonly #random: SimRandom
  readonly #witness: Witness
  #sequence = 0
  /** Called after an answer: the place must survive anything from here on. */
  readonly #onStored: (published: Published) => void

  constructor(random: SimRandom, witness: Witness, onStored: (published: Published) => void) {
    this.#random = random
    this.#witness = witness
    this.#onStored = onStored
  }

  /** One message, or a batch of several; some carry a key that may have been used before. */
  publish(topic: Topic, life: Life): void {
    const count = this.#random.chance(0.3) ? 1 + this.#random.integer(12) : 1
    const published = Array.from({ length: count }, () => this.#next())
    this.#send(topic, life, published)
  }

  /** What was never answered, again with the same key: it must end up at one place. */
  retry(topic: Topic, life: Life): void {
    const open = this.#witness.published.filter(
      ({ outcome, idempotencyKey }) => outcome === 'unknown' && idempotencyKey !== null,
    )
    if (open.length > 0) this.#send(topic, life, [this.#random.pick(open)])
  }

  #next(): Published {
    const value = `v${this.#sequence++}.${'x'.repeat(this.#random.integer(this.#random.chance(0.05) ? 3000 : 120))}`
    const key = this.#random.chance(0.5) ? `k${this.#sequence}` : null
    const published = this.#witness.attempt(value, key)
    published.expires = this.#random.chance(0.1)
    return published
  }

  #send(topic: Topic, life: Life, published: Published[]): void {
    const inputs = published.map((one) => this.#input(one, topic))
    for (const one of published) one.outcome = 'pending'
    const { generation } = this.#witness
    const settle = (
      error: TidingsError | null,
      receipts?: readonly { partition: number; offset: number; duplicate?: true }[],
    ): void => {
      if (life.state === 'over' || this.#witness.generation !== generation) return
      if (life.state === 'failed' && !error)
        throw this.#witness.violated('S-LATCH', 'a publish was answered after the disk had failed')
      if (error) {
        this.#witness.count(`publish ${error.code}`)
        // A batch that was stored in part says so; then nothing is known of the single message.
        for (const one of published) one.outcome = error.message.includes('stored before that') ? 'unknown' : 'refused'
        return
      }
      published.forEach((one, i) => {
        const { partition, offset, duplicate } = receipts![i]!
        this.#witness.count(duplicate ? 'publish duplicate' : 'publish ok')
        this.#witness.stored(one, partition, offset, duplicate === true)
        this.#onStored(one)
      })
    }
    if (inputs.length === 1) topic.publish(inputs[0]!, (error, receipt) => settle(error, receipt && [receipt]))
    else topic.publishAll(inputs, settle)
  }

  #input({ value, idempotencyKey, expires }: Published, topic: Topic): PublishInput {
    return {
      key: null,
      value: Buffer.from(value, 'latin1'),
      contentType: 'application/octet-stream',
      headers: [],
      idempotencyKey: idempotencyKey === null ? null : Buffer.from(idempotencyKey),
      partition:
        idempotencyKey === null && this.#random.chance(0.2) ? this.#random.integer(topic.partitions.length) : null,
      ttlMs: expires ? 1 + this.#random.integer(2000) : null,
      valueChecked: true,
    }
  }
}

interface Held {
  partition: number
  offset: number
  deadline: number
}

/** Who holds what on one subscription, as its consumers see it (D-EXCL). */
export type Holders = Map<string, { consumer: Consumer; deadline: number }>

/** What a subscription and its consumers are in the present life. */
export interface Seat {
  seen: SubscriptionWitness
  holders: Holders
  consumers: Consumer[]
  seeks: number
}

export class Consumer implements ConsumerPort {
  readonly name: string
  readonly prefetch: number
  readonly weight: number = 1
  readonly held: Map<string, Held> = new Map()
  attachment: Attachment | null = null
  /** Takes nothing at the moment, as a consumer whose socket is full. */
  isSlow = false
  readonly #life: Life
  readonly #clock: SimClock
  readonly #random: SimRandom
  readonly #witness: Witness
  readonly #seen: SubscriptionWitness
  readonly #holders: Holders
  readonly #ackDeadlineMs: number

  constructor(
    name: string,
    parts: {
      life: Life
      clock: SimClock
      random: SimRandom
      witness: Witness
      seen: SubscriptionWitness
      holders: Holders
      ackDeadlineMs: number
    },
  ) {
    this.name = name
    this.#life = parts.life
    this.#clock = parts.clock
    this.#random = parts.random
    this.#witness = parts.witness
    this.#seen = parts.seen
    this.#holders = parts.holders
    this.#ackDeadlineMs = parts.ackDeadlineMs
    this.prefetch = 1 + this.#random.integer(12)
  }

  attach(subscription: Subscription): void {
    try {
      this.attachment = subscription.attach(this)
    } catch (error) {
      if (!TidingsError.is(error) || error.code !== 'subscription_busy') throw error
      this.#witness.count('busy')
    }
  }

  ready(): boolean {
    return !this.isSlow
  }

  deliver({ partition, batch, from, to, attempt }: Delivery): void {
    const now = this.#clock.monotonic()
    for (let offset = from; offset < to; offset++) {
      const place = `${partition}:${offset}`
      const other = this.#holders.get(place)
      if (other && other.consumer !== this && other.deadline > now) {
        throw this.#witness.violated('D-EXCL', `${place} is with ${other.consumer.name} and goes to ${this.name}`)
      }
      this.#seen.delivered(place, valueAt(batch, offset), attempt, `to ${this.name}`)
      const deadline = now + this.#ackDeadlineMs
      this.held.set(place, { partition, offset, deadline })
      this.#holders.set(place, { consumer: this, deadline })
      this.#witness.count(attempt === 1 ? 'delivered' : 'redelivered')
    }
    const live = [...this.held.values()].filter(({ deadline }) => deadline > now).length
    if (live > this.prefetch)
      throw this.#witness.violated('D-BOUND', `${this.name} holds ${live} with a prefetch of ${this.prefetch}`)
  }

  gap({ partition, from, to }: Gap): void {
    this.#witness.count('gap')
    for (let offset = from; offset <= to; offset++) {
      this.#seen.seen.add(`${partition}:${offset}`)
      this.#seen.acked(`${partition}:${offset}`)
    }
  }

  ended(): void {
    this.attachment = null
    this.#letGo()
  }

  /** One of the things that consumers do. */
  act(): void {
    const { attachment } = this
    if (!attachment) return
    const chosen = this.#choose()
    const ids = chosen.map(({ partition, offset }) => ({ partition, offset }))
    const places = chosen.map(({ partition, offset }) => `${partition}:${offset}`)
    const what = this.#random.pick([
      'ack',
      'ack',
      'ack',
      'confirm',
      'confirm',
      'nack',
      'release',
      'extend',
      'slow',
      'pause',
      'detach',
    ])
    this.#witness.count(`consumer ${what}`)
    switch (what) {
      case 'ack':
        attachment.ack(ids)
        return this.#settled(places, (place) => this.#seen.acked(place))
      case 'confirm':
        return this.#confirm(attachment, ids, places)
      case 'nack':
        attachment.nack(ids, this.#random.chance(0.5) ? this.#random.integer(300) : undefined, 'chance')
        return this.#settled(places, (place) => this.#seen.nacked(place))
      case 'release':
        attachment.release(ids)
        return this.#settled(places, (place) => this.#seen.released(place))
      case 'extend':
        attachment.extend(ids, this.#ackDeadlineMs * 2)
        for (const place of places) this.#extended(place)
        return
      case 'slow':
        this.isSlow = !this.isSlow
        if (!this.isSlow) attachment.wake()
        return
      case 'pause':
        if (this.#random.chance(0.5)) attachment.pause()
        else attachment.resume()
        return
      default:
        return this.detach()
    }
  }

  /** The last consumer of a run: acknowledges everything, and waits for the confirmations. */
  finish(): void {
    if (this.attachment && this.held.size > 0) {
      const ids = [...this.held.values()].map(({ partition, offset }) => ({ partition, offset }))
      this.#confirm(this.attachment, ids, [...this.held.keys()])
    }
  }

  detach(): void {
    this.attachment?.detach()
    this.attachment = null
    this.#letGo()
  }

  /** The subscription moved: what is held is no longer ours. */
  forget(): void {
    this.#letGo()
  }

  #choose(): Held[] {
    const now = this.#clock.monotonic()
    const live = [...this.held.values()].filter(({ deadline }) => deadline > now)
    if (live.length === 0) return []
    return this.#random.chance(0.5) ? live.slice(0, 1 + this.#random.integer(live.length)) : [this.#random.pick(live)]
  }

  #confirm(attachment: Attachment, ids: { partition: number; offset: number }[], places: string[]): void {
    const { seeks } = this.#seen
    attachment.ack(ids, (error, acked) => {
      if (this.#life.state === 'over') return
      if (error) return this.#witness.count('ack refused')
      if (this.#life.state === 'failed')
        throw this.#witness.violated('S-LATCH', 'an acknowledgement was confirmed after the disk had failed')
      // A seek in between has made it owed again.
      if (this.#seen.seeks !== seeks) return
      for (const { partition, offset } of acked) this.#seen.confirm(`${partition}:${offset}`)
      this.#witness.count('ack confirmed')
    })
    this.#settled(places, (place) => this.#seen.acked(place))
  }

  #settled(places: readonly string[], tell: (place: string) => void): void {
    for (const place of places) {
      this.held.delete(place)
      if (this.#holders.get(place)?.consumer === this) this.#holders.delete(place)
      tell(place)
    }
  }

  #extended(place: string): void {
    const held = this.held.get(place)
    if (!held) return
    held.deadline = this.#clock.monotonic() + this.#ackDeadlineMs * 2
    this.#holders.set(place, { consumer: this, deadline: held.deadline })
  }

  #letGo(): void {
    for (const place of this.held.keys()) if (this.#holders.get(place)?.consumer === this) this.#holders.delete(place)
    this.held.clear()
  }
}

/** A deletion asked for again may find nothing to delete. */
export async function gone(deletion: Promise<void>): Promise<void> {
  try {
    await deletion
  } catch (error) {
    if (!TidingsError.is(error) || !['topic_not_found', 'subscription_not_found'].includes(error.code)) throw error
  }
}
