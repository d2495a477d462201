/**
 * What may go out now, in ranges: slices of what the ledger offers, to whomever the dispatch chooses. For
 * subscriptions that know no keys. A decision over its lane's batches; `key-staging.ts` is the other one.
 */

import type { RecordBatch } from '../log/record-batch.ts'
import type { AckLedger } from './ack-ledger.ts'
import type { Receiver } from './consumer.ts'
import type { Staging, StagingLane } from './staging.ts'

export class RangeStaging implements Staging {
  readonly #lane: StagingLane
  readonly #ledger: AckLedger

  constructor(lane: StagingLane, ledger: AckLedger) {
    this.#lane = lane
    this.#ledger = ledger
  }

  stageAll(room: number): void {
    const ledger = this.#ledger
    const { partition, host } = this.#lane
    const { dispatch, receivers, settings } = host
    const limit = ledger.unsettled + room
    for (;;) {
      const offer = ledger.available(partition.highWatermark, Math.max(0, limit - ledger.unsettled))
      if (!offer) return
      const { from, to, attempt } = offer
      // What is not read is not read again and again.
      if (attempt === 1 && host.screen.isHeld) return
      const receiver = dispatch.choose(settings.type, settings.dispatch, receivers, to - from)
      if (!receiver || !this.#stage(receiver, from, from + dispatch.count, attempt)) return
    }
  }

  /** Leases [from, to) to the receiver, batch by batch; false when a batch must be read first, or the screen is exhausted. */
  #stage(receiver: Receiver, from: number, to: number, attempt: number): boolean {
    const { shelf, host } = this.#lane
    let at = from
    while (at < to && receiver.credit() > 0) {
      const batch = shelf.batchAt(at)
      if (!batch) return false
      const end = Math.min(to, batch.nextOffset, at + receiver.fits(batch.bytes.length / batch.count))
      if (!host.screen.isNeeded(batch, attempt)) this.#lease(receiver, batch, at, end, attempt)
      else if (!this.#screen(receiver, batch, at, end, attempt)) return false
      at = end
    }
    return true
  }

  /** Leases or skips every record of [from, to), in runs of one fate; false when it had to stop on the way. */
  #screen(receiver: Receiver, batch: RecordBatch, from: number, to: number, attempt: number): boolean {
    const { topic, host } = this.#lane
    const { screen } = host
    let start = from
    let isPassed = false
    const settle = (end: number): void => {
      if (start === end) return
      if (isPassed) this.#skip(start, end)
      else this.#lease(receiver, batch, start, end, attempt)
      start = end
    }
    for (let at = from; at < to; at++) {
      if (screen.isExhausted) {
        settle(at)
        return false
      }
      const isNextPassed = screen.verdict(topic, batch, at, attempt) !== null
      if (isNextPassed !== isPassed) settle(at)
      isPassed = isNextPassed
    }
    settle(to)
    return true
  }

  #lease(receiver: Receiver, batch: RecordBatch, from: number, to: number, attempt: number): void {
    this.#ledger.lease(receiver, from, to)
    this.#lane.put(receiver, batch, from, to, attempt)
  }

  #skip(from: number, to: number): void {
    this.#ledger.skip(from, to)
    this.#lane.cursor.touch('lazy')
  }
}
