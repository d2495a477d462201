/** Deliberate bugs of replication, each one from the history of others: the simulation of copying must see every one. */
import { describe, expect, it } from 'vitest'
import type { Cut } from '../../src/cluster/copy-plan.ts'
import { Follower } from '../../src/cluster/follower.ts'
import { InSync } from '../../src/cluster/in-sync.ts'
import { LeaderFeed } from '../../src/cluster/leader-feed.ts'
import { append, BROKER_EPOCHS, CopyRig, texts } from '../support/copy-rig.ts'
import { WatchedLog } from './copying-machine.ts'
import { CopyScenario } from './copying-scenario.ts'
import { type Repair, sabotage } from './sabotage.ts'

/** Seeds in which a bug must have shown. */
const SEEDS_MAX = 60

const BUGS: Record<string, () => Repair[]> = {
  'a cut to the high watermark (KIP-101)': () => [
    sabotage(Follower.prototype, 'cutOf', (_real, [mine, theirs, committed]): Cut => {
      const to = Math.min(Math.max(committed, theirs.start, mine.start), mine.end)
      return to < theirs.start ? { kind: 'restart', at: theirs.start } : { kind: 'truncate', to }
    }),
  ],
  'in-sync replicas that count only when the store has them (no maximal set)': () => [
    sabotage(InSync.prototype, 'counting', (_real, _args, self) => new Set(self.inSync.map(({ node }) => node))),
  ],
  'a report of what is not synced as durable': () => [
    sabotage(Follower.prototype, 'durableOf', (_real, [copier]) => copier.written),
  ],
  'a replica taken in without what the epoch began with (KIP-320, first try)': () => [
    sabotage(
      InSync.prototype,
      'isShort',
      (_real, [follower, log], self) => follower.durable(log) < self.mark(log).durable,
    ),
  ],
  'an answer above the high watermark': () => [sabotage(LeaderFeed.prototype, 'counts', (_real, [local]) => local)],
  'a follower that keeps what does not agree': () => [
    sabotage(Follower.prototype, 'cutOf', (real, args): Cut => {
      const cut = real(...args)
      return cut.kind === 'truncate' ? { kind: 'none' } : cut
    }),
  ],
  'a cut that does not reach the disk': () => [
    sabotage(WatchedLog.prototype, 'truncate', async (_real, [to], self) => {
      self.expected.records.length = to - self.expected.start
      self.expected.durable = to
      return Promise.resolve()
    }),
  ],
}

async function hunt(): Promise<string | null> {
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    try {
      await new CopyScenario({ seed }).run()
    } catch (error) {
      return `seed ${seed}: ${String(error).slice(0, 140)}`
    }
  }
  return null
}

describe('the zoo of replication', () => {
  for (const [bug, breaks] of Object.entries(BUGS)) {
    it(`catches ${bug}`, async () => {
      const repairs = breaks()
      try {
        const caught = await hunt()
        console.log(`${bug}: ${caught ?? 'not caught'}`)
        expect(caught, `not caught within ${SEEDS_MAX} seeds`).not.toBeNull()
      } finally {
        for (const repair of repairs) repair()
      }
    }, 600_000)
  }

  it('catches epochs that are not compared, by a broker that lives in the past', async () => {
    expect(await followedAPastLeader()).toBeNull()
    const repairs = [
      sabotage(LeaderFeed.prototype, 'isOfEpoch', () => true),
      sabotage(Follower.prototype, 'isOfEpoch', () => true),
      sabotage(Follower.prototype, 'mayFollow', () => true),
    ]
    try {
      expect(await followedAPastLeader()).toBe('c lost what it had told durable')
    } finally {
      for (const repair of repairs) repair()
    }
  })

  it('catches an epoch that is not remembered, by a broker that restarts into the past', async () => {
    const repair = sabotage(Follower.prototype, 'mayFollow', (_real, [epoch]) => epoch >= 2)
    try {
      expect(await followedAPastLeader()).toBe('c lost what it had told durable')
    } finally {
      repair()
    }
  })
})

/** `a` leads epoch 3 and commits with `c`, which then takes `b` for the leader: that of epoch 2, which does not know. */
async function followedAPastLeader(): Promise<string | null> {
  const rig = new CopyRig()
  const [a, b, c] = [rig.replica('0/data'), rig.replica('0/data'), rig.replica('0/data')]
  const past = await rig.lead('b', b, { epoch: 2 })
  append(b.logs.get('0/data')!, past.quorum('0/data', b.logs.get('0/data')!), ['never committed'], 2)
  const inSync = ['a', 'c'].map((node) => ({ node, brokerEpoch: BROKER_EPOCHS[node]! }))
  const present = await rig.lead('a', a, { epoch: 3, inSync })
  const quorum = present.quorum('0/data', a.logs.get('0/data')!)
  const follower = rig.follow('c', c, { epoch: 3 })
  await rig.pass(100)
  append(a.logs.get('0/data')!, quorum, ['committed'], 3)
  await rig.pass(100)
  expect(quorum.durable(1)).toBe(1)
  const told = texts(c.logs.get('0/data')!)
  await follower.stop()
  const late = rig.follow('c', c, { epoch: 2, leader: { nodeId: 'b', address: 'sim:b' } })
  await rig.pass(1000)
  await late.stop()
  return texts(c.logs.get('0/data')!).join() === told.join() ? null : 'c lost what it had told durable'
}
