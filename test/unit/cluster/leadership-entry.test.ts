import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { auditKey, decodeAudit, encodeAudit } from '../../../src/cluster/audit-entry.ts'
import { brokerKey, decodeBroker, encodeBroker } from '../../../src/cluster/broker-entry.ts'
import type { Entry } from '../../../src/cluster/coordinator.ts'
import { decodeLeadership, encodeLeadership, faultOf, leadershipKey } from '../../../src/cluster/leadership-entry.ts'
import { brokerOf, inSync, leadershipOf } from '../../support/leadership-of.ts'

const entryOf = (key: string, value: string): Entry => ({ key, value, createRevision: 3, modRevision: 7, lease: null })
const refused = (detail: RegExp): unknown =>
  expect.objectContaining({ code: 'internal', message: expect.stringMatching(detail) })
const thrownBy = (run: () => unknown): unknown => {
  try {
    return run()
  } catch (error) {
    return error
  }
}

describe('the entry of a leadership', () => {
  const key = leadershipKey('t-1')

  it('comes back as it was written, with its version and the nonce of the write', () => {
    const nodes = fc.uniqueArray(fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,8}$/), { minLength: 1, maxLength: 6 })
    const values = nodes.chain((replicas) =>
      fc.record({
        replicas: fc.constant(replicas),
        inSync: fc.shuffledSubarray(replicas, { minLength: 1 }),
        target: fc.option(fc.shuffledSubarray(replicas, { minLength: 1 })),
        led: fc.boolean(),
        epoch: fc.integer({ min: 1, max: 0x7fffffff }),
        unclean: fc.option(fc.record({ epoch: fc.integer({ min: 1, max: 9 }), at: fc.nat() })),
      }),
    )
    fc.assert(
      fc.property(values, ({ replicas, inSync: nodesInSync, target, led, epoch, unclean }) => {
        const value = leadershipOf({
          replicas,
          isr: nodesInSync.map((node, i) => ({ node, brokerEpoch: i + 1 })),
          target,
          leader: led ? nodesInSync[0]! : null,
          leaderBrokerEpoch: led ? 1 : 0,
          epoch,
          unclean,
          nonce: 'n-1',
          leaving: ['gone-1'],
        })
        expect(decodeLeadership(entryOf(key, encodeLeadership(value, 'n-1')))).toEqual(value)
      }),
    )
  })

  it.each<[string, Parameters<typeof leadershipOf>[0], RegExp]>([
    ['nobody in sync', { isr: [], leader: null, leaderBrokerEpoch: 0 }, /isr: one replica at least/],
    ['one in sync that has no copy', { isr: inSync({ a: 1, d: 1 }) }, /isr: "d" is none of the replicas/],
    ['a leader that is not in sync', { isr: inSync({ b: 1 }) }, /leader: "a" is not in sync/],
    ['a leader without a registration', { leaderBrokerEpoch: 0 }, /leaderBrokerEpoch/],
    ['a node twice', { replicas: ['a', 'b', 'c', 'a'] }, /replicas: .* names a node twice/],
    ['a target that is no replica', { target: ['a', 'd'] }, /target: a topic moves to replicas/],
    ['a target of nobody', { target: [] }, /target: a topic moves to one/],
    ['a replica that is leaving', { leaving: ['b'] }, /leaving: a replica is not leaving/],
  ])('is neither written nor read with %s', (_, patch, detail) => {
    const value = leadershipOf(patch)
    expect(faultOf(value)).toMatch(detail)
    expect(thrownBy(() => encodeLeadership(value, 'n'))).toEqual(refused(detail))
    const { version: __, ...fields } = value
    const text = JSON.stringify({ ...fields, version: 1 })
    expect(thrownBy(() => decodeLeadership(entryOf(key, text)))).toEqual(refused(detail))
  })

  it.each<[string, object, RegExp]>([
    ['a newer layout', { version: 2 }, /written by a newer release \(layout 2, this one reads 1\)/],
    ['an unknown key', { more: 1 }, /unknown key "more"/],
    ['the id of another', { topicId: 't-2' }, /belongs to "leadership\/t-2"/],
    ['an id that would leave its directory', { topicId: '..' }, /topicId: ".." is none/],
    ['a node that is none', { replicas: ['a', 'b', 'c', '../x'] }, /replicas\[3\]: "..\/x" is no name of a node/],
    ['an epoch that never was', { epoch: 0 }, /epoch: expected/],
    ['no list of replicas', { replicas: 'a' }, /replicas: expected a list/],
    ['a member without an epoch', { isr: [{ node: 'a' }] }, /isr\[0\].brokerEpoch/],
  ])('is refused with %s, as an error of ours that names the entry', (_, patch, detail) => {
    const { version: __, ...fields } = leadershipOf()
    const text = JSON.stringify({ ...fields, version: 1, ...patch })
    const thrown = thrownBy(() => decodeLeadership(entryOf(key, text)))
    expect(thrown).toEqual(refused(detail))
    expect(thrown).toEqual(refused(/"leadership\/t-1"/))
  })
})

describe('the entry of a broker', () => {
  it('comes back as it was written, its create revision as the broker epoch', () => {
    const broker = brokerOf('node-1', 3, { rack: 'eu-1', protocol: [1, 3], draining: true, startedAt: 99 })
    expect(decodeBroker(entryOf(brokerKey('node-1'), encodeBroker(broker, 'n')))).toEqual(broker)
  })

  it.each<[string, object, RegExp]>([
    ['a newer layout', { version: 2 }, /newer release/],
    ['the name of another', { id: 'node-2' }, /belongs to "brokers\/node-2"/],
    ['a name that is none', { id: 'a/b' }, /no name of a node/],
    ['versions the wrong way round', { protocol: [3, 1] }, /protocol: expected the oldest and the newest version/],
    ['one version', { protocol: [3] }, /protocol: expected the oldest/],
  ])('is refused with %s', (_, patch, detail) => {
    const text = JSON.stringify({ ...JSON.parse(encodeBroker(brokerOf('node-1'), 'n')), ...patch })
    expect(thrownBy(() => decodeBroker(entryOf(brokerKey('node-1'), text)))).toEqual(refused(detail))
  })
})

describe('the record of what an operator ordered', () => {
  it('comes back as it was written, and its keys are in the order of time', () => {
    const audit = { at: 5, by: 'ops', what: 'unclean_election', topicId: 't-1', detail: { node: 'b' } }
    expect(decodeAudit(entryOf(auditKey(5, 'n'), encodeAudit(audit)))).toEqual(audit)
    const keys = [1_800_000_000_000, 999, 20_000_000_000_000].map((at) => auditKey(at, 'n'))
    expect([...keys].sort()).toEqual([keys[1], keys[0], keys[2]])
  })
})
