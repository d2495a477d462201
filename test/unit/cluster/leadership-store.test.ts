import { TidingsError } from '@tidings/sdk/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { brokerKey, encodeBroker } from '../../../src/cluster/broker-entry.ts'
import type { Coordinator } from '../../../src/cluster/coordinator.ts'
import { type Brokers, changeInSync, elect, type Plan } from '../../../src/cluster/election.ts'
import { encodeLeadership, leadershipKey, type VersionedLeadership } from '../../../src/cluster/leadership-entry.ts'
import { LeadershipStore, type Outcome } from '../../../src/cluster/leadership-store.ts'
import { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { FaultyCoordinator } from '../../support/faulty-coordinator.ts'
import { brokerOf, inSync, leadershipOf } from '../../support/leadership-of.ts'
import { settle } from '../../support/settle.ts'
import { UnsureCoordinator } from '../../support/unsure-coordinator.ts'

let clock: SimClock
let store: MemoryCoordinator
let brokers: Map<string, ReturnType<typeof brokerOf>>

beforeEach(async () => {
  clock = new SimClock()
  store = new MemoryCoordinator({ clock, random: new SimRandom('store') })
  brokers = new Map()
  for (const node of ['a', 'b', 'c']) await register(node)
  const epochs = Object.fromEntries([...brokers].map(([node, { brokerEpoch }]) => [node, brokerEpoch]))
  const first = leadershipOf({ isr: inSync(epochs), leaderBrokerEpoch: epochs.a! })
  await store.transact([], [{ put: leadershipKey('t-1'), value: encodeLeadership(first, 'n-0') }])
})

async function register(node: string): Promise<void> {
  const { revision } = await store.transact([], [{ put: brokerKey(node), value: encodeBroker(brokerOf(node), 'n') }])
  brokers.set(node, brokerOf(node, revision))
}

async function die(node: string): Promise<void> {
  await store.transact([], [{ delete: brokerKey(node) }])
  brokers.delete(node)
}

const now = async (): Promise<VersionedLeadership> => (await new LeadershipStore(store, clock).read('t-1'))!
const smaller = async (): Promise<Plan> => {
  const leadership = await now()
  return changeInSync(leadership, leadership.isr.slice(0, 2), 'n-1')
}

/** Runs to the end while time passes. */
async function over(coordinator: Coordinator, run: (store: LeadershipStore) => Promise<Outcome>): Promise<Outcome> {
  const running = { done: false }
  const outcome = run(new LeadershipStore(coordinator, clock)).finally(() => {
    running.done = true
  })
  outcome.catch(() => undefined)
  while (!running.done) {
    await settle()
    clock.advance(100)
  }
  return outcome
}

describe('a plan that is carried out', () => {
  it('is done, and the answer is what the store has then', async () => {
    const outcome = await over(store, async (to) => to.commit(await smaller()))
    expect(outcome).toEqual({ is: 'done', leadership: await now() })
    expect((await now()).isr.map(({ node }) => node)).toEqual(['a', 'b'])
  })

  it('R-CAS: is refused when another change came first, and the answer is that one', async () => {
    const plan = await smaller()
    await over(store, async (to) => to.commit(changeInSync(await now(), (await now()).isr.slice(0, 1), 'n-2')))
    expect(await over(store, (to) => to.commit(plan))).toEqual({ is: 'refused', leadership: await now() })
    expect((await now()).isr).toHaveLength(1)
  })

  it('R-CAS: is refused when the writer is registered no more', async () => {
    const plan = await smaller()
    await die('a')
    expect(await over(store, (to) => to.commit(plan))).toMatchObject({ is: 'refused' })
    await register('a')
    expect(await over(store, (to) => to.commit(plan))).toMatchObject({ is: 'refused' })
    expect((await now()).isr).toHaveLength(3)
  })

  it('is refused when the topic was deleted', async () => {
    const plan = await smaller()
    await store.transact([], [{ delete: leadershipKey('t-1') }])
    expect(await over(store, (to) => to.commit(plan))).toEqual({ is: 'refused', leadership: null })
  })

  it('passes on what the store refuses for a reason of its own', async () => {
    const full = new FaultyCoordinator(store)
    full.transact = () => Promise.reject(new TidingsError('storage_full', 'no room'))
    await expect(over(full, async (to) => to.commit(await smaller()))).rejects.toMatchObject({ code: 'storage_full' })
  })

  it('is unknown, and not refused, while the store is away; and is settled when it is back', async () => {
    const net = new FaultyCoordinator(store)
    const plan = await smaller()
    net.isCut = true
    expect(await over(net, (to) => to.commit(plan))).toEqual({ is: 'unknown' })
    net.isCut = false
    expect(await over(net, (to) => to.settle(plan))).toMatchObject({ is: 'done' })
  })

  it('stays unknown while a try could still arrive: its guards fail now and may hold again', async () => {
    const net = new FaultyCoordinator(store)
    await die('a')
    const plan = elect(await now(), brokers as Brokers, 'fsync', 'b', 'n-1')!
    net.isCut = true
    await over(net, (to) => to.commit(plan))
    net.isCut = false
    // The leader is registered again, but the version has not moved: once it is gone the first try may arrive.
    await register('a')
    expect(await over(net, (to) => to.settle(plan))).toEqual({ is: 'unknown' })
    await die('a')
    const election = elect(await now(), brokers as Brokers, 'fsync', 'c', 'n-3')!
    await over(store, (to) => to.commit(election))
    expect(await over(net, (to) => to.settle(plan))).toMatchObject({ is: 'refused', leadership: { leader: 'c' } })
  })

  it('is refused when a registration that it rests on is over, though the version stays: no try can still arrive', async () => {
    const net = new FaultyCoordinator(store)
    const before = await now()
    await over(store, (to) => to.commit(changeInSync(before, before.isr.slice(0, 2), 'n-1')))
    const plan = changeInSync(await now(), before.isr, 'n-2')
    net.isCut = true
    expect(await over(net, (to) => to.commit(plan))).toEqual({ is: 'unknown' })
    net.isCut = false
    await die('c')
    expect(await over(net, (to) => to.settle(plan))).toEqual({ is: 'refused', leadership: await now() })
    await register('c')
    expect(await over(store, (to) => to.commit(plan))).toMatchObject({ is: 'refused' })
  })
})

describe('plans whose answers get lost', () => {
  it('are told truly: what is done is there, what is refused never comes', async () => {
    const told = { done: 0, refused: 0, unknown: 0 }
    for (let seed = 0; seed < 60; seed++) {
      const unsure = new UnsureCoordinator(store, new SimRandom(seed), 0.6)
      const before = await now()
      const isr = before.isr.length === 3 ? before.isr.slice(0, 2) : inSync(epochsOf())
      const plan = changeInSync(before, isr, `n-${seed}`)
      const outcome = await over(unsure, (to) => to.commit(plan))
      told[outcome.is]++
      const after = await now()
      if (outcome.is === 'done') expect(after).toEqual(outcome.leadership)
      await unsure.deliverAll()
      if (outcome.is !== 'unknown') expect(await now()).toEqual(after)
    }
    expect(told.done).toBeGreaterThan(40)
    expect(told.refused).toBe(0)
  })
})

const epochsOf = (): Record<string, number> =>
  Object.fromEntries([...brokers].map(([node, { brokerEpoch }]) => [node, brokerEpoch]))
