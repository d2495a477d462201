import { TOPIC_DEFAULTS } from '@tidings/sdk/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { encodeTopic, topicKey } from '../../../src/cluster/catalog-entry.ts'
import type { VersionedLeadership } from '../../../src/cluster/leadership-entry.ts'
import { REBALANCE_KEY } from '../../../src/cluster/rebalance-request.ts'
import { type Member, MemberRig } from '../../support/member-rig.ts'

const TTL_MS = 5000
const MINUTE_MS = 60_000

let rig: MemberRig

beforeEach(() => {
  rig = new MemberRig()
})

async function join(...nodes: string[]): Promise<void> {
  for (const node of nodes) (await rig.join(node)).control()
}

const member = (node: string): Member => rig.members.get(node)!
const leadership = async (topicId = 't-0'): Promise<VersionedLeadership> => (await rig.store.read(topicId))!
const topicIds = (count: number): string[] => Array.from({ length: count }, (_, i) => `t-${i}`)

async function topics(count: number, nodes: readonly string[], replicationFactor = nodes.length): Promise<void> {
  for (const id of topicIds(count)) {
    const settings = { ...TOPIC_DEFAULTS, replicationFactor }
    const value = encodeTopic({ id, name: id, settings }, 'n')
    await rig.coordinator.transact([], [{ put: topicKey(id), value }])
    await rig.topic(id, nodes)
  }
}

/** Until it is so, and no longer than that. */
async function until(ms: number, isSo: () => Promise<boolean>): Promise<boolean> {
  for (let passed = 0; passed < ms; passed += 100) {
    if (await isSo()) return true
    await rig.pass(100)
  }
  return isSo()
}

