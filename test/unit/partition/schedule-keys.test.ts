import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type FirstSchedule, ScheduleKeys } from '../../../src/partition/schedule-keys.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'

describe('the keys of scheduled messages', () => {
  it('know every key that is alive, and none that is over', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('remember' as const), key: fc.nat(300) }),
      fc.record({ do: fc.constant('end' as const), key: fc.nat(300) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 600 }), (steps) => {
        const alive = new Map<number, FirstSchedule>()
        const ids = new Set<number>()
        const keys = new ScheduleKeys(1000, new SimRandom(1), ({ id }) => ids.has(id))
        let id = 0
        for (const { do: what, key } of steps) {
          if (what === 'remember' && !alive.has(key)) {
            const first = { id: id++, deliverAt: 5 + id, scheduledAt: id }
            keys.remember(Buffer.from(`k${key}`), first)
            alive.set(key, first)
            ids.add(first.id)
          } else if (what === 'end') {
            ids.delete(alive.get(key)?.id ?? -1)
            alive.delete(key)
          }
        }
        for (let key = 0; key <= 300; key++) expect(keys.find(Buffer.from(`k${key}`))).toEqual(alive.get(key) ?? null)
      }),
    )
  }, 30_000)

  it('refuse more than their limit, and take more once some are over', () => {
    const ids = new Set([1, 2])
    const keys = new ScheduleKeys(2, new SimRandom(1), ({ id }) => ids.has(id))
    for (const id of ids) keys.remember(Buffer.from(`k${id}`), { id, deliverAt: 1, scheduledAt: 1 })
    expect(() => keys.admit(1)).toThrow('most there can be')
    ids.delete(1)
    keys.admit(1)
    expect(() => keys.admit(2)).toThrow('most there can be')
  })

  it('look at a part of them at a time, however many there are', () => {
    let asked = 0
    let isOver = false
    const count = 200_000
    const keys = new ScheduleKeys(count, new SimRandom(1), () => {
      asked += 1
      return !isOver
    })
    let most = 0
    const counted = (act: () => void): void => {
      asked = 0
      act()
      most = Math.max(most, asked)
    }
    for (let id = 1; id <= count; id++)
      counted(() => keys.remember(Buffer.from(`k${id}`), { id, deliverAt: id, scheduledAt: id }))
    expect(most).toBeGreaterThan(500)
    expect(most).toBeLessThan(5000)
    counted(() => expect(() => keys.admit(1)).toThrow('most there can be'))
    expect(most).toBeLessThan(100_000)
    isOver = true
    counted(() => keys.admit(1))
    expect(most).toBeLessThan(100_000)
  }, 30_000)
})
