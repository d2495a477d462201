import { describe, expect, it } from 'vitest'
import type { PublishInput, PublishReceipt } from '../../../src/partition/topic.ts'
import type { Survival } from '../../../src/testing/sim-file.ts'
import { type ProducerRig, producerRig } from '../../support/producer-rig.ts'
import { record } from '../../support/storage.ts'

function keyed(key: string, bytes = 1500): PublishInput {
  return {
    key: null,
    value: Buffer.alloc(bytes, 'x'),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: Buffer.from(key),
    partition: null,
    ttlMs: null,
    valueChecked: true,
  }
}

function publish(rig: ProducerRig, input: PublishInput): Promise<PublishReceipt> {
  return new Promise((resolve, reject) => {
    rig.topic.publish(input, (error, receipt) => (error ? reject(error) : resolve(receipt as PublishReceipt)))
  })
}

function produce(
  rig: ProducerRig,
  sequence: number,
  bytes = 1500,
): Promise<{ baseOffset: number; duplicate: boolean }> {
  const records = record('x'.repeat(bytes))
  return new Promise((resolve, reject) => {
    rig.topic.produce({ producerId: 9, sequence, partitionCount: 1, count: 1, records }, (error, receipt) => {
      if (error) reject(error)
      else resolve({ baseOffset: receipt!.parts[0]!.baseOffset, duplicate: receipt!.duplicate })
    })
  })
}

/** Segments of a few messages each, of which the oldest go as soon as retention looks. */
function small(): Promise<ProducerRig> {
  return producerRig({
    settings: { segmentBytes: 4096, retention: { maxAgeMs: null, maxBytes: 4096, untilAcked: false } },
  })
}

const SURVIVALS: Survival[] = ['none', 'all', 'none']

