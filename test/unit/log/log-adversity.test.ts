import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { encodeFooter, FORMAT_VERSION, markOf, nonceOf } from '../../../src/log/format.ts'
import { Log } from '../../../src/log/log.ts'
import { VersionError } from '../../../src/log/log-recovery.ts'
import type { RecordBatch } from '../../../src/log/record-batch.ts'
import { verifyLog } from '../../../src/log/verify.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
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

/**
 * A batch whose only value ends with these bytes. It is longer than the space that a log writes ahead, so that
 * the file ends with it too.
 */
function endingWith(position: number, offset: number, mark: Buffer, make: (at: number) => Buffer): RecordBatch {
  const filler = 'x'.repeat(100_000)
  const valueAt = position + batch(offset, ['']).bytes.length + filler.length
  // The text goes through UTF-8 in the builder, so the bytes are put in place and the batch stamped anew.
  const bytes = make(valueAt)
  const one = batch(offset, [`${filler}${'y'.repeat(bytes.length)}`], { mark })
  bytes.copy(one.bytes, one.bytes.length - bytes.length)
  one.bytes.writeUInt32BE(crc32(one.bytes.subarray(80)), 12)
  one.bytes.writeUInt32BE(crc32(one.bytes.subarray(12, 80)), 8)
  return one
}

/** What a segment would end with that is sealed there and holds four billion messages. */
function forgedFooter(dataEnd: number, nonce: Buffer): Buffer {
  return encodeFooter({
    nonce,
    dataEnd,
    nextOffset: 4_000_000_000,
    maxTimestamp: 1,
    records: 1,
    batches: 1,
    digest: 0,
    hasIdempotencyKeys: false,
    hasFrames: false,
    leaderEpoch: 1,
    index: [{ offset: 0, timestamp: 1, position: 64 }],
  })
}

async function nonceIn(disk: SimDisk, path: string): Promise<Buffer> {
  return nonceOf(await (await disk.mount().open(path, 'read')).read(0, 64))
}

const FIRST = 'log/00000000000000000000.log'
const SECOND = 'log/00000000000000000001.log'
const large = { segmentBytes: 1_048_576 }

/** A log with one sealed segment, that everybody may have read, and an active one. */
async function twoSegments(): Promise<{ disk: SimDisk; log: Log; seen: Buffer; own: Buffer }> {
  const disk = newDisk()
  const log = await Log.create(logOptions(disk.mount(), { ...large, random: new SimRandom('nonces') }))
  const one = batch(0, ['first'], { mark: log.mark })
  await log.write(one.bytes, [one])
  await log.roll()
  return { disk, log, seen: await nonceIn(disk, FIRST), own: await nonceIn(disk, SECOND) }
}

