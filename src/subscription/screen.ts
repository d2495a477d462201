/**
 * Which records a subscription passes over: a decision. A record that is passed over is not delivered
 * and counts as acknowledged. Asked by the staging when a record's turn has come, never before, and once: what
 * was admitted is leased at once, what was not is skipped at once.
 *
 * A pass may go through a long stretch that the filter refuses. What it may take for that is counted
 * in the filter's steps; when they are used up the pass ends and another goes on in a later turn of the event
 * loop.
 */
import { REDRIVEN_TO_HEADER, recordExpiresAt, recordHeaders } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import { HAS_ADDRESSEE, HAS_EXPIRY, HAS_REMOVALS, type RecordBatch } from '../log/record-batch.ts'
import { isAddressedTo, type Reader } from './addressee.ts'
import { compileFilter, type Filter } from './filter.ts'

/** Why a record is not delivered. `addressed`: it was redriven to another subscription. */
export type PassedOver = 'compacted' | 'expired' | 'addressed' | 'filtered'

/** Whether any record of the batch may have to be passed over: false spares the look at each. */
export function mayPassOver(batch: RecordBatch): boolean {
  return (batch.attributes & (HAS_EXPIRY | HAS_REMOVALS | HAS_ADDRESSEE)) !== 0
}

/**
 * Null: it is to be delivered to this subscription, or shown to a reader that has none. `wall` is the time
 * now, milliseconds since the epoch.
 */
export function passedOver(
  batch: RecordBatch,
  offset: number,
  wall: number,
  reader: Reader | null,
): 'compacted' | 'expired' | 'addressed' | null {
  if (!batch.has(offset)) return 'compacted'
  const at = batch.positionOf(offset)
  const expiresAt = recordExpiresAt(batch.bytes, at)
  if (expiresAt !== null && expiresAt <= wall) return 'expired'
  if (reader === null || (batch.attributes & HAS_ADDRESSEE) === 0) return null
  const addressee = recordHeaders(batch.bytes, at).headers.find(([name]) => name === REDRIVEN_TO_HEADER)
  return addressee === undefined || isAddressedTo(addressee[1], reader) ? null : 'addressed'
}

/** Steps of the filter that one pass may take, and one evaluation more. */
const PASS_STEPS = 20_000

export interface ScreenHost extends Reader {
  readonly clock: Clock
  readonly metrics: Metrics
  readonly logger: Logger
}

/** What one subscription passes over. */
export class Screen {
  readonly #host: ScreenHost
  #filter: Filter | null = null
  /** There is a filter that cannot be compiled any more: nothing is delivered for the first time until it is changed. */
  #isBroken = false
  #left = PASS_STEPS
  #filtered = 0

  constructor(host: ScreenHost) {
    this.#host = host
  }

  /** Nothing is delivered for the first time, until the filter is changed. */
  get isHeld(): boolean {
    return this.#isBroken
  }

  /** What it refused was used up for this pass; nothing more may be asked. */
  get isExhausted(): boolean {
    return this.#left <= 0
  }

  /** Takes a filter that was accepted. What has been passed over or delivered stays so. */
  configure(source: string | null): void {
    if (!this.#isBroken && source === (this.#filter?.source ?? null)) return
    this.#filter = null
    this.#isBroken = false
    if (source === null) return
    try {
      this.#filter = compileFilter(source)
    } catch (error) {
      // Another release accepted it. To deliver what it was to hold back would be as wrong as to drop it.
      this.#isBroken = true
      this.#left = 0
      this.#host.logger.error({ err: error, subscription: this.#host.name }, 'the filter is not understood any more')
    }
  }

  /** A pass begins. */
  open(): void {
    this.#left = this.#isBroken ? 0 : PASS_STEPS
  }

  /** The pass is over. Answers whether another must go on where it had to stop. */
  close(): boolean {
    if (this.#filtered > 0) this.#host.metrics.filtered(this.#filtered)
    this.#filtered = 0
    return this.isExhausted && !this.#isBroken
  }

  /** Whether records of the batch, delivered as this attempt, must be asked about one by one. */
  isNeeded(batch: RecordBatch, attempt: number): boolean {
    return mayPassOver(batch) || (attempt === 1 && (this.#filter !== null || this.#isBroken))
  }

  /** Null: it is to be delivered. What was delivered before is not asked of the filter again. */
  verdict(topic: string, batch: RecordBatch, offset: number, attempt: number): PassedOver | null {
    const passed = this.#own(batch, offset)
    if (passed || !this.#filter || attempt > 1) return passed
    const isAdmitted = this.#filter.admits(topic, batch, offset)
    this.#left -= this.#filter.steps
    if (isAdmitted) return null
    this.#filtered++
    return 'filtered'
  }

  /** As `verdict` without any effect: for whoever asks why a message was not delivered. */
  explain(topic: string, batch: RecordBatch, offset: number): PassedOver | null {
    const passed = this.#own(batch, offset)
    if (passed) return passed
    return this.#filter && !this.#filter.admits(topic, batch, offset) ? 'filtered' : null
  }

  /** What the record says by itself. */
  #own(batch: RecordBatch, offset: number): PassedOver | null {
    return mayPassOver(batch) ? passedOver(batch, offset, this.#host.clock.now(), this.#host) : null
  }
}
