import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { encodeFooter } from '../../../src/log/format.ts'
import { Log } from '../../../src/log/log.ts'
import type { RecordBatch } from '../../../src/log/record-batch.ts'
import { verifyLog } from '../../../src/log/verify.ts'
import { SimDisk } from '../../support/sim-disk.ts'
import { SimRandom } from '../../support/sim-random.ts'
import { batch, logOptions, TAG } from '../../support/storage.ts'

function newDisk(seed = 1): SimDisk {
  return new SimDisk({ random: new SimRandom(seed) })
}

async function append(log: Log, texts: readonly string[]): Promise<RecordBatch> {
  const one = batch(log.nextOffset, texts, { durablePosition: log.durablePosition })
  await log.prepare(one.bytes.length)
  await log.write(one.bytes, [one])
  await log.sync()
  return one
}

/** A batch whose only value ends like a sealed segment that stops before it. */
function footerInDisguise(position: number): RecordBatch {
  const footer = (dataEnd: number): Buffer =>
    encodeFooter({
      dataEnd,
      nextOffset: 4_000_000_000,
      maxTimestamp: 1,
      records: 1,
      batches: 1,
      digest: 0,
      hasIdempotencyKeys: false,
      leaderEpoch: 1,
      index: [{ offset: 0, timestamp: 1, position: 64 }],
    })
  const filler = Buffer.alloc(100_000, 'x')
  const made = batch(0, [''])
  const valueAt = position + made.bytes.length + filler.length
  // The text goes through UTF-8 in the builder, so the bytes are put in place and the batch stamped anew.
  const bytes = footer(valueAt)
  const one = batch(0, [`${filler.toString('latin1')}${'y'.repeat(bytes.length)}`])
  bytes.copy(one.bytes, one.bytes.length - bytes.length)
  one.bytes.writeUInt32BE(crc32(one.bytes.subarray(80)), 12)
  one.bytes.writeUInt32BE(crc32(one.bytes.subarray(12, 80)), 8)
  return one
}

describe('a log under a hostile publisher', () => {
  it('does not take the end of a message for the footer of the segment', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount(), { segmentBytes: 1_048_576 }))
    const one = footerInDisguise(log.segments()[0]!.bytes)
    await log.write(one.bytes, [one])
    await log.sync()
    disk.crash('process')
    const { log: again } = await Log.open(logOptions(disk.mount(), { segmentBytes: 1_048_576 }))
    expect(again.nextOffset).toBe(1)
    expect((await again.read(0))[0]!.bytes.equals(one.bytes)).toBe(true)
    await again.close()
    const { findings } = await verifyLog(disk.mount(), 'log', TAG)
    expect(findings).toEqual([])
  })
})

describe('a log on a full disk', () => {
  it('does not bring back what it took back, whatever a power cut leaves', async () => {
    for (const survival of ['none', 'all', 'prefix', 'scatter'] as const) {
      for (let seed = 1; seed <= 40; seed++) {
        const disk = newDisk(seed)
        const log = await Log.create(logOptions(disk.mount(), { segmentBytes: 1_048_576 }))
        await append(log, ['kept'])
        const first = batch(1, ['refused'])
        const second = batch(2, ['x'.repeat(40_000)])
        disk.capacityBytes = disk.usedBytes + 2000
        await expect(log.write(Buffer.concat([first.bytes, second.bytes]), [first, second])).rejects.toThrow('ENOSPC')
        await log.rollback()
        disk.crash('power', survival)
        disk.capacityBytes = 2 ** 40
        const { log: again } = await Log.open(logOptions(disk.mount()))
        expect(again.nextOffset, `${survival}, seed ${seed}`).toBe(1)
      }
    }
  })

  it('opens after a roll that found no room, whatever a power cut leaves', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const disk = newDisk(seed)
      const log = await Log.create(logOptions(disk.mount()))
      await append(log, ['a'.repeat(3000)])
      const free = disk.capacityBytes
      disk.capacityBytes = disk.usedBytes + 300
      await expect(log.prepare(2000)).rejects.toThrow('ENOSPC')
      disk.capacityBytes = free
      await append(log, ['b'])
      disk.crash('power')
      const { log: again } = await Log.open(logOptions(disk.mount()))
      expect(again.nextOffset, `seed ${seed}`).toBe(2)
    }
  })

  it('tries retention again once there is room, and its start never goes back', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    for (let i = 0; i < 6; i++) await append(log, ['a'.repeat(3000)])
    const policy = { maxAgeMs: null, maxBytes: 7000 }
    disk.capacityBytes = disk.usedBytes
    await expect(log.retain(policy, 0)).rejects.toThrow('ENOSPC')
    const seen = log.startOffset
    disk.capacityBytes = 2 ** 40
    expect(await log.retain(policy, 0)).toBe(true)
    expect(log.startOffset).toBeGreaterThan(seen)
    expect(disk.files().filter((path) => path.endsWith('.log'))).toHaveLength(log.segments().length)
    disk.crash('power')
    const { log: again } = await Log.open(logOptions(disk.mount()))
    expect(again.startOffset).toBe(log.startOffset)
  })
})
