/**
 * Gives up on the doomed messages of one lane: writes their dead letters, and acknowledges the messages only
 * when those are durable. A runner; the lane's passes drive it.
 *
 * Must stay true: one write at a time, bounded in messages and bytes, so that dead letters keep the order of
 * offsets; nothing is buried whose copy is not durable. A crash between the two leaves the message
 * doomed, and it is written again under the same idempotency key, which the topic's window recognises. A
 * letter of that key may have been moved back since (redrive); then the message died again, and needs
 * a letter of its own: the next key is made of that letter's position, so that it comes out the same after
 * a crash.
 */
import { BROKER_KEY_MARK, type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import type { Metrics } from '../base/telemetry.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import type { PublishInput, PublishReceipt, Topic } from '../partition/topic.ts'
import { findBatch } from './batch-lookup.ts'
import type { Cursor } from './cursor.ts'
import { deadLetterOf, deadLetterTopic } from './dead-letter.ts'
import type { DeliveryMemory } from './delivery-memory.ts'
import type { KeyLedger } from './key-ledger.ts'
import type { Doomed, Failure, Ledger } from './ledger.ts'
import { replacedBatch } from './replacement.ts'
import type { Run } from './run-list.ts'
import type { ShelfHost } from './shelf.ts'
import type { OpenTopic, TopicDirectory } from './topic-directory.ts'

/** What the dead letters need of the subscription. */
export interface DeadLetterHost extends ShelfHost {
  readonly id: string
  readonly name: string
  /** Its topic, or its pattern. */
  readonly topic: string
  readonly settings: SubscriptionSettings
  readonly metrics: Metrics
  readonly directory: TopicDirectory
  readonly memory: DeliveryMemory
  /** Whether a dead letter was moved back to the subscription. */
  isRedriven(place: OpenTopic, partition: number, offset: number): boolean
}

/** What they need of the lane. */
export interface DeadLetterLane {
  readonly topic: string
  readonly partition: Partition
  readonly cursor: Cursor
  readonly ledger: Ledger
  /** The same ledger, where keys have an order. */
  readonly keys: KeyLedger | null
}

interface Letter {
  offset: number
  input: PublishInput
}

/** Somebody who wants to know when these are settled. */
interface Waiter {
  left: Run[]
  done: (error: TidingsError | null) => void
}

/** What is under way at once. */
const MESSAGES_MAX = 256
const BYTES_MAX = 1_048_576
const RETRY_MIN_MS = 250
const RETRY_MAX_MS = 30_000
/** When single letters are refused the others must not wait long for the next round. */
const REFUSED_RETRY_MAX_MS = 5000
/** Answers that may wait for dead letters of one lane. */
const WAITERS_MAX = 10_000

/** Failures that the consumer's own words, where there are any, say better. */
const CONSUMERS_OWN: ReadonlySet<Failure | null> = new Set(['nack', 'deadline', 'disconnected', 'rejected', null])

export class DeadLetters {
  /** Why the last write failed; null: it did not. */
  failure: TidingsError | null = null
  readonly #host: DeadLetterHost
  readonly #lane: DeadLetterLane
  #isBusy = false
  #isClosed = false
  /** In a row. */
  #failures = 0
  /** 0: nothing failed. */
  #retryAt = 0
  /** The topic refused a letter before this offset; those after it are tried first. 0: none. */
  #from = 0
  #refusal: TidingsError | null = null
  #waiters: Waiter[] = []

  constructor(host: DeadLetterHost, lane: DeadLetterLane) {
    this.#host = host
    this.#lane = lane
  }

  /** When there is something to try again. */
  get wakeAt(): number {
    return this.#retryAt > 0 ? this.#retryAt : Number.POSITIVE_INFINITY
  }

  /** Begins to write what is doomed, unless that is being done. */
  pump(now: number): void {
    if (this.#isBusy || this.#isClosed) return
    if (this.#lane.ledger.doomedCount === 0) {
      this.#calm()
      // A seek or another limit may have settled what somebody waits for.
      return this.#answer(null)
    }
    if (now < this.#retryAt) return
    this.#retryAt = 0
    this.#isBusy = true
    this.#write().then(
      () => this.#ended(null),
      (error: unknown) => this.#ended(TidingsError.from(error)),
    )
  }

  /** Calls back when none of the messages is doomed any more, or with why the next write failed. */
  whenSettled(runs: readonly Run[], done: (error: TidingsError | null) => void): void {
    if (this.#isClosed) return done(stopped())
    if (this.#waiters.length >= WAITERS_MAX) {
      return done(new TidingsError('overloaded', 'too many rejects wait for their dead letters; try again in a moment'))
    }
    this.#waiters.push({ left: runs.map((run) => ({ ...run })), done })
    this.#answer(null)
  }

  /** Nothing is written or acknowledged any more. */
  close(): void {
    this.#isClosed = true
    this.#answer(stopped())
  }

  #calm(): void {
    this.#retryAt = 0
    this.#failures = 0
    this.#from = 0
    this.#refusal = null
    this.failure = null
  }

  #ended(error: TidingsError | null): void {
    this.#isBusy = false
    if (this.#isClosed) return
    if (error) this.#failed(error)
    this.#answer(error && new TidingsError(error.code, `its dead letter could not be written yet: ${error.message}`))
    this.#lane.cursor.touch('lazy')
    this.#host.wake()
  }

  #failed(error: TidingsError): void {
    this.failure = error
    const maxMs = this.#refusal ? REFUSED_RETRY_MAX_MS : RETRY_MAX_MS
    const delayMs = Math.min(maxMs, RETRY_MIN_MS * 2 ** Math.min(this.#failures++, 20))
    this.#retryAt = this.#host.clock.monotonic() + delayMs
    this.#from = 0
    this.#refusal = null
    const { topic, partition } = this.#lane
    const about = { subscription: this.#host.name, topic, partition: partition.number, delayMs }
    this.#host.logger.warn({ ...about, code: error.code, detail: error.message }, 'a dead letter could not be written')
  }

  /** One round. What the topic refuses is passed over until all others are written. */
  async #write(): Promise<void> {
    const { ledger } = this.#lane
    const doomed = ledger.doomed(this.#from, MESSAGES_MAX)
    if (doomed.length === 0) {
      if (this.#refusal) throw this.#refusal
      this.#from = 0
      return
    }
    const { letters, to } = await this.#compose(doomed)
    if (letters.length > 0) {
      const place = await this.#open()
      const taken = letters.filter(({ input }) => {
        const refusal = refusalOf(place.topic, input)
        this.#refusal ??= refusal
        return refusal === null
      })
      await this.#send(place, taken)
    }
    if (this.#refusal) this.#from = to
    else this.#calm()
  }

  /** The letters of the first of these messages, before `to`; those whose bytes are gone are settled here. */
  async #compose(doomed: readonly Doomed[]): Promise<{ letters: Letter[]; to: number }> {
    const letters: Letter[] = []
    let bytes = 0
    let to = 0
    let lost = 0
    for (const run of doomed) {
      for (let offset = run.from; offset < run.to && bytes < BYTES_MAX; offset++) {
        to = offset + 1
        const batch = await findBatch(this.#lane.partition, offset)
        if (batch) {
          const input = deadLetterOf(this.#delivered(batch, offset), this.#about(offset, run), this.#key(offset))
          letters.push({ offset, input })
          bytes += input.value.length
        } else if (!this.#isClosed) lost += this.#lane.ledger.bury(offset, offset + 1)
      }
    }
    if (lost > 0) {
      const { topic, partition } = this.#lane
      const about = { subscription: this.#host.name, topic, partition: partition.number, before: to, lost }
      this.#host.logger.warn(about, 'retention removed messages before their dead letters were written')
    }
    return { letters, to }
  }

  /** What consumers got of the message: a person may have replaced it. */
  #delivered(batch: RecordBatch, offset: number): RecordBatch {
    const replacement = this.#lane.keys?.replacementOf(offset)
    return replacement ? replacedBatch(batch, offset, replacement) : batch
  }

  #about(offset: number, { attempts, failure }: Doomed): Parameters<typeof deadLetterOf>[1] {
    const { topic, partition } = this.#lane
    const words = this.#host.memory.reasonOf(topic, partition.number, offset)
    const word = failure ?? 'max_deliveries'
    const reason = words === null ? word : CONSUMERS_OWN.has(failure) ? words : `${word}: ${words}`
    const { name: subscription, topic: subscriptionTopic } = this.#host
    return { topic, partition: partition.number, offset, subscription, subscriptionTopic, attempts, reason }
  }

  /** Where a letter of the same message was moved back before, its position makes the next key another. */
  #key(offset: number, before = ''): string {
    const { topicId, number } = this.#lane.partition
    return `${BROKER_KEY_MARK}dead-letter:${this.#host.id}:${topicId}:${number}:${offset}${before}`
  }

  #open(): Promise<OpenTopic> {
    const { topic, name, settings, directory } = this.#host
    if (!settings.deadLetter) throw new TidingsError('conflict', 'dead letters were switched off')
    return directory.open(deadLetterTopic(topic, name, settings.deadLetter), this.#lane.topic)
  }

  async #send(place: OpenTopic, letters: readonly Letter[]): Promise<void> {
    let left = letters
    while (left.length > 0) {
      const receipts = await publishAll(place.topic, left)
      if (this.#isClosed) return
      const again: Letter[] = []
      left.forEach((letter, i) => {
        const { partition, offset, id } = receipts[i]!
        if (this.#host.isRedriven(place, partition, offset)) {
          const idempotencyKey = Buffer.from(this.#key(letter.offset, `/${id}`))
          again.push({ ...letter, input: { ...letter.input, idempotencyKey } })
        } else this.#bury(letter.offset, place.topic.name, id)
      })
      left = again
    }
  }

  #bury(offset: number, deadLetterTopic: string, id: string): void {
    const { ledger, topic, partition } = this.#lane
    this.#host.metrics.deadLettered(ledger.bury(offset, offset + 1))
    this.#host.memory.bury(topic, partition.number, offset, { topic: deadLetterTopic, id })
  }

  /** To each waiter whose messages are settled; with an error, to all. */
  #answer(error: TidingsError | null): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const waiter of waiters) {
      if (this.#isSettled(waiter)) waiter.done(null)
      else if (error) waiter.done(error)
      else this.#waiters.push(waiter)
    }
  }

  #isSettled({ left }: Waiter): boolean {
    for (let run = left[0]; run; run = left[0]) {
      const next = this.#lane.ledger.doomed(run.from, 1)[0]
      if (next && next.from < run.to) {
        run.from = next.from
        return false
      }
      left.shift()
    }
    return true
  }
}

function publishAll(topic: Topic, letters: readonly Letter[]): Promise<PublishReceipt[]> {
  const inputs = letters.map(({ input }) => input)
  return new Promise((resolve, reject) => {
    // None of them is scheduled, nor is a key of theirs one that a client could have scheduled with.
    topic.publishAll(inputs, (error, outcomes) => (error ? reject(error) : resolve(outcomes as PublishReceipt[])))
  })
}

function refusalOf(topic: Topic, input: PublishInput): TidingsError | null {
  try {
    topic.check(input)
    return null
  } catch (error) {
    return TidingsError.from(error)
  }
}

function stopped(): TidingsError {
  return new TidingsError('overloaded', 'the subscription stopped before the dead letter was written')
}
