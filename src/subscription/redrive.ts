/**
 * Brings the dead letters of one subscription back to it, and to nobody else. A runner, owned by the
 * subscription's.
 *
 * Where the message is still in its log it is revived: the subscription owes it again, never delivered. Where
 * it is gone (or would be passed over as expired) a copy of the letter goes to the message's topic, addressed
 * to this subscription. What was moved is acknowledged in a cursor of the broker's own, one in each partition
 * of the dead-letter topic.
 * Must stay true: a letter counts as moved only when its message is durably owed, or its copy durable; a
 * crash between the two moves it once more. While one is on its way, whoever asks hears that it is moved:
 * its message may die again sooner than that is written, and then needs a new letter.
 */
import {
  BROKER_KEY_MARK,
  formatMessageId,
  REDRIVEN_TO_HEADER,
  type SubscriptionSettings,
  TidingsError,
} from '@tidings/sdk/protocol'
import { Serial } from '../base/serial.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import type { PublishInput, Topic } from '../partition/topic.ts'
import { AckLedger } from './ack-ledger.ts'
import { addresseeOf, type Reader } from './addressee.ts'
import { findBatch } from './batch-lookup.ts'
import type { Cursor } from './cursor.ts'
import { copyOf, deadLetterTopic, isFrom, type Origin, originOf } from './dead-letter.ts'
import type { DeliveryMemory } from './delivery-memory.ts'
import { compileFilter, type Filter } from './filter.ts'
import type { Lane } from './lane.ts'
import type { LedgerPolicy } from './ledger.ts'
import { passedOver } from './screen.ts'
import type { ShelfHost } from './shelf.ts'
import type { RedriveAnswer, RedriveRequest } from './subscription.ts'
import type { OpenTopic, TopicDirectory } from './topic-directory.ts'

/** What a redrive needs of the subscription. */
export interface RedriveHost extends Omit<ShelfHost, 'wake'>, Reader {
  readonly id: string
  readonly settings: SubscriptionSettings
  readonly directory: TopicDirectory
  readonly memory: DeliveryMemory
  laneOf(id: { topic: string; partition: number }): Lane | undefined
  wake(lane?: Lane): void
}

interface Letter {
  offset: number
  batch: RecordBatch
  origin: Origin
  lane: Lane
}

/** What is to be moved of what was looked at, before `to`; and what is none of ours, or gone. */
interface Page {
  letters: Letter[]
  foreign: number[]
  to: number
}

interface Tally {
  left: number
  moved: number
  matched: number
}

/** What is on its way at once: letters, their bytes, and offsets looked at for them. */
const PAGE_LETTERS = 500
const PAGE_BYTES = 4 * 1_048_576
const PAGE_OFFSETS = 2000
/** What the filter may take before others get a turn. */
const PAGE_STEPS = 20_000
/** Nothing of it is ever delivered: it only remembers. */
const POLICY: LedgerPolicy = { ordered: false, backoff: { minMs: 0, maxMs: 0 }, maxDeliveries: null }

const PREFIX = 'redrive:'

/** Names the cursor in which a subscription remembers which letters were moved. */
export function redriveCursorId(subscriptionId: string): string {
  return `${PREFIX}${subscriptionId}`
}

/** The subscription that a cursor of that name belongs to; null: it is no such cursor. */
export function redrivingSubscription(cursorId: string): string | null {
  return cursorId.startsWith(PREFIX) ? cursorId.slice(PREFIX.length) : null
}

export class Redrive {
  readonly #host: RedriveHost
  readonly #cursorId: string
  readonly #turns = new Serial()
  /** Letters whose move is not written yet. */
  readonly #moving = new Set<string>()

  constructor(host: RedriveHost) {
    this.#host = host
    this.#cursorId = redriveCursorId(host.id)
  }

