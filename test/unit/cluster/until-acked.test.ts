import { describe, expect, it } from 'vitest'
import type { Gap } from '../../../src/subscription/subscription.ts'
import { HostRig } from '../../support/host-rig.ts'
import { settle } from '../../support/settle.ts'

const SETTINGS = { segmentBytes: 4096, retention: { untilAcked: true } }

async function rigOf(subscriptions: readonly string[], settings: object = SETTINGS): Promise<HostRig> {
  const rig = await HostRig.start()
  await rig.host.putTopic('orders', settings)
  for (const name of subscriptions) await rig.host.putSubscription('orders', name, { start: 'earliest' })
  await rig.publishMany('orders', 20)
  return rig
}

const why = (rig: HostRig): unknown => rig.host.whyRetained('orders')[0]

/** Gaps that a consumer is told which joins now and takes everything. */
async function gapsOf(rig: HostRig, subscription: string): Promise<Gap[]> {
  const gaps: Gap[] = []
  const attachment = rig.host.subscription('orders', subscription).attach({
    name: 'c',
    prefetch: 1000,
    weight: 1,
    deliver: () => undefined,
    gap: (gap) => gaps.push(gap),
    ready: () => true,
    ended: () => undefined,
  })
  await rig.settle()
  attachment.detach()
  return gaps
}

describe('retention until acknowledged', () => {
  it('keeps a segment for as long as one subscription owes an acknowledgement in it', async () => {
    const rig = await rigOf(['billing', 'audit'])
    const end = rig.firstEnd('orders')
    await rig.consume('orders', 'billing', 20)
    await rig.consume('orders', 'audit', end - 1)
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    expect(why(rig)).toEqual({ reason: 'subscription', subscription: 'audit', offset: end - 1 })
    await rig.consume('orders', 'audit', 1)
    expect(why(rig)).toBeNull()
    await rig.maintain()
    expect(rig.start('orders')).toBe(end)
    expect(why(rig)).toEqual({ reason: 'subscription', subscription: 'audit', offset: end })
    await rig.consume('orders', 'audit', 20)
    await rig.maintain()
    expect(rig.host.topic('orders').partitions[0]!.segments).toHaveLength(1)
    expect(why(rig)).toEqual({ reason: 'active_segment' })
    await rig.crash('power')
    expect(await gapsOf(rig, 'audit')).toEqual([])
  })

  it('keeps everything without a subscription, and lets go of what a deleted one held', async () => {
    const rig = await rigOf([])
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    expect(why(rig)).toEqual({ reason: 'no_subscription' })
    await rig.host.putSubscription('orders', 'billing', { start: 'latest' })
    await rig.host.putSubscription('orders', 'audit', { start: 'earliest' })
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    await rig.host.deleteSubscription('orders', 'audit')
    await rig.maintain()
    expect(rig.start('orders')).toBeGreaterThan(0)
  })

  it('counts a subscription that follows a pattern, and names it with the pattern', async () => {
    const rig = await rigOf(['billing'])
    await rig.host.putSubscription('*', 'audit', { start: 'earliest' })
    await rig.consume('orders', 'billing', 20)
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    expect(why(rig)).toEqual({ reason: 'subscription', subscription: 'audit', pattern: '*', offset: 0 })
    await rig.host.deleteSubscription('*', 'audit')
    await rig.maintain()
    expect(rig.start('orders')).toBeGreaterThan(0)
  })

  it('keeps what a subscription went back to, from the moment on in which it asked', async () => {
    const rig = await rigOf(['billing'])
    await rig.consume('orders', 'billing', 20)
    // The new position is not durable yet when retention looks.
    const seeking = rig.host.subscription('orders', 'billing').seek('earliest')
    await rig.maintain()
    await seeking
    expect(rig.start('orders')).toBe(0)
    await rig.crash('power')
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    expect(await gapsOf(rig, 'billing')).toEqual([])
  })

  it('is bounded by age and size, and then tells of the gap', async () => {
    const rig = await rigOf(['billing'], { ...SETTINGS, retention: { untilAcked: true, maxBytes: 9000 } })
    await rig.maintain()
    const start = rig.start('orders')
    expect(start).toBeGreaterThan(0)
    expect(await gapsOf(rig, 'billing')).toEqual([{ topic: 'orders', partition: 0, from: 0, to: start - 1 }])
  })

  it('takes only acknowledgements that are durable', async () => {
    const rig = await rigOf(['billing'])
    rig.disk.fail({ on: 'write', times: 1000, code: 'ENOSPC' })
    const found = rig.host.subscription('orders', 'billing')
    const [first] = await Promise.allSettled([found.pull(20, 0)])
    expect(first?.status).toBe('rejected')
    rig.disk.heal()
    rig.clock.advance(300)
    await rig.settle()
    const deliveries = await found.pull(20, 0)
    rig.disk.fail({ on: 'write', times: 1000, code: 'ENOSPC' })
    const ids = deliveries.flatMap(({ from, to }) =>
      Array.from({ length: to - from }, (_, i) => ({ partition: 0, offset: from + i })),
    )
    expect(found.pulled.ack(ids)).toBe(ids.length)
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    rig.disk.heal()
    for (const ms of [300, 100]) {
      rig.clock.advance(ms)
      await rig.settle()
    }
    await rig.maintain()
    expect(rig.start('orders')).toBeGreaterThan(0)
  })

  it('without it and without bounds keeps everything, and says so', async () => {
    const rig = await rigOf(['billing'], { segmentBytes: 4096 })
    await rig.consume('orders', 'billing', 20)
    await rig.maintain()
    expect(rig.start('orders')).toBe(0)
    expect(why(rig)).toEqual({ reason: 'policy', maxAgeMs: null, maxBytes: null, until: null })
    await rig.host.putTopic('orders', { retention: { maxAgeMs: 60_000 } })
    expect(why(rig)).toMatchObject({ reason: 'policy', maxAgeMs: 60_000, until: expect.stringMatching(/^2026-01-01T/) })
  })

  it('says nothing of a topic without messages', async () => {
    const rig = await HostRig.start()
    await rig.host.putTopic('orders', SETTINGS)
    expect(rig.host.whyRetained('orders')).toEqual([null])
  })
})

