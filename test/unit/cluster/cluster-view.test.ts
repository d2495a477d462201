import { TOPIC_DEFAULTS } from '@tidings/sdk/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { brokerKey, encodeBroker } from '../../../src/cluster/broker-entry.ts'
import { encodeTombstone, encodeTopic, tombstoneKey, topicKey } from '../../../src/cluster/catalog-entry.ts'
import { type ClusterChange, ClusterView } from '../../../src/cluster/cluster-view.ts'
import type { Coordinator } from '../../../src/cluster/coordinator.ts'
import { encodeLeadership, leadershipKey } from '../../../src/cluster/leadership-entry.ts'
import { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { FaultyCoordinator } from '../../support/faulty-coordinator.ts'
import { brokerOf, leadershipOf } from '../../support/leadership-of.ts'
import { NotingLogger } from '../../support/noting-logger.ts'
import { settle } from '../../support/settle.ts'

let clock: SimClock
let store: MemoryCoordinator
let net: FaultyCoordinator
let logger: NotingLogger
let view: ClusterView

beforeEach(() => {
  clock = new SimClock()
  store = new MemoryCoordinator({ clock, random: new SimRandom('store'), historyCount: 20 })
  net = new FaultyCoordinator(store)
  logger = new NotingLogger()
  view = new ClusterView({ coordinator: net, clock, logger })
})

afterEach(() => view.stop())

const put = (key: string, value: string): Promise<unknown> => store.transact([], [{ put: key, value }])
const putTopic = (name: string, id: string): Promise<unknown> =>
  put(topicKey(name), encodeTopic({ id, name, settings: TOPIC_DEFAULTS }, 'n'))
const putBroker = (nodeId: string): Promise<unknown> => put(brokerKey(nodeId), encodeBroker(brokerOf(nodeId), 'n'))
const putLeadership = (topicId: string, epoch = 1): Promise<unknown> =>
  put(leadershipKey(topicId), encodeLeadership(leadershipOf({ topicId, epoch }), `n-${epoch}`))
const remove = (key: string): Promise<unknown> => store.transact([], [{ delete: key }])
async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await settle()
}