describe('the controller', () => {
  it('is the broker that has been registered longest, and the next one when that is gone', async () => {
    await join('b', 'a', 'c')
    await rig.pass(200)
    const acting = (): string[] =>
      [...rig.members.values()].filter((one) => one.controller.isActing).map((one) => one.nodeId)
    expect(acting()).toEqual(['b'])
    member('b').kill()
    rig.members.delete('b')
    await rig.pass(TTL_MS + 500)
    expect(acting()).toEqual(['a'])
    await member('a').leave()
    await rig.pass(200)
    expect(acting()).toEqual(['c'])
  })

  it('moves the leaderships of a broker on its way out to others, evenly, while all topics stay led', async () => {
    await join('a', 'b', 'c')
    await topics(40, ['a', 'b', 'c'])
    await member('a').registration.announce({ draining: true })
    expect(await until(5000, async () => (await led()).a === 0)).toBe(true)
    const counts = await led()
    expect(Math.abs(counts.b! - counts.c!)).toBeLessThanOrEqual(2)
    for (const id of topicIds(40)) {
      expect(await leadership(id)).toMatchObject({ epoch: 2, wanted: null })
    }
    // And none comes back while it stays so, nor before it has been back for a while.
    await rig.pass(MINUTE_MS)
    expect((await led()).a).toBe(0)
    await member('a').registration.announce({ draining: false })
    await rig.pass(3000)
    expect((await led()).a).toBeGreaterThan(0)
  })

  async function led(count = 40): Promise<Record<string, number>> {
    const leaders = await Promise.all(topicIds(count).map(async (id) => (await leadership(id)).leader))
    return Object.fromEntries(['a', 'b', 'c'].map((node) => [node, leaders.filter((leader) => leader === node).length]))
  }

  it('drains a broker also when that is the controller, and it may leave before all is done', async () => {
    await join('a', 'b', 'c')
    await topics(20, ['a', 'b', 'c'])
    expect(member('a').controller.isActing).toBe(true)
    await member('a').registration.announce({ draining: true })
    await rig.pass(50)
    await member('a').leave()
    await rig.pass(2000)
    expect(await led(20)).toEqual({ a: 0, b: expect.any(Number), c: expect.any(Number) })
  })

  it('gives topics back to the broker that should lead them, one at a time, when it has been back for a while', async () => {
    await join('b', 'c', 'a')
    await topics(5, ['a', 'b', 'c'])
    member('a').kill()
    await rig.pass(TTL_MS + 2000)
    expect((await led(5)).a).toBe(0)
    await join('a')
    await rig.pass(20_000)
    expect((await led(5)).a).toBe(0)
    let most = 0
    let before = 0
    for (let second = 0; second < 30; second++) {
      await rig.pass(1000)
      const now = (await led(5)).a!
      most = Math.max(most, now - before)
      before = now
    }
    expect(before).toBe(5)
    expect(most).toBeLessThanOrEqual(2)
  })

  it('makes copies elsewhere when a broker stays away, ten minutes after it went, and tells it to remove its own', async () => {
    await join('a', 'b', 'c', 'd')
    await topics(8, ['a', 'b', 'c'])
    member('c').kill()
    await rig.pass(9 * MINUTE_MS)
    expect((await leadership()).replicas).toEqual(['a', 'b', 'c'])
    await rig.pass(2 * MINUTE_MS)
    for (const id of topicIds(8)) {
      expect(await leadership(id)).toMatchObject({ replicas: ['a', 'b', 'd'], target: null, leaving: ['c'] })
      expect((await leadership(id)).isr.map(({ node }) => node).sort()).toEqual(['a', 'b', 'd'])
    }
  }, 30_000)

  it('makes none where no broker is left to take them, nor when it is set so, nor when most are away', async () => {
    await join('a', 'b', 'c')
    await topics(1, ['a', 'b', 'c'])
    member('c').kill()
    await rig.pass(12 * MINUTE_MS)
    expect(await leadership()).toMatchObject({ replicas: ['a', 'b', 'c'], target: null, leaving: [] })

    rig = new MemberRig()
    rig.control = { replaceAfterMs: null }
    await join('a', 'b', 'c', 'd')
    await topics(1, ['a', 'b', 'c'])
    member('c').kill()
    await rig.pass(12 * MINUTE_MS)
    expect((await leadership()).replicas).toEqual(['a', 'b', 'c'])

    rig = new MemberRig()
    await join('a', 'b', 'c', 'd', 'e')
    await topics(1, ['a', 'b', 'c'])
    for (const node of ['b', 'c']) member(node).kill()
    await topics(1, ['a', 'b', 'c', 'd', 'e'])
    for (const node of ['d', 'e']) member(node).kill()
    await rig.pass(12 * MINUTE_MS)
    expect((await leadership()).target).toBeNull()
  }, 60_000)

  it('R-CANDIDATE: never gives up a replica before all new ones are in sync', async () => {
    await join('a', 'b', 'c', 'd')
    await topics(1, ['a', 'b', 'c'])
    member('a').leader.slow.add('d')
    member('c').kill()
    await rig.pass(12 * MINUTE_MS)
    expect(await leadership()).toMatchObject({ target: ['a', 'b', 'd'], replicas: ['a', 'b', 'd', 'c'], leaving: [] })
    member('a').leader.slow.clear()
    // Any change of the cluster makes the leader look again.
    await (await rig.join('e')).leave()
    await rig.pass(2000)
    expect(await leadership()).toMatchObject({ target: null, replicas: ['a', 'b', 'd'], leaving: ['c'] })
  }, 30_000)

  it('follows a changed replication factor', async () => {
    await join('a', 'b', 'c')
    await topics(1, ['a'], 3)
    await rig.pass(3000)
    expect((await leadership()).replicas.length).toBe(3)
    expect((await leadership()).isr.length).toBe(3)
  })

  it('rebalances when it is told to, by whichever broker, a few topics at a time, and is done then', async () => {
    rig.control = { movesAtOnce: 2 }
    await join('a', 'b', 'c')
    await topics(12, ['a', 'b', 'c'])
    await join('d', 'e', 'f')
    await rig.pass(2000)
    expect((await leadership()).replicas).toEqual(['a', 'b', 'c'])
    await member('e').controller.requestRebalance('ops')
    let most = 0
    const request = async (): Promise<unknown> => {
      const moving = await Promise.all(topicIds(12).map(async (id) => (await leadership(id)).target))
      most = Math.max(most, moving.filter((target) => target !== null).length)
      return rig.coordinator.get(REBALANCE_KEY)
    }
    expect(await until(60_000, async () => (await request()) === null)).toBe(true)
    expect(most).toBeLessThanOrEqual(2)
    const replicas = await Promise.all(topicIds(12).map(async (id) => (await leadership(id)).replicas))
    for (const node of ['a', 'b', 'c', 'd', 'e', 'f']) {
      expect(replicas.filter((nodes) => nodes.includes(node)).length).toBe(6)
      expect(replicas.filter(([first]) => first === node).length).toBe(2)
    }
  }, 30_000)

  it('keeps the dead letters of a topic with it', async () => {
    await join('a', 'b', 'c')
    await topics(1, ['a', 'b', 'c'])
    await rig.topic('t-dead', ['b'], { like: 't-0', replicas: ['b'] })
    await rig.pass(3000)
    expect(await leadership('t-dead')).toMatchObject({ replicas: ['a', 'b', 'c'], target: null })
    await rig.pass(40_000)
    expect((await leadership('t-dead')).leader).toBe('a')
  })

  it('does nothing while the store is away, and goes on when it is back', async () => {
    await join('a', 'b', 'c')
    await topics(3, ['a', 'b', 'c'])
    for (const one of rig.members.values()) one.net.isCut = true
    await rig.pass(3000)
    for (const one of rig.members.values()) one.net.isCut = false
    await member('a').registration.announce({ draining: true })
    expect(await until(5000, async () => (await led(3)).a === 0)).toBe(true)
    expect(member('a').logger.count(/controller could not/)).toBeLessThanOrEqual(2)
  })
})
