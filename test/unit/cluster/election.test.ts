import { describe, expect, it } from 'vitest'
import { decodeAudit } from '../../../src/cluster/audit-entry.ts'
import type { Guard } from '../../../src/cluster/coordinator.ts'
import {
  candidates,
  changeInSync,
  elect,
  electUnclean,
  handOver,
  hasLeader,
  type Plan,
  withdraw,
} from '../../../src/cluster/election.ts'
import { decodeLeadership } from '../../../src/cluster/leadership-entry.ts'
import { brokerOf, brokersOf, inSync, leadershipOf } from '../../support/leadership-of.ts'

const VERSION: Guard = { key: 'leadership/t-1', modRevision: 7 }
const registered = (node: string, createRevision: number): Guard => ({ key: `brokers/${node}`, createRevision })

/** The value that the plan writes, as the next one reads it. */
function written(plan: Plan | null): unknown {
  const write = plan?.writes[0]
  if (!write || !('put' in write)) return null
  const entry = { key: write.put, value: write.value, createRevision: 1, modRevision: 8, lease: null }
  const { version: _, nonce: __, ...value } = decodeLeadership(entry)
  const { version: ___, nonce: ____, ...planned } = { version: 0, nonce: '', ...plan.leadership }
  expect(value).toEqual(planned)
  return value
}

describe('the leader of a topic', () => {
  it('is there while it is registered as it was when it was elected', () => {
    expect(hasLeader(leadershipOf(), brokersOf({ a: 1 }))).toBe(true)
    expect(hasLeader(leadershipOf(), brokersOf({ b: 1 }))).toBe(false)
    expect(hasLeader(leadershipOf(), brokersOf({ a: 2 }))).toBe(false)
    expect(hasLeader(leadershipOf({ leader: null, leaderBrokerEpoch: 0 }), brokersOf({ a: 1 }))).toBe(false)
  })
})

describe('candidates', () => {
  const order = (epochs: Record<string, number>, durability: 'fsync' | 'buffered' = 'fsync'): string[] =>
    candidates(leadershipOf(), brokersOf(epochs), durability).map(({ nodeId }) => nodeId)

  it('are the registered ones of those in sync, in the order of the replicas', () => {
    expect(order({ c: 1, b: 1, d: 1 })).toEqual(['b', 'c'])
    expect(order({ d: 1 })).toEqual([])
  })

  it('come later when they restarted, and not at all with buffered data while another did not', () => {
    expect(order({ a: 5, b: 4, c: 1 })).toEqual(['c', 'a', 'b'])
    expect(order({ a: 5, b: 4, c: 1 }, 'buffered')).toEqual(['c'])
    expect(order({ a: 5, b: 4 }, 'buffered')).toEqual(['a', 'b'])
  })

  it('come later when they are on their way out', () => {
    const brokers = new Map([brokerOf('b', 1, { draining: true }), brokerOf('c')].map((one) => [one.nodeId, one]))
    expect(candidates(leadershipOf(), brokers, 'fsync').map(({ nodeId }) => nodeId)).toEqual(['c', 'b'])
  })
})

