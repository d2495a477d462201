import { beforeEach, describe, expect, it } from 'vitest'
import { InSync, type InSyncOptions } from '../../../src/cluster/in-sync.ts'

const LAG_MS = 10_000
const A = { node: 'a', brokerEpoch: 1 }
const B = { node: 'b', brokerEpoch: 2 }
const C = { node: 'c', brokerEpoch: 3 }

let now: number

beforeEach(() => {
  now = 5000
})

/** Led by `a`; `b` and `c` are registered. */
function topic(options: Partial<InSyncOptions> = {}): InSync {
  const inSync = new InSync({
    me: A,
    minInSync: 2,
    replicaLagMs: LAG_MS,
    replicas: ['a', 'b', 'c'],
    inSync: [A, B, C],
    now,
    ...options,
  })
  for (const { node, brokerEpoch } of [B, C]) inSync.registered(node, brokerEpoch)
  return inSync
}

const EMPTY = { start: 0, written: 0, durable: 0 }

function follows(inSync: InSync, { node, brokerEpoch }: typeof B, ...ends: number[]): void {
  inSync.followed(node, brokerEpoch, now)
  for (const [log, end] of ends.entries()) inSync.progress(node, log, end, end, now)
}

const nodes = (inSync: readonly { node: string }[] | null): string[] | null =>
  inSync && inSync.map(({ node }) => node).sort()

describe('the marks of a topic', () => {
  it('R-HW: follow the slowest of those in sync, the leader included', () => {
    const inSync = topic()
    const log = inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    follows(inSync, C, 0)
    inSync.local(log, 10, 4)
    expect(inSync.mark(log)).toEqual({ written: 0, durable: 0 })
    inSync.progress('b', log, 10, 8, now)
    inSync.progress('c', log, 6, 5, now)
    expect(inSync.mark(log)).toEqual({ written: 6, durable: 4 })
    inSync.local(log, 10, 10)
    expect(inSync.mark(log)).toEqual({ written: 6, durable: 5 })
    inSync.progress('c', log, 10, 10, now)
    expect(inSync.mark(log)).toEqual({ written: 10, durable: 8 })
  })

  it('R-HW: stand while too few are in sync, and move on when enough are', () => {
    const inSync = topic({ inSync: [A] })
    const log = inSync.addLog(EMPTY)
    inSync.local(log, 3, 3)
    expect([inSync.isEnough, inSync.mark(log).durable]).toEqual([false, 0])
    follows(inSync, B, 3)
    expect(nodes(inSync.propose(now))).toEqual(['a', 'b'])
    expect(inSync.mark(log).durable).toBe(0)
    inSync.settled([A, B])
    expect([inSync.isEnough, inSync.mark(log).durable]).toEqual([true, 3])
  })

  it('move with the leader alone where one is enough', () => {
    const inSync = topic({ inSync: [A], minInSync: 1, replicas: ['a'] })
    const log = inSync.addLog(EMPTY)
    inSync.local(log, 3, 2)
    expect(inSync.mark(log)).toEqual({ written: 3, durable: 2 })
  })

  it('R-SUPERSET: wait for a replica that is proposed from before the proposal is sent', () => {
    const inSync = topic({ inSync: [A, B] })
    const log = inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    follows(inSync, C, 0)
    expect(nodes(inSync.propose(now))).toEqual(['a', 'b', 'c'])
    inSync.local(log, 5, 5)
    inSync.progress('b', log, 5, 5, now)
    expect(inSync.mark(log).durable).toBe(0)
    inSync.progress('c', log, 5, 5, now)
    expect(inSync.mark(log).durable).toBe(5)
  })

  it('R-SUPERSET: wait for a replica that is proposed out until that is known to be done', () => {
    const inSync = topic()
    const log = inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    inSync.registered('c', null)
    expect(nodes(inSync.propose(now))).toEqual(['a', 'b'])
    inSync.local(log, 5, 5)
    inSync.progress('b', log, 5, 5, now)
    // However long the outcome stays unknown.
    now += 10 * LAG_MS
    inSync.tick(now)
    expect([inSync.propose(now), inSync.mark(log).durable]).toEqual([null, 0])
    inSync.settled([A, B])
    expect(inSync.mark(log).durable).toBe(5)
  })

  it('go on with those that stay when a proposal was refused', () => {
    const inSync = topic({ inSync: [A, B] })
    const log = inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    follows(inSync, C, 0)
    expect(inSync.propose(now)).not.toBeNull()
    inSync.gone('c')
    inSync.local(log, 5, 5)
    inSync.progress('b', log, 5, 5, now)
    expect(inSync.mark(log).durable).toBe(0)
    inSync.settled([A, B])
    expect(inSync.mark(log).durable).toBe(5)
  })

  it('never go back, whoever tells what', () => {
    const inSync = topic()
    const log = inSync.addLog({ start: 0, written: 5, durable: 5 })
    follows(inSync, B, 5)
    follows(inSync, C, 5)
    follows(inSync, C, 2)
    expect(inSync.mark(log)).toEqual({ written: 5, durable: 5 })
    inSync.local(log, 4, 4)
    expect(inSync.mark(log)).toEqual({ written: 5, durable: 5 })
  })

  it('wait for a replica of which nothing was heard in this epoch', () => {
    const inSync = topic()
    const log = inSync.addLog({ start: 0, written: 5, durable: 5 })
    follows(inSync, B, 5)
    expect(inSync.mark(log).durable).toBe(0)
  })

  it('count what was durable at a replica that has gone, not what was only written', () => {
    const inSync = topic()
    const log = inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    follows(inSync, C, 0)
    inSync.progress('c', log, 9, 4, now)
    inSync.gone('c')
    inSync.local(log, 9, 9)
    inSync.progress('b', log, 9, 9, now)
    expect(inSync.mark(log)).toEqual({ written: 4, durable: 4 })
  })

  it('say of which logs they have moved, once', () => {
    const inSync = topic({ inSync: [A], minInSync: 1 })
    const logs = [0, 1, 2].map(() => inSync.addLog(EMPTY))
    inSync.local(logs[1]!, 1, 1)
    inSync.local(logs[1]!, 2, 1)
    inSync.local(logs[2]!, 1, 0)
    expect([...inSync.takeMoved()]).toEqual([1, 2])
    expect([...inSync.takeMoved()]).toEqual([])
  })

  it('R8: say that the topic is open when all is committed that was found at the begin', () => {
    const inSync = topic()
    for (const end of [3, 0, 7]) inSync.addLog({ start: 0, written: end, durable: end })
    expect(inSync.isOpen).toBe(false)
    follows(inSync, B, 3, 0, 7)
    follows(inSync, C, 3, 0, 6)
    expect(inSync.isOpen).toBe(false)
    inSync.progress('c', 2, 7, 7, now)
    expect(inSync.isOpen).toBe(true)
    inSync.addLog(EMPTY)
    expect(inSync.isOpen).toBe(true)
  })
})