describe('a log under a hostile publisher', () => {
  it('does not take the end of a message for the footer of the segment', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount(), large))
    const nonce = await nonceIn(disk, FIRST)
    const one = endingWith(log.segments()[0]!.bytes, 0, log.mark, (at) => forgedFooter(at, nonce))
    await log.write(one.bytes, [one])
    await log.sync()
    disk.crash('process')
    const { log: again } = await Log.open(logOptions(disk.mount(), large))
    expect(again.nextOffset).toBe(1)
    expect((await again.read(0))[0]!.bytes.equals(one.bytes)).toBe(true)
    await again.close()
    const { findings } = await verifyLog(disk.mount(), 'log', TAG)
    expect(findings).toEqual([])
  })

  /** The process ends when the next segment is there and this one's footer is not. */
  async function crashWhileSealing(forge: (at: number, nonces: { seen: Buffer; own: Buffer }) => Buffer) {
    const { disk, log, ...nonces } = await twoSegments()
    const one = endingWith(64, 1, log.mark, (at) => forge(at, nonces))
    await log.write(one.bytes, [one])
    await log.sync()
    disk.fail({ on: 'truncate', code: 'EIO' })
    await expect(log.roll()).rejects.toThrow('EIO')
    disk.heal()
    disk.crash('process')
    return { disk, one }
  }

  it('does not take it for one in a segment that a crash left without, whatever other segments have shown', async () => {
    const { disk, one } = await crashWhileSealing((at, { seen }) => forgedFooter(at, seen))
    const { log } = await Log.open(logOptions(disk.mount(), large))
    expect(log.nextOffset).toBe(2)
    expect(log.segments().map(({ sealed }) => sealed)).toEqual([true, true, false])
    expect((await log.read(1))[0]!.bytes.equals(one.bytes)).toBe(true)
    await log.close()
    expect((await verifyLog(disk.mount(), 'log', TAG)).findings).toEqual([])
  })

  it('would take it with the nonce of the segment itself, which nobody sees before it is sealed', async () => {
    const { disk } = await crashWhileSealing((at, { own }) => forgedFooter(at, own))
    await expect(Log.open(logOptions(disk.mount(), large))).rejects.toThrow('offsets are missing')
  })

  it.each(['seen', 'own'] as const)('weighs a batch header within a torn message by its mark (%s)', async (whose) => {
    const { disk, log, ...nonces } = await twoSegments()
    const { mark } = log
    const stamp = { durablePosition: 90_000, mark: markOf(nonces[whose]) }
    const forged = Buffer.concat([batch(4, ['forged'], stamp).bytes])
    const one = endingWith(64, 1, mark, () => forged)
    await log.write(one.bytes, [one])
    const file = await disk.mount().open(SECOND, 'edit')
    await file.write(64, Buffer.alloc(80, 0xee))
    await file.sync()
    disk.crash('process')
    const opening = Log.open(logOptions(disk.mount(), large))
    if (whose === 'seen') expect((await opening).log.nextOffset).toBe(1)
    else await expect(opening).rejects.toThrow('durable')
  })
})

describe('files of another version', () => {
  it('are refused with a sentence and left as they are', async () => {
    const { disk, log } = await twoSegments()
    await log.close()
    const file = await disk.mount().open(SECOND, 'edit')
    const header = await file.read(0, 64)
    header.writeUInt16BE(FORMAT_VERSION - 1, 4)
    header.writeUInt32BE(crc32(header.subarray(0, 60)), 60)
    await file.write(0, header)
    await file.sync()
    const opening = Log.open(logOptions(disk.mount(), large))
    await expect(opening).rejects.toBeInstanceOf(VersionError)
    await expect(opening).rejects.toThrow('older version')
    expect(await file.read(0, 64)).toEqual(header)
    expect((await verifyLog(disk.mount(), 'log', TAG)).findings).toMatchObject([{ path: SECOND, severity: 'damaged' }])
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
    const policy = { maxAgeMs: null, maxBytes: 7000, untilAcked: false }
    disk.capacityBytes = disk.usedBytes
    await expect(log.retain(policy, () => 0, 0)).rejects.toThrow('ENOSPC')
    const seen = log.startOffset
    disk.capacityBytes = 2 ** 40
    expect(await log.retain(policy, () => 0, 0)).toBe(true)
    expect(log.startOffset).toBeGreaterThan(seen)
    expect(disk.files().filter((path) => path.endsWith('.log'))).toHaveLength(log.segments().length)
    disk.crash('power')
    const { log: again } = await Log.open(logOptions(disk.mount()))
    expect(again.startOffset).toBe(log.startOffset)
  })
})

describe('a cut that failed on its way', () => {
  it.each([
    ['open', 'EMFILE'],
    ['truncate', 'ENOSPC'],
  ] as const)('lets nothing be written before what goes is gone, where %s failed with %s', async (on, code) => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    for (let i = 0; i < 12; i++) await append(log, ['old'])
    disk.fail({ on, code, path: (path) => path.endsWith('.log') })
    await expect(log.truncate(5)).rejects.toThrow(code)
    expect(log.nextOffset).toBe(5)
    await append(log, ['new'])
    disk.crash('process')
    expect((await Log.open(logOptions(disk.mount()))).log.nextOffset).toBe(6)
  })
})
