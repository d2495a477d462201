import { beforeEach, describe, expect, it } from 'vitest'
import { append, CopyRig, texts } from '../../support/copy-rig.ts'
import type { MemoryLog } from '../../support/memory-log.ts'
import { batch } from '../../support/storage.ts'

let rig: CopyRig

beforeEach(() => {
  rig = new CopyRig()
})

/** Batches of one record, of these epochs, on stable storage. */
function fill(log: MemoryLog, epochs: readonly number[], label = ''): void {
  for (const leaderEpoch of epochs) {
    log.append(batch(log.nextOffset, [`${label}${log.nextOffset}`], { leaderEpoch }))
  }
  log.content.durable = log.content.batches.length
}

describe('copying a topic', () => {
  it('copies what is there and what comes, and commits what all have', async () => {
    const [a, b, c] = [rig.replica('0/data', 'schedule'), rig.replica('0/data', 'schedule'), rig.replica()]
    fill(a.logs.get('0/data')!, [1, 1, 1])
    const feed = await rig.lead('a', a)
    const quorum = feed.quorum('0/data', a.logs.get('0/data')!)
    rig.follow('b', b)
    rig.follow('c', c)
    await rig.pass(100)
    await feed.ready()
    append(a.logs.get('0/data')!, quorum, ['x', 'y', 'z'])
    expect(quorum.durable(6)).toBe(3)
    await rig.pass(100)
    expect([quorum.written(6), quorum.durable(6)]).toEqual([6, 6])
    for (const replica of [b, c]) {
      expect(texts(replica.logs.get('0/data')!)).toEqual(texts(a.logs.get('0/data')!))
      expect(replica.logs.has('schedule')).toBe(true)
    }
    expect(rig.notes).toEqual([])
  })

  it('calls back when more counts, once for what moved in a turn, and not when nobody waits', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const inSync = [
      { node: 'a', brokerEpoch: 1 },
      { node: 'b', brokerEpoch: 2 },
    ]
    const feed = await rig.lead('a', a, { inSync, replicas: ['a', 'b'] })
    const log = a.logs.get('0/data')!
    const quorum = feed.quorum('0/data', log)
    const moves: number[] = []
    quorum.onMove(() => void moves.push(quorum.durable(log.nextOffset)))
    rig.follow('b', b)
    await rig.pass(100)
    expect(moves).toEqual([])
    append(log, quorum, ['x', 'y'])
    await rig.pass(100)
    expect(moves.at(-1)).toBe(2)
    const count = moves.length
    await rig.pass(5000)
    expect(moves).toHaveLength(count)
  })

  it('R2, R3: cuts a follower to where it agrees with the leader, in each log, and not to a high watermark', async () => {
    const [a, b] = [rig.replica('0/data', '1/data'), rig.replica('0/data', '1/data')]
    fill(a.logs.get('0/data')!, [1, 1, 2, 2])
    fill(b.logs.get('0/data')!, [1, 1, 1, 1, 1])
    fill(a.logs.get('1/data')!, [1, 1])
    fill(b.logs.get('1/data')!, [1, 1])
    await rig.lead('a', a, { epoch: 3 })
    rig.follow('b', b, { epoch: 3 })
    let shortest = 5
    for (let step = 0; step < 50; step++) {
      await rig.pass(1)
      shortest = Math.min(shortest, b.logs.get('0/data')!.nextOffset)
      expect(b.logs.get('1/data')!.nextOffset).toBe(2)
    }
    expect(shortest).toBe(2)
    expect(texts(b.logs.get('0/data')!)).toEqual(texts(a.logs.get('0/data')!))
  })

  it('empties a log that the leader does not have', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data', 'schedule')]
    fill(b.logs.get('schedule')!, [1, 1])
    const feed = await rig.lead('a', a, { epoch: 2 })
    rig.follow('b', b, { epoch: 2 })
    await rig.pass(100)
    expect(b.logs.get('schedule')!.nextOffset).toBe(0)
    const schedule = a.add('schedule')
    append(schedule, feed.quorum('schedule', schedule), ['x'], 2)
    await rig.pass(100)
    expect(texts(b.logs.get('schedule')!)).toEqual(texts(schedule))
  })

  it('begins anew at the start of a leader that has let go of what comes next', async () => {
    const [a, b] = [rig.replica(), rig.replica('0/data')]
    fill(a.add('0/data', 40), [2, 2])
    fill(b.logs.get('0/data')!, [1, 1, 1])
    await rig.lead('a', a, { epoch: 2 })
    rig.follow('b', b, { epoch: 2 })
    await rig.pass(100)
    expect(b.logs.get('0/data')!.startOffset).toBe(40)
    expect(texts(b.logs.get('0/data')!)).toEqual(texts(a.logs.get('0/data')!))
  })

  it('R1: refuses a follower of an older epoch, and reads the store again for one of a newer', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    await rig.lead('a', a, { epoch: 5 })
    const older = rig.follow('b', b, { epoch: 4 })
    await rig.pass(20)
    expect(rig.notes).toContain('b fenced 5')
    expect(older.state).not.toBe('copying')
    await older.stop()
    rig.notes.length = 0
    const newer = rig.follow('b', b, { epoch: 6 })
    await rig.pass(20)
    expect(rig.notes).toContain('newer epoch 6')
    expect(newer.state).not.toBe('copying')
  })

  it('R-EPOCH: remembers an epoch before it says anything in it, and follows none that is older', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    await rig.lead('a', a, { epoch: 5 })
    let remembered: () => void = () => undefined
    b.beginEpoch = (epoch) =>
      new Promise((resolve) => {
        remembered = () => {
          b.seenEpoch = epoch
          resolve()
        }
      })
    const follower = rig.follow('b', b, { epoch: 5 })
    await rig.pass(1000)
    expect(follower.state).toBe('reconciling')
    remembered()
    await rig.pass(100)
    expect(follower.state).toBe('copying')
    await follower.stop()
    const older = rig.follow('b', b, { epoch: 4 })
    await rig.pass(1000)
    expect(older.state).not.toBe('copying')
    expect(rig.notes).toContain('b fenced 5')
  })

  it('R-TRUNC: cuts nothing that it knows to be committed, but leaves service', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data', '1/data')]
    const [log, copy] = [a.logs.get('0/data')!, b.logs.get('0/data')!]
    const feed = await rig.lead('a', a)
    const quorum = feed.quorum('0/data', log)
    rig.follow('c', rig.replica())
    const follower = rig.follow('b', b)
    await rig.pass(50)
    append(log, quorum, ['x', 'y', 'z'])
    await rig.pass(200)
    expect(follower.committed('0/data')).toBe(3)
    // A leader that has lost a committed record, though it calls itself of the same epoch.
    feed.end('it restarts')
    log.content.batches.pop()
    log.content.durable = 2
    fill(b.logs.get('1/data')!, [1])
    await rig.lead('a', a)
    await rig.pass(3000)
    expect(follower.state).toBe('quarantined')
    expect(rig.notes).toContainEqual(expect.stringContaining('b quarantined 0/data: it agrees with its leader up to 2'))
    expect([copy.nextOffset, b.logs.get('1/data')!.nextOffset]).toEqual([3, 1])
    await follower.stop()
    expect(follower.state).toBe('quarantined')
  })

  it('tells nothing durable that is not synced, and what is written at once', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const feed = await rig.lead('a', a, {
      inSync: [
        { node: 'a', brokerEpoch: 1 },
        { node: 'b', brokerEpoch: 2 },
      ],
    })
    const [log, copy] = [a.logs.get('0/data')!, b.logs.get('0/data')!]
    const quorum = feed.quorum('0/data', log)
    rig.follow('b', b)
    await rig.pass(50)
    let synced: () => void = () => undefined
    copy.sync = () =>
      new Promise((resolve) => {
        const covered = copy.content.batches.length
        synced = () => {
          copy.content.durable = covered
          resolve()
        }
      })
    append(log, quorum, ['x'])
    await rig.pass(1000)
    expect([quorum.written(1), quorum.durable(1)]).toEqual([1, 0])
    // More is written while the sync is under way; it does not cover that.
    append(log, quorum, ['y'])
    await rig.pass(1000)
    expect([quorum.written(2), quorum.durable(2)]).toEqual([2, 0])
    synced()
    await rig.pass(1000)
    expect(quorum.durable(2)).toBe(1)
    synced()
    await rig.pass(1000)
    expect(quorum.durable(2)).toBe(2)
  })

  it('follows again when the link breaks, from where it is', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const feed = await rig.lead('a', a)
    const log = a.logs.get('0/data')!
    const quorum = feed.quorum('0/data', log)
    const follower = rig.follow('b', b)
    for (let round = 0; round < 10; round++) {
      await rig.pass(3)
      append(log, quorum, ['x', 'y', 'z'])
      rig.network.breakLinks('a', 'b')
    }
    await rig.pass(10_000)
    expect(follower.state).toBe('copying')
    expect(texts(b.logs.get('0/data')!)).toEqual(texts(log))
  })

  it('refuses to take anything in while too few are in sync, or when it does not lead any more', async () => {
    const a = rig.replica('0/data')
    let holds = true
    const feed = await rig.lead('a', a, { inSync: [{ node: 'a', brokerEpoch: 1 }], holds: () => holds })
    const quorum = feed.quorum('0/data', a.logs.get('0/data')!)
    expect(() => quorum.admit()).toThrow(expect.objectContaining({ code: 'not_enough_replicas' }))
    feed.settled([
      { node: 'a', brokerEpoch: 1 },
      { node: 'b', brokerEpoch: 2 },
    ])
    quorum.admit()
    holds = false
    expect(quorum.holds).toBe(false)
    expect(() => quorum.admit()).toThrow(expect.objectContaining({ code: 'no_leader' }))
    holds = true
    expect(quorum.holds).toBe(true)
    feed.end('another leads')
    expect(quorum.holds).toBe(false)
    expect(() => quorum.admit()).toThrow(expect.objectContaining({ code: 'no_leader' }))
  })

  it('proposes a follower in, once for as long as the outcome is not known', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const feed = await rig.lead('a', a, { inSync: [{ node: 'a', brokerEpoch: 1 }] })
    rig.follow('b', b)
    await rig.pass(5000)
    expect(rig.proposals).toEqual([['a', 'b']])
    feed.settled([{ node: 'a', brokerEpoch: 1 }])
    await rig.pass(5000)
    expect(rig.proposals).toHaveLength(2)
  })

  it('reads what is not in memory from the disk, and does not let that hold up what is', async () => {
    const [a, b] = [rig.replica('0/data', '1/data'), rig.replica('0/data', '1/data')]
    const [old, live] = [a.logs.get('0/data')!, a.logs.get('1/data')!]
    fill(old, Array(300).fill(1))
    old.cachedFrom = 1000
    const feed = await rig.lead('a', a)
    const quorum = feed.quorum('1/data', live)
    let reads = 0
    const read = old.read.bind(old)
    old.read = (offset) => {
      reads += 1
      return new Promise((resolve) => void rig.clock.after(10, () => resolve(read(offset))))
    }
    rig.follow('b', b)
    await rig.pass(60)
    append(live, quorum, ['x'])
    await rig.pass(20)
    expect(b.logs.get('1/data')!.nextOffset).toBe(1)
    expect(b.logs.get('0/data')!.nextOffset).toBeLessThan(100)
    await rig.pass(5000)
    expect(b.logs.get('0/data')!.nextOffset).toBe(300)
    expect(reads).toBe(100)
  })

  it('has no more under way than the follower has room for', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const log = a.logs.get('0/data')!
    const large = 'x'.repeat(1_000_000)
    for (let i = 0; i < 30; i++) log.append(batch(i, [large]))
    log.content.durable = 30
    await rig.lead('a', a)
    const copy = b.logs.get('0/data')!
    let resume: () => void = () => undefined
    const sizes: number[] = []
    copy.copy = (batches) => {
      sizes.push(batches.reduce((sum, one) => sum + one.bytes.length, 0))
      return new Promise((resolve) => {
        resume = () => {
          for (const one of batches) copy.append(one)
          resolve()
        }
      })
    }
    rig.follow('b', b)
    await rig.pass(2000)
    let sent = 0
    for (let round = 0; round < 40 && copy.nextOffset < 30; round++) {
      resume()
      await rig.pass(100)
      sent = sizes.reduce((sum, size) => sum + size, 0)
      expect(sent - copy.nextOffset * 1_000_000).toBeLessThan(11_000_000)
    }
    expect(copy.nextOffset).toBe(30)
  })

  it('lets go of what the leader has let go of, when what it remembers of that has arrived', async () => {
    const [a, b] = [rig.replica('0/data', '0/remembered'), rig.replica()]
    const [data, kept] = [a.logs.get('0/data')!, a.logs.get('0/remembered')!]
    fill(data, [1, 1, 1, 1])
    const feed = await rig.lead('a', a)
    rig.follow('b', b)
    await rig.pass(100)
    const [copy, keptCopy] = [b.logs.get('0/data')!, b.logs.get('0/remembered')!]
    let resume: () => void = () => undefined
    const sync = keptCopy.sync.bind(keptCopy)
    keptCopy.sync = () => new Promise((resolve) => (resume = () => void sync().then(resolve)))
    append(kept, feed.quorum('0/remembered', kept), ['frames'])
    await rig.pass(100)
    await Promise.all([data.removeBelow(2), rig.pass(5000)])
    expect([data.startOffset, copy.startOffset]).toEqual([2, 0])
    resume()
    await rig.pass(2000)
    expect(copy.startOffset).toBe(2)
  })

  it('follows again under a new registration', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    let brokerEpoch: number | null = null
    const feed = await rig.lead('a', a, { inSync: [{ node: 'a', brokerEpoch: 1 }] })
    const follower = rig.follow('b', b, { brokerEpoch: () => brokerEpoch })
    await rig.pass(3000)
    expect(follower.state).not.toBe('copying')
    brokerEpoch = 9
    feed.registered('b', 9)
    follower.reregistered()
    await rig.pass(3000)
    expect(rig.proposals).toEqual([['a', 'b']])
  })

  it('is at rest once it has stopped', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const feed = await rig.lead('a', a)
    const log = a.logs.get('0/data')!
    const quorum = feed.quorum('0/data', log)
    const copy = b.logs.get('0/data')!
    const follower = rig.follow('b', b)
    await rig.pass(50)
    let finish: () => void = () => undefined
    copy.copy = (batches) =>
      new Promise((resolve) => {
        finish = () => {
          for (const one of batches) copy.append(one)
          resolve()
        }
      })
    append(log, quorum, ['x'])
    await rig.pass(50)
    append(log, quorum, ['y'])
    await rig.pass(50)
    let isStopped = false
    void follower.stop().then(() => (isStopped = true))
    await rig.pass(50)
    expect(isStopped).toBe(false)
    finish()
    await rig.pass(50)
    expect(isStopped).toBe(true)
    const end = copy.nextOffset
    append(log, quorum, ['z'])
    await rig.pass(5000)
    expect(copy.nextOffset).toBe(end)
  })

  it('tells a broker that leads nothing by that id', async () => {
    await rig.lead('a', rig.replica())
    rig.feeds.clear()
    rig.follow('b', rig.replica('0/data'))
    await rig.pass(100)
    expect(rig.notes).toContain('b fenced 0')
  })

  it('takes no follower that is no replica, and lets one go that is none any more', async () => {
    const [a, b] = [rig.replica('0/data'), rig.replica('0/data')]
    const feed = await rig.lead('a', a, { replicas: ['a', 'c'], inSync: [{ node: 'a', brokerEpoch: 1 }] })
    const follower = rig.follow('b', b)
    await rig.pass(1000)
    expect(follower.state).not.toBe('copying')
    feed.setReplicas(['a', 'b', 'c'])
    await rig.pass(5000)
    expect(follower.state).toBe('copying')
    feed.setReplicas(['a', 'c'])
    await rig.pass(5000)
    expect(follower.state).not.toBe('copying')
  })
})
