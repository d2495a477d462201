import { recordValueAt } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { emptyBatch } from '../../../src/log/compacted-batch.ts'
import { Log, type LogOptions } from '../../../src/log/log.ts'
import { CopyError } from '../../../src/log/log-copy.ts'
import type { RecordBatch } from '../../../src/log/record-batch.ts'
import { verifyLog } from '../../../src/log/verify.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { settle } from '../../support/settle.ts'
import { batch, logOptions, TAG } from '../../support/storage.ts'

function newDisk(seed = 1): SimDisk {
  return new SimDisk({ random: new SimRandom(seed) })
}

/** Each segment has a nonce of its own. */
function options(disk: SimDisk, patch: Partial<LogOptions> = {}): LogOptions {
  return logOptions(disk.mount(), { random: new SimRandom('nonces'), ...patch })
}

/** One record of some 700 bytes, as the leader of the epoch stamped it: five or so fill a segment. */
function theirs(offset: number, epoch: number): RecordBatch {
  return batch(offset, [`${offset}@${epoch} ${'.'.repeat(600)}`], {
    leaderEpoch: epoch,
    tag: 99,
    durablePosition: 12_345,
    mark: Buffer.alloc(8, 7),
  })
}

/** What a leader has whose epochs wrote so many records, from an offset on. */
function leaderLog(counts: readonly [epoch: number, records: number][], from = 0): RecordBatch[] {
  const batches: RecordBatch[] = []
  for (const [epoch, records] of counts) {
    for (let i = 0; i < records; i++) batches.push(theirs(from + batches.length, epoch))
  }
  return batches
}

async function content(log: Log): Promise<string[]> {
  const found: string[] = []
  for await (const one of log.all()) {
    for (const offset of one.offsets()) {
      const at = one.positionOf(offset)
      const text = one.bytes.subarray(recordValueAt(one.bytes, at), at + 4 + one.bytes.readUInt32BE(at)).toString()
      expect(text.startsWith(`${offset}@${one.leaderEpoch} `)).toBe(true)
      found.push(text.replace(/ \.*$/, ''))
    }
  }
  return found
}

function names(batches: readonly RecordBatch[]): string[] {
  return batches.map((one) => `${one.baseOffset}@${one.leaderEpoch}`)
}

async function copied(disk: SimDisk, batches: readonly RecordBatch[], patch: Partial<LogOptions> = {}): Promise<Log> {
  const log = await Log.create(options(disk, { baseOffset: batches[0]?.baseOffset ?? 0, ...patch }))
  await log.loadEpochs()
  await log.copy(batches)
  await log.sync()
  return log
}

async function reopened(disk: SimDisk): Promise<Log> {
  const { log } = await Log.open(options(disk, { random: new SimRandom('more nonces') }))
  await log.loadEpochs()
  return log
}

const THREE = leaderLog([
  [1, 7],
  [2, 1],
  [4, 9],
])