describe('a subscription that is made while retention runs', () => {
  /** Somebody subscribes so many turns after retention began, or before where that is negative. */
  async function subscribeDuring(turns: number, how: 'create' | 'seek'): Promise<{ gaps: Gap[]; moved: boolean }> {
    const rig = await rigOf(['billing', ...(how === 'seek' ? ['audit'] : [])])
    await rig.consume('orders', 'billing', 20)
    if (how === 'seek') await rig.consume('orders', 'audit', 20)
    const subscribe = async (): Promise<void> => {
      if (how === 'create') await rig.host.putSubscription('orders', 'audit', { start: 'earliest' })
      else await rig.host.subscription('orders', 'audit').seek('earliest')
    }
    const early = turns < 0 ? subscribe() : null
    for (let turn = turns; turn < 0; turn++) await settle()
    rig.clock.advance(5000)
    for (let turn = 0; turn < turns; turn++) await settle()
    await (early ?? subscribe())
    await rig.settle()
    await rig.maintain()
    return { gaps: await gapsOf(rig, 'audit'), moved: rig.start('orders') > 0 }
  }

  it.each(['create', 'seek'] as const)(
    'begins after what goes, or keeps it: never a gap (%s)',
    async (how) => {
      const moved = new Set<boolean>()
      for (let turns = -20; turns < 30; turns++) {
        const outcome = await subscribeDuring(turns, how)
        expect(outcome.gaps, `after ${turns} turns`).toEqual([])
        moved.add(outcome.moved)
      }
      expect(moved).toEqual(new Set([false, true]))
    },
    60_000,
  )
})
