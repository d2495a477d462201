import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AckLedger } from '../../../src/subscription/ack-ledger.ts'
import type { LeaseHolder } from '../../../src/subscription/ledger.ts'
import { Player, steps } from '../../support/ledger-steps.ts'

const backoff = { minMs: 10, maxMs: 35 }
const consumer = (): LeaseHolder => ({ outstanding: 0 })

/** Leases and hands over what is available, and tells what it was: "from-to attempt", ends inclusive. */
function deliver(ledger: AckLedger, holder: LeaseHolder, limit: number, deadline = 1_000_000, room = 1000): string[] {
  const delivered: string[] = []
  for (let offer = ledger.available(limit, room); offer; offer = ledger.available(limit, room)) {
    const { from, to, attempt } = offer
    ledger.lease(holder, from, to)
    ledger.handOver(holder, from, to, deadline, holder)
    delivered.push(`${from}-${to - 1} #${attempt}`)
  }
  return delivered
}

/** Thousands of histories take seconds where other work shares the machine. */
const PATIENCE_MS = 60_000

describe('the ledger', () => {
  it.each([
    { what: 'shared', ordered: false },
    { what: 'in order', ordered: true },
  ])('answers like one entry per message, $what', { timeout: PATIENCE_MS }, ({ ordered }) => {
    fc.assert(
      fc.property(steps, fc.constantFrom(null, 1, 3), (history, maxDeliveries) => {
        const player = new Player({ ordered, backoff, maxDeliveries })
        for (const step of history) player.play(step)
      }),
      { numRuns: 2000 },
    )
  })

  it('keeps one run however far acknowledgements in order go', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    deliver(ledger, holder, 1000)
    for (let offset = 0; offset < 999; offset++) ledger.ack(holder, offset, offset + 1)
    expect(ledger.state().runs).toHaveLength(1)
    expect(ledger.floor).toBe(999)
    expect(ledger.changes.count).toBe(2)
  })

  it('asks for a whole state when too many changes pile up', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    deliver(ledger, holder, 100_000, 1_000_000, 100_000)
    for (let offset = 0; offset < 60_000; offset += 2) ledger.ack(holder, offset, offset + 1)
    expect(ledger.changes.whole).toBe(true)
    expect(ledger.changes.count).toBe(0)
    expect(ledger.ackedAhead).toBe(29_999)
  })

  it('waits longer after every failure, up to the maximum', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    let now = 0
    const delays: number[] = []
    for (let attempt = 1; attempt <= 4; attempt++) {
      expect(deliver(ledger, holder, 1)).toEqual([`0-0 #${attempt}`])
      ledger.nack(holder, 0, 1, now, null)
      delays.push(ledger.wakeAt - now)
      now = ledger.wakeAt
      ledger.advance(now)
    }
    expect(delays).toEqual([10, 20, 35, 35])
  })

  it('does not let a message expire before it was handed over', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    ledger.lease(holder, 0, 5)
    expect(ledger.wakeAt).toBe(Number.POSITIVE_INFINITY)
    expect(ledger.advance(1e9)).toBe(0)
    expect(ledger.ack(holder, 0, 5)).toBe(0)
    ledger.handOver(holder, 0, 5, 100, holder)
    expect(ledger.advance(100)).toBe(5)
  })

  it('delivers failed messages of an ordered subscription one by one, and nothing past them', () => {
    const ledger = new AckLedger({ ordered: true, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    expect(deliver(ledger, holder, 10)).toEqual(['0-9 #1'])
    ledger.nack(holder, 3, 6, 0, 0)
    expect(deliver(ledger, holder, 20)).toEqual(['3-3 #2'])
    ledger.ack(holder, 0, 3)
    ledger.ack(holder, 3, 4)
    expect(deliver(ledger, holder, 20)).toEqual(['4-4 #2'])
    ledger.ack(holder, 4, 10)
    expect(deliver(ledger, holder, 20)).toEqual(['5-5 #2'])
    ledger.ack(holder, 5, 6)
    expect(deliver(ledger, holder, 20)).toEqual(['10-19 #1'])
  })

  it('lets what a disconnect returned go out in order, without waiting for one by one', () => {
    const ledger = new AckLedger({ ordered: true, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const [first, second] = [consumer(), consumer()]
    deliver(ledger, first, 10)
    ledger.ack(first, 2, 4)
    expect(ledger.detach(first)).toBe(8)
    expect(deliver(ledger, second, 12)).toEqual(['0-1 #2', '4-9 #2', '10-11 #1'])
  })

  it('lets what was released in order go before what is staged already', () => {
    const ledger = new AckLedger({ ordered: true, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    expect(deliver(ledger, holder, 1)).toEqual(['0-0 #1'])
    ledger.available(2, 10)
    ledger.lease(holder, 1, 2)
    ledger.release(holder, 0, 1)
    ledger.available(2, 10)
    ledger.lease(holder, 0, 1)
    expect(ledger.handOver(holder, 1, 2, 1_000_000, holder)).toEqual([])
    expect(ledger.handOver(holder, 0, 1, 1_000_000, holder)).toBeNull()
    expect(deliver(ledger, holder, 2)).toEqual(['1-1 #1'])
  })

  it('begins again where a state says, with its attempts and delays', () => {
    const runs = [
      { from: 2, to: 4, attempts: 3, failed: false, notBefore: 0 },
      { from: 7, to: 8, attempts: 1, failed: true, notBefore: 50 },
    ]
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 10, runs })
    expect([ledger.floor, ledger.ackedAhead, ledger.unsettled]).toEqual([2, 5, 3])
    const holder = consumer()
    expect(deliver(ledger, holder, 11)).toEqual(['2-3 #4', '10-10 #1'])
    ledger.advance(50)
    expect(deliver(ledger, holder, 11)).toEqual(['7-7 #2'])
  })

  it('gives up on a message at once when its last attempt failed, and on a rejected one', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: 2 }, { next: 0, runs: [] })
    const holder = consumer()
    deliver(ledger, holder, 4, 100)
    ledger.nack(holder, 0, 1, 0, 5000)
    ledger.reject(holder, 1, 2)
    expect(ledger.doomed(0, 10)).toEqual([{ from: 1, to: 2, attempts: 1, failure: 'rejected' }])
    ledger.advance(100)
    ledger.advance(10_000)
    expect(deliver(ledger, holder, 4, 20_000)).toEqual(['0-0 #2', '2-3 #2'])
    ledger.nack(holder, 0, 1, 10_000, null)
    ledger.advance(20_000)
    expect(ledger.doomed(0, 10)).toEqual([
      { from: 0, to: 1, attempts: 2, failure: 'nack' },
      { from: 1, to: 2, attempts: 1, failure: 'rejected' },
      { from: 2, to: 4, attempts: 2, failure: 'deadline' },
    ])
    expect([ledger.waiting, ledger.unsettled, ledger.floor]).toEqual([0, 4, 0])
    expect(ledger.bury(0, 3)).toBe(3)
    expect([ledger.floor, ledger.isAcknowledged(2), ledger.isAcknowledged(3)]).toEqual([3, true, false])
  })

  it('does not count what was released as an attempt', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: 1 }, { next: 0, runs: [] })
    const holder = consumer()
    for (let round = 0; round < 3; round++) {
      expect(deliver(ledger, holder, 1)).toEqual(['0-0 #1'])
      ledger.release(holder, 0, 1)
    }
    expect(ledger.doomedCount).toBe(0)
  })

  it('lets nothing of an ordered subscription pass what is to be given up on', () => {
    const ledger = new AckLedger({ ordered: true, backoff, maxDeliveries: 1 }, { next: 0, runs: [] })
    const holder = consumer()
    deliver(ledger, holder, 2)
    ledger.nack(holder, 0, 1, 0, null)
    expect(deliver(ledger, holder, 5)).toEqual([])
    ledger.bury(0, 1)
    expect(deliver(ledger, holder, 5)).toEqual(['2-4 #1'])
  })

  it('gives up on used-up messages again after a restart, and forgets an unconfirmed reject', () => {
    const policy = { ordered: false, backoff, maxDeliveries: 3 }
    const before = new AckLedger(policy, { next: 0, runs: [] })
    const holder = consumer()
    deliver(before, holder, 2)
    before.reject(holder, 0, 1)
    const runs = [...before.state().runs, { from: 2, to: 3, attempts: 3, failed: true, notBefore: 0 }]
    const after = new AckLedger(policy, { next: 3, runs })
    expect(after.doomed(0, 10)).toEqual([{ from: 2, to: 3, attempts: 3, failure: null }])
    expect(deliver(after, consumer(), 3)).toEqual(['0-0 #2', '1-1 #2'])
  })

  it('applies a changed limit to what waits', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: null }, { next: 0, runs: [] })
    const holder = consumer()
    deliver(ledger, holder, 2)
    ledger.nack(holder, 0, 1, 0, null)
    ledger.policy = { ...ledger.policy, maxDeliveries: 1 }
    expect(ledger.doomedCount).toBe(1)
    ledger.policy = { ...ledger.policy, maxDeliveries: null }
    expect(ledger.doomedCount).toBe(0)
    expect(deliver(ledger, holder, 2)).toEqual(['0-0 #2'])
  })

  it('brings back what was acknowledged, as never delivered', () => {
    const ledger = new AckLedger({ ordered: false, backoff, maxDeliveries: 2 }, { next: 0, runs: [] })
    const holder = consumer()
    deliver(ledger, holder, 4)
    ledger.ack(holder, 0, 3)
    expect(ledger.revive(1, 9)).toBe(2)
    expect(deliver(ledger, holder, 4)).toEqual(['1-2 #1'])
  })
})
