/** Seeded chance: the published generator, streams that do not disturb each other, fair draws. */
import { describe, expect, it } from 'vitest'
import { SimRandom, xoshiro128StarStar } from '../../../src/testing/sim-random.ts'

function draws(random: SimRandom, count = 20): number[] {
  return Array.from({ length: count }, () => random.uint32())
}

describe('seeded random', () => {
  it('is xoshiro128**, as its authors compute it', () => {
    // From their reference implementation, version 1.1.
    const state = Uint32Array.of(1, 2, 3, 4)
    const expected = [
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ]
    expect(expected.map(() => xoshiro128StarStar(state))).toEqual(expected)
  })

  it('repeats itself for the same seed only', () => {
    expect(draws(new SimRandom(5))).toEqual(draws(new SimRandom(5)))
    expect(draws(new SimRandom(5))).not.toEqual(draws(new SimRandom(6)))
  })

  it('splits into streams that depend on the label and on nothing drawn', () => {
    const random = new SimRandom(5)
    const before = draws(random.split('disk'))
    draws(random, 100)
    expect(draws(random.split('disk'))).toEqual(before)
    expect(draws(random.split('clock'))).not.toEqual(before)
    expect(draws(random.split('disk').split('a'))).not.toEqual(before)
  })

  it('draws integers below the bound, all of them about as often', () => {
    const random = new SimRandom(1)
    const seen = Array.from({ length: 7 }, () => 0)
    for (let i = 0; i < 70_000; i++) seen[random.integer(7)]! += 1
    // The standard deviation is 93; the seed is fixed, so this does not flicker.
    for (const count of seen) expect(Math.abs(count - 10_000)).toBeLessThan(500)
    expect(random.integer(1)).toBe(0)
    expect(() => random.integer(0)).toThrow()
  })

  it('takes chances as likely as they are told to be', () => {
    const random = new SimRandom(2)
    let hits = 0
    for (let i = 0; i < 10_000; i++) if (random.chance(0.2)) hits += 1
    expect(Math.abs(hits - 2_000)).toBeLessThan(200)
    expect(Array.from({ length: 100 }, () => random.chance(0))).not.toContain(true)
    expect(Array.from({ length: 100 }, () => random.chance(1))).not.toContain(false)
  })

  it('shuffles a copy into every order', () => {
    const random = new SimRandom(3)
    const values = ['a', 'b', 'c']
    const seen = new Set(Array.from({ length: 100 }, () => random.shuffle(values).join('')))
    expect(seen.size).toBe(6)
    expect(values).toEqual(['a', 'b', 'c'])
  })
})
