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
  partition: number
  offset: number
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
  /** Which value stands at a place, and who said so first. */
  readonly #places: Map<string, { value: string; source: string }> = new Map()
  /** Places that hold what was redriven, to one subscription alone. */
  readonly #addressees: Map<string, string> = new Map()
  readonly #attempted: Map<string, Published> = new Map()
  /** What was published to earlier topics of the name: as a dead letter it may come back, and in no other way. */
  readonly #former: Map<string, Published> = new Map()
  readonly #keys: Map<string, string> = new Map()
  readonly #startOffsets: number[] = []

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

  attempt(what: Pick<Published, 'value' | 'key' | 'color' | 'idempotencyKey' | 'expires'>): Published {
    const published: Published = { ...what, outcome: 'pending', partition: -1, offset: -1 }
    this.published.push(published)
    this.#attempted.set(what.value, published)
    return published
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
    if (!known) this.#places.set(place, { value, source })
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
    for (const published of this.published) if (published.outcome === 'pending') published.outcome = 'unknown'
  }

  /** The whole content of a partition, read in peace: everything that was answered must be in it. */
  content(partition: number, startOffset: number, values: readonly string[]): void {
    this.start(partition, startOffset)
    const where = new Map<string, number>()
    values.forEach((value, i) => {
      const offset = startOffset + i
      if (this.addresseeOf(`${partition}:${offset}`) === undefined) {
        if (where.has(value))
          throw this.#witness.violated('DUP_LOG', `${value} at ${where.get(value)} and at ${offset}`)
        where.set(value, offset)
      }
      this.saw(`${partition}:${offset}`, value, 'a read')
    })
    for (const { outcome, partition: own, offset } of this.published) {
      if (outcome !== 'ok' || own !== partition || offset < startOffset) continue
      if (offset - startOffset >= values.length)
        throw this.#witness.violated('S-ACK', `${this.name}/${partition}:${offset} was answered and is gone`)
    }
  }
}
