import { describe, expect, it } from 'vitest'
import type { Guard } from '../../../src/cluster/coordinator.ts'
import { elect, type Plan } from '../../../src/cluster/election.ts'
import type { VersionedLeadership } from '../../../src/cluster/leadership-entry.ts'
import {
  finishMove,
  firstLeadership,
  holdersOf,
  left,
  moveIsAt,
  moveTo,
  want,
} from '../../../src/cluster/reassignment.ts'
import { brokersOf, inSync, leadershipOf } from '../../support/leadership-of.ts'

const ME = { nodeId: 'z', brokerEpoch: 50 }
const GUARDS: Guard[] = [
  { key: 'leadership/t-1', modRevision: 7 },
  { key: 'brokers/z', createRevision: 50 },
]
const after = (plan: Plan | null): VersionedLeadership => ({ ...plan!.leadership, version: 8, nonce: 'n' })

describe('the first leadership of a topic', () => {
  it('R-CAS: takes the replicas as they are registered, the first to lead, all of them in sync', () => {
    const { leadership, guards, writes } = firstLeadership('t-1', ['b', 'a'], brokersOf({ a: 3, b: 5 }), 'n', 't-0')
    expect(leadership).toMatchObject({
      leader: 'b',
      leaderBrokerEpoch: 5,
      epoch: 1,
      isr: inSync({ b: 5, a: 3 }),
      replicas: ['b', 'a'],
      like: 't-0',
    })
    expect(guards).toEqual([
      { key: 'leadership/t-1', modRevision: 0 },
      { key: 'brokers/b', createRevision: 5 },
      { key: 'brokers/a', createRevision: 3 },
    ])
    expect(writes).toHaveLength(1)
  })

  it('is not made with a broker that is not there', () => {
    expect(() => firstLeadership('t-1', ['a', 'b'], brokersOf({ a: 3 }), 'n')).toThrow(
      expect.objectContaining({ code: 'not_enough_replicas' }),
    )
  })
})

describe('the wish for a leader', () => {
  it('R-CAS: is written under the version and the registration of who wishes', () => {
    const plan = want(leadershipOf(), 'b', ME, 'n')
    expect(plan?.guards).toEqual(GUARDS)
    expect(plan?.leadership).toMatchObject({ wanted: 'b', leader: 'a', epoch: 1 })
    expect(want(after(plan), 'b', ME, 'n')).toBeNull()
    expect(want(after(plan), 'a', ME, 'n')?.leadership.wanted).toBeNull()
    expect(want(after(plan), null, ME, 'n')?.leadership.wanted).toBeNull()
  })

  it('R-CANDIDATE: is for somebody in sync only', () => {
    expect(want(leadershipOf({ isr: inSync({ a: 1, b: 1 }) }), 'c', ME, 'n')).toBeNull()
  })
})

describe('a move to other replicas', () => {
  it('grows the replicas first, and lets nobody go before all new ones are in sync and one of them leads', () => {
    const begun = after(moveTo(leadershipOf(), ['d', 'b', 'e'], ME, 'n'))
    expect(begun).toMatchObject({ replicas: ['d', 'b', 'e', 'a', 'c'], target: ['d', 'b', 'e'], leaving: [] })
    expect(begun.isr).toEqual(inSync({ a: 1, b: 1, c: 1 }))
    expect(moveIsAt(begun)).toBe('copying')
    expect(finishMove(begun, ME, 'n')).toBeNull()

    const copied = { ...begun, isr: inSync({ a: 1, b: 1, c: 1, d: 1, e: 1 }) }
    expect(moveIsAt(copied)).toBe('handing over')
    expect(finishMove(copied, ME, 'n')).toBeNull()

    const handedOver = { ...copied, leader: 'd', epoch: 2, wanted: 'c' }
    expect(moveIsAt(handedOver)).toBe('done')
    const plan = finishMove(handedOver, ME, 'n')
    expect(plan?.guards).toEqual([{ key: 'leadership/t-1', modRevision: 8 }, GUARDS[1]])
    expect(plan?.leadership).toMatchObject({
      replicas: ['d', 'b', 'e'],
      target: null,
      isr: inSync({ b: 1, d: 1, e: 1 }),
      leaving: ['a', 'c'],
      wanted: null,
      epoch: 2,
    })
    expect(moveIsAt(plan!.leadership)).toBe('none')
    expect(finishMove(after(plan), ME, 'n')).toBeNull()
  })

  it('R-TOMB: names who is to remove its files, until it says that they are gone; all of them are holders', () => {
    const moved = leadershipOf({ leaving: ['d', 'e'] })
    expect(holdersOf(moved)).toEqual(['a', 'b', 'c', 'd', 'e'])
    const gone = after(left(moved, 'd', ME, 'n'))
    expect(gone.leaving).toEqual(['e'])
    expect(left(gone, 'd', ME, 'n')).toBeNull()
    // One that comes back as a replica keeps its files.
    expect(moveTo(gone, ['a', 'e'], ME, 'n')?.leadership).toMatchObject({ leaving: [], replicas: ['a', 'e', 'b', 'c'] })
  })

  it('gives way to another, whose newcomers are not those of the first', () => {
    const first = { ...after(moveTo(leadershipOf(), ['a', 'b', 'd'], ME, 'n')) }
    const second = moveTo(first, ['a', 'b', 'e'], ME, 'n')
    expect(second?.leadership).toMatchObject({
      replicas: ['a', 'b', 'e', 'c'],
      target: ['a', 'b', 'e'],
      leaving: ['d'],
      isr: inSync({ a: 1, b: 1, c: 1 }),
    })
    // One that has caught up already stays until the end.
    const caughtUp = { ...first, isr: inSync({ a: 1, b: 1, c: 1, d: 1 }) }
    expect(moveTo(caughtUp, ['a', 'b', 'e'], ME, 'n')?.leadership.replicas).toEqual(['a', 'b', 'e', 'd', 'c'])
  })

  it('is none when the replicas are those already, in that order; another order is one step', () => {
    expect(moveTo(leadershipOf(), ['a', 'b', 'c'], ME, 'n')).toBeNull()
    const turned = after(moveTo(leadershipOf(), ['c', 'a', 'b'], ME, 'n'))
    expect(moveIsAt(turned)).toBe('done')
    expect(finishMove(turned, ME, 'n')?.leadership).toMatchObject({
      replicas: ['c', 'a', 'b'],
      leaving: [],
      leader: 'a',
    })
  })

  it('goes on over the death of the leader: whoever is in sync is elected, whichever side it is on', () => {
    const begun = after(moveTo(leadershipOf(), ['b', 'd', 'e'], ME, 'n'))
    const elected = elect(begun, brokersOf({ b: 1, c: 1, d: 1, e: 1 }), 'fsync', 'c', 'n')
    expect(elected?.leadership).toMatchObject({ leader: 'c', target: ['b', 'd', 'e'], replicas: begun.replicas })
  })
})
