/**
 * What publishers of one simulated topic were told, and what was seen to stand in it: which value is at
 * which place, which repeated key belongs to which place, what may be gone and why. A deleted
 * topic forgets, and whatever was stored before may never be seen again.
 */
import type { Witness } from './witness.ts'

/** What was published, and what came of it. Its value names it: no two are alike. */
export interface Published {
  value: string
  /** The message's key: what orders it. */
  key: string | null
  /** Header that filters look at. */
  color: string
  idempotencyKey: string | null
  outcome: 'pending' | 'ok' | 'refused' | 'unknown'
  /** May expire before it is delivered. */
  expires: boolean
  /** Nobody published it: it was given for another value that a person replaced. */
  isReplacement?: true
  /** When it is to enter the log, milliseconds since the epoch; null: at once. */
  deliverAt: number | null
  /** It was answered with a schedule; `done`: it was cancelled for good, `asked`: nobody knows. */
  schedule: { id: number; cancel: 'none' | 'asked' | 'done' } | null
  partition: number
  offset: number
  /** Moments of its topic: when it was first sent, and after which it can enter the log no more; null: it still can. */
  sentAt: number
  overAt: number | null
}

export class TopicWitness {
  readonly name: string
  readonly #witness: Witness
  published: Published[] = []
  /** Which topic of the name it is: what was stored in an earlier one says nothing about this one. */
  generation = 0
  /** False from the moment its deletion is asked for until it is made again: nothing that is seen of it counts. */
  isLive = false
  /** Nothing may be removed that some subscription has not acknowledged. */
  keepsUntilAcked = false
  /** Only the last message of a key is sure to stay. */
  isCompacted = false
  /** Which value stands at a place, and who said so first. */
  readonly #places: Map<string, { value: string; source: string }> = new Map()
  /** Values that were seen in the log. */
  readonly #entered: Set<string> = new Set()
  /** The highest offset at which a message of the key was seen, by "<partition> <key>". */
  readonly #lastOf: Map<string, number> = new Map()
  /** Places that hold what was redriven, to one subscription alone. */
  readonly #addressees: Map<string, string> = new Map()
  readonly #attempted: Map<string, Published> = new Map()
  /** What was published to earlier topics of the name: as a dead letter it may come back, and in no other way. */
  readonly #former: Map<string, Published> = new Map()
  readonly #keys: Map<string, string> = new Map()
  readonly #startOffsets: number[] = []
  /** Counts what was sent, and the crashes. */
  #moment = 0

  constructor(witness: Witness, name: string) {
    this.#witness = witness
    this.name = name
  }

