import { recordValueAt } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { Log } from '../../../src/log/log.ts'
import { CorruptionError } from '../../../src/log/log-recovery.ts'
import type { RecordBatch } from '../../../src/log/record-batch.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { batch, logOptions } from '../../support/storage.ts'

/** Appends batches of so many records each, syncing after each one; values are their offsets. */
async function append(log: Log, sizes: readonly number[], patch: { timestamp?: number } = {}): Promise<void> {
  for (const size of sizes) {
    await log.prepare(size * 200)
    const first = log.nextOffset
    const texts = Array.from({ length: size }, (_, i) => `${first + i} ${'.'.repeat(100)}`)
    const stamp = {
      durablePosition: log.durablePosition,
      ...(patch.timestamp === undefined ? {} : { timestamp: patch.timestamp }),
    }
    const one = batch(first, texts, stamp)
    await log.write(one.bytes, [one])
    await log.sync()
  }
}

function values(batches: readonly RecordBatch[]): string[] {
  return batches.flatMap((one) =>
    Array.from({ length: one.count }, (_, i) => {
      const at = one.positionOf(one.baseOffset + i)
      return one.bytes.subarray(recordValueAt(one.bytes, at), at + 4 + one.bytes.readUInt32BE(at)).toString()
    }),
  )
}

async function everything(log: Log): Promise<string[]> {
  const all: RecordBatch[] = []
  for await (const one of log.all()) all.push(one)
  return values(all).map((text) => text.replace(/ \.*$/, ''))
}

function newDisk(seed = 1): SimDisk {
  return new SimDisk({ random: new SimRandom(seed) })
}

function numbers(to: number): string[] {
  return Array.from({ length: to }, (_, i) => String(i))
}

const nobody = (): number => 0

describe('a log', () => {
  it('gives back what was appended, over segments and over a restart', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    await append(log, [3, 1, 20, 7, 30, 2])
    expect(log.segments().length).toBeGreaterThan(1)
    expect(await everything(log)).toEqual(numbers(63))
    disk.crash('power')
    const { log: again, report } = await Log.open(logOptions(disk.mount()))
    expect(again.nextOffset).toBe(63)
    expect(await everything(again)).toEqual(numbers(63))
    expect(report.segments).toBe(again.segments().length)
  })

  it('reads from any offset', async () => {
    const log = await Log.create(logOptions(newDisk().mount(), { segmentBytes: 20_000 }))
    await append(
      log,
      Array.from({ length: 60 }, (_, i) => (i % 5) + 1),
    )
    for (let offset = 0; offset < log.nextOffset; offset++) {
      const [first] = await log.read(offset)
      expect(first!.baseOffset).toBeLessThanOrEqual(offset)
      expect(first!.nextOffset).toBeGreaterThan(offset)
    }
    expect(await log.read(log.nextOffset)).toEqual([])
  })

  it('gives a small batch without the rest of the large read that found it', async () => {
    const log = await Log.create(logOptions(newDisk().mount(), { segmentBytes: 4_000_000 }))
    for (const text of ['small', 'x'.repeat(700_000)]) {
      const one = batch(log.nextOffset, [text])
      await log.write(one.bytes, [one])
    }
    const [small] = await log.read(0)
    expect(values([small!])).toEqual(['small'])
    expect(small!.bytes.buffer.byteLength).toBe(small!.bytes.length)
    const [large] = await log.read(1)
    expect(large!.bytes.buffer.byteLength).toBeLessThan(2 * large!.bytes.length)
  })

  it('finds the first offset at or after a time', async () => {
    const log = await Log.create(logOptions(newDisk().mount()))
    const starts: { at: number; offset: number }[] = []
    for (let i = 0; i < 40; i++) {
      starts.push({ at: 1000 + i * 10, offset: log.nextOffset })
      await append(log, [3], { timestamp: 1000 + i * 10 })
    }
    for (let time = 990; time <= 1400; time += 5) {
      const expected = starts.find(({ at }) => at >= time)?.offset ?? log.nextOffset
      expect(await log.offsetAt(time)).toBe(expected)
    }
  })

  it('scans only the active segment when it opens', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    await append(
      log,
      Array.from({ length: 40 }, () => 5),
    )
    const sealedBytes = log
      .segments()
      .filter(({ sealed }) => sealed)
      .reduce((sum, { bytes }) => sum + bytes, 0)
    disk.crash('process')
    const { report } = await Log.open(logOptions(disk.mount()))
    expect(report.scannedBytes).toBeLessThan(5000)
    expect(sealedBytes).toBeGreaterThan(10_000)
  })

  it('removes whole segments below an offset and remembers its start', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    await append(
      log,
      Array.from({ length: 30 }, () => 5),
    )
    const second = log.segments()[2]!.baseOffset
    expect(await log.removeBelow(second)).toBe(true)
    expect(log.startOffset).toBe(second)
    await expect(log.read(second - 1)).rejects.toMatchObject({ code: 'offset_out_of_range' })
    disk.crash('power')
    const { log: again } = await Log.open(logOptions(disk.mount()))
    expect(again.startOffset).toBe(second)
    expect(await everything(again)).toEqual(numbers(150).slice(second))
  })

  it('lets old and surplus segments go, never the active one', async () => {
    const log = await Log.create(logOptions(newDisk().mount()))
    for (let i = 0; i < 20; i++) await append(log, [5], { timestamp: 1000 + i * 100 })
    const policy = { maxAgeMs: 500, maxBytes: null, untilAcked: false }
    expect(await log.retain(policy, nobody, 2900)).toBe(true)
    const [oldest] = await log.read(log.startOffset)
    expect(oldest!.timestamp).toBeGreaterThanOrEqual(2000)
    expect(await log.retain({ maxAgeMs: null, maxBytes: 1, untilAcked: false }, nobody, 2900)).toBe(true)
    expect(log.segments()).toHaveLength(1)
    expect(log.nextOffset).toBe(100)
  })
})