describe('the in-sync replicas of a topic', () => {
  it('R-EXPAND: takes a replica in that has all that is committed and all that the epoch began with', () => {
    const inSync = topic({ inSync: [A, B] })
    const log = inSync.addLog({ start: 0, written: 8, durable: 8 })
    follows(inSync, B, 4)
    expect(inSync.mark(log).durable).toBe(4)
    // All that is committed, but not all that the leader found.
    follows(inSync, C, 6)
    expect(inSync.propose(now)).toBeNull()
    inSync.progress('c', log, 8, 7, now)
    expect(inSync.propose(now)).toBeNull()
    inSync.tick(now)
    expect(inSync.propose(now)).toBeNull()
    inSync.progress('c', log, 8, 8, now)
    inSync.tick(now)
    expect(inSync.propose(now)).toEqual([A, B, C])
  })

  it('R-EXPAND: takes no replica in that has told of some logs only', () => {
    const inSync = topic({ inSync: [A, B] })
    inSync.addLog(EMPTY)
    inSync.addLog(EMPTY)
    inSync.followed('c', 3, now)
    inSync.progress('c', 0, 0, 0, now)
    inSync.tick(now)
    expect(inSync.propose(now)).toBeNull()
    inSync.progress('c', 1, 0, 0, now)
    expect(nodes(inSync.propose(now))).toEqual(['a', 'b', 'c'])
  })

  it('R-EXPAND: takes no replica in by what it told before it went', () => {
    const inSync = topic({ inSync: [A, B] })
    inSync.addLog({ start: 0, written: 2, durable: 2 })
    follows(inSync, C, 2)
    inSync.gone('c')
    expect(inSync.propose(now)).toBeNull()
    inSync.followed('c', 3, now)
    inSync.tick(now)
    expect(inSync.propose(now)).toBeNull()
  })

  it('R-EXPAND: takes no replica in under another registration than is valid', () => {
    const inSync = topic({ inSync: [A, B] })
    inSync.addLog(EMPTY)
    follows(inSync, { ...C, brokerEpoch: 2 }, 0)
    inSync.tick(now)
    expect(inSync.propose(now)).toBeNull()
    follows(inSync, C, 0)
    inSync.registered('c', null)
    expect(inSync.propose(now)).toBeNull()
    inSync.registered('c', 9)
    expect(inSync.propose(now)).toBeNull()
    follows(inSync, { ...C, brokerEpoch: 9 }, 0)
    expect(inSync.propose(now)).toEqual([A, B, { node: 'c', brokerEpoch: 9 }])
  })

  it('takes no replica in that is none', () => {
    const inSync = topic({ inSync: [A, B], replicas: ['a', 'b'] })
    inSync.addLog(EMPTY)
    expect(inSync.isReplica('c')).toBe(false)
    expect(() => follows(inSync, C, 0)).toThrow(/is a replica/)
  })

  it('takes one in, under steady load, that is always a little behind: the marks wait for it a moment', () => {
    const inSync = topic({ inSync: [A, B] })
    const log = inSync.addLog(EMPTY)
    let end = 10
    const step = (): void => {
      end += 10
      inSync.local(log, end, end)
      inSync.progress('b', log, end, end, now)
      inSync.progress('c', log, end - 5, end - 5, now)
      now += 100
      if (now % 500 === 0) inSync.tick(now)
    }
    inSync.local(log, 10, 10)
    follows(inSync, B, 10)
    follows(inSync, C, 5)
    for (let i = 0; i < 30 && inSync.propose(now) === null; i++) step()
    inSync.settled([A, B, C])
    expect(nodes(inSync.inSync)).toEqual(['a', 'b', 'c'])
    expect(inSync.mark(log).durable).toBe(end - 5)
  })

  it('waits for no replica longer than a moment that does not come', () => {
    const inSync = topic({ inSync: [A, B] })
    const log = inSync.addLog(EMPTY)
    const commit = (end: number): number => {
      inSync.local(log, end, end)
      inSync.progress('b', log, end, end, now)
      return inSync.mark(log).durable
    }
    follows(inSync, B, 0)
    expect(commit(10)).toBe(10)
    follows(inSync, C, 5)
    expect(commit(20)).toBe(20)
    // It has what there was half a second ago, is waited for, and comes no further.
    now += 500
    inSync.progress('c', log, 10, 10, now)
    inSync.tick(now)
    expect(commit(30)).toBe(20)
    now += 500
    inSync.tick(now)
    expect(commit(31)).toBe(20)
    now += 500
    inSync.tick(now)
    expect(inSync.mark(log).durable).toBe(31)
    expect(inSync.propose(now)).toBeNull()
    // Nor again soon, near as it may be.
    inSync.progress('c', log, 30, 30, now)
    now += 500
    inSync.tick(now)
    expect(commit(40)).toBe(40)
  })

  it('puts a replica out whose registration has ended, or is another', () => {
    for (const registered of [null, 7]) {
      const inSync = topic()
      follows(inSync, B)
      follows(inSync, C)
      inSync.registered('b', registered)
      expect(inSync.propose(now)).toEqual([A, C])
    }
  })

  it('changes the registration of a replica that came back at once', () => {
    const inSync = topic()
    inSync.addLog(EMPTY)
    follows(inSync, C, 0)
    inSync.registered('b', 7)
    follows(inSync, { node: 'b', brokerEpoch: 7 }, 0)
    expect(inSync.propose(now)).toEqual([A, C, { node: 'b', brokerEpoch: 7 }])
  })

  it('puts a replica out that has not had everything for too long, not one that is a little behind', () => {
    const inSync = topic()
    const log = inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    follows(inSync, C, 0)
    let end = 0
    for (let passed = 0; passed <= LAG_MS; passed += 500) {
      end += 10
      inSync.local(log, end, end)
      inSync.progress('b', log, end - 3, end - 3, now)
      inSync.progress('c', log, 2, 2, now)
      inSync.tick(now)
      expect(inSync.propose(now)).toBeNull()
      now += 500
    }
    inSync.tick(now)
    expect(inSync.propose(now)).toEqual([A, B])
  })

  it('puts a replica out that does not follow, on a quiet topic as well', () => {
    const inSync = topic()
    inSync.addLog(EMPTY)
    follows(inSync, B, 0)
    follows(inSync, C, 0)
    inSync.gone('b')
    for (let passed = 0; passed <= LAG_MS; passed += 500) {
      now += 500
      inSync.tick(now)
    }
    expect(inSync.propose(now)).toEqual([A, C])
  })

  it('puts a replica out that has lost what it promised, and takes it in again when it has it', () => {
    const inSync = topic()
    const log = inSync.addLog({ start: 0, written: 5, durable: 5 })
    follows(inSync, B, 5)
    follows(inSync, C, 5)
    follows(inSync, C, 3)
    expect(inSync.propose(now)).toEqual([A, B])
    inSync.settled([A, B])
    inSync.progress('c', log, 5, 5, now)
    inSync.tick(now)
    expect(inSync.propose(now)).toEqual([A, B, C])
    inSync.settled([A, B, C])
    expect(inSync.propose(now)).toBeNull()
  })

  it('puts a replica out that is none any more', () => {
    const inSync = topic()
    inSync.setReplicas(['a', 'c'])
    expect(inSync.propose(now)).toEqual([A, C])
  })

  it('proposes one change at a time, and never the leader out', () => {
    const inSync = topic()
    inSync.registered('a', null)
    inSync.registered('b', null)
    expect(inSync.propose(now)).toEqual([A, C])
    inSync.registered('c', null)
    expect(inSync.propose(now)).toBeNull()
    inSync.settled([A, C])
    expect(inSync.propose(now)).toEqual([A])
    inSync.settled([A])
    now += 100 * LAG_MS
    inSync.tick(now)
    expect(inSync.propose(now)).toBeNull()
  })
})