describe('the view of a cluster', () => {
  it('has what the store has when it has started, and what comes later', async () => {
    await putBroker('a')
    await putTopic('orders', 't-1')
    await putLeadership('t-1')
    await put(tombstoneKey('t-9'), encodeTombstone({ id: 't-9', name: 'old', holders: ['a'] }))
    await view.start()
    expect([...view.brokers.keys()]).toEqual(['a'])
    expect(view.topicByName('orders')?.id).toBe('t-1')
    expect(view.leaderships.get('t-1')).toMatchObject({ leader: 'a', version: 3 })
    expect(view.tombstones.get('t-9')?.holders).toEqual(['a'])
    await putBroker('b')
    await putLeadership('t-1', 2)
    await remove(topicKey('orders'))
    await settled()
    expect([...view.brokers.keys()]).toEqual(['a', 'b'])
    expect(view.leaderships.get('t-1')).toMatchObject({ epoch: 2, version: 6 })
    expect(view.topicByName('orders')).toBeNull()
  })

  it('calls back once for all that changed in one turn, in a turn of its own', async () => {
    await view.start()
    const heard: ClusterChange[] = []
    const stop = view.onChange((change) => heard.push(change))
    await Promise.all([putBroker('a'), putBroker('b'), putLeadership('t-1'), putTopic('orders', 't-1')])
    expect(heard).toHaveLength(0)
    await settled()
    expect(heard).toHaveLength(1)
    expect(heard[0]).toEqual({
      brokers: new Set(['a', 'b']),
      leaderships: new Set(['t-1']),
      topics: new Set(['orders']),
      tombstones: new Set(),
    })
    stop()
    await putBroker('c')
    await settled()
    expect(heard).toHaveLength(1)
  })

  it('waits for a store that does not answer, says so once, and starts then', async () => {
    net.isCut = true
    let hasStarted = false
    const starting = view.start().then(() => {
      hasStarted = true
    })
    for (let i = 0; i < 5; i++) {
      clock.advance(1000)
      await settled()
    }
    expect(hasStarted).toBe(false)
    expect(logger.count(/does not answer/)).toBe(4)
    await putBroker('a')
    net.isCut = false
    clock.advance(1000)
    await starting
    expect([...view.brokers.keys()]).toEqual(['a'])
  })

  it('lists anew when its watch was lost, and knows then what was deleted meanwhile', async () => {
    await putBroker('a')
    await putBroker('b')
    await view.start()
    const heard: ClusterChange[] = []
    view.onChange((change) => heard.push(change))
    // More changes than the store remembers, all before the watch has its turn.
    const changes = [remove(brokerKey('a'))]
    for (let i = 0; i < 40; i++) changes.push(putTopic(`t${i}`, `t-${i}`))
    await Promise.all(changes)
    await settled()
    expect([...view.brokers.keys()]).toEqual(['b'])
    expect(view.topics.size).toBe(40)
    expect(heard.some(({ brokers }) => brokers.has('a'))).toBe(true)
    await putBroker('c')
    await settled()
    expect([...view.brokers.keys()]).toEqual(['b', 'c'])
  })

  it('goes on with what it knows while the store is away, and finds out by itself what a silent watch missed', async () => {
    const deaf: Coordinator = Object.assign(new FaultyCoordinator(store), { watch: () => ({ stop: () => undefined }) })
    const quiet = new ClusterView({ coordinator: deaf, clock, logger })
    await putBroker('a')
    await quiet.start()
    await putBroker('b')
    await settled()
    expect([...quiet.brokers.keys()]).toEqual(['a'])
    clock.advance(60_000)
    await settled()
    expect([...quiet.brokers.keys()]).toEqual(['a', 'b'])
    quiet.stop()
  })

  it('refreshes one topic by a read of now, and is not taken back by a watch that comes later', async () => {
    let later: (() => void)[] = []
    const slow: Coordinator = Object.assign(new FaultyCoordinator(store), {
      watch: (prefix: string, after: number, on: Parameters<Coordinator['watch']>[2]) =>
        store.watch(prefix, after, {
          changes: (changes) => void later.push(() => on.changes(changes)),
          lost: () => on.lost(),
        }),
    })
    const late = new ClusterView({ coordinator: slow, clock, logger })
    await putTopic('orders', 't-1')
    await putLeadership('t-1')
    await late.start()
    await putLeadership('t-1', 2)
    await settled()
    await putLeadership('t-1', 3)
    await settled()
    expect(late.leaderships.get('t-1')?.epoch).toBe(1)
    await late.refresh('orders')
    expect(late.leaderships.get('t-1')?.epoch).toBe(3)
    await remove(topicKey('orders'))
    await settled()
    await late.refresh('orders')
    expect(late.topicByName('orders')).toBeNull()
    const seen: (number | undefined)[] = []
    for (const tell of later) {
      tell()
      seen.push(late.leaderships.get('t-1')?.epoch)
    }
    later = []
    expect(new Set(seen)).toEqual(new Set([3]))
    expect(late.topicByName('orders')).toBeNull()
    await putTopic('orders', 't-2')
    await late.refresh()
    expect(late.topicByName('orders')?.id).toBe('t-2')
    late.stop()
  })

  it('does not bring back what a list found gone when an older read is answered after it', async () => {
    await putTopic('orders', 't-1')
    await view.start()
    const entry = (await store.get(topicKey('orders')))!
    const answers: (() => void)[] = []
    net.get = () => new Promise((resolve) => answers.push(() => resolve(entry)))
    const reading = view.refresh('orders')
    await remove(topicKey('orders'))
    await settled()
    await view.refresh()
    for (const answer of answers) answer()
    await reading
    expect(view.topicByName('orders')).toBeNull()
  })

  it('rejects a refresh when the store does not answer, and keeps what it has', async () => {
    await putTopic('orders', 't-1')
    await view.start()
    net.isCut = true
    await expect(view.refresh('orders')).rejects.toThrow('cannot be reached')
    await expect(view.refresh()).rejects.toThrow('cannot be reached')
    expect(view.topicByName('orders')?.id).toBe('t-1')
  })

  it('leaves out an entry that it cannot read, says so once, and takes it when it can be read again', async () => {
    await putLeadership('t-1')
    await view.start()
    await put(leadershipKey('t-1'), '{"version":9}')
    await putLeadership('t-2')
    await settled()
    await view.refresh()
    expect(view.leaderships.has('t-1')).toBe(false)
    expect(view.leaderships.has('t-2')).toBe(true)
    expect(logger.count(/cannot be used/)).toBe(1)
    await putLeadership('t-1', 4)
    await settled()
    expect(view.leaderships.get('t-1')?.epoch).toBe(4)
  })
})
