/**
 * What the clients of a simulated broker saw, and whether it may have been: the invariants of one node
 * (S-…, D-…, O-… as numbered in the reliability notes), checked at the moment something is seen.
 * It knows nothing of the broker's insides; a violation is thrown and ends the run with its seed.
 */

export class Violation extends Error {
  constructor(invariant: string, detail: string) {
    super(`${invariant}: ${detail}`)
    this.name = 'Violation'
  }
}

export interface Published {
  value: string
  idempotencyKey: string | null
  outcome: 'pending' | 'ok' | 'refused' | 'unknown'
  /** May expire before it is delivered. */
  expires: boolean
  partition: number
  offset: number
}

/** What one subscription was promised and has seen. */
export class SubscriptionWitness {
  readonly name: string
  readonly ordered: boolean
  readonly #witness: Witness
  /** First offset owed to it, by partition: where it started, or was last sought to. */
  readonly owedFrom: number[]
  /** By place "<partition>:<offset>". */
  readonly seen: Set<string> = new Set()
  /** What was acknowledged before the last of them says nothing about what is owed after it. */
  seeks = 0
  /** Seen before a seek that was not answered: if it did not happen, they are not owed again. */
  readonly #seenBefore: Set<string> = new Set()
  readonly confirmed: Set<string> = new Set()
  readonly #attempts: Map<string, { last: number; released: boolean; powerCut: boolean }> = new Map()
  readonly #nacked: Set<string> = new Set()
  readonly #floor: number[] = []

  constructor(witness: Witness, name: string, ordered: boolean, owedFrom: number[]) {
    this.#witness = witness
    this.name = name
    this.ordered = ordered
    this.owedFrom = owedFrom
  }

  /** A message arrived at a consumer. */
  delivered(place: string, value: string, attempt: number, context: string): void {
    const label = `${this.name} ${place} (${value.slice(0, 12)}, attempt ${attempt}) ${context}`
    this.#witness.note(`deliver ${label}`)
    this.#witness.saw(place, value, `a delivery to ${this.name}`)
    if (this.confirmed.has(place))
      throw this.#witness.violated('D-NORES', `delivered after its acknowledgement was confirmed: ${label}`)
    const before = this.#attempts.get(place)
    if (before) {
      const repeats = before.released || (before.powerCut && before.last === 1)
      const least = repeats ? before.last : before.last + 1
      if (attempt < least) throw this.#witness.violated('D-ATT', `attempt ${attempt} after ${before.last}: ${label}`)
    }
    if (this.ordered) this.#checkBlocking(place, label)
    this.#attempts.set(place, { last: attempt, released: false, powerCut: false })
    this.#nacked.delete(place)
    this.seen.add(place)
  }

  /** In order, nothing later goes out while a failed message waits for another delivery. */
  #checkBlocking(place: string, label: string): void {
    const [partition, offset] = partsOf(place)
    for (const failed of this.#nacked) {
      const [other, earlier] = partsOf(failed)
      if (other === partition && earlier < offset && !this.#witness.mayExpire(failed))
        throw this.#witness.violated('D-PART', `${failed} had failed before it: ${label}`)
    }
  }

  confirm(place: string): void {
    this.#witness.note(`confirmed ${this.name} ${place}`)
    this.confirmed.add(place)
    this.acked(place)
  }

  acked(place: string): void {
    this.#witness.note(`ack ${this.name} ${place}`)
    this.#nacked.delete(place)
  }

  nacked(place: string): void {
    this.#witness.note(`nack ${this.name} ${place}`)
    this.#nacked.add(place)
  }

  released(place: string): void {
    const attempt = this.#attempts.get(place)
    if (attempt) attempt.released = true
  }

