import { SUBSCRIPTION_DEFAULTS, TidingsError, TOPIC_DEFAULTS } from '@tidings/sdk/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { brokerKey, encodeBroker, type RegisteredBroker } from '../../../src/cluster/broker-entry.ts'
import { Catalog } from '../../../src/cluster/catalog.ts'
import type { Coordinator } from '../../../src/cluster/coordinator.ts'
import { changeInSync, elect } from '../../../src/cluster/election.ts'
import { LeadershipStore } from '../../../src/cluster/leadership-store.ts'
import { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { finishMove, firstLeadership, moveTo } from '../../../src/cluster/reassignment.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { brokerOf } from '../../support/leadership-of.ts'
import { UnsureCoordinator } from '../../support/unsure-coordinator.ts'

let store: MemoryCoordinator
let leaderships: LeadershipStore
let brokers: Map<string, RegisteredBroker>
let catalog: Catalog

beforeEach(async () => {
  const clock = new SimClock()
  store = new MemoryCoordinator({ clock, random: new SimRandom('store') })
  leaderships = new LeadershipStore(store, clock)
  brokers = new Map()
  for (const node of ['a', 'b', 'c']) {
    const { revision } = await store.transact([], [{ put: brokerKey(node), value: encodeBroker(brokerOf(node), 'n') }])
    brokers.set(node, brokerOf(node, revision))
  }
  catalog = catalogOf('a')
})

/** The catalog as that broker has it. */
function catalogOf(node: string, coordinator: Coordinator = store): Catalog {
  return new Catalog(coordinator, new SimRandom(node), {
    guards: (topicId) => leaderships.guardsOf(topicId, brokers.get(node)!),
  })
}

const keys = async (): Promise<string[]> =>
  (await store.list('')).entries.map(({ key }) => key).filter((key) => !key.startsWith('brokers/'))
const codeOf = (doing: Promise<unknown>): Promise<unknown> =>
  doing.then(
    () => 'done',
    (error: unknown) => (TidingsError.is(error) ? error.code : error),
  )
const make = (id: string, at = catalog) =>
  at.createTopic('orders', id, TOPIC_DEFAULTS, firstLeadership(id, ['a', 'b'], brokers, 'n'))
const more = (current: typeof TOPIC_DEFAULTS) => ({ ...current, partitions: current.partitions + 1 })

async function die(node: string): Promise<void> {
  await store.transact([], [{ delete: brokerKey(node) }])
  brokers.delete(node)
}

async function electB(): Promise<void> {
  await leaderships.commit(elect((await leaderships.read('t-1'))!, brokers, 'fsync', 'b', 'n-b')!)
}

describe('a topic of a cluster', () => {
  it('is made with its leadership in one transaction', async () => {
    const { revision } = store.content()
    expect((await make('t-1')).created).toBe(true)
    expect(store.content().revision).toBe(revision + 1)
    expect(await keys()).toEqual(['leadership/t-1', 'topics/orders'])
    expect(await leaderships.read('t-1')).toMatchObject({ leader: 'a', epoch: 1, replicas: ['a', 'b'] })
    expect((await make('t-2')).topic.id).toBe('t-1')
    expect(await keys()).toEqual(['leadership/t-1', 'topics/orders'])
  })

  it('is not made, and nothing of it, with a broker that has gone meanwhile', async () => {
    const first = firstLeadership('t-1', ['a', 'b'], brokers, 'n')
    await die('b')
    expect(await codeOf(catalog.createTopic('orders', 't-1', TOPIC_DEFAULTS, first))).toBe('overloaded')
    expect(await keys()).toEqual([])
  })

  it('R-CAS: is changed by its leader alone, and so are its subscriptions', async () => {
    const { topic } = await make('t-1')
    const other = catalogOf('b')
    const made = { id: 's-1', settings: SUBSCRIPTION_DEFAULTS }
    expect(await codeOf(other.updateTopic(topic, more))).toBe('no_leader')
    expect(await codeOf(other.deleteTopic('orders'))).toBe('no_leader')
    expect(await codeOf(other.createSubscription(topic, 'billing', made))).toBe('no_leader')
    expect((await catalog.updateTopic(topic, more)).settings.partitions).toBe(2)
    await catalog.createSubscription(topic, 'billing', made)
    expect(await codeOf(other.deleteSubscription('t-1', 'billing'))).toBe('no_leader')
    expect(await codeOf(other.updateSubscription('t-1', 'billing', (now) => ({ ...now, maxUnacked: 3 })))).toBe(
      'no_leader',
    )
    expect((await catalog.updateSubscription('t-1', 'billing', (now) => ({ ...now, maxUnacked: 3 }))).id).toBe('s-1')
    await catalog.deleteSubscription('t-1', 'billing')
    expect(await keys()).toEqual(['leadership/t-1', 'topics/orders'])
  })

  it('R-CAS: is not changed by a leader that is replaced between its look and its write', async () => {
    const { topic } = await make('t-1')
    let interrupt: (() => Promise<void>) | null = async () => {
      await die('a')
      await electB()
    }
    const me = brokers.get('a')!
    const late = new Catalog(store, new SimRandom('late'), {
      guards: async (topicId) => {
        const guards = await leaderships.guardsOf(topicId, me)
        await interrupt?.()
        interrupt = null
        return guards
      },
    })
    expect(await codeOf(late.updateTopic(topic, more))).toBe('no_leader')
    expect((await catalog.topic('orders'))?.settings.partitions).toBe(1)
    expect((await catalogOf('b').updateTopic(topic, more)).settings.partitions).toBe(2)
  })

  it('is changed all the same when only those in sync have changed in between', async () => {
    const { topic } = await make('t-1')
    let interrupt: (() => Promise<unknown>) | null = async () => {
      const now = (await leaderships.read('t-1'))!
      await leaderships.commit(changeInSync(now, now.isr.slice(0, 1), 'n-i'))
    }
    const crossed = new Catalog(store, new SimRandom('crossed'), {
      guards: async (topicId) => {
        const guards = await leaderships.guardsOf(topicId, brokers.get('a')!)
        await interrupt?.()
        interrupt = null
        return guards
      },
    })
    expect((await crossed.updateTopic(topic, more)).settings.partitions).toBe(2)
  })
})

describe('the tombstone of a topic in a cluster', () => {
  it('R-TOMB: names all that may have files of it, those included that it moved away from', async () => {
    await make('t-1')
    let now = (await leaderships.read('t-1'))!
    const commit = async (plan: Parameters<LeadershipStore['commit']>[0]): Promise<void> => {
      const outcome = await leaderships.commit(plan)
      if (outcome.is !== 'done') throw new Error(outcome.is)
      now = outcome.leadership
    }
    await commit(moveTo(now, ['a', 'c'], brokers.get('a')!, 'n-1')!)
    const joined = { node: 'c', brokerEpoch: brokers.get('c')!.brokerEpoch }
    await commit(changeInSync(now, [...now.isr, joined], 'n-2'))
    await commit(finishMove(now, brokers.get('a')!, 'n-3')!)
    await catalog.deleteTopic('orders')
    expect(await keys()).toEqual(['tombstones/t-1'])
    expect(await catalog.tombstones()).toEqual([{ id: 't-1', name: 'orders', holders: ['a', 'c', 'b'] }])
  })

  it('R-TOMB: stays until the last of them says that its files are gone', async () => {
    await make('t-1')
    await catalog.deleteTopic('orders')
    await catalogOf('b').forgetTombstone('t-1', 'b')
    await catalogOf('b').forgetTombstone('t-1', 'b')
    await catalogOf('c').forgetTombstone('t-1', 'c')
    expect((await catalog.tombstones())[0]?.holders).toEqual(['a'])
    // The id does not come back to life meanwhile.
    expect(await codeOf(make('t-1'))).toBe('topic_not_found')
    await catalog.forgetTombstone('t-1', 'a')
    expect(await keys()).toEqual([])
  })

  it('loses each holder once when all of them go at once and answers get lost', async () => {
    for (let seed = 0; seed < 20; seed++) {
      await make(`t-${seed}`)
      await catalog.deleteTopic('orders')
      const unsure = new UnsureCoordinator(store, new SimRandom(seed), 0.4)
      const going = ['a', 'b'].map((node) => catalogOf(node, unsure).forgetTombstone(`t-${seed}`, node))
      const told = await Promise.all(going.map(codeOf))
      await unsure.deliverAll()
      const left = await catalog.tombstones()
      if (told.every((code) => code === 'done')) expect(left).toEqual([])
      for (const { id, holders } of left) for (const node of holders) await catalog.forgetTombstone(id, node)
    }
    expect(await keys()).toEqual([])
  })
})
