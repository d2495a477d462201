import { describe, expect, it } from 'vitest'
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
})
