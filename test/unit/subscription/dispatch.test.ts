import { DISPATCH_POLICIES, type DispatchPolicy } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Candidate, Dispatch } from '../../../src/subscription/dispatch.ts'

class Taker implements Candidate {
  outstanding = 0
  served = 0
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
function handOut(
  dispatch: Dispatch,
  type: 'shared' | 'failover',
  takers: readonly Taker[],
  count: number,
  policy: DispatchPolicy = 'least_outstanding',
): number[] {
  const before = takers.map(({ outstanding }) => outstanding)
  for (let left = count; left > 0; left -= dispatch.count) {
    const taker = dispatch.choose(type, policy, takers, left)
    if (!taker) break
    expect(dispatch.count).toBeGreaterThan(0)
    taker.outstanding += dispatch.count
    dispatch.gave(taker, dispatch.count)
  }
  return takers.map(({ outstanding }, i) => outstanding - before[i]!)
}

/** Messages that come one by one and are acknowledged before the next comes; how many each consumer got. */
function trickle(dispatch: Dispatch, policy: DispatchPolicy, takers: readonly Taker[], count: number): number[] {
  const got = takers.map(() => 0)
  for (let i = 0; i < count; i++) {
    const taker = dispatch.choose('shared', policy, takers, 1)!
    dispatch.gave(taker, 1)
    got[takers.indexOf(taker)]!++
  }
  return got
}

describe('the dispatch', () => {
  it('never gives more than the credit or than there is, and gives all that fits', () => {
    const prefetches = fc.array(fc.nat(300), { minLength: 1, maxLength: 8 })
    const policies = fc.constantFrom(...DISPATCH_POLICIES)
    fc.assert(
      fc.property(prefetches, fc.nat(2000), policies, (sizes, count, policy) => {
        const takers = sizes.map((size, i) => new Taker(size, 1 + (i % 3)))
        const got = handOut(new Dispatch(), 'shared', takers, count, policy)
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

  it('goes round by messages, whatever prefetch each has', () => {
    const takers = [new Taker(10, 7), new Taker(5000), new Taker(300)]
    const dispatch = new Dispatch()
    const total = [0, 0, 0]
    for (let round = 0; round < 100; round++) {
      // Everything is acknowledged between rounds, so that each has room for its share again.
      handOut(dispatch, 'shared', takers, 9, 'round_robin').forEach((count, i) => (total[i]! += count))
      for (const taker of takers) taker.outstanding = 0
    }
    expect(total).toEqual([300, 300, 300])
    expect(trickle(dispatch, 'round_robin', takers, 30)).toEqual([10, 10, 10])
  })

  it('does not owe a consumer what it had no room for', () => {
    const takers = [new Taker(2), new Taker(100_000)]
    const dispatch = new Dispatch()
    expect(handOut(dispatch, 'shared', takers, 10_000, 'round_robin')).toEqual([2, 9998])
    takers[0]!.outstanding = 0
    expect(handOut(dispatch, 'shared', [new Taker(1000), takers[1]!], 1000, 'round_robin')).toEqual([
      expect.closeTo(500, -2),
      expect.closeTo(500, -2),
    ])
  })

  it('shares by weight, also where nothing stays outstanding', () => {
    const weighted = (): Taker[] => [new Taker(5000, 1), new Taker(5000, 3), new Taker(5000, 6)]
    expect(handOut(new Dispatch(), 'shared', weighted(), 4000, 'weighted')).toEqual([
      expect.closeTo(400, -2),
      expect.closeTo(1200, -2),
      expect.closeTo(2400, -2),
    ])
    expect(trickle(new Dispatch(), 'weighted', weighted(), 1000)).toEqual([100, 300, 600])
  })

  it('starts a new consumer where the others are', () => {
    const [first, second, third] = [new Taker(5000), new Taker(5000), new Taker(5000)]
    const dispatch = new Dispatch()
    trickle(dispatch, 'round_robin', [first, second], 1000)
    expect(trickle(dispatch, 'round_robin', [first, second, third], 30)).toEqual([10, 10, 10])
  })

  it('serves the first in order of arrival only, even when it cannot take any', () => {
    const [first, second] = [new Taker(10), new Taker(10)]
    expect(handOut(new Dispatch(), 'failover', [first, second], 50)).toEqual([10, 0])
    expect(handOut(new Dispatch(), 'failover', [second], 50)).toEqual([10])
  })
})
