/**
 * The parked keys of one subscription, over all its lanes: what a person sees of them and does about them,
 * and the bounds. A runner: it waits for records and dead letters; the ledgers decide.
 *
 * Must stay true: nothing is told of a parked key, and nothing that was done about one is confirmed,
 * before it is durable. Past its bounds the key that is parked longest falls back: its failed message goes
 * to the dead-letter topic, the key goes on, and it is said so (logged, counted, shown).
 */
import { formatMessageId, LIMITS, TidingsError } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import { findBatch } from './batch-lookup.ts'
import type { DeadLetterHost } from './dead-letters.ts'
import type { Message } from './key-queue.ts'
import type { Lane } from './lane.ts'
import { type ReplacedValue, replacementRecord } from './replacement.ts'
import type { Doing, Parked, ParkedKey, ParkedKeys, ParkedPlace } from './subscription.ts'

/** Messages that may wait for parked keys, over all partitions; past that the oldest key falls back. */
const HELD_MAX = 100_000
/** Keys that fall back after one pass; each wakes another. */
const FALLS_MAX = 500
/** Bytes of replacements that wait to be acknowledged, in one partition: every whole state holds them. */
const REPLACED_BYTES_MAX = 8 * 1_048_576
/** How long an answer waits for the keys of what a restart left pending. */
const PATIENCE_MS = 10_000

export interface ParkingHost extends DeadLetterHost {
  readonly isPattern: boolean
}

export interface ParkingParts {
  host: ParkingHost
  /** Those that have messages which are not settled. */
  lanes: () => readonly Lane[]
}

interface Found {
  lane: Lane & { keys: NonNullable<Lane['keys']> }
  message: Message
}

export class Parking implements ParkedKeys {
  readonly #host: ParkingHost
  readonly #lanes: () => readonly Lane[]
  /** Keys that fell back, since the start. */
  #fellBack = 0
  /** Who waits for the lanes to know all keys. */
  #waiting: (() => void)[] = []

  constructor({ host, lanes }: ParkingParts) {
    this.#host = host
    this.#lanes = lanes
  }

  /** After each pass: holds the bounds, and answers whoever waits. */
  settle(): void {
    if (this.#waiting.length > 0 && this.#isKnown()) for (const go of this.#waiting.splice(0)) go()
    const { deadLetter } = this.#host.settings
    if (deadLetter?.mode !== 'park') return
    let keys = 0
    let held = 0
    for (const { keys: ledger } of this.#lanes()) {
      keys += ledger?.parked.size ?? 0
      held += ledger?.held ?? 0
    }
    for (let left = FALLS_MAX; left > 0 && keys > 0; left--, keys--) {
      if (keys <= deadLetter.maxParked && held <= HELD_MAX) return
      held -= this.#fallBack(keys)
    }
  }

  /** The parked keys, the longest parked first, `limit` at most. Resolves when what it tells is durable. */
  async list(limit: number): Promise<Parked> {
    await this.#known()
    const found = this.#all()
    const parked = found.slice(0, limit).map((one) => this.#shown(one))
    await this.#durable(new Set(found.map(({ lane }) => lane)))
    return { parked, count: found.length, fellBack: this.#fellBack }
  }

  /** Resolves when it is done, durably. `not_found`: the key is not parked. */
  async act(key: string, place: ParkedPlace, doing: Doing): Promise<ParkedKey> {
    await this.#known()
    const bytes = Buffer.from(key, 'utf8').toString('latin1')
    let found = this.#find(key, bytes, place)
    if (doing.action === 'replace') {
      const { lane, message } = found
      const batch = await findBatch(lane.partition, message.from)
      // Somebody may have been faster meanwhile.
      found = this.#find(key, bytes, place)
      if (!batch || found.message !== message) throw notParked(key)
      this.#replace(found, batch, doing)
    }
    const shown = this.#shown(found)
    await this.#do(found, doing)
    this.#host.logger.info({ ...this.#about(found), action: doing.action }, 'a parked key was dealt with')
    return shown
  }

  async #do({ lane, message }: Found, { action }: Doing): Promise<void> {
    const { keys, topic, partition } = lane
    const run = { from: message.from, to: message.to }
    if (action === 'discard') keys.discard(message)
    else if (action === 'skip') keys.doom(message, 'skipped')
    else {
      keys.resume(message)
      this.#host.memory.forget(topic, partition.number, message.from)
    }
    lane.cursor.touch('lazy')
    lane.again()
    if (action === 'skip') {
      await new Promise<void>((resolve, reject) => {
        lane.deadLetters.whenSettled([run], (error) => (error ? reject(error) : resolve()))
      })
    }
    await this.#durable(new Set([lane]))
  }

  #replace({ lane, message }: Found, batch: RecordBatch, replaced: ReplacedValue): void {
    const { keys } = lane
    this.#check(lane, replaced)
    const record = replacementRecord(batch, message.from, replaced)
    if (keys.replacedBytes > 0 && keys.replacedBytes + record.length > REPLACED_BYTES_MAX) {
      throw new TidingsError(
        'overloaded',
        'replacements of this partition hold as many bytes as they may: try again when some are acknowledged',
      )
    }
    keys.replace(message, record)
  }

  /** What the topic would not take it does not take in this way either. */
  #check(lane: Lane, replaced: ReplacedValue): void {
    const input = { key: null, headers: [], idempotencyKey: null, partition: null, ttlMs: null, ...replaced }
    this.#host.directory.find(lane.topic)?.topic.check(input)
    if (replaced.value.length > LIMITS.messageBytes) {
      throw new TidingsError('message_too_large', `a replacement may have ${LIMITS.messageBytes} bytes at most`)
    }
  }

