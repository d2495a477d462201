import { beforeEach, describe, expect, it } from 'vitest'
import { MemberRig } from '../../support/member-rig.ts'

const TTL_MS = 5000

let rig: MemberRig

beforeEach(async () => {
  rig = new MemberRig()
  for (const node of ['a', 'b', 'c']) await rig.join(node)
})

const member = (node: string) => rig.members.get(node)!
const leadership = async (topicId = 't-1') => (await rig.store.read(topicId))!

describe('the elector', () => {
  it('elects the first of those in sync when the leader is dead, within the lease time and a second', async () => {
    await rig.topic('t-1', ['a', 'b', 'c'])
    member('a').kill()
    await rig.pass(TTL_MS + 1000)
    const { leader, epoch, isr, leaderBrokerEpoch } = await leadership()
    expect({ leader, epoch }).toEqual({ leader: 'b', epoch: 2 })
    expect(isr.map(({ node }) => node)).toEqual(['b', 'c'])
    expect(leaderBrokerEpoch).toBe(member('b').registration.brokerEpoch)
    // One transaction was enough, and no other followed.
    await rig.pass(TTL_MS)
    expect((await leadership()).epoch).toBe(2)
    expect(member('c').logger.count(/elected as the leader/)).toBe(0)
    expect(member('b').logger.count(/elected as the leader/)).toBe(1)
  })

  it('does so at once when the leader left in good order', async () => {
    await rig.topic('t-1', ['a', 'b', 'c'])
    await member('a').leave()
    await rig.pass(100)
    expect(await leadership()).toMatchObject({ leader: 'b', epoch: 2 })
  })

  it('R-ETCDDOWN: elects nobody while the store is away, and does so soon after it is back', async () => {
    await rig.topic('t-1', ['a', 'b', 'c'])
    member('a').kill()
    for (const node of ['b', 'c']) member(node).net.isCut = true
    await rig.pass(TTL_MS * 3)
    expect((await leadership()).epoch).toBe(1)
    for (const node of ['b', 'c']) member(node).net.isCut = false
    await rig.pass(2000)
    expect(['b', 'c']).toContain((await leadership()).leader)
  })

  it('lets the next one in sync try when the first does not', async () => {
    await rig.topic('t-1', ['a', 'b', 'c'])
    member('b').mayLead = false
    await member('a').leave()
    await rig.pass(200)
    expect((await leadership()).epoch).toBe(1)
    await rig.pass(500)
    expect(await leadership()).toMatchObject({ leader: 'c', epoch: 2 })
  })

  it('R-CANDIDATE: elects nobody who is not in sync, but the one that was when it comes back', async () => {
    await rig.topic('t-1', ['a'], { replicas: ['a', 'b', 'c'] })
    member('a').kill()
    await rig.pass(TTL_MS * 4)
    expect(await leadership()).toMatchObject({ leader: 'a', epoch: 1 })
    const back = await rig.join('a')
    await rig.pass(TTL_MS)
    expect(await leadership()).toMatchObject({
      leader: 'a',
      epoch: 2,
      leaderBrokerEpoch: back.registration.brokerEpoch,
      isr: [{ node: 'a', brokerEpoch: back.registration.brokerEpoch }],
    })
  })

  it('elects when its files turn out to be sound after all', async () => {
    await rig.topic('t-1', ['a', 'b'])
    member('b').mayLead = false
    await member('a').leave()
    await rig.pass(3000)
    expect((await leadership()).epoch).toBe(1)
    member('b').mayLead = true
    member('b').elector.look()
    await rig.pass(500)
    expect(await leadership()).toMatchObject({ leader: 'b', epoch: 2 })
  })

  it('R-ONE: elects one leader an epoch of two hundred topics that lose theirs at once', async () => {
    for (let i = 0; i < 200; i++) await rig.topic(`t-${i}`, i % 2 === 0 ? ['a', 'b', 'c'] : ['a', 'c', 'b'])
    await member('a').leave()
    await rig.pass(2000)
    for (let i = 0; i < 200; i++) {
      expect(await leadership(`t-${i}`)).toMatchObject({ leader: i % 2 === 0 ? 'b' : 'c', epoch: 2 })
    }
  })

  it('stays with a leader that was away shorter than its lease, and replaces one that registered anew', async () => {
    await rig.topic('t-1', ['a', 'b', 'c'])
    member('a').net.isCut = true
    await rig.pass(TTL_MS * 0.6)
    member('a').net.isCut = false
    await rig.pass(TTL_MS)
    expect((await leadership()).epoch).toBe(1)
    await rig.coordinator.transact([], [{ delete: 'brokers/a' }])
    await rig.pass(TTL_MS)
    const { leader, epoch, isr } = await leadership()
    expect({ leader, epoch }).toEqual({ leader: 'b', epoch: 2 })
    expect(member('a').registration.holds).toBe(true)
    expect(isr.map(({ node }) => node)).toContain('b')
  })

  it('prefers with buffered data who did not restart', async () => {
    for (const one of rig.members.values()) one.durability = 'buffered'
    await rig.topic('t-1', ['a', 'b', 'c'])
    await member('b').leave()
    const back = await rig.join('b')
    back.durability = 'buffered'
    await member('a').leave()
    await rig.pass(1000)
    const { leader, isr } = await leadership()
    expect(leader).toBe('c')
    expect(isr.map(({ node }) => node)).toEqual(['c'])
  })
})
