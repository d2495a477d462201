/**
 * What may go out now, in ranges: slices of what the ledger offers, to whomever the dispatch chooses. For
 * subscriptions that know no keys. A decision over its lane's batches; `key-staging.ts` is the other one.
 */

import type { AckLedger } from './ack-ledger.ts'
import type { Receiver } from './consumer.ts'
import { mayPassOver, passedOver } from './screen.ts'
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
      const receiver = dispatch.choose(settings.type, settings.dispatch, receivers, to - from)
      if (!receiver || !this.#stage(receiver, from, from + dispatch.count, attempt)) return
    }
  }

  /** Leases [from, to) to the receiver, batch by batch; false when a batch must be read first. */
  #stage(receiver: Receiver, from: number, to: number, attempt: number): boolean {
    const { shelf, host, cursor } = this.#lane
    let at = from
    while (at < to && receiver.credit() > 0) {
      const batch = shelf.batchAt(at)
      if (!batch) return false
      let end = Math.min(to, batch.nextOffset)
      if (mayPassOver(batch)) {
        const wall = host.clock.now()
        let wanted = at
        while (wanted < end && passedOver(batch, wanted, wall)) wanted++
        if (wanted > at) {
          this.#ledger.skip(at, wanted)
          cursor.touch('lazy')
          at = wanted
          continue
        }
        while (wanted < end && !passedOver(batch, wanted, wall)) wanted++
        end = wanted
      }
      end = Math.min(end, at + receiver.fits(batch.bytes.length / batch.count))
      this.#ledger.lease(receiver, at, end)
      this.#lane.put(receiver, batch, at, end, attempt)
      at = end
    }
    return true
  }
}
