import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IdempotencyWindow } from '../../../src/partition/idempotency-window.ts'
import { RememberedAccount, RememberedBudget } from '../../../src/partition/remembered-budget.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'

const WINDOW_MS = 1000
const account = (): RememberedAccount => new RememberedAccount(new RememberedBudget(2 ** 30))
const bytes = (text: string): Buffer => Buffer.from(text)

describe('the idempotency window', () => {
  it('agrees with a plain map of keys and times', () => {
    const step = fc.record({
      key: fc.oneof(fc.integer({ min: 0, max: 40 }).map(String), fc.string({ maxLength: 30 })),
      afterMs: fc.integer({ min: 0, max: 120 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const window = new IdempotencyWindow(WINDOW_MS, 10_000, new SimRandom(3), account())
        const naive = new Map<string, { offset: number; timestamp: number }>()
        let now = 5_000_000
        steps.forEach(({ key, afterMs }, offset) => {
          now += afterMs
          const known = naive.get(key)
          const expected = known && now - known.timestamp < WINDOW_MS ? { partition: 3, ...known } : null
          expect(window.find(bytes(key), now)).toEqual(expected)
          if (expected) return
          window.remember(bytes(key), { partition: 3, offset, timestamp: now })
          naive.set(key, { offset, timestamp: now })
        })
      }),
    )
  })

  it('keeps many keys apart', () => {
    const window = new IdempotencyWindow(WINDOW_MS, 100_000, new SimRandom(1), account())
    for (let i = 0; i < 50_000; i++)
      window.remember(bytes(`key-${i}`), { partition: i % 7, offset: 2 ** 40 + i, timestamp: 1000 })
    for (let i = 0; i < 50_000; i += 97) {
      expect(window.find(bytes(`key-${i}`), 1001)).toEqual({ partition: i % 7, offset: 2 ** 40 + i, timestamp: 1000 })
    }
    expect(window.find(bytes('key-50000'), 1001)).toBeNull()
  })

  it('refuses more keys than it may hold, until old ones have left the window', () => {
    const window = new IdempotencyWindow(WINDOW_MS, 10, new SimRandom(1), account())
    for (let i = 0; i < 10; i++) {
      window.admit(1000, 1)
      window.remember(bytes(String(i)), { partition: 0, offset: i, timestamp: 1000 })
    }
    expect(() => window.admit(1500, 1)).toThrow(expect.objectContaining({ code: 'overloaded' }))
    expect(() => window.admit(2100, 1)).not.toThrow()
    expect(window.size).toBe(0)
  })

  it('takes keys in any order of time, as a restart reads them partition by partition', () => {
    const window = new IdempotencyWindow(WINDOW_MS, 100, new SimRandom(1), account())
    window.remember(bytes('late'), { partition: 0, offset: 1, timestamp: 9900 })
    window.remember(bytes('early'), { partition: 1, offset: 1, timestamp: 9100 })
    expect(window.find(bytes('early'), 10_050)?.timestamp).toBe(9100)
    expect(window.find(bytes('early'), 10_100)).toBeNull()
    expect(window.find(bytes('late'), 10_100)?.timestamp).toBe(9900)
  })
})