  /** The topic is deleted. */
  forget(): void {
    this.generation += 1
    this.isLive = false
    this.published = []
    for (const [value, published] of this.#attempted) this.#former.set(value, published)
    this.#places.clear()
    this.#addressees.clear()
    this.#entered.clear()
    this.#lastOf.clear()
    this.#attempted.clear()
    this.#keys.clear()
    this.#startOffsets.length = 0
  }

  /** What stands at the place, as far as anybody saw. */
  at(place: string): Published | undefined {
    const value = this.#places.get(place)?.value ?? ''
    return this.#attempted.get(value) ?? this.#former.get(value)
  }

  /** What was published with that value. */
  of(value: string): Published | undefined {
    return this.#attempted.get(value)
  }

  /** The subscription that what stands at the place was redriven to; undefined: it is for all. */
  addresseeOf(place: string): string | undefined {
    return this.#addressees.get(place)
  }

  addressed(place: string, subscription: string): void {
    this.#addressees.set(place, subscription)
  }

  attempt(
    what: Pick<Published, 'value' | 'key' | 'color' | 'idempotencyKey' | 'expires' | 'deliverAt' | 'isReplacement'>,
  ): Published {
    const places = { partition: -1, offset: -1, sentAt: ++this.#moment, overAt: null }
    const published: Published = { ...what, ...places, schedule: null, outcome: 'pending' }
    this.published.push(published)
    this.#attempted.set(what.value, published)
    return published
  }

  /** It is on its way, perhaps once more. */
  sent(published: Published): void {
    published.outcome = 'pending'
    published.overAt = null
  }

  /** A publish was answered with a place. A repeated key must be answered with the place of the first. */
  stored(published: Published, partition: number, offset: number, duplicate: boolean): void {
    const place = `${partition}:${offset}`
    const key = published.idempotencyKey
    if (key !== null) {
      const first = this.#keys.get(key)
      if (first !== undefined && first !== place)
        throw this.#witness.violated('D-IDEMP', `key ${key} at ${first} and at ${place}`)
      this.#keys.set(key, place)
    }
    this.#witness.note(`stored ${this.name} ${published.value.slice(0, 12)} ${place}${duplicate ? ' duplicate' : ''}`)
    published.outcome = 'ok'
    published.partition = partition
    published.offset = offset
    if (!duplicate) this.saw(place, published.value, 'a publish answer')
  }

  /** A publish was answered with a schedule. */
  scheduled(published: Published, id: number, duplicate: boolean): void {
    this.#witness.note(`scheduled ${this.name} ${published.value.slice(0, 12)} ${id}${duplicate ? ' duplicate' : ''}`)
    if (published.schedule && published.schedule.id !== id)
      throw this.#witness.violated('D-IDEMP', `schedules ${published.schedule.id} and ${id} of ${published.value}`)
    published.outcome = 'ok'
    published.schedule ??= { id, cancel: 'none' }
  }

  /** The message's cancellation was answered: it never enters the log. */
  cancelled(published: Published): void {
    this.#witness.note(`cancelled ${this.name} ${published.value.slice(0, 12)}`)
    published.schedule!.cancel = 'done'
    this.#witness.answered()
    if (this.#entered.has(published.value))
      throw this.#witness.violated('S-CANCEL', `${published.value.slice(0, 12)} is in the log, and then cancelled`)
  }

  /** When the record at a place was stored, by its batch. */
  storedAt(published: Published, timestamp: number): void {
    const { deliverAt, value } = published
    // A wall clock that is set back between the two: it was due, and is stored with the time before.
    if (this.#witness.counts.has('wall jump')) return
    if (deliverAt !== null && timestamp < deliverAt)
      throw this.#witness.violated('S-EARLY', `${value.slice(0, 12)} was due at ${deliverAt}, stored at ${timestamp}`)
  }

  /** Whether a later message of its key has taken the place's part. */
  isSuperseded(place: string): boolean {
    if (!this.isCompacted) return false
    const [partition, offset] = partsOf(place)
    const key = this.at(place)?.key ?? null
    return key !== null && (this.#lastOf.get(`${partition} ${key}`) ?? -1) > offset
  }

  /** The same before all is read: also one that nobody saw in the log may have come later and taken the place's part. */
  mayBeSuperseded(published: Published, partition: number, offset: number): boolean {
    const { value, key, sentAt } = published
    if (!this.isCompacted || key === null) return false
    if ((this.#lastOf.get(`${partition} ${key}`) ?? -1) > offset) return true
    const others = this.published.filter((other) => other.key === key && other.value !== value)
    return others.some((other) => this.#mayStandAfter(other, partition, offset, sentAt))
  }

  /** Whether it may stand, unseen, behind the offset, whose message was not sent before the moment. */
  #mayStandAfter(other: Published, partition: number, offset: number, moment: number): boolean {
    if (other.isReplacement || this.#entered.has(other.value) || other.outcome === 'refused') return false
    if (other.schedule) return other.schedule.cancel !== 'done'
    if (other.outcome === 'ok') return other.partition === partition && other.offset > offset
    return other.overAt === null || other.overAt > moment
  }

  /** A value was seen at a place; answers what was published there. */
  saw(place: string, value: string, source: string): Published {
    const where = `${this.name}/${place}`
    const known = this.#places.get(place)
    if (known && known.value !== value) {
      throw this.#witness.violated('S-ACK', `${where} is ${known.value} by ${known.source}, and ${value} by ${source}`)
    }
    const isRedriven = this.#addressees.has(place)
    const attempted = this.#attempted.get(value) ?? (isRedriven ? this.#former.get(value) : undefined)
    if (!attempted)
      throw this.#witness.violated(
        'D-PHANTOM',
        `${where} holds ${value.slice(0, 12)}, which nobody published (${source})`,
      )
    if (attempted.outcome === 'refused')
      throw this.#witness.violated('O-REJECT', `${where} holds ${value}, which was refused (${source})`)
    if (attempted.schedule?.cancel === 'done')
      throw this.#witness.violated('S-CANCEL', `${where} holds ${value.slice(0, 12)}, which was cancelled (${source})`)
    this.#entered.add(value)
    if (!known) this.#places.set(place, { value, source })
    const [partition, offset] = partsOf(place)
    const of = `${partition} ${attempted.key}`
    if (!isRedriven && offset > (this.#lastOf.get(of) ?? -1)) this.#lastOf.set(of, offset)
    return attempted
  }

  start(partition: number, startOffset: number): void {
    const before = this.#startOffsets[partition] ?? 0
    if (startOffset < before)
      throw this.#witness.violated('S-START', `${this.name}/${partition} started at ${before}, now at ${startOffset}`)
    this.#startOffsets[partition] = startOffset
  }

  /** After a crash nobody will answer what was under way. */
  crashed(): void {
    this.#moment += 1
    for (const published of this.published) {
      if (published.outcome !== 'pending') continue
      published.outcome = 'unknown'
      // What the log did not get by now, it gets no more; what is scheduled may be due yet.
      if (published.deliverAt === null) published.overAt = this.#moment
    }
  }

  /**
   * The whole content of a partition, read in peace: everything that was answered must be in it, but for what a
   * later message of its key has superseded.
   */
  content(partition: number, startOffset: number, nextOffset: number, values: ReadonlyMap<number, string>): void {
    this.start(partition, startOffset)
    const where = new Map<string, number>()
    for (const [offset, value] of values) {
      this.saw(`${partition}:${offset}`, value, 'a read')
      if (this.addresseeOf(`${partition}:${offset}`) !== undefined) continue
      if (where.has(value)) throw this.#witness.violated('DUP_LOG', `${value} at ${where.get(value)} and at ${offset}`)
      where.set(value, offset)
    }
    for (const place of this.#places.keys()) {
      const [own, offset] = partsOf(place)
      if (own !== partition || offset < startOffset || values.has(offset)) continue
      const name = `${this.name}/${place}`
      if (offset >= nextOffset) throw this.#witness.violated('S-ACK', `${name} was seen and is gone`)
      // What came back to one subscription hides nothing, and is hidden like any other.
      if (!this.isSuperseded(place)) throw this.#witness.violated('C-LAST', `${name} is gone, the last of its key`)
      this.#witness.count('compacted')
    }
  }

  /** All partitions were read: what was scheduled and not cancelled must have come. */
  complete(): void {
    // What was removed may have come and gone before anybody saw it.
    if (this.isCompacted || this.#startOffsets.some((offset) => offset > 0)) return
    for (const { schedule, value } of this.published) {
      if (schedule?.cancel !== 'none' || this.#entered.has(value)) continue
      throw this.#witness.violated('S-SCHED', `${value.slice(0, 12)} was scheduled in ${this.name}, and never came`)
    }
  }
}

function partsOf(place: string): [partition: number, offset: number] {
  const colon = place.indexOf(':')
  return [Number(place.slice(0, colon)), Number(place.slice(colon + 1))]
}