  /** Answers how many messages do not wait for a parked key any more. */
  #fallBack(count: number): number {
    const oldest = this.#oldest()
    if (!oldest) return 0
    const { lane, message } = oldest
    const before = lane.keys.held
    const about = this.#about(oldest)
    lane.keys.doom(message, 'parking_full')
    this.#fellBack++
    this.#host.metrics.parkingFull()
    this.#host.logger.warn({ ...about, parked: count }, 'too much is parked: the oldest key falls back to dead letters')
    lane.cursor.touch('lazy')
    lane.again()
    return before - lane.keys.held
  }

  /** Of the keys that are parked longest in their lanes. */
  #oldest(): Found | null {
    let oldest: Found | null = null
    let since = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes()) {
      const entry = lane.keys?.longestParked
      const message = entry?.value.parkedFirst
      if (!entry || !message || !knowsKeys(lane) || entry.key >= since) continue
      oldest = { lane, message }
      since = entry.key
    }
    return oldest
  }

  #find(key: string, bytes: string, { topic, partition, offset }: ParkedPlace): Found {
    const found = this.#all((lane) => {
      const queue = lane.keys.parked.get(bytes)
      return queue ? [queue] : []
    }).filter(
      ({ lane }) =>
        (topic === undefined || lane.topic === topic) &&
        (partition === undefined || lane.partition.number === partition),
    )
    const [only] = found
    if (!only) throw notParked(key)
    if (found.length === 1) return checkMeant(only, offset)
    const places = found.map(({ lane }) => `${lane.topic}/${lane.partition.number}`)
    throw new TidingsError(
      'conflict',
      `the key is parked in ${places.slice(0, 10).join(', ')}: name one of them with "topic" and "partition"`,
    )
  }

  /** In the order of parking. */
  #all(queuesOf: (lane: Found['lane']) => Iterable<{ parkedFirst: Message | null }> = everyQueue): Found[] {
    return [...this.#every(queuesOf)].sort((a, b) => a.message.notBefore - b.message.notBefore)
  }

  *#every(queuesOf: (lane: Found['lane']) => Iterable<{ parkedFirst: Message | null }> = everyQueue): Generator<Found> {
    for (const lane of this.#lanes()) {
      if (!knowsKeys(lane)) continue
      for (const { parkedFirst } of queuesOf(lane)) if (parkedFirst) yield { lane, message: parkedFirst }
    }
  }

  #shown({ lane, message }: Found): ParkedKey {
    const { clock, memory, isPattern } = this.#host
    const { topic, partition } = lane
    return {
      key: utf8Of(message.key),
      ...(isPattern ? { topic } : {}),
      partition: partition.number,
      offset: message.from,
      attempts: message.attempts,
      parkedAt: message.notBefore + clock.now() - clock.monotonic(),
      waiting: message.queue.waitingCount - 1,
      reason: memory.reasonOf(topic, partition.number, message.from) ?? message.failure,
    }
  }

  #about({ lane, message }: Found): object {
    const { topic, partition } = lane
    const { name } = this.#host
    return { subscription: name, topic, partition: partition.number, offset: message.from, key: utf8Of(message.key) }
  }

  #isKnown(): boolean {
    return this.#lanes().every(({ keys }) => !keys?.unread)
  }

  #known(): Promise<void> {
    if (this.#isKnown()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const timer = this.#host.clock.after(PATIENCE_MS, () => {
        this.#waiting = this.#waiting.filter((other) => other !== go)
        reject(
          new TidingsError('overloaded', 'the keys of pending messages are still being read: try again in a moment'),
        )
      })
      const go = (): void => {
        timer.cancel()
        resolve()
      }
      this.#waiting.push(go)
      this.#host.wake()
    })
  }

  async #durable(lanes: ReadonlySet<Lane>): Promise<void> {
    await Promise.all([...lanes].map(({ cursor }) => cursor.durable()))
  }
}

/** Who decides has looked at one message: what it decided is not for another. */
function checkMeant(found: Found, offset: number | undefined): Found {
  const { lane, message } = found
  if (offset === undefined || message.from === offset) return found
  const id = formatMessageId(lane.partition.number, message.from)
  throw new TidingsError('conflict', `the key waits for ${lane.topic}/${id} now: look at that one, and name its id`)
}

function everyQueue({ keys }: Found['lane']): Iterable<{ parkedFirst: Message | null }> {
  return keys.parked.values()
}

function knowsKeys(lane: Lane): lane is Found['lane'] {
  return lane.keys !== null
}

function utf8Of(key: string | null): string {
  return Buffer.from(key ?? '', 'latin1').toString('utf8')
}

function notParked(key: string): TidingsError {
  return new TidingsError('not_found', `key ${JSON.stringify(key)} is not parked`)
}