describe('a copied log', () => {
  it('has the records, offsets, times and epochs of its leader, in segments of its own', async () => {
    const disk = newDisk()
    const log = await copied(disk, THREE)
    expect(log.segments().length).toBeGreaterThan(2)
    expect(await content(log)).toEqual(names(THREE))
    expect(log.epochs.entries).toEqual([
      { epoch: 1, startOffset: 0 },
      { epoch: 2, startOffset: 7 },
      { epoch: 4, startOffset: 8 },
    ])
    for await (const one of log.all()) {
      expect(one.partitionTag).toBe(TAG)
      expect(one.durablePosition).toBeLessThan(5000)
      expect(one.timestamp).toBe(1000)
    }
    await log.close()
    expect((await verifyLog(disk.mount(), 'log', TAG)).findings).toEqual([])
    disk.crash('power')
    const again = await reopened(disk)
    expect(await content(again)).toEqual(names(THREE))
    expect(again.epochs.entries).toEqual(log.epochs.entries)
  })

  it('begins where its leader begins', async () => {
    const disk = newDisk()
    const batches = leaderLog([[3, 12]], 1_000_000)
    await copied(disk, batches)
    disk.crash('power')
    const again = await reopened(disk)
    expect([again.startOffset, again.nextOffset]).toEqual([1_000_000, 1_000_012])
    expect(await content(again)).toEqual(names(batches))
    await expect(again.read(999_999)).rejects.toMatchObject({ code: 'offset_out_of_range' })
  })

  it('takes nothing that is damaged, does not follow, or is of an earlier epoch', async () => {
    const log = await copied(newDisk(), leaderLog([[2, 3]]))
    const damaged = theirs(3, 2)
    damaged.bytes[300]! ^= 1
    const bad = [[damaged], [theirs(4, 2)], [theirs(2, 2)], [theirs(3, 1)], [theirs(3, 2), theirs(5, 2)]]
    for (const batches of bad) await expect(log.copy(batches)).rejects.toBeInstanceOf(CopyError)
    expect(log.nextOffset).toBe(3)
    await log.copy([theirs(3, 2), theirs(4, 5)])
    expect(await content(log)).toEqual(['0@2', '1@2', '2@2', '3@2', '4@5'])
  })

  it('takes of empty batches that its leader joined what is behind its end', async () => {
    const log = await copied(newDisk(), leaderLog([[1, 3]]))
    const place = { position: 64, partitionTag: 99, mark: Buffer.alloc(8, 7) }
    const joined = emptyBatch({ baseOffset: 1, nextOffset: 6, timestamp: 1000, leaderEpoch: 1 }, place)
    await log.copy([joined, theirs(6, 1)])
    expect(log.nextOffset).toBe(7)
    expect(await content(log)).toEqual(['0@1', '1@1', '2@1', '6@1'])
  })

  it('leaves a full disk as it was', async () => {
    const disk = newDisk()
    const log = await copied(disk, leaderLog([[1, 2]]), { segmentBytes: 1_000_000 })
    disk.capacityBytes = disk.usedBytes + 300
    const many = leaderLog([[1, 40]], 2)
    await expect(log.copy(many)).rejects.toThrow('ENOSPC')
    expect(log.nextOffset).toBe(2)
    disk.capacityBytes = 2 ** 40
    await log.copy(many)
    expect(log.nextOffset).toBe(42)
  })
})

describe('truncating a log', () => {
  it('ends it at any offset, goes on from there, and nothing comes back', async () => {
    for (let end = 0; end <= THREE.length; end++) {
      const disk = newDisk(end)
      const log = await copied(disk, THREE)
      await log.truncate(end)
      expect([log.nextOffset, log.durableOffset]).toEqual([end, end])
      expect(await content(log)).toEqual(names(THREE.slice(0, end)))
      expect(await log.read(end)).toEqual([])
      for (let offset = end; offset < THREE.length; offset++) expect(log.cache.find(offset)).toBeUndefined()
      const more = leaderLog([[9, 8]], end)
      await log.copy(more)
      await log.sync()
      const expected = names([...THREE.slice(0, end), ...more])
      expect(await content(log)).toEqual(expected)
      expect(log.cache.find(end + 7)?.leaderEpoch).toBe(9)
      expect(log.epochs.epochAt(end)).toBe(9)
      disk.crash('power')
      const again = await reopened(disk)
      expect(await content(again)).toEqual(expected)
      expect(again.epochs.entries).toEqual(log.epochs.entries)
      await again.close()
      expect((await verifyLog(disk.mount(), 'log', TAG)).findings).toEqual([])
    }
  })

  it('ends it before the batch that holds the offset', async () => {
    const log = await copied(newDisk(), [batch(0, ['a', 'b']), batch(2, ['c', 'd', 'e'])])
    await log.truncate(4)
    expect(log.nextOffset).toBe(2)
  })

  it('is not done below its start', async () => {
    const log = await copied(newDisk(), leaderLog([[1, 12]], 100))
    await expect(log.truncate(99)).rejects.toThrow('offset 99')
    expect(log.nextOffset).toBe(112)
  })

  it('leaves the log as it was where there is no room to write down that it begins', async () => {
    const disk = newDisk()
    const log = await copied(disk, THREE)
    disk.fail({ on: 'write', code: 'ENOSPC', path: (path) => path.includes('checkpoint') })
    await expect(log.truncate(5)).rejects.toThrow('ENOSPC')
    expect(await content(log)).toEqual(names(THREE))
    expect(log.epochs.epochAt(16)).toBe(4)
    await log.copy([theirs(17, 4)])
    await log.truncate(5)
    expect(await content(log)).toEqual(names(THREE.slice(0, 5)))
  })
})

