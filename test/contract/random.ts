/** What every Random must do. The odds against a false alarm are astronomical. */
import { describe, expect, it } from 'vitest'
import type { Random } from '../../src/base/clock.ts'

export function randomContract(name: string, make: () => Random): void {
  describe(name, () => {
    it('draws integers of 32 bits, each bit sometimes set and sometimes not', () => {
      const random = make()
      let ones = 0
      let zeros = 0
      for (let i = 0; i < 200; i++) {
        const drawn = random.uint32()
        expect(Number.isInteger(drawn) && drawn >= 0 && drawn < 2 ** 32).toBe(true)
        ones |= drawn
        zeros |= ~drawn
      }
      expect(ones >>> 0).toBe(0xffffffff)
      expect(zeros >>> 0).toBe(0xffffffff)
    })

    it('makes names of 21 URL-safe characters that differ', () => {
      const random = make()
      const ids = new Set(Array.from({ length: 1_000 }, () => random.id()))
      expect(ids.size).toBe(1_000)
      for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{21}$/)
      expect(new Set([...ids].join('')).size).toBe(64)
    })
  })
}
