/** What every Clock must do. Asserts order and "not before", never how long something took. */
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'

export interface ClockUnderTest {
  clock: Clock
  /** Lets at least so much time pass on that clock. */
  pass: (ms: number) => Promise<void>
}

export function clockContract(name: string, make: () => ClockUnderTest): void {
  describe(name, () => {
    it('tells wall time as milliseconds of this era', () => {
      const { clock } = make()
      expect(clock.now()).toBeGreaterThan(Date.UTC(2024, 0, 1))
      expect(clock.now()).toBeLessThan(Date.UTC(2200, 0, 1))
    })

    it('tells monotonic time that moves on and never back', async () => {
      const { clock, pass } = make()
      let last = clock.monotonic()
      for (let i = 0; i < 5; i++) {
        await pass(1)
        expect(clock.monotonic()).toBeGreaterThan(last)
        last = clock.monotonic()
      }
    })

    it('fires a timer once, and not at once', async () => {
      const { clock, pass } = make()
      let fired = 0
      clock.after(0, () => fired++)
      clock.after(2, () => fired++)
      expect(fired).toBe(0)
      await pass(10)
      expect(fired).toBe(2)
      await pass(5)
      expect(fired).toBe(2)
    })

    it('fires timers in the order of their deadlines', async () => {
      const { clock, pass } = make()
      const order: string[] = []
      clock.after(20, () => order.push('late'))
      clock.after(1, () => order.push('early'))
      clock.after(10, () => order.push('middle'))
      await pass(25)
      expect(order).toEqual(['early', 'middle', 'late'])
    })

    it('fires no timer before its time', async () => {
      const { clock, pass } = make()
      const early: number[] = []
      for (let delayMs = 0; delayMs < 8; delayMs += 0.25) {
        const due = clock.monotonic() + delayMs
        clock.after(delayMs, () => early.push(Math.min(0, clock.monotonic() - due)))
      }
      await pass(20)
      expect(early).toHaveLength(32)
      expect(Math.min(...early)).toBe(0)
    })

    it('waits for a timer that is months away', async () => {
      const { clock, pass } = make()
      const fired: string[] = []
      const timers = [2 ** 31, 2 ** 40].map((delayMs) => clock.after(delayMs, () => fired.push('too early')))
      await pass(5)
      for (const timer of timers) timer.cancel()
      expect(fired).toEqual([])
    })

    it('does not fire a cancelled timer, and takes a late cancel in silence', async () => {
      const { clock, pass } = make()
      const fired: string[] = []
      const cancelled = clock.after(1, () => fired.push('cancelled'))
      const kept = clock.after(1, () => fired.push('kept'))
      cancelled.cancel()
      cancelled.cancel()
      await pass(5)
      kept.cancel()
      expect(fired).toEqual(['kept'])
    })

    it('takes timers from within a timer', async () => {
      const { clock, pass } = make()
      const order: string[] = []
      clock.after(1, () => {
        order.push('first')
        clock.after(1, () => order.push('second'))
      })
      await pass(3)
      await pass(5)
      expect(order).toEqual(['first', 'second'])
    })

    it('runs what is for soon after the present turn, once, in order', async () => {
      const { clock, pass } = make()
      const order: string[] = []
      clock.soon(() => order.push('first'))
      clock.soon(() => order.push('second'))
      order.push('now')
      await pass(2)
      expect(order).toEqual(['now', 'first', 'second'])
    })
  })
}