describe('restarting a log', () => {
  it.each([0, 3, 8, 17, 40])('gives up everything and begins at offset %i', async (base) => {
    const disk = newDisk()
    const log = await copied(disk, THREE)
    await log.beginEpoch(4)
    await log.restart(base)
    expect([log.startOffset, log.keptFrom, log.nextOffset, log.durableOffset]).toEqual([base, base, base, base])
    expect(log.epochs.entries).toEqual([])
    const more = leaderLog([[6, 9]], base)
    await log.copy(more)
    await log.sync()
    disk.crash('power')
    const again = await reopened(disk)
    expect([again.startOffset, again.seenEpoch]).toEqual([base, 6])
    expect(await content(again)).toEqual(names(more))
    await again.close()
    expect((await verifyLog(disk.mount(), 'log', TAG)).findings).toEqual([])
  })
})

/** Does as much of the task as takes so many operations of the disk; answers whether that was all of it. */
async function upTo(disk: SimDisk, operations: number, task: () => Promise<unknown>): Promise<boolean> {
  const seen = new Set<number>()
  let isStalled = false
  let isOver = false
  disk.stall(({ id }) => {
    seen.add(id)
    isStalled ||= seen.size > operations
    return seen.size > operations
  })
  void task().then(() => (isOver = true))
  while (!isOver && !isStalled) await settle()
  return isOver
}

describe('a crash', () => {
  /** Cuts the power at every operation of the task, and again at one of the recovery; `check` sees what is there then. */
  async function everywhere(
    seed: number,
    kind: 'power' | 'process',
    task: (log: Log) => Promise<unknown>,
    check: (log: Log, disk: SimDisk, isOver: boolean) => Promise<void>,
  ): Promise<void> {
    for (let cut = 0; ; cut++) {
      const random = new SimRandom(`${seed} ${cut}`)
      const disk = new SimDisk({ random })
      const log = await copied(disk, THREE)
      await log.beginEpoch(4)
      await log.checkpoint()
      const isOver = await upTo(disk, cut, () => task(log))
      disk.crash(kind)
      await upTo(disk, random.integer(12), () => Log.open(options(disk, { random })))
      disk.crash(kind)
      await check(await reopened(disk), disk, isOver)
      if (isOver) return
    }
  }

  const ENDS = [16, 12, 8, 5, 0]

  it.each(['power', 'process'] as const)(
    'of the %s while a log is truncated leaves it whole, cut, or cut in part, and no zombie (S6, S-IDEM, S-NOZOMBIE-TAIL)',
    { timeout: 120_000 },
    async (kind) => {
      for (const [seed, end] of ENDS.entries()) {
        const task = (log: Log): Promise<void> => log.truncate(end)
        await everywhere(seed, kind, task, async (log, disk, isOver) => {
          const there = await content(log)
          expect(there).toEqual(names(THREE.slice(0, there.length)))
          expect(there.length).toBeGreaterThanOrEqual(end)
          if (isOver) expect(there).toHaveLength(end)
          expect(log.epochs.entries).toEqual(epochsOf(there))
          expect(log.seenEpoch).toBe(4)
          await log.truncate(end)
          const more = leaderLog([[9, 6]], end)
          await log.copy(more)
          await log.sync()
          disk.crash('power')
          const again = await reopened(disk)
          const expected = names([...THREE.slice(0, end), ...more])
          expect(await content(again)).toEqual(expected)
          expect(again.epochs.entries).toEqual(epochsOf(expected))
        })
      }
    },
  )

  it.each(['power', 'process'] as const)(
    'of the %s while a log begins anew leaves the old one or an empty one (S-IDEM, S-NOZOMBIE-TAIL)',
    { timeout: 120_000 },
    async (kind) => {
      for (const [seed, base] of [0, 5, 17, 30].entries()) {
        const task = (log: Log): Promise<void> => log.restart(base)
        await everywhere(seed, kind, task, async (log, disk, isOver) => {
          const there = await content(log)
          if (there.length > 0) expect(there).toEqual(names(THREE))
          else expect([log.startOffset, log.nextOffset]).toEqual([base, base])
          if (isOver) expect(there).toEqual([])
          expect(log.epochs.entries).toEqual(epochsOf(there))
          expect(log.seenEpoch).toBe(4)
          await log.restart(base)
          const more = leaderLog([[9, 6]], base)
          await log.copy(more)
          await log.sync()
          disk.crash('power')
          const again = await reopened(disk)
          expect(await content(again)).toEqual(names(more))
        })
      }
    },
  )

  it('while an epoch begins leaves the old one or the new one, and the history as it is', async () => {
    const task = (log: Log): Promise<void> => log.beginEpoch(8)
    await everywhere(1, 'power', task, async (log, _disk, isOver) => {
      expect(isOver ? [8] : [4, 8]).toContain(log.seenEpoch)
      expect(log.epochs.entries).toEqual(epochsOf(names(THREE)))
      expect(await content(log)).toEqual(names(THREE))
    })
  })

  function epochsOf(records: readonly string[]): { epoch: number; startOffset: number }[] {
    const entries: { epoch: number; startOffset: number }[] = []
    for (const name of records) {
      const [startOffset, epoch] = name.split('@').map(Number) as [number, number]
      if (entries.at(-1)?.epoch !== epoch) entries.push({ epoch, startOffset })
    }
    return entries
  }
})

