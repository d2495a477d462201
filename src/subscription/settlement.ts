/**
 * What a consumer says about its messages, as changes of the ledgers: the verbs of an attachment, and
 * those of HTTP for what pulls hold. Spans become one where they are neighbours; one frame of them is one
 * look at the ledger per span, and at most one wake-up. Once the consumer or the subscription is gone
 * nothing has an effect any more.
 */
import { type MessageId, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import type { Confirm } from './cursor.ts'
import type { DeliveryMemory } from './delivery-memory.ts'
import { isOrdered } from './dispatch.ts'
import type { Lane } from './lane.ts'
import type { LeaseHolder } from './ledger.ts'
import type { Run } from './run-list.ts'
import type { Attachment, Confirmed, MessageSpan, Subscription } from './subscription.ts'

/** What the verbs need of the subscription. */
export interface SettlementHost extends Pick<Subscription, 'name' | 'settings'> {
  readonly isPattern: boolean
  readonly clock: Clock
  readonly metrics: Metrics
  readonly logger: Logger
  readonly memory: DeliveryMemory
  laneOf(id: MessageId): Lane | undefined
  wake(): void
}

/** Whose messages the verbs reach. */
export interface Claimant {
  readonly holder: LeaseHolder
  /** Whether it may still say anything. */
  readonly isLive: boolean
  /** Whether waiting messages would come to it: then `ackUpTo` covers them too. */
  readonly isActive: boolean
  pause(isPaused: boolean): void
  detach(): void
}

type Step = (lane: Lane, from: number, to: number) => number

export class Settlement implements Attachment {
  readonly #host: SettlementHost
  readonly #claimant: Claimant

  constructor(host: SettlementHost, claimant: Claimant) {
    this.#host = host
    this.#claimant = claimant
  }

  ack(spans: readonly MessageSpan[], confirmed?: Confirmed): number {
    if (!this.#claimant.isLive) return this.#tooLate(confirmed)
    const { holder } = this.#claimant
    const count = this.#each(spans, (lane, from, to) => lane.ledger.ack(holder, from, to))
    if (count > 0) this.#host.metrics.acknowledged(count)
    if (confirmed) this.#confirm(spans, count, confirmed)
    return count
  }

  ackUpTo(id: MessageId, confirmed?: Confirmed): number {
    const { type } = this.#host.settings
    if (!isOrdered(type)) {
      throw new TidingsError('invalid_argument', `upTo: on a ${type} subscription acknowledge by ids`)
    }
    this.#check([id])
    if (!this.#claimant.isLive) return this.#tooLate(confirmed)
    const { holder, isActive } = this.#claimant
    const lane = this.#host.laneOf(id)
    const count = lane ? lane.ledger.ackUpTo(holder, id.offset + 1, isActive) : 0
    if (count > 0) {
      lane?.cursor.touch('lazy')
      this.#host.metrics.acknowledged(count)
      this.#host.wake()
    }
    if (confirmed) this.#confirm([id], 0, confirmed)
    return count
  }

  nack(spans: readonly MessageSpan[], delayMs?: number, reason?: string, confirmed?: Confirmed): number {
    const { holder } = this.#claimant
    const now = this.#host.clock.monotonic()
    const count = this.#settle(spans, (lane, from, to) => {
      this.#note(lane, from, to, reason)
      return lane.ledger.nack(holder, from, to, now, delayMs ?? null)
    })
    if (count > 0) this.#host.metrics.returned('nack', count)
    if (confirmed) this.#confirm(spans, sizeOf(spans), confirmed)
    return count
  }

  extend(spans: readonly MessageSpan[], ms: number): number {
    const { holder } = this.#claimant
    const deadline = this.#host.clock.monotonic() + ms
    // A deadline does not outlive the process, so there is nothing to write.
    return this.#settle(spans, (lane, from, to) => lane.ledger.extend(holder, from, to, deadline), false)
  }

  release(spans: readonly MessageSpan[], confirmed?: Confirmed): number {
    const { holder } = this.#claimant
    const count = this.#settle(spans, (lane, from, to) => lane.ledger.release(holder, from, to))
    if (count > 0) this.#host.metrics.returned('released', count)
    if (confirmed) this.#confirm(spans, sizeOf(spans), confirmed)
    return count
  }

  reject(spans: readonly MessageSpan[], reason?: string, confirmed?: Confirmed): number {
    if (this.#host.settings.deadLetter === null) {
      const count = this.ack(spans, confirmed)
      if (count > 0) this.#host.logger.info({ subscription: this.#host.name, count, reason }, 'rejected and dropped')
      return count
    }
    if (!this.#claimant.isLive) return this.#tooLate(confirmed)
    const { holder } = this.#claimant
    const count = this.#settle(spans, (lane, from, to) => {
      this.#note(lane, from, to, reason)
      return lane.ledger.reject(holder, from, to)
    })
    if (count > 0) this.#host.metrics.returned('rejected', count)
    if (confirmed) this.#confirmGivenUp(spans, confirmed)
    return count
  }

  pause(): void {
    this.#claimant.pause(true)
  }

  resume(): void {
    this.#claimant.pause(false)
    this.#host.wake()
  }

  wake(): void {
    this.#host.wake()
  }

  detach(): void {
    this.#claimant.detach()
  }

  #settle(spans: readonly MessageSpan[], step: Step, isLasting = true): number {
    return this.#claimant.isLive ? this.#each(spans, step, isLasting) : 0
  }

  /** Takes the step for each run of neighbouring spans, and tells everybody concerned once. */
  #each(spans: readonly MessageSpan[], step: Step, isLasting = true): number {
    this.#check(spans)
    let count = 0
    for (let i = 0; i < spans.length; ) {
      const first = spans[i]!
      let to = endOf(first)
      for (i++; i < spans.length && spans[i]!.offset === to && isBeside(spans[i]!, first); i++) to = endOf(spans[i]!)
      const lane = this.#host.laneOf(first)
      const settled = lane ? step(lane, first.offset, to) : 0
      if (lane && settled > 0 && isLasting) lane.cursor.touch('lazy')
      count += settled
    }
    if (count > 0) this.#host.wake()
    return count
  }

  /** Of many topics, an id without one names none. */
  #check(spans: readonly MessageSpan[]): void {
    if (!this.#host.isPattern || spans.every(({ topic }) => topic !== undefined)) return
    throw new TidingsError('invalid_argument', 'ids of a pattern subscription are "<topic>/<partition>:<offset>"')
  }

  /** Keeps the consumer's words for the dead letter, of what lies with it. */
  #note(lane: Lane, from: number, to: number, reason: string | undefined): void {
    if (reason === undefined) return
    for (let offset = from; offset < to; offset++) {
      const standing = lane.ledger.describe(offset)
      if (standing.state !== 'outstanding') continue
      const { holder } = standing
      if (holder !== this.#claimant.holder && holder.speaker !== this.#claimant.holder) continue
      this.#host.memory.explainFailure(lane.topic, lane.partition.number, offset, reason)
    }
  }

  /** Calls back when none of the messages waits for its dead letter any more, and that is durable. */
  #confirmGivenUp(spans: readonly MessageSpan[], confirmed: Confirmed): void {
    const runs = new Map<Lane, Run[]>()
    for (const span of spans) {
      const lane = this.#host.laneOf(span)
      if (!lane) continue
      const own = runs.get(lane) ?? []
      own.push({ from: span.offset, to: endOf(span) })
      runs.set(lane, own)
    }
    let left = runs.size
    let failure: Error | null = null
    const one: Confirm = (error) => {
      failure ??= error
      if (--left > 0) return
      if (failure) confirmed(failure, [])
      else this.#confirm(spans, 0, confirmed)
    }
    if (runs.size === 0) this.#host.clock.soon(() => one(null))
    // Never within the call that asked.
    for (const [lane, own] of runs) this.#host.clock.soon(() => lane.deadLetters.whenSettled(own, one))
  }

  /** Calls back when everything that the spans concern is durable; `count` messages were settled just now. */
  #confirm(spans: readonly MessageSpan[], count: number, confirmed: Confirmed): void {
    const acked = count === sizeOf(spans) ? spans : spans.flatMap((span) => this.#ackedOf(span))
    const lanes = new Set<Lane>()
    for (const span of acked) {
      const lane = this.#host.laneOf(span)
      if (lane) lanes.add(lane)
    }
    let left = lanes.size
    let failure: Error | null = null
    const one: Confirm = (error) => {
      failure ??= error
      if (--left <= 0) confirmed(failure, failure ? [] : acked)
    }
    if (lanes.size === 0) this.#host.clock.soon(() => one(null))
    for (const lane of lanes) lane.cursor.confirm(one)
  }

  /** What of the span is acknowledged. */
  #ackedOf(span: MessageSpan): MessageSpan[] {
    const ledger = this.#host.laneOf(span)?.ledger
    if (!ledger) return []
    if (span.to === undefined) return ledger.isAcknowledged(span.offset) ? [span] : []
    const acked: MessageSpan[] = []
    for (let offset = span.offset; offset < span.to; offset++) {
      if (!ledger.isAcknowledged(offset)) continue
      const last = acked.at(-1)
      if (last?.to === offset) last.to = offset + 1
      else acked.push({ ...span, offset, to: offset + 1 })
    }
    return acked
  }

  #tooLate(confirmed?: Confirmed): number {
    const error = new TidingsError('no_leader', 'this consumer is not connected any more: reconnect')
    if (confirmed) this.#host.clock.soon(() => confirmed(error, []))
    return 0
  }
}

function isBeside(span: MessageSpan, first: MessageSpan): boolean {
  return span.partition === first.partition && span.topic === first.topic
}

function endOf({ offset, to = offset + 1 }: MessageSpan): number {
  return to
}

/** How many messages. */
function sizeOf(spans: readonly MessageSpan[]): number {
  let count = 0
  for (const span of spans) count += endOf(span) - span.offset
  return count
}
