import { describe, expect, it } from 'vitest'
import { createLog, hasLog, logName, openCopy, partitionLog, placeOf } from '../../../src/partition/log-place.ts'
import { LogPartition } from '../../../src/partition/partition.ts'
import { ScheduleLog } from '../../../src/partition/schedule-log.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { HeldTerm } from '../../support/held-quorum.ts'
import { batch, environment, topicSettings } from '../../support/storage.ts'

const NAMES = ['0/data', '0/cursors', '0/remembered', '12/data', 'schedule']

describe('the logs of a topic', () => {
  it('have names that say which they are', () => {
    expect(partitionLog(logName(12, 'cursors'))).toEqual({ partition: 12, kind: 'cursors' })
    expect(partitionLog('schedule')).toBeNull()
    for (const name of ['', '0', '0/', '0/trash', '00/data', '-1/data', '1/data/x', '9999999/data', '../data']) {
      expect(() => partitionLog(name), name).toThrow('no log')
    }
  })

  it('are made by a broker that copies them where one that leads finds them, and begin where they are told to', async () => {
    const disk = new SimDisk({ random: new SimRandom(3) })
    const mounted = disk.mount()
    await mounted.makeDirectory('partitions')
    const shared = await environment(mounted, new SimClock(), { term: new HeldTerm(5) })
    for (const name of NAMES) {
      const place = placeOf(shared, 'topic', name, 4096)
      expect(await hasLog(place)).toBe(false)
      const log = await openCopy(place, 40)
      await log.copy([batch(40, [name], { leaderEpoch: 4 })])
      await log.sync()
      await log.close()
    }
    disk.crash('power')
    const again = await environment(disk.mount(), new SimClock(), { term: new HeldTerm(5) })
    for (const name of NAMES) {
      const log = await openCopy(placeOf(again, 'topic', name, 4096), 0)
      expect([log.startOffset, log.nextOffset, log.epochs.newest]).toEqual([40, 41, 4])
      await log.close()
    }
    const partition = await LogPartition.open(again, 'topic', 0, topicSettings())
    expect([partition.startOffset, partition.highWatermark]).toEqual([40, 41])
    expect(partition.logs().map(({ name, log }) => [name, log.seenEpoch])).toEqual([
      ['0/data', 5],
      ['0/cursors', 5],
      ['0/remembered', 5],
    ])
    expect((await ScheduleLog.open(again, 'topic'))!.nextOffset).toBe(41)
  })

  it('are not there before they are whole, and are made again', async () => {
    for (let operations = 0; ; operations++) {
      const disk = new SimDisk({ random: new SimRandom(operations) })
      const shared = await environment(disk.mount())
      await disk.mount().makeDirectory('partitions')
      await disk.mount().syncDirectory('')
      let isOver = false
      const seen = new Set<number>()
      disk.stall(({ id }) => seen.add(id).size > operations)
      void openCopy(placeOf(shared, 'topic', '0/data', 4096), 7).then(() => (isOver = true))
      for (let i = 0; i < 60 && !isOver; i++) await new Promise((resolve) => setImmediate(resolve))
      disk.crash('power')
      const again = await environment(disk.mount())
      const place = placeOf(again, 'topic', '0/data', 4096)
      if (isOver) expect(await hasLog(place)).toBe(true)
      const log = await openCopy(place, 7)
      expect([log.startOffset, log.nextOffset]).toEqual([7, 7])
      if (isOver) break
    }
  })

  it('can be made once only', async () => {
    const disk = new SimDisk({ random: new SimRandom(1) })
    const shared = await environment(disk.mount())
    await disk.mount().makeDirectory('partitions')
    const place = placeOf(shared, 'topic', 'schedule', 4096)
    await createLog(place)
    await expect(createLog(place)).rejects.toThrow()
  })
})
