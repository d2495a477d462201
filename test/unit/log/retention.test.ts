import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { holdOf, type Retained, type RetentionPolicy, startAfterRetention } from '../../../src/log/retention.ts'

const limit = fc.option(fc.integer({ min: 1, max: 400 }))
const policies: fc.Arbitrary<RetentionPolicy> = fc.record({
  maxAgeMs: limit,
  maxBytes: limit,
  untilAcked: fc.boolean(),
})

/** Segments of so many messages and bytes, each a while younger than the one before. */
const logs: fc.Arbitrary<Retained> = fc
  .array(fc.record({ count: fc.integer({ min: 1, max: 9 }), bytes: fc.integer({ min: 1, max: 99 }) }), {
    minLength: 1,
    maxLength: 8,
  })
  .map((sizes) => {
    let nextOffset = 0
    let totalBytes = 0
    const all = sizes.map(({ count, bytes }, i) => {
      const baseOffset = nextOffset
      nextOffset += count
      totalBytes += bytes
      return { baseOffset, nextOffset, bytes, maxTimestamp: i * 50 }
    })
    return { sealed: all.slice(0, -1), totalBytes, nextOffset }
  })

const NOW = 400

describe('retention', () => {
  it('lets a prefix go: each segment too old, too much with all that follow, or acknowledged by all', () => {
    fc.assert(
      fc.property(policies, logs, fc.integer({ min: 0, max: 80 }), (policy, log, acked) => {
        const start = startAfterRetention(policy, log, acked, NOW) ?? 0
        let rest = log.totalBytes
        for (const { nextOffset, bytes, maxTimestamp } of log.sealed) {
          const goes =
            (policy.maxAgeMs !== null && NOW - maxTimestamp > policy.maxAgeMs) ||
            (policy.maxBytes !== null && rest > policy.maxBytes) ||
            (policy.untilAcked && nextOffset <= acked)
          expect(nextOffset <= start).toBe(goes)
          if (!goes) break
          rest -= bytes
        }
      }),
    )
  })

  it('says what holds the oldest segment exactly when something does', () => {
    fc.assert(
      fc.property(policies, logs, fc.integer({ min: 0, max: 80 }), (policy, log, acked) => {
        const hold = holdOf(policy, log, acked, NOW)
        if (log.sealed.length > 0) expect(hold === null).toBe(startAfterRetention(policy, log, acked, NOW) !== null)
        const end = log.sealed[0]?.nextOffset ?? log.nextOffset
        if (hold?.by === 'subscription') expect(policy.untilAcked && acked < end).toBe(true)
        if (hold?.by === 'active') expect(log.sealed).toEqual([])
        if (hold?.by === 'policy' && hold.until !== null) expect(hold.until).toBeGreaterThanOrEqual(NOW)
      }),
    )
  })

  it('holds nothing where there is no message', () => {
    const policy = { maxAgeMs: null, maxBytes: null, untilAcked: true }
    expect(holdOf(policy, { sealed: [], totalBytes: 64, nextOffset: 0 }, 0, NOW)).toBeNull()
  })
})
