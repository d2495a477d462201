import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Mark, Schedule, type Scheduled } from '../../../src/partition/schedule.ts'

/** The same in the most obvious way. */
class NaiveSchedule {
  entries: (Scheduled & { isTaken: boolean })[] = []

  get waiting(): Scheduled[] {
    return sorted(this.entries.filter(({ isTaken }) => !isTaken))
  }

  page(after: Mark | null, limit: number): Scheduled[] {
    const isLater = ({ dueAt, id }: Scheduled): boolean =>
      after === null || dueAt > after.dueAt || (dueAt === after.dueAt && id > after.id)
    return sorted(this.entries.filter(isLater)).slice(0, limit).map(plain)
  }
}

function sorted<T extends Scheduled>(entries: T[]): T[] {
  return [...entries].sort((a, b) => a.dueAt - b.dueAt || a.id - b.id)
}

function plain({ id, dueAt, position, bytes }: Scheduled): Scheduled {
  return { id, dueAt, position, bytes }
}

const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('add' as const), dueAt: fc.nat(40), bytes: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('takeDue' as const), now: fc.nat(40), count: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('take' as const), which: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('giveBack' as const), which: fc.nat(99) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), which: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('move' as const), which: fc.nat(99) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('page' as const), at: fc.nat(99), limit: fc.integer({ min: 1, max: 7 }) }),
  },
)

describe('a schedule', () => {
  it('is what a sorted list would be, whatever is done to it', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 200 }), (commands) => {
        const schedule = new Schedule()
        const naive = new NaiveSchedule()
        let nextId = 0
        for (const one of commands) {
          const known = 'which' in one ? naive.entries[one.which % Math.max(1, naive.entries.length)] : undefined
          if (one.do === 'add') {
            // Ids with gaps, far apart at times, as offsets of a long log are.
            nextId += one.bytes === 9 ? 0x1_0000_0001 : 1
            const entry = { id: nextId, dueAt: one.dueAt, position: nextId, bytes: one.bytes }
            schedule.add(entry)
            naive.entries.push({ ...entry, isTaken: false })
          } else if (one.do === 'takeDue') {
            const due = naive.waiting.filter(({ dueAt }) => dueAt <= one.now).slice(0, one.count)
            expect(schedule.takeDue(one.now, one.count, 1000)).toEqual(due.map(plain))
            for (const { id } of due) naive.entries.find((entry) => entry.id === id)!.isTaken = true
          } else if (one.do === 'take' && known) {
            expect(schedule.take(known.id)).toBe(!known.isTaken)
            known.isTaken = true
          } else if (one.do === 'giveBack' && known?.isTaken) {
            schedule.giveBack(known.id)
            known.isTaken = false
          } else if (one.do === 'remove' && known) {
            expect(schedule.remove(known.id)).toBe(true)
            naive.entries = naive.entries.filter((entry) => entry !== known)
            expect(schedule.remove(known.id)).toBe(false)
          } else if (one.do === 'move' && known) {
            known.position += 1000
            expect(schedule.move(known.id, known.position)).toBe(true)
          } else if (one.do === 'page') {
            const after = naive.entries[one.at % Math.max(1, naive.entries.length)] ?? null
            expect(schedule.page(after, one.limit)).toEqual(naive.page(after, one.limit))
          }
          expect(schedule.size).toBe(naive.entries.length)
          expect(schedule.liveBytes).toBe(naive.entries.reduce((sum, { bytes }) => sum + bytes, 0))
          expect(schedule.nextDue).toBe(naive.waiting[0]?.dueAt ?? Number.POSITIVE_INFINITY)
          expect(schedule.oldestPosition()).toBe(
            Math.min(Number.POSITIVE_INFINITY, ...naive.entries.map((e) => e.position)),
          )
        }
        for (const entry of naive.entries) {
          expect(schedule.find(entry.id)).toEqual(plain(entry))
          expect(schedule.isWaiting(entry.id)).toBe(!entry.isTaken)
        }
        expect(schedule.has(nextId + 1)).toBe(false)
        expect(schedule.page(null, 1000)).toEqual(naive.page(null, 1000))
      }),
    )
  })

  it('keeps its order with many, while they come and go', () => {
    const schedule = new Schedule()
    const count = 50_000
    for (let id = 0; id < count; id++) schedule.add({ id, dueAt: (id * 7919) % 10_007, position: id, bytes: 1 })
    for (let id = 0; id < count; id += 3) expect(schedule.remove(id)).toBe(true)
    for (let id = count; id < count + 9; id++) schedule.add({ id, dueAt: id, position: id, bytes: 1 })
    let last = { dueAt: -1, id: -1 }
    let seen = 0
    for (let due = schedule.takeDue(1e9, 100, 1e9); due.length > 0; due = schedule.takeDue(1e9, 100, 1e9)) {
      for (const { id, dueAt, position } of due) {
        if (position !== id || dueAt < last.dueAt || (dueAt === last.dueAt && id < last.id))
          expect.fail(`${id} comes after ${last.id}`)
        last = { dueAt, id }
        seen += 1
        schedule.remove(id)
      }
    }
    expect(seen).toBe(count - Math.ceil(count / 3) + 9)
    expect(schedule.size).toBe(0)
  }, 30_000)

  it('takes a message that is larger than a slice by itself', () => {
    const schedule = new Schedule()
    for (let id = 1; id <= 3; id++) schedule.add({ id, dueAt: id, position: id, bytes: 100 })
    expect(schedule.takeDue(9, 10, 50).map(({ id }) => id)).toEqual([1])
    expect(schedule.takeDue(9, 10, 200).map(({ id }) => id)).toEqual([2, 3])
  })
})
