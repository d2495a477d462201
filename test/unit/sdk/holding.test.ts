import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Holding } from '../../../sdk/src/holding.ts'
import { KeyLanes } from '../../../sdk/src/key-lanes.ts'
import { Message } from '../../../sdk/src/message.ts'
import type { SubscriptionType } from '../../../sdk/src/protocol/subscription.ts'

interface Item {
  n: number
  lane: string | null
}

describe('key lanes', () => {
  it('start what is free in order of arrival, and a lane one after the other', () => {
    const lanes = new KeyLanes<Item>(({ lane }) => lane)
    const items = ['a', 'a', null, 'b', null].map((lane, n) => ({ n, lane }))
    for (const item of items) lanes.add(item)
    expect([lanes.next(), lanes.next(), lanes.next(), lanes.next(), lanes.next()].map((item) => item?.n)).toEqual([
      0,
      2,
      3,
      4,
      undefined,
    ])
    lanes.finished(items[0]!)
    expect(lanes.next()?.n).toBe(1)
  })

  it('never run two of a lane at once, never swap two, lose none, whatever is removed', () => {
    const step = fc.record({ act: fc.constantFrom('add', 'add', 'next', 'finish', 'remove'), of: fc.nat(3) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const lanes = new KeyLanes<Item>(({ lane }) => lane)
        const running: Item[] = []
        const begun: number[] = []
        const removed: number[] = []
        let added = 0
        const start = (): boolean => {
          const item = lanes.next()
          if (!item) return false
          expect(running.filter(({ lane }) => lane !== null && lane === item.lane)).toEqual([])
          expect(begun.filter((n) => n > item.n && n % 4 === item.n % 4 && item.lane !== null)).toEqual([])
          running.push(item)
          begun.push(item.n)
          return true
        }
        for (const { act, of } of steps) {
          if (act === 'next') start()
          else if (act === 'finish') {
            const item = running.shift()
            if (item) lanes.finished(item)
          } else if (act === 'remove') removed.push(...lanes.remove(({ n }) => n % 3 === of).map(({ n }) => n))
          else {
            // The lane goes by the number, so that each lane is in order of numbers.
            const n = added++
            lanes.add({ n, lane: n % 4 === 3 ? null : `k${n % 4}` })
          }
        }
        for (;;) {
          while (start());
          const item = running.shift()
          if (!item) break
          lanes.finished(item)
        }
        expect([...begun, ...removed].sort((a, b) => a - b)).toEqual(Array.from({ length: added }, (_, n) => n))
      }),
    )
  })
})

const decided = { settle: () => Promise.resolve(true), extend: () => undefined }

function message(offset: number, key: string | null = null, attempt = 1, partition = 0): Message<number> {
  const id = `${partition}:${offset}`
  const rest = { contentType: 'application/json', headers: {}, timestamp: '' }
  return new Message<number>({ id, topic: 't', partition, offset, key, value: offset, attempt, ...rest }, decided)
}

function holding(type: SubscriptionType = 'shared', hasHandler = true): Holding<number> {
  return new Holding<number>({ type, ackDeadlineMs: 300 }, hasHandler, 1000)
}

const offsets = (all: { message: Message<number> }[]): number[] => all.map(({ message: { offset } }) => offset)

describe('a holding', () => {
  it.each<[SubscriptionType, number[]]>([
    ['shared', [0, 1, 2]],
    ['key_shared', [0, 2]],
    ['exclusive', [0, 2]],
    ['failover', [0, 2]],
  ])('of type %s lets these be handled at once', (type, expected) => {
    const held = holding(type)
    held.arrive(message(0, 'a'), 0)
    held.arrive(message(1, 'a'), 0)
    held.arrive(message(2, 'b'), 0)
    const started: number[] = []
    for (let next = held.next(); next; next = held.next()) started.push(next.message.offset)
    expect([started, held.runningCount]).toEqual([expected, expected.length])
  })

  it.each<[SubscriptionType, number[]]>([
    ['shared', []],
    ['key_shared', [2]],
    ['exclusive', [2, 3]],
    ['failover', [2, 3]],
  ])('of type %s hands these back behind one that failed', (type, expected) => {
    const held = holding(type)
    held.arrive(message(1, 'a'), 0)
    held.arrive(message(2, 'a'), 0)
    held.arrive(message(3, 'b'), 0)
    held.arrive(message(4, 'a', 1, 1), 0)
    const failed = held.next()!
    expect(offsets(held.behind(failed.message)).sort((a, b) => a - b)).toEqual(expected)
  })

  it('moves the deadlines of what waits and what is handled, in time and for so long', () => {
    const held = holding()
    held.arrive(message(0), 0)
    held.arrive(message(1), 50)
    const first = held.next()!
    expect(held.extensionIntervalMs).toBe(100)
    expect(held.due(99)).toEqual([])
    expect(held.due(100)).toEqual(['0:0'])
    expect(held.due(150)).toEqual(['0:1'])
    expect(held.due(1000)).toEqual(['0:1'])
    expect(held.due(1100)).toEqual([])
    held.settled(first)
    expect(held.count).toBe(2)
    held.finished(first)
    expect([held.count, held.runningCount]).toEqual([1, 0])
  })

  it('leaves the deadline of what was handed out to its taker, where there is no handler', () => {
    const held = holding('shared', false)
    held.arrive(message(0), 0)
    held.arrive(message(1), 0)
    held.next()
    expect(held.due(200)).toEqual(['0:1'])
  })

  it('goes on handling over a lost connection, and takes the delivery that comes again for its own', () => {
    const held = holding()
    held.arrive(message(0), 0)
    held.arrive(message(1), 0)
    const first = held.next()!
    held.left()
    expect([held.count, held.due(200)]).toEqual([1, []])
    expect(held.arrive(message(0, null, 2), 300)).toBe(false)
    expect([first.attempt, first.isLeased, held.due(400)]).toEqual([2, true, ['0:0']])
    expect(held.next()).toBeUndefined()
    held.finished(first)
    expect(held.arrive(message(0, null, 3), 500)).toBe(true)
  })

  it('without a handler takes what comes again for another message', () => {
    const held = holding('shared', false)
    held.arrive(message(0), 0)
    held.next()
    expect(held.arrive(message(0, null, 2), 10)).toBe(true)
    expect(held.next()?.message.attempt).toBe(2)
    expect([held.runningCount, held.count]).toEqual([1, 1])
    held.left()
    expect([held.runningCount, held.count]).toEqual([0, 0])
  })

  it('takes a message that comes again while it waits once', () => {
    const held = holding('key_shared')
    held.arrive(message(0, 'a'), 0)
    held.arrive(message(0, 'a', 2), 10)
    expect([held.next()?.message.attempt, held.next()]).toEqual([2, undefined])
  })
})