describe('the epochs of a log', () => {
  it('are the same without their file, and with one that tells less or is damaged (S-INDEX)', async () => {
    for (const how of ['gone', 'short', 'damaged'] as const) {
      const disk = newDisk()
      const log = await copied(disk, THREE.slice(0, 8))
      await log.beginEpoch(4)
      await log.copy(THREE.slice(8))
      await log.sync()
      if (how === 'gone') await disk.mount().remove('log/epochs')
      if (how === 'damaged') disk.flipBit('log/epochs', 20, 3)
      const again = await reopened(disk)
      expect(again.epochs.entries).toEqual(log.epochs.entries)
      expect(again.seenEpoch).toBe(4)
    }
  })

  it('forget what a damaged end took with it, before other records stand there', async () => {
    const disk = newDisk()
    const log = await copied(disk, THREE.slice(0, 8), { segmentBytes: 100_000 })
    await log.beginEpoch(4)
    const file = await disk.mount().open('log/00000000000000000000.log', 'edit')
    await file.write(log.bytes - 100, Buffer.alloc(100))
    await file.sync()
    const again = await reopened(disk)
    expect(again.epochs.entries).toEqual([{ epoch: 1, startOffset: 0 }])
    await again.copy([theirs(7, 1), theirs(8, 4)])
    await again.sync()
    disk.crash('power')
    const third = await reopened(disk)
    expect(third.epochs.entries).toEqual([
      { epoch: 1, startOffset: 0 },
      { epoch: 4, startOffset: 8 },
    ])
    expect(third.seenEpoch).toBe(4)
  })

  it('are read from few bytes: where nothing was written since, from the file alone', async () => {
    const disk = newDisk()
    const log = await copied(disk, THREE)
    await log.beginEpoch(4)
    await log.close()
    const { log: again } = await Log.open(options(disk))
    const before = disk.counts.get('read') ?? 0
    await again.loadEpochs()
    expect((disk.counts.get('read') ?? 0) - before).toBe(1)
  })

  it('begin with the log when retention has moved its start', async () => {
    const disk = newDisk()
    const log = await copied(disk, THREE)
    await log.beginEpoch(4)
    const second = log.segments()[2]!.baseOffset
    await log.removeBelow(second)
    expect(log.epochs.entries[0]).toEqual({ epoch: THREE[second]!.leaderEpoch, startOffset: second })
    const again = await reopened(disk)
    expect(again.epochs.entries).toEqual(log.epochs.entries)
  })

  it('are never left for an earlier one (R-EPOCH)', async () => {
    const disk = newDisk()
    const log = await copied(disk, THREE)
    await log.beginEpoch(9)
    await expect(log.beginEpoch(8)).rejects.toThrow('epoch 8')
    disk.crash('power')
    const again = await reopened(disk)
    expect(again.seenEpoch).toBe(9)
    await expect(again.beginEpoch(8)).rejects.toThrow('epoch 8')
    await again.beginEpoch(9)
  })
})
