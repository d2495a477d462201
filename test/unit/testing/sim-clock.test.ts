/** The clock that a test drives: exact times, stable order, a wall that jumps, processes that die. */
import { describe, expect, it } from 'vitest'
import { SimClock } from '../../../src/testing/sim-clock.ts'

describe('simulated clock', () => {
  it('stands still until it is moved', () => {
    const clock = new SimClock({ wallMs: 5_000, monotonicMs: 70 })
    expect([clock.now(), clock.monotonic()]).toEqual([5_000, 70])
    clock.advance(2.5)
    expect([clock.now(), clock.monotonic()]).toEqual([5_002.5, 72.5])
    expect(() => clock.advance(-1)).toThrow()
  })

  it('fires each timer at its time, those of one time in the order in which they were set', () => {
    const clock = new SimClock({ monotonicMs: 0 })
    const fired: string[] = []
    const note = (name: string) => () => fired.push(`${name}@${clock.monotonic()}`)
    clock.after(20, note('b'))
    clock.after(10, note('a'))
    clock.after(20, note('c'))
    clock.after(31, note('late'))
    clock.after(10, () => clock.after(10, note('d')))
    clock.advance(30)
    expect(fired).toEqual(['a@10', 'b@20', 'c@20', 'd@20'])
    expect(clock.monotonic()).toBe(30)
    expect(clock.pending).toBe(1)
    expect(clock.nextDue()).toBe(31)
  })

  it('moves on to the next timer by itself', () => {
    const clock = new SimClock({ monotonicMs: 0 })
    const fired: number[] = []
    clock.after(1_000, () => fired.push(clock.monotonic()))
    clock.after(60_000, () => fired.push(clock.monotonic())).cancel()
    expect(clock.runNext()).toBe(true)
    expect(clock.runNext()).toBe(false)
    expect(fired).toEqual([1_000])
    expect(clock.monotonic()).toBe(1_000)
  })

  it('lets the wall clock jump without disturbing timers', () => {
    const clock = new SimClock({ wallMs: 100_000, monotonicMs: 0 })
    const fired: number[] = []
    clock.after(10, () => fired.push(clock.now()))
    clock.jumpWall(-3_600_000)
    expect(clock.monotonic()).toBe(0)
    clock.advance(10)
    expect(fired).toEqual([100_010 - 3_600_000])
  })

  it('ends the timers of a killed process, and those that it sets afterwards', () => {
    const clock = new SimClock({ soon: 'driven' })
    const dying = clock.process()
    const living = clock.process()
    const fired: string[] = []
    for (const [name, process] of [
      ['dying', dying],
      ['living', living],
    ] as const) {
      process.after(1, () => fired.push(name))
      process.soon(() => fired.push(`${name} soon`))
    }
    dying.kill()
    dying.after(1, () => fired.push('dead'))
    dying.soon(() => fired.push('dead soon'))
    clock.advance(10)
    expect(fired).toEqual(['living soon', 'living'])
    expect(clock.pending).toBe(0)
  })
})