describe('a damaged log', () => {
  const ACTIVE = 'log/00000000000000000000.log'

  async function written(): Promise<{ disk: SimDisk; end: number }> {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount(), { segmentBytes: 1_000_000 }))
    await append(log, [2, 2, 2])
    return { disk, end: log.bytes }
  }

  it('loses only a torn tail', async () => {
    const { disk, end } = await written()
    const file = await disk.mount().open(ACTIVE, 'edit')
    await file.write(end, Buffer.from('TDB1 and then the power went'))
    await file.sync()
    disk.crash('process')
    const { log, report } = await Log.open(logOptions(disk.mount()))
    expect(report.cutBytes).toBeGreaterThan(0)
    expect(await everything(log)).toEqual(numbers(6))
    disk.crash('power')
    const { report: second } = await Log.open(logOptions(disk.mount()))
    expect(second.cutBytes).toBe(0)
  })

  it('is refused, unchanged, wherever a bit of a proven batch flips', async () => {
    const probe = await written()
    const first = 64
    for (let position = first; position < probe.end; position += 73) {
      const { disk } = await written()
      const [, , last] = await lastBatchStart(disk)
      disk.flipBit(ACTIVE, position, position % 8)
      disk.crash('process')
      const opening = Log.open(logOptions(disk.mount()))
      if (position < last!) await expect(opening).rejects.toBeInstanceOf(CorruptionError)
      else expect((await opening).log.nextOffset).toBe(4)
    }
  })

  it('is refused when the checkpoint proves the last batch', async () => {
    const { disk, end } = await written()
    const { log } = await Log.open(logOptions(disk.mount()))
    await log.checkpoint()
    disk.flipBit(ACTIVE, end - 3, 0)
    disk.crash('process')
    await expect(Log.open(logOptions(disk.mount()))).rejects.toThrow('durable')
  })

  it('is refused when the file was cut short', async () => {
    const { disk } = await written()
    const { log } = await Log.open(logOptions(disk.mount()))
    await log.checkpoint()
    const file = await disk.mount().open(ACTIVE, 'edit')
    await file.truncate(100)
    await file.sync()
    disk.crash('process')
    await expect(Log.open(logOptions(disk.mount()))).rejects.toBeInstanceOf(CorruptionError)
  })

  it('is refused when a sealed segment in the middle is gone', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    await append(
      log,
      Array.from({ length: 30 }, () => 5),
    )
    const names = await disk.mount().list('log')
    await disk.mount().remove(`log/${names[1]}`)
    await disk.mount().syncDirectory('log')
    disk.crash('process')
    await expect(Log.open(logOptions(disk.mount()))).rejects.toThrow('offsets are missing')
  })

  it('is refused when nothing of it is left', async () => {
    const disk = newDisk()
    await disk.mount().makeDirectory('log')
    await expect(Log.open(logOptions(disk.mount()))).rejects.toBeInstanceOf(CorruptionError)
  })

  it('never hands out a batch that fails its CRC', async () => {
    const disk = newDisk()
    const log = await Log.create(logOptions(disk.mount()))
    await append(
      log,
      Array.from({ length: 30 }, () => 5),
    )
    disk.flipBit('log/00000000000000000000.log', 200, 2)
    await expect(log.read(0)).rejects.toBeInstanceOf(CorruptionError)
  })

  async function lastBatchStart(disk: SimDisk): Promise<number[]> {
    const { log } = await Log.open(logOptions(disk.mount(), { segmentBytes: 1_000_000 }))
    const starts: number[] = []
    let position = 64
    for await (const one of log.all()) {
      starts.push(position)
      position += one.bytes.length
    }
    return starts
  }
})
