import { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { LeaderFeed } from '../../../src/cluster/leader-feed.ts'
import { LEADERSHIP } from '../../../src/cluster/leadership-entry.ts'
import { ClusterRig } from '../../support/cluster-rig.ts'

/** How many of the messages that were scheduled the broker's disk holds in the log of them. */
function scheduledAt(rig: ClusterRig, node: string): number {
  const disk = rig.disk(node)
  const texts = disk
    .files()
    .filter((path) => /schedule/.test(path))
    .map((path) => disk.content(path)?.toString('latin1') ?? '')
  return new Set(texts.flatMap((text) => text.match(/later-\d+/g) ?? [])).size
}

describe('a failover', () => {
  it('leaves what is scheduled whole at every broker that is in sync, while the next leader opens it', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    const deliverAt = Math.floor(rig.life(founder).clock.now()) + 3_600_000
    // The next leader waits for the others before it shows this, and so they follow while it opens the topic.
    await rig.publish('orders', 'now')
    for (let i = 0; i < 20; i++) await rig.publish('orders', `later-${i}`, { deliverAt })
    const others = rig.nodes.filter((node) => node !== founder)
    expect(others.map((node) => scheduledAt(rig, node))).toEqual([20, 20])
    await rig.crash(founder)
    let least = 20
    await rig.until(() => {
      least = Math.min(least, ...others.map((node) => scheduledAt(rig, node)))
      return rig.leaderOf('orders') !== null
    })
    expect(least).toBe(20)
  })

  it('never goes to a broker whose disk was replaced and that has copied only a part again', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    for (let i = 0; i < 300; i++) await rig.publish('orders', `${i} ${'x'.repeat(5000)}`)
    const [emptied, full] = rig.nodes.filter((node) => node !== founder) as [string, string]
    for (const node of rig.nodes) await rig.crash(node)
    const disk = rig.disk(emptied).mount()
    for (const name of await disk.list('partitions')) await disk.removeTree(`partitions/${name}`)
    await disk.syncDirectory('partitions')
    rig.disk(emptied).crash('process')
    await rig.boot(emptied)
    await rig.run(8000)
    await rig.boot(full)
    const feed = (): LeaderFeed | null => {
      const { view, replicas } = rig.life(full).node
      return replicas.feedOf(view.topicByName('orders')?.id ?? '')
    }
    await rig.until(() => (feed()?.inSync.followers.get(emptied)?.durable(0) ?? -1) >= 0)
    await rig.crash(full)
    await rig.run(30_000)
    expect(rig.leaderOf('orders')).toBeNull()
    await rig.boot(full)
    expect((await rig.values('orders')).length).toBe(300)
  })

  it('follows when the leader finds its copy damaged, also where the store does not hear of that at first', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    await rig.crash(rig.nodes.find((node) => node !== founder)!)
    for (let i = 0; i < 60; i++) await rig.publish('orders', `${i} ${'x'.repeat(5000)}`)
    const disk = rig.disk(founder)
    const path = disk.files().find((name) => name.includes('/data/') && (disk.content(name)?.length ?? 0) > 100_000)!
    disk.flipBit(path, 50_000, 3)
    const { coordinator, node } = rig.life(founder)
    coordinator.refusal = { under: LEADERSHIP, error: new TidingsError('no_leader', 'the store could not be asked') }
    await rig.boot(rig.nodes.find((name) => !rig.isUp(name))!)
    await rig.until(() => node.replicas.damages.length > 0)
    await rig.run(1000)
    coordinator.refusal = null
    await rig.until(() => ![null, founder].includes(rig.leaderOf('orders')))
    expect((await rig.values('orders')).length).toBe(60)
  })

  it('leaves no broker out that could not open its files at once', async () => {
    const rig = await ClusterRig.start(3)
    const founder = await rig.make('orders')
    await rig.publish('orders', 'm0')
    const other = rig.nodes.find((node) => node !== founder)!
    await rig.crash(other)
    rig.disk(other).fail({ on: 'open', path: (path) => path.includes('partitions/'), code: 'EMFILE' })
    await rig.boot(other)
    const { view } = rig.life(other).node
    const isBack = (): boolean => {
      const isr = view.leaderships.get(view.topicByName('orders')?.id ?? '')?.isr ?? []
      const now = view.brokers.get(other)?.brokerEpoch
      return isr.some(({ node, brokerEpoch }) => node === other && brokerEpoch === now)
    }
    await rig.until(isBack)
    expect(rig.life(founder).host.facts.topics()[0]?.copies.isr.length).toBe(3)
  })
})
