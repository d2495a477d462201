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
  it('answers like one entry per message, shared', { timeout: PATIENCE_MS }, () => {
    fc.assert(
      fc.property(steps, (history) => {
        const player = new Player({ ordered: false, backoff, maxDeliveries: null })
        for (const step of history) player.play(step)
      }),
      { numRuns: 2000 },
    )
  })

  it('answers like one entry per message, in order', { timeout: PATIENCE_MS }, () => {
    fc.assert(
      fc.property(steps, (history) => {
        const player = new Player({ ordered: true, backoff, maxDeliveries: null })
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
})