  /**
   * A seek was asked for in these partitions (undefined: not in that one). Until it is answered either
   * position may hold, so only what both promise is owed.
   */
  seeking(offsets: readonly (number | undefined)[]): void {
    this.seeks += 1
    offsets.forEach((offset, partition) => {
      if (offset === undefined) return
      this.owedFrom[partition] = Math.max(offset, this.owedFrom[partition] ?? 0)
      this.#floor[partition] = 0
      for (const place of this.seen) if (partsOf(place)[0] === partition) this.#seenBefore.add(place)
      for (const set of [this.seen, this.confirmed, this.#nacked]) {
        for (const place of set) if (partsOf(place)[0] === partition) set.delete(place)
      }
      for (const place of this.#attempts.keys()) if (partsOf(place)[0] === partition) this.#attempts.delete(place)
    })
  }

  /** The last seek that was asked for was answered. */
  sought(offsets: readonly (number | undefined)[]): void {
    offsets.forEach((offset, partition) => {
      if (offset === undefined) return
      this.owedFrom[partition] = offset
      for (const place of this.#seenBefore) if (partsOf(place)[0] === partition) this.#seenBefore.delete(place)
    })
  }

  hasSeen(place: string): boolean {
    return this.seen.has(place) || this.#seenBefore.has(place)
  }

  floor(partition: number, ackedThrough: number): void {
    const before = this.#floor[partition] ?? 0
    if (ackedThrough < before)
      throw this.#witness.violated('D-FLOOR', `${this.name}/${partition} went from ${before} to ${ackedThrough}`)
    this.#floor[partition] = ackedThrough
  }

  /** After a crash unconfirmed acknowledgements may be undone; after a power cut so may a first attempt. */
  crashed(kind: 'process' | 'power'): void {
    this.#floor.length = 0
    this.#nacked.clear()
    if (kind === 'process') return
    for (const attempt of this.#attempts.values()) attempt.powerCut = true
  }
}

export class Witness {
  published: Published[] = []
  /** Which topic of the name it is: what was stored in an earlier one says nothing about this one. */
  generation = 0
  readonly subscriptions: Map<string, SubscriptionWitness> = new Map()
  /** Which value stands at a place, and who said so first. */
  readonly #places: Map<string, { value: string; source: string }> = new Map()
  readonly #attempted: Map<string, Published> = new Map()
  readonly #keys: Map<string, string> = new Map()
  readonly #startOffsets: number[] = []
  readonly #note: (line: string) => void
  /** How often each kind of thing happened: a run in which a fault never fired proves nothing. */
  readonly counts: Map<string, number> = new Map()

  constructor(note: (line: string) => void) {
    this.#note = note
  }

  /** A line of the trace: what clients did and saw is part of what must be the same for a seed. */
  note(line: string): void {
    this.#note(line)
  }

  /** The first violation: kept, since whoever calls a client may swallow what it throws. */
  violation: Violation | null = null

  violated(invariant: string, detail: string): Violation {
    const violation = new Violation(invariant, detail)
    this.violation ??= violation
    return violation
  }

  /** The topic is deleted: nothing that was stored in it may ever be seen again. */
  forget(): void {
    this.generation += 1
    this.published = []
    this.#places.clear()
    this.#attempted.clear()
    this.#keys.clear()
    this.#startOffsets.length = 0
  }

  /** Whether what stands at the place may be gone for a reason that its publisher gave. */
  mayExpire(place: string): boolean {
    return this.#attempted.get(this.#places.get(place)?.value ?? '')?.expires === true
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  attempt(value: string, idempotencyKey: string | null): Published {
    const published: Published = {
      value,
      idempotencyKey,
      outcome: 'pending',
      expires: false,
      partition: -1,
      offset: -1,
    }
    this.published.push(published)
    this.#attempted.set(value, published)
    return published
  }

  /** A publish was answered with a place. A repeated key must be answered with the place of the first. */
  stored(published: Published, partition: number, offset: number, duplicate: boolean): void {
    const place = `${partition}:${offset}`
    const key = published.idempotencyKey
    if (key !== null) {
      const first = this.#keys.get(key)
      if (first !== undefined && first !== place)
        throw this.violated('D-IDEMP', `key ${key} at ${first} and at ${place}`)
      this.#keys.set(key, place)
    }
    this.note(`stored ${published.value.slice(0, 12)} ${place}${duplicate ? ' duplicate' : ''}`)
    published.outcome = 'ok'
    published.partition = partition
    published.offset = offset
    if (!duplicate) this.saw(place, published.value, 'a publish answer')
  }

  /** A value was seen at a place. */
  saw(place: string, value: string, source: string): void {
    const known = this.#places.get(place)
    if (known && known.value !== value) {
      throw this.violated('S-ACK', `${place} is ${known.value} by ${known.source}, and ${value} by ${source}`)
    }
    const attempted = this.#attempted.get(value)
    if (!attempted) throw this.violated('D-PHANTOM', `${place} holds ${value}, which nobody published (${source})`)
    if (attempted.outcome === 'refused')
      throw this.violated('O-REJECT', `${place} holds ${value}, which was refused (${source})`)
    this.#places.set(place, { value, source })
  }

  start(partition: number, startOffset: number): void {
    const before = this.#startOffsets[partition] ?? 0
    if (startOffset < before)
      throw this.violated('S-START', `partition ${partition} started at ${before}, now at ${startOffset}`)
    this.#startOffsets[partition] = startOffset
  }

  /** The whole content of a partition, read in peace: everything that was answered must be in it. */
  content(partition: number, startOffset: number, values: readonly string[]): void {
    this.start(partition, startOffset)
    const where = new Map<string, number>()
    values.forEach((value, i) => {
      const offset = startOffset + i
      if (where.has(value)) throw this.violated('DUP_LOG', `${value} at ${where.get(value)} and at ${offset}`)
      where.set(value, offset)
      this.saw(`${partition}:${offset}`, value, 'a read')
    })
    for (const { outcome, partition: own, offset } of this.published) {
      if (outcome !== 'ok' || own !== partition || offset < startOffset) continue
      if (offset - startOffset >= values.length)
        throw this.violated('S-ACK', `${partition}:${offset} was answered and is gone`)
    }
  }

  /** After the last fault, with everything drained: whatever is owed was delivered. */
  drained(subscription: SubscriptionWitness, partition: number, startOffset: number, nextOffset: number): void {
    for (let offset = Math.max(startOffset, subscription.owedFrom[partition] ?? 0); offset < nextOffset; offset++) {
      const place = `${partition}:${offset}`
      if (!subscription.hasSeen(place) && !this.mayExpire(place))
        throw this.violated('D-ALO', `${subscription.name} never got ${place}`)
    }
  }
}

export function partsOf(place: string): [partition: number, offset: number] {
  const colon = place.indexOf(':')
  return [Number(place.slice(0, colon)), Number(place.slice(colon + 1))]
}