  /** Whether the letter was moved, or is gone. */
  isMoved({ topic, cursors }: OpenTopic, partition: number, offset: number): boolean {
    if (offset < (topic.partitions[partition]?.startOffset ?? 0)) return true
    if (this.#moving.has(placeOf(topic.id, partition, offset))) return true
    const cursor = cursors[partition]?.find(this.#cursorId)
    return cursor !== undefined && memoryOf(cursor).isAcknowledged(offset)
  }

  /** One after the other: two at once would move the same letters. */
  run(request: RedriveRequest): Promise<RedriveAnswer> {
    const { topic, name, settings, directory } = this.#host
    const { deadLetter } = settings
    if (!deadLetter) {
      throw new TidingsError(
        'invalid_argument',
        `subscription ${name} has no deadLetter: there is nothing to move back`,
      )
    }
    return this.#turns.run('', async () => {
      const filter = request.filter === null ? null : compileFilter(request.filter)
      const place = directory.find(deadLetterTopic(topic, name, deadLetter))
      const tally: Tally = { left: request.max, moved: 0, matched: 0 }
      try {
        for (const { number } of place?.topic.partitions ?? []) {
          await this.#partition(place!, number, request.dryRun, filter, tally)
        }
      } catch (thrown) {
        const error = TidingsError.from(thrown)
        throw new TidingsError(error.code, `${tally.moved} were moved; then: ${error.message}`, { cause: thrown })
      }
      const { moved, matched } = tally
      return request.dryRun ? { moved, matched } : { moved }
    })
  }

