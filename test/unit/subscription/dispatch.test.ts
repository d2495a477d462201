import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Candidate, Dispatch } from '../../../src/subscription/dispatch.ts'

class Taker implements Candidate {
  outstanding = 0
  readonly weight: number
  readonly prefetch: number

  constructor(prefetch: number, weight = 1) {
    this.prefetch = prefetch
    this.weight = weight
  }

  credit(): number {
    return this.prefetch - this.outstanding
  }
}

/** Hands out messages until there are no more or nobody takes any; answers how many each consumer got. */
function handOut(dispatch: Dispatch, type: 'shared' | 'failover', takers: readonly Taker[], count: number): number[] {
  const policy = takers.some(({ weight }) => weight > 1) ? 'weighted' : 'least_outstanding'
  const before = takers.map(({ outstanding }) => outstanding)
  for (let left = count; left > 0; left -= dispatch.count) {
    const taker = dispatch.choose(type, policy, takers, left)
    if (!taker) break
    expect(dispatch.count).toBeGreaterThan(0)
    taker.outstanding += dispatch.count
  }
  return takers.map(({ outstanding }, i) => outstanding - before[i]!)
}

describe('the dispatch', () => {
  it('never gives more than the credit or than there is, and gives all that fits', () => {
    const prefetches = fc.array(fc.nat(300), { minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(prefetches, fc.nat(2000), (sizes, count) => {
        const takers = sizes.map((size) => new Taker(size))
        const got = handOut(new Dispatch(), 'shared', takers, count)
        const total = got.reduce((a, b) => a + b, 0)
        expect(total).toBe(
          Math.min(
            count,
            sizes.reduce((a, b) => a + b, 0),
          ),
        )
        takers.forEach((taker) => expect(taker.outstanding).toBeLessThanOrEqual(taker.prefetch))
      }),
    )
  })

  it('shares a small backlog among idle consumers', () => {
    const takers = [new Taker(256), new Taker(256), new Taker(256), new Taker(256)]
    expect(handOut(new Dispatch(), 'shared', takers, 8)).toEqual([2, 2, 2, 2])
  })

  it('gives one consumer alone everything at once', () => {
    const dispatch = new Dispatch()
    const alone = new Taker(10_000)
    expect(dispatch.choose('shared', 'least_outstanding', [alone], 5000)).toBe(alone)
    expect(dispatch.count).toBe(5000)
  })

  it('keeps slices short while several wait', () => {
    const dispatch = new Dispatch()
    dispatch.choose('shared', 'least_outstanding', [new Taker(10_000), new Taker(10_000)], 5000)
    expect(dispatch.count).toBe(64)
  })

  it('prefers whoever has the least outstanding, and goes round among equals', () => {
    const busy = new Taker(256)
    busy.outstanding = 100
    const idle = [new Taker(256), new Taker(256)]
    const dispatch = new Dispatch()
    const chosen = Array.from({ length: 4 }, () => dispatch.choose('shared', 'least_outstanding', [busy, ...idle], 1))
    expect(chosen).toEqual([idle[0], idle[1], idle[0], idle[1]])
  })

  it('passes over whoever has no credit', () => {
    const full = new Taker(0)
    const other = new Taker(1)
    const dispatch = new Dispatch()
    expect(dispatch.choose('shared', 'least_outstanding', [full, other], 5)).toBe(other)
    expect(dispatch.choose('shared', 'least_outstanding', [full], 5)).toBeNull()
  })

  it('divides by weight', () => {
    expect(handOut(new Dispatch(), 'shared', [new Taker(5000, 1), new Taker(5000, 3)], 4000)).toEqual([
      expect.closeTo(1000, -2),
      expect.closeTo(3000, -2),
    ])
  })

  it('serves the first in order of arrival only, even when it cannot take any', () => {
    const [first, second] = [new Taker(10), new Taker(10)]
    expect(handOut(new Dispatch(), 'failover', [first, second], 50)).toEqual([10, 0])
    expect(handOut(new Dispatch(), 'failover', [second], 50)).toEqual([10])
  })
})
