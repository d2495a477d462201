import { describe, expect, it } from 'vitest'
import { nullLogger } from '../../../src/base/telemetry.ts'
import { LedTopic, type LedTopicPorts } from '../../../src/cluster/led-topic.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { ClusterRig } from '../../support/cluster-rig.ts'
import { settle } from '../../support/settle.ts'

describe('a topic that is led', () => {
  it('counts a replica that the store took in, also when the store cannot be read after that', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders', { minInSyncReplicas: 1 })
    await rig.publish('orders', 'a')
    const { node } = rig.life(founder)
    const { view } = node
    const { id } = view.topicByName('orders')!
    const before = view.leaderships.get(id)!
    const away = before.isr.filter(({ node: name }) => name !== founder)[0]!
    const isr = before.isr.filter((one) => one !== away)
    const old = { ...before, isr }
    // A view that shows what was before the change for as long as the store is silent.
    const stale = {
      brokers: view.brokers,
      leaderships: new Map([[id, old]]),
      refreshLeadership: () => Promise.reject(new Error('the store cannot be reached')),
    }
    const topic = view.topicByName('orders')!
    const registration = { nodeId: founder, brokerEpoch: old.leaderBrokerEpoch, holds: true }
    const done = { is: 'done', leadership: { ...before, version: before.version + 1 } }
    const led = new LedTopic(topic, old, {
      registration,
      view: stale,
      store: { commit: () => Promise.resolve(done) },
      clock: rig.clock,
      random: new SimRandom(1),
      logger: nullLogger,
      replicaLagMs: 60_000,
      reread: () => undefined,
      damaged: () => undefined,
      settled: () => led.follow(stale.leaderships.get(id)!),
    } as unknown as LedTopicPorts)
    await led.term.ready()
    const link = { send: () => undefined, buffered: 0, whenDrained: () => undefined }
    led.feed.follow(
      away.node,
      { type: 'follow', stream: 1, epoch: 1, brokerEpoch: away.brokerEpoch, topicId: id, logs: [] },
      link,
    )
    led.feed.registered(away.node, away.brokerEpoch)
    await rig.run(1000)
    await settle()
    expect(led.feed.inSync.inSync.map(({ node: name }) => name)).toContain(away.node)
    led.feed.end('over')
  })

  it('is not spoken for under a later registration of its broker', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    const { view } = rig.life(founder).node
    const topic = view.topicByName('orders')!
    const leadership = view.leaderships.get(topic.id)!
    const registration = { nodeId: founder, brokerEpoch: leadership.leaderBrokerEpoch, holds: true }
    const led = new LedTopic(topic, leadership, {
      registration,
      clock: rig.clock,
      logger: nullLogger,
    } as unknown as LedTopicPorts)
    expect(led.feed.holds).toBe(true)
    registration.brokerEpoch += 100
    expect(led.feed.holds).toBe(false)
  })
})