describe('an election', () => {
  it('R-CAS: is guarded by the version, by the old leader being gone and by the new one being registered', () => {
    const plan = elect(leadershipOf(), brokersOf({ b: 1, c: 1 }), 'fsync', 'b', 'n')
    expect(plan?.guards).toEqual([VERSION, registered('a', 0), registered('b', 1)])
  })

  it('R-CAS: is guarded by the old leader having another registration when it came back', () => {
    const plan = elect(leadershipOf(), brokersOf({ a: 9, b: 1 }), 'fsync', 'b', 'n')
    // It stays in sync under its new registration, which is guarded like that of anybody added.
    expect(plan?.guards).toEqual([VERSION, registered('a', 9), registered('b', 1), registered('a', 9)])
    expect(plan?.leadership.isr).toEqual(inSync({ b: 1, a: 9 }))
  })

  it('R-ONE: raises the epoch by one, and leaves those in sync that are registered', () => {
    const plan = elect(leadershipOf({ epoch: 4 }), brokersOf({ b: 1, c: 1 }), 'fsync', 'c', 'n')
    expect(written(plan)).toMatchObject({
      leader: 'c',
      leaderBrokerEpoch: 1,
      epoch: 5,
      isr: inSync({ b: 1, c: 1 }),
      replicas: ['a', 'b', 'c'],
    })
  })

  it('R-CANDIDATE: elects nobody who is not in sync, and R-UNCLEAN: nobody else in its place', () => {
    const alone = leadershipOf({ isr: inSync({ a: 1 }) })
    for (const me of ['b', 'c', 'd']) expect(elect(alone, brokersOf({ b: 1, c: 1, d: 1 }), 'fsync', me, 'n')).toBeNull()
    expect(elect(alone, brokersOf({ a: 2 }), 'fsync', 'a', 'n')?.leadership).toMatchObject({
      leader: 'a',
      leaderBrokerEpoch: 2,
      epoch: 2,
      isr: inSync({ a: 2 }),
    })
  })

  it('does not happen while the topic has a leader, nor by a broker that is not registered', () => {
    expect(elect(leadershipOf(), brokersOf({ a: 1, b: 1 }), 'fsync', 'b', 'n')).toBeNull()
    expect(elect(leadershipOf(), brokersOf({ c: 1 }), 'fsync', 'b', 'n')).toBeNull()
  })

  it('of a topic that somebody withdrew from leading needs no guard on a leader', () => {
    const left = leadershipOf({ leader: null, leaderBrokerEpoch: 0, isr: inSync({ b: 1, c: 1 }) })
    const plan = elect(left, brokersOf({ a: 1, b: 1 }), 'fsync', 'b', 'n')
    expect(plan?.guards).toEqual([VERSION, registered('b', 1)])
    expect(plan?.leadership.isr).toEqual(inSync({ b: 1 }))
  })

  it('grants the wish for that leader, and keeps one for another', () => {
    const wanting = leadershipOf({ wanted: 'b' })
    const brokers = brokersOf({ b: 1, c: 1 })
    expect(elect(wanting, brokers, 'fsync', 'b', 'n')?.leadership.wanted).toBeNull()
    expect(elect(wanting, brokers, 'fsync', 'c', 'n')?.leadership.wanted).toBe('b')
  })
})

describe('a hand-over', () => {
  it('R-CAS, R-ONE: goes to a replica in sync, in the next epoch, guarded by both registrations', () => {
    const plan = handOver(leadershipOf({ wanted: 'b' }), brokersOf({ a: 1, b: 1, c: 1 }), 'b', 'n')
    expect(plan?.guards).toEqual([VERSION, registered('a', 1), registered('b', 1)])
    expect(written(plan)).toMatchObject({ leader: 'b', epoch: 2, wanted: null, isr: inSync({ a: 1, b: 1, c: 1 }) })
  })

  it('waits no more for a leader that ends', () => {
    const plan = handOver(leadershipOf(), brokersOf({ a: 1, b: 1, c: 1 }), 'b', 'n', true)
    expect(written(plan)).toMatchObject({ leader: 'b', isr: inSync({ b: 1, c: 1 }) })
  })

  it('R-CANDIDATE: goes to nobody who is not in sync, or restarted since', () => {
    const brokers = brokersOf({ a: 1, b: 2, c: 1, d: 1 })
    expect(handOver(leadershipOf(), brokers, 'b', 'n')).toBeNull()
    expect(handOver(leadershipOf({ isr: inSync({ a: 1 }) }), brokers, 'c', 'n')).toBeNull()
    expect(handOver(leadershipOf(), brokers, 'd', 'n')).toBeNull()
    expect(handOver(leadershipOf(), brokers, 'a', 'n')).toBeNull()
  })
})

describe('a change of those in sync', () => {
  it('R-EXPAND: is guarded by the registration of everybody who is added, and of the leader', () => {
    const small = leadershipOf({ isr: inSync({ a: 1, b: 1 }) })
    const plan = changeInSync(small, inSync({ a: 1, b: 6, c: 4 }), 'n')
    expect(plan.guards).toEqual([VERSION, registered('a', 1), registered('b', 6), registered('c', 4)])
    expect(written(plan)).toMatchObject({ isr: inSync({ a: 1, b: 6, c: 4 }), epoch: 1, leader: 'a' })
  })

  it('needs no guard for those that go', () => {
    expect(changeInSync(leadershipOf(), inSync({ a: 1 }), 'n').guards).toEqual([VERSION, registered('a', 1)])
  })

  it('never leaves out the leader, nor everybody, nor takes in who has no copy', () => {
    const code = { code: 'internal' }
    expect(() => changeInSync(leadershipOf(), inSync({ b: 1 }), 'n')).toThrow(expect.objectContaining(code))
    expect(() => changeInSync(leadershipOf(), [], 'n')).toThrow(expect.objectContaining(code))
    expect(() => changeInSync(leadershipOf(), inSync({ a: 1, d: 1 }), 'n')).toThrow(expect.objectContaining(code))
    const led = leadershipOf({ leader: null, leaderBrokerEpoch: 0 })
    expect(() => changeInSync(led, inSync({ a: 1 }), 'n')).toThrow('invariant')
  })
})