  /** The letters of one partition, in order, as far as it goes now. */
  async #partition(
    place: OpenTopic,
    number: number,
    dryRun: boolean,
    filter: Filter | null,
    tally: Tally,
  ): Promise<void> {
    const partition = place.topic.partitions[number]!
    const store = place.cursors[number]!
    const cursor = dryRun ? store.find(this.#cursorId) : store.cursor(this.#cursorId)
    const ledger = cursor ? memoryOf(cursor) : null
    const end = partition.highWatermark
    if (!dryRun) ledger?.skipTo(partition.startOffset)
    let at = Math.max(partition.startOffset, ledger?.floor ?? 0)
    while (at < end && tally.left > 0) {
      const page = await this.#page(place.topic, partition, at, end, ledger, filter, tally.left)
      this.#checkOpen()
      tally.left -= page.letters.length
      if (dryRun) tally.matched += page.letters.length
      else if (cursor && ledger) {
        const moved = await this.#move(place, number, page.letters)
        settle(ledger, page.to, new Set([...moved, ...page.foreign]))
        for (const offset of moved) this.#moving.delete(placeOf(place.topic.id, number, offset))
        cursor.touch('lazy')
        await cursor.durable()
        tally.moved += moved.length
      }
      at = page.to
      // What is in memory is found without a wait, so that others would never get a turn.
      await new Promise<void>((resolve) => this.#host.clock.soon(resolve))
    }
  }

  /** Looks at what comes from `from` on, until there is enough for one move. */
  async #page(
    topic: Topic,
    partition: Partition,
    from: number,
    end: number,
    ledger: AckLedger | null,
    filter: Filter | null,
    most: number,
  ): Promise<Page> {
    const page: Page = { letters: [], foreign: [], to: from }
    const limit = Math.min(end, from + PAGE_OFFSETS)
    const isFull = (): boolean => page.to >= limit || page.letters.length >= Math.min(most, PAGE_LETTERS)
    let bytes = 0
    let steps = 0
    while (!isFull() && bytes < PAGE_BYTES && steps < PAGE_STEPS) {
      const offset = page.to++
      if (ledger?.isAcknowledged(offset)) continue
      const batch = await findBatch(partition, offset)
      const origin = batch && originOf(batch, offset)
      if (!batch || !origin || !isFrom(origin, this.#host)) {
        page.foreign.push(offset)
        continue
      }
      const lane = this.#host.laneOf({ topic: origin.topic, partition: origin.id.partition })
      // Without a lane it is of a topic that is not followed now, and may come back.
      if (!lane) continue
      if (filter) {
        const isAdmitted = filter.admits(topic.name, batch, offset)
        steps += filter.steps
        if (!isAdmitted) continue
      }
      page.letters.push({ offset, batch, origin, lane })
      bytes += batch.bytes.length / batch.count
    }
    return page
  }

  /** Answers the offsets of those whose messages are durably on their way. */
  async #move(place: OpenTopic, number: number, letters: readonly Letter[]): Promise<number[]> {
    const gone = new Set<Letter>()
    for (const letter of letters) if (!(await this.#isThere(letter))) gone.add(letter)
    this.#checkOpen()
    // One whose first letter was written and not yet followed by the acknowledgement is still on its way here.
    const ready = letters.filter(({ lane, origin }) => lane.ledger.describe(origin.id.offset).state !== 'doomed')
    const places = ready.map(({ offset }) => placeOf(place.topic.id, number, offset))
    for (const one of places) this.#moving.add(one)
    try {
      const lanes = new Set<Lane>()
      for (const letter of ready) {
        const { lane, origin } = letter
        this.#host.memory.forget(lane.topic, lane.partition.number, origin.id.offset)
        if (gone.has(letter)) continue
        lane.ledger.revive(origin.id.offset, origin.id.offset + 1)
        lane.cursor.touch('lazy')
        lanes.add(lane)
      }
      for (const lane of lanes) this.#host.wake(lane)
      const copies = ready.filter((letter) => gone.has(letter))
      await Promise.all([this.#publish(place, number, copies), ...[...lanes].map((lane) => lane.cursor.durable())])
    } catch (error) {
      for (const one of places) this.#moving.delete(one)
      throw error
    }
    return ready.map(({ offset }) => offset)
  }

  /**
   * Whether the message is in its log and would be delivered from there. Its topic may have been deleted and made
   * anew: then another message has its place.
   */
  async #isThere(letter: Letter): Promise<boolean> {
    const { lane, origin } = letter
    const { offset } = origin.id
    if (offset >= lane.partition.highWatermark) return false
    const batch = await findBatch(lane.partition, offset)
    if (!batch || !isAlike(copyOf(batch, offset), copyOf(letter.batch, letter.offset))) return false
    return passedOver(batch, offset, this.#host.clock.now(), this.#host) !== 'expired'
  }

  async #publish(place: OpenTopic, number: number, copies: readonly Letter[]): Promise<void> {
    const byTopic = new Map<string, PublishInput[]>()
    for (const { offset, batch, origin, lane } of copies) {
      const copy = copyOf(batch, offset)
      const key = `${BROKER_KEY_MARK}redrive:${this.#host.id}:${placeOf(place.topic.id, number, offset)}`
      const inputs = byTopic.get(origin.topic) ?? []
      inputs.push({
        ...copy,
        headers: [...copy.headers, [REDRIVEN_TO_HEADER, addresseeOf(this.#host)]],
        partition: lane.partition.number,
        idempotencyKey: Buffer.from(key),
        isAddressed: true,
      })
      byTopic.set(origin.topic, inputs)
    }
    for (const [name, inputs] of byTopic) {
      const target = this.#host.directory.find(name)
      if (!target) throw new TidingsError('topic_not_found', `there is no topic ${name}`)
      await new Promise<void>((resolve, reject) => {
        target.topic.publishAll(inputs, (error) => (error ? reject(error) : resolve()))
      })
    }
  }

  #checkOpen(): void {
    if (!this.#host.isOpen) throw new TidingsError('overloaded', 'the subscription stopped')
  }
}

function isAlike(message: PublishInput, letter: PublishInput): boolean {
  const isSame = (one: Uint8Array | null, other: Uint8Array | null): boolean =>
    Buffer.compare(one ?? Buffer.alloc(0), other ?? Buffer.alloc(0)) === 0
  return isSame(message.value, letter.value) && isSame(message.key, letter.key)
}

/** Which letters were moved. One ledger for all who ask: another would not hear of what is moved meanwhile. */
function memoryOf(cursor: Cursor): AckLedger {
  const { opened } = cursor
  return opened instanceof AckLedger ? opened : cursor.ledger(POLICY)
}

/** Everything below `to` has been looked at; `done` are those that need no other look. */
function settle(ledger: AckLedger, to: number, done: ReadonlySet<number>): void {
  const { next } = ledger
  if (to > next) {
    ledger.skip(next, to)
    for (let from = next; from < to; from++) {
      let end = from
      while (end < to && !done.has(end)) end++
      if (end > from) ledger.revive(from, end)
      from = end
    }
  }
  for (const offset of done) if (offset < next) ledger.skip(offset, offset + 1)
}

function placeOf(topicId: string, partition: number, offset: number): string {
  return `${topicId}/${formatMessageId(partition, offset)}`
}
