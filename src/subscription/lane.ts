/**
 * One partition as a subscription serves it: has messages staged (range-staging.ts, key-staging.ts), and
 * hands them over when their leases are written. A runner, driven by the subscription's passes.
 *
 * Must stay true: nothing is handed over that is not leased to whom it is handed (it may have been
 * given back, acknowledged or forgotten while it was staged).
 */
import type { SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import type { Metrics } from '../base/telemetry.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import type { TopicEnd } from '../partition/topic.ts'
import type { Receiver } from './consumer.ts'
import type { Cursor, CursorOwner, Reader } from './cursor.ts'
import type { CursorStore } from './cursor-store.ts'
import { type DeadLetterHost, DeadLetters } from './dead-letters.ts'
import { isOrdered } from './dispatch.ts'
import type { KeyPolicy } from './key-book.ts'
import type { KeyLedger } from './key-ledger.ts'
import { KeyStaging } from './key-staging.ts'
import type { Ledger } from './ledger.ts'
import { RangeStaging } from './range-staging.ts'
import type { Run } from './run-list.ts'
import { Shelf, type ShelfHost } from './shelf.ts'
import type { Staging, StagingHost, StagingLane } from './staging.ts'
import type { Delivery } from './subscription.ts'

/** A partition of a topic that the subscription reads, and its subscription log. */
export interface ServedPartition {
  topic: string
  partition: Partition
  cursors: CursorStore
}

/** What a lane needs of its subscription. */
export interface LaneHost extends StagingHost, ShelfHost, DeadLetterHost {
  /** Names its cursors. */
  readonly id: string
  readonly name: string
  /** Or the pattern. */
  readonly topic: string
  /** It follows a pattern: ids begin with the topic. */
  readonly isPattern: boolean
  readonly metrics: Metrics
  /** Something may go out that could not before: of this lane, or of any that is awake. */
  wake(lane?: Lane): void
  /** The lane's ledger changed. */
  touched(lane: Lane): void
  /** The receiver threw: it is no longer served. */
  broke(receiver: Receiver, error: unknown): void
  /** Staged messages were handed over, or could not be. */
  settled(): void
}

/** A slice on its way to one receiver. */
interface Parcel {
  receiver: Receiver
  delivery: Delivery
  bytes: number
}

export class Lane implements CursorOwner, StagingLane {
  readonly topic: string
  readonly partition: Partition
  readonly cursor: Cursor
  readonly ledger: Ledger
  /** The same ledger, where keys have an order. */
  readonly keys: KeyLedger | null
  readonly host: LaneHost
  readonly shelf: Shelf
  readonly deadLetters: DeadLetters
  readonly #staging: Staging
  readonly #cursors: CursorStore
  readonly #idPrefix: string
  readonly #unlisten: () => void
  #isClosed = false
  /** Lost to retention, and nobody was told yet. */
  #gap: Run | null = null
  #parcels: Parcel[] = []
  /** Raised by what makes everything staged void: a seek, a refused write. */
  #stagings = 0

  constructor(host: LaneHost, { topic, partition, cursors }: ServedPartition) {
    this.host = host
    this.topic = topic
    this.partition = partition
    this.#cursors = cursors
    this.#idPrefix = host.isPattern ? `${topic}/` : ''
    this.cursor = cursors.cursor(host.id)
    this.shelf = new Shelf(host, partition)
    const policy = policyOf(host.settings)
    if (knowsKeys(host.settings)) {
      this.keys = this.ledger = this.cursor.keyLedger(policy, host.slots)
      this.#staging = new KeyStaging(this, this.keys)
    } else {
      const ledger = this.cursor.ledger(policy)
      this.ledger = ledger
      this.keys = null
      this.#staging = new RangeStaging(this, ledger)
    }
    this.deadLetters = new DeadLetters(host, this)
    this.cursor.owner = this
    this.#unlisten = partition.onChange(() => host.wake(this))
  }

  get reader(): Reader {
    const { name, isPattern, topic } = this.host
    return { subscription: name, ...(isPattern ? { pattern: topic } : {}) }
  }

  /** Nothing to deliver, to wait for or to count; only the partition or the ledger can change that. */
  get isQuiet(): boolean {
    const { ledger, partition } = this
    return (
      ledger.next >= partition.highWatermark &&
      ledger.floor >= ledger.next &&
      ledger.next >= partition.startOffset &&
      this.wakeAt === Number.POSITIVE_INFINITY &&
      !this.isLoading
    )
  }

  get isLoading(): boolean {
    return this.shelf.isLoading
  }

  /** When the lane has something to do by itself, at the earliest. */
  get wakeAt(): number {
    return Math.min(this.shelf.wakeAt, this.ledger.wakeAt, this.deadLetters.wakeAt)
  }

  /** Messages not acknowledged, outstanding deliveries included. */
  get backlog(): number {
    const { highWatermark, startOffset } = this.partition
    const reached = this.ledger.unsettled + (this.keys?.held ?? 0)
    return reached + Math.max(0, highWatermark - Math.max(this.ledger.next, startOffset))
  }

  configure(settings: SubscriptionSettings): void {
    this.ledger.policy = policyOf(settings)
  }

  /** Serves nothing any more; what is staged does not go out. `deleted`: its records go too. */
  close(why: TopicEnd): void {
    this.#isClosed = true
    this.#unlisten()
    this.deadLetters.close()
    this.cursor.owner = null
    if (why === 'deleted') this.#cursors.delete(this.host.id)
  }

  /** Stages whatever may go out now; `room` bounds how many messages more may be unsettled. Answers whether anything did. */
  serve(now: number, room: number): boolean {
    this.shelf.open(now)
    this.#advance(now)
    if (!this.cursor.stalled) this.#staging.stageAll(room)
    // After the staging, which learns keys after a restart, and with that what is doomed.
    this.deadLetters.pump(now)
    this.shelf.close()
    if (this.#parcels.length === 0) return false
    const parcels = this.#parcels
    const staging = this.#stagings
    this.#parcels = []
    const isRedelivery = parcels.some(({ delivery }) => delivery.attempt > 1)
    this.cursor.stage((isWritten) => this.#handOver(parcels, isWritten && staging === this.#stagings), isRedelivery)
    return true
  }

  /** Forgets everything; `durable` of the cursor tells when that will last. */
  seek(offset: number): void {
    this.#stagings++
    this.#gap = null
    this.ledger.seek(offset)
    this.cursor.touch('lazy')
  }

  refused(error: TidingsError): void {
    this.host.logger.debug({ partition: this.partition.number, code: error.code }, 'leases could not be written')
    this.#unstage()
  }

  /** What is staged is offered again later. */
  #unstage(): void {
    this.#stagings++
    this.ledger.unstage()
    this.host.settled()
  }

  resumed(): void {
    this.host.wake(this)
  }

  touched(): void {
    this.host.touched(this)
  }

  /** Timestamp of the oldest message that is not acknowledged, where it is known without a wait. */
  oldestTimestamp(): number | null {
    const offset = Math.max(this.ledger.floor, this.partition.startOffset)
    return offset < this.partition.highWatermark ? this.shelf.timestampOf(offset) : null
  }

  put(receiver: Receiver, batch: RecordBatch, from: number, to: number, attempt: number): void {
    const bytes = (batch.bytes.length / batch.count) * (to - from)
    receiver.stagedBytes += bytes
    this.host.dispatch.gave(receiver, to - from)
    const last = this.#parcels.at(-1)
    if (last?.receiver === receiver && isNext(last.delivery, batch, from, attempt)) {
      last.delivery.to = to
      last.bytes += bytes
      return
    }
    const { topic, partition } = this
    const idPrefix = this.#idPrefix
    const delivery = { topic, partition: partition.number, idPrefix, batch, from, to, attempt }
    this.#parcels.push({ receiver, bytes, delivery })
  }

  again(): void {
    this.host.wake(this)
  }

  #advance(now: number): void {
    const { ledger, partition } = this
    const expired = ledger.advance(now)
    if (expired > 0) {
      this.host.metrics.returned('expired', expired)
      this.cursor.touch('lazy')
    }
    const lost = ledger.skipTo(partition.startOffset)
    if (!lost) return
    this.cursor.touch('lazy')
    this.#gap = this.#gap ? { from: Math.min(this.#gap.from, lost.from), to: Math.max(this.#gap.to, lost.to) } : lost
    this.host.logger.warn(
      { topic: this.topic, partition: partition.number, ...lost },
      'retention removed messages before their acknowledgement',
    )
  }

  #handOver(parcels: readonly Parcel[], isWritten: boolean): void {
    for (const { receiver, bytes } of parcels) receiver.stagedBytes -= bytes
    if (!isWritten || !this.host.isOpen || this.#isClosed) return
    if (!this.partition.holds) return this.#unstage()
    const deadline = this.host.clock.monotonic() + this.host.settings.ackDeadlineMs
    for (let i = 0; i < parcels.length; ) {
      const { receiver, delivery } = parcels[i]!
      let next = i + 1
      let { to } = delivery
      // Neighbours for the same receiver go over in one: a lease may span many small batches.
      while (next < parcels.length && parcels[next]!.receiver === receiver && parcels[next]!.delivery.from === to) {
        to = parcels[next++]!.delivery.to
      }
      const held = this.ledger.handOver(receiver, delivery.from, to, deadline, receiver.heir ?? receiver)
      // Some may have been given back, which changes the ledger.
      if (held) this.cursor.touch('lazy')
      for (; i < next; i++) this.#deliver(parcels[i]!, held)
    }
    this.host.settled()
  }

  /** Delivers the whole parcel, or only what of it is `held`. */
  #deliver({ receiver, delivery }: Parcel, held: readonly Run[] | null): void {
    if (!held) return this.#send(receiver, delivery)
    for (const run of held) {
      const from = Math.max(run.from, delivery.from)
      const to = Math.min(run.to, delivery.to)
      if (from < to) this.#send(receiver, { ...delivery, from, to })
    }
  }

  #send(receiver: Receiver, delivery: Delivery): void {
    const count = delivery.to - delivery.from
    try {
      if (this.#gap && receiver.gap) {
        const { from, to } = this.#gap
        this.#gap = null
        receiver.gap({ topic: delivery.topic, partition: delivery.partition, from, to: to - 1 })
      }
      receiver.deliver(delivery)
    } catch (error) {
      this.host.broke(receiver, error)
    }
    this.host.metrics.delivered(count, delivery.attempt > 1 ? count : 0)
  }
}

/** Whether single keys have an order, so that every message must be known by its key. */
function knowsKeys({ type, deadLetter }: SubscriptionSettings): boolean {
  return type === 'key_shared' || deadLetter?.mode === 'park'
}

function policyOf({ type, backoff, deadLetter }: SubscriptionSettings): KeyPolicy {
  const maxDeliveries = deadLetter?.maxDeliveries ?? null
  return { ordered: isOrdered(type), backoff, maxDeliveries, parks: deadLetter?.mode === 'park' }
}

function isNext(delivery: Delivery, batch: RecordBatch, from: number, attempt: number): boolean {
  return delivery.batch === batch && delivery.to === from && delivery.attempt === attempt
}