describe('what retention removes', () => {
  it('is still known by its Idempotency-Key, after any number of restarts', async () => {
    const rig = await small()
    const receipts = new Map<string, PublishReceipt>()
    for (let i = 0; i < 12; i++) receipts.set(`k${i}`, await publish(rig, keyed(`k${i}`)))
    await rig.maintain()
    expect(rig.topic.partitions[0]!.startOffset).toBeGreaterThan(6)
    for (const survival of SURVIVALS) {
      await rig.crash(survival)
      for (const [key, receipt] of receipts) {
        expect(await publish(rig, keyed(key))).toEqual({ ...receipt, duplicate: true })
      }
      await rig.maintain()
    }
  })

  it('goes from a disk without any room as soon as nothing of it has to be known any more', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await publish(rig, keyed(`k${i}`))
    const [partition] = rig.topic.partitions
    // Aged too, so that the active segment is to be sealed, for which there is no room either.
    rig.topic.configure({ ...rig.topic.settings, retention: { maxAgeMs: 400_000, maxBytes: 4096, untilAcked: false } })
    rig.disk.capacityBytes = rig.disk.usedBytes
    rig.clock.advance(500_000)
    const before = rig.disk.usedBytes
    await rig.maintain()
    expect(partition!.startOffset).toBeGreaterThan(6)
    expect(rig.disk.usedBytes).toBeLessThan(before - 8000)
    // There is room for the rest by now.
    await rig.maintain()
    await rig.maintain()
    expect(partition!.startOffset).toBe(12)
    expect(rig.poison).toEqual([])
    await publish(rig, keyed('after'))
    await rig.crash('none')
    expect(rig.topic.partitions[0]!.nextOffset).toBe(13)
  })

  it('stays on a disk without any room while it may be repeated, and nothing of it is forgotten', async () => {
    const rig = await small()
    const receipts = new Map<string, PublishReceipt>()
    for (let i = 0; i < 400; i++) receipts.set(`k${i}`, await publish(rig, keyed(`k${i}`, 100)))
    const free = rig.disk.capacityBytes
    rig.disk.capacityBytes = rig.disk.usedBytes
    await rig.maintain()
    await rig.maintain()
    rig.disk.capacityBytes = free
    await rig.maintain()
    expect(rig.topic.partitions[0]!.startOffset).toBeGreaterThan(300)
    await rig.crash('none')
    for (const [key, receipt] of receipts)
      expect(await publish(rig, keyed(key, 100))).toEqual({ ...receipt, duplicate: true })
    expect(rig.poison).toEqual([])
  })

  it('is still known by the numbers of its frames', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await produce(rig, i)
    await rig.maintain()
    for (const survival of SURVIVALS) {
      await rig.crash(survival)
      for (let i = 4; i < 12; i++) expect(await produce(rig, i)).toEqual({ baseOffset: i, duplicate: true })
      await rig.maintain()
    }
    expect(await produce(rig, 12)).toEqual({ baseOffset: 12, duplicate: false })
  })

  it('is known whatever the disk keeps of a power cut at any operation of it', { timeout: 60_000 }, async () => {
    for (let cut = 0; ; cut++) {
      const rig = await small()
      for (let i = 0; i < 6; i++) await publish(rig, keyed(`k${i}`))
      for (let i = 0; i < 6; i++) await produce(rig, i)
      const isOver = await rig.maintainUpTo(cut)
      await rig.crash()
      for (let i = 0; i < 6; i++)
        expect(await publish(rig, keyed(`k${i}`))).toMatchObject({ offset: i, duplicate: true })
      for (let i = 0; i < 6; i++) expect(await produce(rig, i)).toEqual({ baseOffset: 6 + i, duplicate: true })
      if (isOver) break
    }
  })

  it('stays where there is no room to keep its keys', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await publish(rig, keyed(`k${i}`))
    // Twice: room that can be had is made.
    for (let i = 0; i < 2; i++) {
      rig.disk.fail({ on: 'create', code: 'ENOSPC', path: (path) => path.includes('remembered') })
    }
    await rig.maintain()
    expect(rig.topic.partitions[0]!.startOffset).toBe(0)
    await rig.maintain()
    expect(rig.topic.partitions[0]!.startOffset).toBeGreaterThan(6)
    await rig.crash()
    expect(await publish(rig, keyed('k0'))).toMatchObject({ offset: 0, duplicate: true })
  })

  it('is let go of when it is too old to be repeated', async () => {
    const rig = await small()
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 6; i++) await publish(rig, keyed(`k${round}-${i}`))
      await rig.maintain()
      rig.clock.advance(300_001)
    }
    await rig.maintain()
    const bytes = rig.disk.files().filter((path) => path.includes('/remembered/'))
    expect(bytes.filter((path) => path.endsWith('.log'))).toHaveLength(1)
  })

  it('costs nothing where no message has a key', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await publish(rig, { ...keyed('none'), idempotencyKey: null })
    await rig.maintain()
    expect(rig.topic.partitions[0]!.startOffset).toBeGreaterThan(6)
    expect(rig.disk.files().some((path) => path.includes('remembered'))).toBe(false)
  })
})

describe('damage', () => {
  it('in what was kept of removed messages is said, put aside, and keeps nobody from the rest', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await publish(rig, keyed(`k${i}`))
    await rig.maintain()
    await rig.close()
    const kept = rig.disk.files().find((path) => path.includes('remembered') && path.endsWith('.log'))!
    rig.disk.flipBit(kept, 200, 3)
    await rig.crash()
    expect(rig.errors).toEqual([expect.stringContaining('is damaged and put aside')])
    expect(await publish(rig, keyed('k0'))).not.toHaveProperty('duplicate')
    expect(await publish(rig, keyed('k11'))).toMatchObject({ offset: 11, duplicate: true })
    await rig.maintain()
    await rig.crash()
    expect(rig.errors).toEqual([])
  })

  it('in the length of a frame hides nothing of what follows it without a word', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await produce(rig, i)
    rig.disk.flipBit('partitions/topic-0/data/00000000000000000000.log', 64 + 4, 3)
    await rig.maintain()
    expect(rig.errors).toEqual([expect.stringContaining('that retention removes is damaged')])
    expect(rig.poison).toEqual([])
  })

  it('in a segment that goes loses its keys, not the broker', async () => {
    const rig = await small()
    for (let i = 0; i < 12; i++) await publish(rig, keyed(`k${i}`))
    rig.disk.flipBit('partitions/topic-0/data/00000000000000000000.log', 300, 3)
    await rig.maintain()
    expect(rig.errors).toEqual([expect.stringContaining('that retention removes is damaged')])
    expect(rig.poison).toEqual([])
    expect(rig.topic.partitions[0]!.startOffset).toBeGreaterThan(6)
  })
})