describe('a replica with damaged files', () => {
  it('R-CORRUPT: is in sync no more, and leads no more', () => {
    const plan = withdraw(leadershipOf(), brokerOf('a', 1), 'n')
    expect(plan?.guards).toEqual([VERSION, registered('a', 1)])
    expect(written(plan)).toMatchObject({ leader: null, leaderBrokerEpoch: 0, epoch: 1, isr: inSync({ b: 1, c: 1 }) })
    expect(withdraw(leadershipOf(), brokerOf('c', 1), 'n')?.leadership).toMatchObject({
      leader: 'a',
      isr: inSync({ a: 1, b: 1 }),
    })
  })

  it('stays the one in sync when there is no other: nobody is elected who has less', () => {
    const alone = leadershipOf({ isr: inSync({ a: 1 }) })
    const plan = withdraw(alone, brokerOf('a', 1), 'n')
    expect(plan?.leadership).toMatchObject({ leader: null, isr: inSync({ a: 1 }) })
    const after = leadershipOf({ isr: inSync({ a: 1 }), leader: null, leaderBrokerEpoch: 0 })
    expect(elect(after, brokersOf({ b: 1, c: 1 }), 'fsync', 'b', 'n')).toBeNull()
    expect(withdraw(after, brokerOf('a', 1), 'n')).toBeNull()
    expect(withdraw(alone, brokerOf('b', 1), 'n')).toBeNull()
  })
})

describe('the election of a replica that is not in sync', () => {
  const lost = leadershipOf({ isr: inSync({ a: 1 }), epoch: 3 })
  const order = { node: 'b', by: 'ops', at: 1234, despiteInSync: false }

  it('R-UNCLEAN: leaves a record, in the same transaction, and a mark in the leadership', () => {
    const plan = electUnclean(lost, brokersOf({ b: 5, c: 1 }), order, 'n-1')
    expect(plan.guards).toEqual([
      VERSION,
      registered('a', 0),
      registered('b', 5),
      { key: 'audit/000000000001234-n-1', modRevision: 0 },
    ])
    expect(written(plan)).toMatchObject({
      leader: 'b',
      leaderBrokerEpoch: 5,
      epoch: 4,
      isr: inSync({ b: 5 }),
      unclean: { epoch: 4, at: 1234 },
    })
    const audit = plan.writes[1]
    if (!audit || !('put' in audit)) throw new Error('there is no record')
    const entry = { key: audit.put, value: audit.value, createRevision: 1, modRevision: 1, lease: null }
    expect(decodeAudit(entry)).toEqual({
      at: 1234,
      by: 'ops',
      what: 'unclean_election',
      topicId: 't-1',
      detail: { node: 'b', epoch: 4, insteadOf: ['a'], leaderBefore: 'a' },
    })
  })

  it.each<[string, Parameters<typeof brokersOf>[0], string, RegExp]>([
    ['the topic has a leader', { a: 1, b: 1 }, 'b', /a leads it/],
    ['the replica is not registered', { c: 1 }, 'b', /b is not registered/],
    ['it has no copy', { d: 1 }, 'd', /d has no copy/],
    ['one that has everything is back', { a: 2, b: 1 }, 'b', /a has everything/],
  ])('is refused when %s', (_, epochs, node, detail) => {
    expect(() => electUnclean(lost, brokersOf(epochs), { ...order, node }, 'n')).toThrow(
      expect.objectContaining({ code: 'conflict', message: expect.stringMatching(detail) }),
    )
  })

  it('passes over one in sync that cannot lead when the operator insists', () => {
    const plan = electUnclean(lost, brokersOf({ a: 2, b: 1 }), { ...order, despiteInSync: true }, 'n')
    expect(plan.leadership).toMatchObject({ leader: 'b', isr: inSync({ b: 1 }) })
    expect(plan.guards).toContainEqual(registered('a', 2))
  })
})
