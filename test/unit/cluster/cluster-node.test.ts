import { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { LEADERSHIP, type VersionedLeadership } from '../../../src/cluster/leadership-entry.ts'
import { moveTo } from '../../../src/cluster/reassignment.ts'
import { ClusterRig, LEASE_MS } from '../../support/cluster-rig.ts'

describe('three brokers', () => {
  it('lead topics that they make, and copy those of the others', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    expect(rig.leaderOf('orders')).toBe(founder)
    for (let i = 0; i < 20; i++) await rig.publish('orders', `m${i}`)
    expect(await rig.values('orders')).toEqual(Array.from({ length: 20 }, (_, i) => `m${i}`))
    const [topic] = rig.life(founder).host.facts.topics()
    expect(topic?.copies.isr.length).toBe(3)
  })

  it('go on within the lease and a second when the leader dies, with all that was answered', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    for (let i = 0; i < 20; i++) await rig.publish('orders', `m${i}`)
    const before = rig.clock.monotonic()
    await rig.crash(founder, 'power')
    await rig.until(() => rig.leaderOf('orders') !== null)
    expect(rig.leaderOf('orders')).not.toBe(founder)
    expect(rig.clock.monotonic() - before).toBeLessThan(LEASE_MS + 1000)
    await rig.publish('orders', 'after')
    expect((await rig.values('orders')).length).toBe(21)
  })

  it('take a broker back that was away', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    for (let i = 0; i < 20; i++) await rig.publish('orders', `m${i}`)
    await rig.crash(founder, 'power')
    await rig.publish('orders', 'between')
    await rig.boot(founder)
    const inSync = (): number =>
      rig.life(rig.leaderOf('orders') ?? founder).host.facts.topics()[0]?.copies.isr.length ?? 0
    await rig.until(() => rig.leaderOf('orders') !== null && inSync() === 3)
    expect((await rig.values('orders')).length).toBe(21)
  })

  it('take nothing for stored that fewer copies have than the topic asks for by now', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    await rig.publish('orders', 'm0')
    await rig.during(rig.life(founder).host.putTopic('orders', { minInSyncReplicas: 3 }))
    const other = rig.nodes.find((node) => node !== founder)!
    await rig.crash(other)
    await rig.run(10_000)
    await expect(rig.publish('orders', 'm1')).rejects.toMatchObject({ code: 'not_enough_replicas' })
    await rig.during(rig.life(founder).host.putTopic('orders', { minInSyncReplicas: 2 }))
    await rig.publish('orders', 'm2')
    expect(await rig.values('orders')).toEqual(['m0', 'm2'])
  })

  it('lead a topic on, though nothing is in it yet, when whoever made it dies as soon as it said so', async () => {
    const rig = await ClusterRig.start(3)
    await rig.crash(await rig.make('orders'))
    await rig.publish('orders', 'm0')
    expect(await rig.values('orders')).toEqual(['m0'])
  })

  it('lead a topic on that has just got more partitions', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    await rig.publish('orders', 'm0')
    await rig.during(rig.life(founder).host.putTopic('orders', { partitions: 3 }))
    await rig.crash(founder)
    await rig.publish('orders', 'm1', { partition: 2 })
    expect(await rig.values('orders', 2)).toEqual(['m1'])
  })

  it('serve a topic on whose hand-over the store does not take', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    await rig.publish('orders', 'm0')
    const { coordinator, node } = rig.life(founder)
    coordinator.refusal = { under: LEADERSHIP, error: new TidingsError('no_leader', 'the store could not be asked') }
    await rig.during(node.replicas.drain())
    coordinator.refusal = null
    await rig.publish('orders', 'm1')
    expect(await rig.values('orders')).toEqual(['m0', 'm1'])
  })

  it('serve a topic whose founder could not open it at once', async () => {
    const rig = await ClusterRig.start(3)
    const founder = rig.life('node-1').node.replicas.founderOf('orders')
    rig.disk(founder).fail({ on: 'list', path: (path) => path.includes('schedule'), code: 'EMFILE' })
    await expect(rig.make('orders')).rejects.toThrow('EMFILE')
    await rig.publish('orders', 'm0')
    expect(await rig.values('orders')).toEqual(['m0'])
  })

  it('take a topic that moved away from them again when it moves back', async () => {
    const rig = await ClusterRig.start(4)
    const founder = await rig.make('orders')
    await rig.publish('orders', 'm0')
    const { view } = rig.life(founder).node
    const now = (): VersionedLeadership => view.leaderships.get(view.topicByName('orders')!.id)!
    const before = now().replicas
    const away = before.find((node) => node !== founder)!
    const other = rig.nodes.find((node) => !before.includes(node))!
    for (const target of [before.map((node) => (node === away ? other : node)), before, [other, ...before.slice(1)]]) {
      const { guards, writes } = moveTo(now(), target, view.brokers.get(founder)!, `to ${target.join()}`)!
      expect(await rig.store.transact(guards, writes)).toMatchObject({ ok: true })
      const isThere = (): boolean =>
        now().target === null && String([...now().replicas].sort()) === String([...target].sort())
      await rig.until(() => isThere() && now().leaving.length === 0)
      const isEmpty = (node: string): boolean =>
        !rig
          .disk(node)
          .files()
          .some((path) => path.startsWith('partitions/'))
      expect(rig.nodes.filter(isEmpty)).toEqual(rig.nodes.filter((node) => !target.includes(node)))
      await rig.publish('orders', target.join())
    }
    expect((await rig.values('orders')).length).toBe(4)
  })
})
