import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Holding } from '../../../sdk/src/holding.ts'
import { KeyLanes } from '../../../sdk/src/key-lanes.ts'
import { Parcel, type Span } from '../../../sdk/src/parcel.ts'
import { type MessagesEvent, readConsumeEvent } from '../../../sdk/src/protocol/consume-frames.ts'
import type { SubscriptionType } from '../../../sdk/src/protocol/subscription.ts'
import type { Stretch } from '../../../sdk/src/stretch.ts'
import { messagesFrame } from '../../support/messages-frame.ts'

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
    lanes.finished(items[0]!.lane)
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
            if (item) lanes.finished(item.lane)
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
          lanes.finished(item.lane)
        }
        expect([...begun, ...removed].sort((a, b) => a - b)).toEqual(Array.from({ length: added }, (_, n) => n))
      }),
    )
  })
})

const owner = { settle: () => Promise.resolve(true), extend: () => undefined }

function span(offset: number, keys: (string | null)[] = [null], attempt = 1, partition = 0, now = 0): Span {
  const frame = messagesFrame(
    offset,
    keys.map((key) => ({ key })),
    { attempt, partition },
  )
  const parcel = new Parcel(readConsumeEvent(frame) as MessagesEvent, 't', '', now)
  return { parcel, from: 0, to: parcel.count }
}

function holding(type: SubscriptionType = 'shared', hasHandler = true, concurrency = 10): Holding<number> {
  const options = { hasHandler, concurrency, maxExtensionMs: 1000 }
  return new Holding<number>(owner, { type, ackDeadlineMs: 300 }, options)
}

const offsets = (all: readonly Stretch[]): number[] =>
  all.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))

describe('a holding', () => {
  it.each<[SubscriptionType, number[]]>([
    ['shared', [0, 1, 2]],
    ['key_shared', [0, 2]],
    ['exclusive', [0, 2]],
    ['failover', [0, 2]],
  ])('of type %s lets these be handled at once', (type, expected) => {
    const held = holding(type)
    held.arrive(span(0, ['a', 'a', 'b']), 0)
    const started: number[] = []
    for (let next = held.next(); next; next = held.next()) started.push(next.from)
    expect([started, held.runningCount]).toEqual([expected, expected.length])
  })

  it.each<[SubscriptionType, number[]]>([
    ['shared', []],
    ['key_shared', [2]],
    ['exclusive', [2, 3]],
    ['failover', [2, 3]],
  ])('of type %s hands these back behind one that failed', (type, expected) => {
    const held = holding(type)
    held.arrive(span(1, ['a', 'a', 'b']), 0)
    held.arrive(span(4, ['a'], 1, 1), 0)
    const failed = held.next()!
    expect(offsets(held.behind(failed)).sort((a, b) => a - b)).toEqual(expected)
  })

  it('moves the deadlines of what waits and what is handled, in time and for so long', () => {
    const held = holding()
    held.arrive(span(0), 0)
    held.arrive(span(1, [null], 1, 0, 50), 50)
    const first = held.next()!
    expect(held.extensionIntervalMs).toBe(100)
    expect(offsets(held.due(99))).toEqual([])
    expect(offsets(held.due(100))).toEqual([0])
    expect(offsets(held.due(150))).toEqual([1])
    expect(offsets(held.due(1000))).toEqual([1])
    expect(offsets(held.due(1100))).toEqual([])
    held.settled(first)
    expect(held.count).toBe(2)
    held.finished(first)
    expect([held.count, held.runningCount]).toEqual([1, 0])
  })

  it('leaves the deadline of what was handed out to its taker, where there is no handler', () => {
    const held = holding('shared', false)
    held.arrive(span(0), 0)
    held.arrive(span(1, [null], 1, 0, 0), 0)
    held.next()
    expect(offsets(held.due(200))).toEqual([1])
  })

  it('goes on handling over a lost connection, and takes the delivery that comes again for its own', () => {
    const held = holding()
    held.arrive(span(0), 0)
    held.arrive(span(1, [null], 1, 0, 0), 0)
    const first = held.next()!
    held.left()
    expect([held.count, offsets(held.due(200))]).toEqual([1, []])
    expect(held.arrive(span(0, [null], 2, 0, 300), 300)).toBe(false)
    expect([first.attempt, first.isLeased, offsets(held.due(400))]).toEqual([2, true, [0]])
    expect(held.next()).toBeUndefined()
    held.finished(first)
    expect(held.arrive(span(0, [null], 3, 0, 500), 500)).toBe(true)
  })

  it('without a handler takes what comes again for another message', () => {
    const held = holding('shared', false)
    held.arrive(span(0), 0)
    held.next()
    expect(held.arrive(span(0, [null], 2, 0, 10), 10)).toBe(true)
    expect(held.next()?.message.attempt).toBe(2)
    expect([held.runningCount, held.count]).toEqual([1, 1])
    held.left()
    expect([held.runningCount, held.count]).toEqual([0, 0])
  })

  it('takes a message that comes again while it waits once', () => {
    const held = holding('key_shared')
    held.arrive(span(0, ['a']), 0)
    held.arrive(span(0, ['a'], 2, 0, 10), 10)
    expect([held.next()?.message.attempt, held.next()]).toEqual([2, undefined])
  })
})
