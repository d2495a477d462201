import { describe, expect, it } from 'vitest'
import { HostRig } from '../../support/host-rig.ts'

const COMPACTED = { compact: true, segmentBytes: 4096, tombstoneMs: 60_000 }
const LONG = '.'.repeat(500)

/** Sixty messages over three keys, in several sealed segments; what is not sealed yet is not compacted. */
async function rigOf(settings: object = {}): Promise<HostRig> {
  const rig = await HostRig.start()
  await rig.host.putTopic('prices', { ...COMPACTED, ...settings })
  await fill(rig, 60)
  return rig
}

async function fill(rig: HostRig, count: number, options: { idempotencyKey?: string } = {}): Promise<void> {
  for (let i = 0; i < count; i++) {
    const idempotencyKey = options.idempotencyKey && `${options.idempotencyKey}${i}`
    await rig.publish('prices', `${i} ${LONG}`, { key: `k${i % 3}`, ...(idempotencyKey ? { idempotencyKey } : {}) })
  }
}

/** Offsets that are there, read as a reader without a subscription does. */
async function offsets(rig: HostRig): Promise<number[]> {
  const partition = rig.host.topic('prices').partitions[0]!
  const found: number[] = []
  for (let offset = partition.startOffset; offset < partition.highWatermark; ) {
    const batch = partition.cached(offset) ?? (await partition.load(offset))[0]!
    found.push(...[...batch.offsets()].filter((one) => one >= offset))
    offset = batch.nextOffset
  }
  return found
}

/** End of what is sealed. */
function sealedEnd(rig: HostRig): number {
  return rig.host.topic('prices').partitions[0]!.segments.at(-1)!.baseOffset
}

describe('a topic that compacts', () => {
  it('is compacted while it is served, and readers see it at once', async () => {
    const rig = await rigOf()
    expect(await offsets(rig)).toHaveLength(60)
    await rig.maintain()
    const end = sealedEnd(rig)
    const kept = await offsets(rig)
    expect(kept).toEqual(Array.from({ length: 60 - (end - 3) }, (_, i) => end - 3 + i))
    await rig.crash('power')
    expect(await offsets(rig)).toEqual(kept)
    expect(rig.poison).toEqual([])
  })

  it('is left as it is when the setting is off, and done when it comes on', async () => {
    const rig = await rigOf({ compact: false })
    await rig.maintain()
    expect(await offsets(rig)).toHaveLength(60)
    await rig.host.putTopic('prices', { compact: true })
    await rig.maintain()
    expect((await offsets(rig)).length).toBeLessThan(20)
  })

  it('gives a subscription what is left, and acknowledges the rest for it', async () => {
    const rig = await rigOf()
    await rig.host.putSubscription('prices', 'all', { start: 'earliest' })
    await rig.maintain()
    expect(await rig.consume('prices', 'all', 1000)).toEqual(await offsets(rig))
    await rig.settle()
    expect(rig.host.subscription('prices', 'all').state()).toMatchObject({
      backlog: 0,
      cursors: [{ ackedThrough: 60, ackedAhead: 0 }],
    })
  })

  it('does not redeliver what went while it waited', async () => {
    const rig = await rigOf()
    await rig.host.putSubscription('prices', 'all', { start: 'earliest' })
    const found = rig.host.subscription('prices', 'all')
    const first = await found.pull(5, 0)
    expect(first.length).toBeGreaterThan(0)
    found.pulled.nack(
      [0, 1, 2, 3, 4].map((offset) => ({ partition: 0, offset })),
      0,
    )
    await rig.maintain()
    const again = await found.pull(1000, 0)
    expect(Math.min(...again.map(({ from }) => from))).toBe(sealedEnd(rig) - 3)
  })

  it.each(['key_shared', 'exclusive'] as const)('is passed over in order on %s', async (type) => {
    const rig = await rigOf()
    await rig.host.putSubscription('prices', 'all', { start: 'earliest', type })
    await rig.maintain()
    expect(await rig.consume('prices', 'all', 1000)).toEqual(await offsets(rig))
  })

  it('still knows an idempotency key whose message a later one hides', async () => {
    const rig = await rigOf({ deduplicationWindowMs: 100_000 })
    await fill(rig, 60, { idempotencyKey: 'once' })
    await rig.maintain()
    expect((await offsets(rig)).filter((offset) => offset >= 60)).toHaveLength(60)
    await rig.crash('power')
    expect(await rig.publish('prices', 'again', { key: 'k0', idempotencyKey: 'once0' })).toMatchObject({
      offset: 60,
      duplicate: true,
    })
    rig.clock.advance(100_000)
    await rig.settle()
    await rig.maintain()
    expect((await offsets(rig)).length).toBeLessThan(20)
  })

  it('goes by age and size too', async () => {
    const rig = await rigOf({ retention: { maxBytes: 4000 } })
    await rig.maintain()
    await rig.maintain()
    expect(rig.start('prices')).toBeGreaterThan(0)
    await rig.crash('power')
    expect(rig.poison).toEqual([])
  })

  it('is closed, deleted or switched off in the middle of a round', async () => {
    for (const how of ['close', 'delete', 'off'] as const) {
      const rig = await rigOf()
      rig.clock.advance(5000)
      await rig.settle(8)
      if (how === 'close') await rig.host.close()
      else if (how === 'delete') await rig.host.deleteTopic('prices')
      else await rig.host.putTopic('prices', { compact: false })
      await rig.settle()
      expect(rig.poison).toEqual([])
      if (how === 'delete') expect(rig.disk.files()).toEqual([])
      else expect(rig.disk.files().filter((path) => path.endsWith('compacting'))).toEqual([])
    }
  })

  it('waits where there is no room, and serves on', async () => {
    const rig = await rigOf()
    rig.disk.capacityBytes = rig.disk.usedBytes
    await rig.maintain()
    expect(await offsets(rig)).toHaveLength(60)
    rig.disk.capacityBytes = 2 ** 40
    await rig.maintain()
    await rig.maintain()
    expect((await offsets(rig)).length).toBeLessThan(20)
    expect(rig.poison).toEqual([])
  })
})
