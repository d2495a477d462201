/**
 * One partition as a subscription serves it: finds the batches, stages what the dispatch decides,
 * hands it over when its lease is written. A runner, driven by the subscription's passes.
 *
 * Must stay true: nothing is handed over that is not leased to whom it is handed (it may have been
 * given back, acknowledged or forgotten while it was staged); one disk read at a time; batches are
 * held for one pass only, so that a subscription that stands still costs no memory.
 */
import type { SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { Partition } from '../partition/partition.ts'
import type { AckLedger } from './ack-ledger.ts'
import type { Receiver } from './consumer.ts'
import type { Cursor, CursorOwner } from './cursor.ts'
import { type Dispatch, isOrdered } from './dispatch.ts'
import type { LeaseHolder, LedgerPolicy } from './ledger.ts'
import type { Run } from './run-list.ts'
import { mayPassOver, passedOver } from './screen.ts'
import type { Delivery } from './subscription.ts'

/** What a lane needs of its subscription. */
export interface LaneHost {
  readonly topic: string
  readonly settings: SubscriptionSettings
  readonly clock: Clock
  readonly metrics: Metrics
  readonly logger: Logger
  /** Who may get messages now, in the order that the dispatch expects. */
  readonly receivers: readonly Receiver[]
  readonly dispatch: Dispatch
  readonly isOpen: boolean
  /** With whom messages lie that this receiver was handed. */
  heirOf(receiver: Receiver): LeaseHolder
  /** The receiver threw: it is no longer served. */
  broke(receiver: Receiver, error: unknown): void
  /** Something may go out that could not before. */
  wake(): void
  /** Staged messages were handed over, or could not be. */
  settled(): void
}

/** A slice on its way to one receiver. */
interface Parcel {
  receiver: Receiver
  delivery: Delivery
  bytes: number
}

/** How long to wait after a failed read. */
const RELOAD_MS = 1000

export class Lane implements CursorOwner {
  readonly partition: Partition
  readonly cursor: Cursor
  readonly ledger: AckLedger
  readonly #host: LaneHost
  readonly #unlisten: () => void
  /** Lost to retention, and nobody was told yet. */
  #gap: Run | null = null
  #parcels: Parcel[] = []
  /** Raised by what makes everything staged void: a seek, a refused write. */
  #stagings = 0
  #loaded: readonly RecordBatch[] = []
  #recent: RecordBatch | undefined
  #isLoading = false
  /** After a failed read: not again before. */
  #reloadAt = 0
  #oldest = { offset: -1, timestamp: 0 }

  constructor(host: LaneHost, partition: Partition, cursor: Cursor) {
    this.#host = host
    this.partition = partition
    this.cursor = cursor
    this.ledger = cursor.ledger(policyOf(host.settings))
    cursor.owner = this
    this.#unlisten = partition.onChange(() => host.wake())
  }

  get isLoading(): boolean {
    return this.#isLoading
  }

  /** When the lane has something to do by itself, at the earliest. */
  get wakeAt(): number {
    return this.#reloadAt > 0 ? Math.min(this.#reloadAt, this.ledger.wakeAt) : this.ledger.wakeAt
  }

  /** Messages not acknowledged, outstanding deliveries included. */
  get backlog(): number {
    const { highWatermark, startOffset } = this.partition
    return this.ledger.unsettled + Math.max(0, highWatermark - Math.max(this.ledger.next, startOffset))
  }

  configure(settings: SubscriptionSettings): void {
    this.ledger.policy = policyOf(settings)
  }

  close(): void {
    this.#unlisten()
    this.cursor.owner = null
  }

  /** Stages whatever may go out now; `room` bounds how many messages more may be unsettled. Answers whether anything did. */
  serve(now: number, room: number): boolean {
    if (now >= this.#reloadAt) this.#reloadAt = 0
    this.#advance(now)
    if (!this.cursor.stalled) this.#stageAll(room)
    this.#loaded = []
    this.#recent = undefined
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
    this.#stagings++
    this.ledger.unstage()
    this.#host.logger.debug({ partition: this.partition.number, code: error.code }, 'leases could not be written')
    this.#host.settled()
  }

  resumed(): void {
    this.#host.wake()
  }

  /** Timestamp of the oldest message that is not acknowledged, where it is known without a wait. */
  oldestTimestamp(): number | null {
    const offset = this.#oldestOffset()
    if (offset >= this.partition.highWatermark) return null
    const batch = this.partition.cached(offset)
    if (batch) this.#oldest = { offset, timestamp: batch.timestamp }
    else if (this.#oldest.offset !== offset) this.#load(offset)
    return this.#oldest.offset === -1 ? null : this.#oldest.timestamp
  }

  #oldestOffset(): number {
    return Math.max(this.ledger.floor, this.partition.startOffset)
  }

  #advance(now: number): void {
    const { ledger, partition } = this
    const expired = ledger.advance(now)
    if (expired > 0) {
      this.#host.metrics.returned('expired', expired)
      this.cursor.touch('lazy')
    }
    const lost = ledger.skipTo(partition.startOffset)
    if (!lost) return
    this.cursor.touch('lazy')
    this.#gap = this.#gap ? { from: Math.min(this.#gap.from, lost.from), to: Math.max(this.#gap.to, lost.to) } : lost
    const { topic, logger } = this.#host
    logger.warn(
      { topic, partition: partition.number, ...lost },
      'retention removed messages before their acknowledgement',
    )
  }

  #stageAll(room: number): void {
    const { ledger, partition } = this
    const { dispatch, receivers, settings } = this.#host
    const limit = ledger.unsettled + room
    for (;;) {
      const offer = ledger.available(partition.highWatermark, Math.max(0, limit - ledger.unsettled))
      if (!offer) return
      const { from, to, attempt } = offer
      const receiver = dispatch.choose(settings.type, settings.dispatch, receivers, to - from)
      if (!receiver || !this.#stage(receiver, from, from + dispatch.count, attempt)) return
    }
  }

  /** Leases [from, to) to the receiver, batch by batch; false when a batch must be read first. */
  #stage(receiver: Receiver, from: number, to: number, attempt: number): boolean {
    const { topic } = this.#host
    const partition = this.partition.number
    let at = from
    while (at < to && receiver.credit() > 0) {
      const batch = this.#batchAt(at)
      if (!batch) {
        if (this.#reloadAt === 0) this.#load(at)
        return false
      }
      let end = Math.min(to, batch.nextOffset)
      if (mayPassOver(batch)) {
        const wall = this.#host.clock.now()
        let wanted = at
        while (wanted < end && passedOver(batch, wanted, wall)) wanted++
        if (wanted > at) {
          this.ledger.skip(at, wanted)
          this.cursor.touch('lazy')
          at = wanted
          continue
        }
        while (wanted < end && !passedOver(batch, wanted, wall)) wanted++
        end = wanted
      }
      const bytesEach = batch.bytes.length / batch.count
      end = Math.min(end, at + receiver.fits(bytesEach))
      this.ledger.lease(receiver, at, end)
      const bytes = bytesEach * (end - at)
      receiver.stagedBytes += bytes
      this.#parcels.push({ receiver, bytes, delivery: { topic, partition, batch, from: at, to: end, attempt } })
      at = end
    }
    return true
  }

  #batchAt(offset: number): RecordBatch | undefined {
    if (this.#recent && holds(this.#recent, offset)) return this.#recent
    this.#recent = this.#loaded.find((batch) => holds(batch, offset)) ?? this.partition.cached(offset)
    return this.#recent
  }

  #load(offset: number): void {
    if (this.#isLoading) return
    this.#isLoading = true
    this.partition.load(offset).then(
      (batches) => this.#didLoad(offset, batches),
      (error: unknown) => {
        this.#didLoad(offset, [])
        // Retention may have been faster; anything else is worth a look.
        if (offset < this.partition.startOffset) return
        this.#host.logger.error({ err: error, partition: this.partition.number, offset }, 'reading the log failed')
      },
    )
  }

  #didLoad(offset: number, batches: readonly RecordBatch[]): void {
    this.#isLoading = false
    if (!this.#host.isOpen) return
    const batch = batches.find((one) => holds(one, offset))
    if (batch) {
      this.#reloadAt = 0
      this.#loaded = batches
      if (offset === this.#oldestOffset()) this.#oldest = { offset, timestamp: batch.timestamp }
    } else if (offset >= this.partition.startOffset) this.#reloadAt = this.#host.clock.monotonic() + RELOAD_MS
    this.#host.wake()
  }

  #handOver(parcels: readonly Parcel[], isWritten: boolean): void {
    for (const { receiver, bytes } of parcels) receiver.stagedBytes -= bytes
    if (!isWritten || !this.#host.isOpen) return
    const deadline = this.#host.clock.monotonic() + this.#host.settings.ackDeadlineMs
    for (let i = 0; i < parcels.length; ) {
      const { receiver, delivery } = parcels[i]!
      let next = i + 1
      let { to } = delivery
      // Neighbours for the same receiver go over in one: a lease may span many small batches.
      while (next < parcels.length && parcels[next]!.receiver === receiver && parcels[next]!.delivery.from === to) {
        to = parcels[next++]!.delivery.to
      }
      const held = this.ledger.handOver(receiver, delivery.from, to, deadline, this.#host.heirOf(receiver))
      // Some may have been given back, which changes the ledger.
      if (held) this.cursor.touch('lazy')
      for (; i < next; i++) this.#deliver(parcels[i]!, held)
    }
    this.#host.settled()
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
      this.#host.broke(receiver, error)
    }
    this.#host.metrics.delivered(count, delivery.attempt > 1 ? count : 0)
  }
}

function policyOf({ type, backoff }: SubscriptionSettings): LedgerPolicy {
  return { ordered: isOrdered(type), backoff, maxDeliveries: null }
}

function holds(batch: RecordBatch, offset: number): boolean {
  return batch.baseOffset <= offset && offset < batch.nextOffset
}
