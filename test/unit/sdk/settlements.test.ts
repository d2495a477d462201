import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Parcel } from '../../../sdk/src/parcel.ts'
import { type ConsumeRequest, type MessagesEvent, readConsumeEvent } from '../../../sdk/src/protocol/consume-frames.ts'
import * as LIMITS from '../../../sdk/src/protocol/limits.ts'
import { RECENT_MAX, RECENT_MS } from '../../../sdk/src/recent-finals.ts'
import { Settlements } from '../../../sdk/src/settlements.ts'
import type { Stretch } from '../../../sdk/src/stretch.ts'
import { messagesFrame } from '../../support/messages-frame.ts'

const ack = { verb: 'ack' } as const
const numberOf = (): number => 0

function at(from: number, to = from + 1, partition = 0, topic = 't'): Stretch {
  return { topic, partition, from, to }
}

function parcel(offset: number, attempt: number, count = 1): Parcel {
  const frame = messagesFrame(
    offset,
    Array.from({ length: count }, () => ({})),
    { attempt },
  )
  return new Parcel(readConsumeEvent(frame) as MessagesEvent, 't', '', 0)
}

/** Each request as its type and what it names. */
function shown(requests: ConsumeRequest[]): string[] {
  return requests.map((frame) => {
    const ranges = 'ranges' in frame ? frame.ranges.map(({ from, to }) => `${from}-${to}`).join(' ') : ''
    return `${frame.type}${frame.request ? ` #${frame.request}` : ''} ${ranges}`
  })
}

/** Which of the messages need handling. */
function fresh(settlements: Settlements, one: Parcel, now: number): number[] {
  return settlements
    .fresh(one, now)
    .flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => one.baseOffset + from + i))
}

describe('settlements', () => {
  it('gather a turn into one request a verb, extensions first and acknowledgements last', () => {
    const settlements = new Settlements()
    settlements.final(at(0), 1, ack, null)
    settlements.release(at(1))
    settlements.nack(at(2), undefined, 'x')
    settlements.nack(at(3), 0, undefined)
    settlements.nack(at(4), undefined, 'x')
    settlements.final(at(5), 1, { verb: 'reject', reason: 'bad' }, null)
    settlements.final(at(6), 1, ack, null)
    settlements.extend(at(7, 9), 1000)
    const range = (from: number, to = from + 1) => ({ topic: 0, partition: 0, from, to })
    expect(settlements.take(numberOf)).toEqual([
      { type: 'extend', request: 0, ms: 1000, ranges: [range(7, 9)] },
      { type: 'nack', request: 0, delayMs: undefined, reason: 'x', ranges: [range(2), range(4)] },
      { type: 'nack', request: 0, delayMs: 0, reason: undefined, ranges: [range(3)] },
      { type: 'release', request: 0, ranges: [range(1)] },
      { type: 'ack', request: 0, ranges: [range(0), range(6)] },
      { type: 'reject', request: 0, reason: 'bad', ranges: [range(5)] },
    ])
    expect([settlements.take(numberOf), settlements.isClear]).toEqual([[], true])
  })

  it('name every message that was acknowledged in as few ranges as there can be, whatever the order', () => {
    const offset = fc.record({ offset: fc.nat(60), partition: fc.nat(1) })
    const all = fc.uniqueArray(offset, { selector: (one) => `${one.partition}:${one.offset}` })
    fc.assert(
      fc.property(all, (acked) => {
        const settlements = new Settlements()
        for (const one of acked) settlements.final(at(one.offset, one.offset + 1, one.partition), 1, ack, null)
        const ranges = settlements.take(numberOf).flatMap((frame) => ('ranges' in frame ? frame.ranges : []))
        const named = ranges.flatMap(({ partition, from, to }) =>
          Array.from({ length: to - from }, (_, i) => `${partition}:${from + i}`),
        )
        expect(named.sort()).toEqual(acked.map((one) => `${one.partition}:${one.offset}`).sort())
        const starts = acked.filter(
          (one) =>
            !acked.some(({ offset: other, partition }) => partition === one.partition && other === one.offset - 1),
        )
        expect(ranges).toHaveLength(starts.length)
      }),
    )
  })

  it('ask for an answer where somebody awaits it, and tell them what it says', () => {
    const settlements = new Settlements()
    const told: string[] = []
    for (const offset of [0, 1]) settlements.final(at(offset), 1, ack, (isAcked) => told.push(`${offset} ${isAcked}`))
    settlements.final(at(2), 1, ack, null)
    expect(shown(settlements.take(numberOf))).toEqual(['ack #1 0-3'])
    settlements.acked(9, [at(0)])
    expect([told, settlements.isClear]).toEqual([[], false])
    settlements.acked(1, [at(2), at(0)])
    settlements.acked(1, [at(1)])
    expect([told, settlements.isClear]).toEqual([['0 true', '1 false'], true])
  })

  it('await so many answers at a time, and gather meanwhile', () => {
    const settlements = new Settlements()
    const requests: number[] = []
    let confirmed = 0
    for (let i = 0; i < 40; i++) {
      settlements.final(at(i), 1, ack, () => confirmed++)
      for (const { request } of settlements.take(numberOf)) requests.push(request)
    }
    expect(requests).toHaveLength(16)
    settlements.acked(1, [at(0)])
    expect(shown(settlements.take(numberOf))).toEqual(['ack #17 16-40'])
    for (const request of [...requests, 17]) settlements.acked(request, [])
    expect([confirmed, settlements.isClear]).toEqual([40, true])
  })

  it('split what is too much for a request', () => {
    const settlements = new Settlements()
    for (let i = 0; i < 12_000; i++) settlements.final(at(2 * i), 1, ack, null)
    settlements.extend(at(0, 250_000), 5)
    const requests = settlements.take(numberOf)
    const sizes = requests.map((frame) => ('ranges' in frame ? frame.ranges.length : 0))
    expect(sizes).toEqual([1, 1, 1, LIMITS.rangesPerFrame, 2000])
    for (const frame of requests) {
      const offsets = 'ranges' in frame ? frame.ranges.reduce((sum, { from, to }) => sum + to - from, 0) : 0
      expect(offsets).toBeLessThanOrEqual(LIMITS.offsetsPerFrame)
    }
  })

  it('tell again over the next connection what somebody awaits, and forget what has no meaning any more', () => {
    const settlements = new Settlements()
    const told: boolean[] = []
    settlements.final(at(0), 1, ack, (isAcked) => told.push(isAcked))
    settlements.take(numberOf)
    settlements.nack(at(1), undefined, undefined)
    settlements.left(0)
    expect(shown(settlements.take(numberOf))).toEqual(['ack #2 0-1'])
    settlements.failed(2)
    expect(told).toEqual([false])
  })

  it('keep what concerns a topic without a number until it has one', () => {
    const settlements = new Settlements()
    settlements.final(at(0, 1, 0, 'known'), 1, ack, null)
    settlements.final(at(0, 1, 0, 'unknown'), 1, ack, null)
    const known = (topic: string): number | undefined => (topic === 'known' ? 3 : undefined)
    expect(settlements.take(known)).toEqual([
      { type: 'ack', request: 0, ranges: [{ topic: 3, partition: 0, from: 0, to: 1 }] },
    ])
    expect([...settlements.topics]).toEqual(['unknown'])
    expect(shown(settlements.take(numberOf))).toEqual(['ack 0-1'])
  })

  it('keep nobody waiting at the end', () => {
    const settlements = new Settlements()
    const told: boolean[] = []
    settlements.final(at(0), 1, ack, (isAcked) => told.push(isAcked))
    settlements.take(numberOf)
    settlements.final(at(1), 1, ack, (isAcked) => told.push(isAcked))
    settlements.end()
    expect([told, settlements.isClear]).toEqual([[false, false], true])
  })

  it('know messages that were done just before a connection was lost, or while there was none', () => {
    const settlements = new Settlements()
    settlements.final(at(0), 1, ack, null)
    settlements.final(at(1), 3, { verb: 'reject', reason: 'bad' }, null)
    settlements.take(numberOf)
    expect(fresh(settlements, parcel(0, 2), 0)).toEqual([0])
    settlements.final(at(2), 1, ack, null)
    settlements.left(0)
    settlements.final(at(4), 1, ack, null, false)
    settlements.take(numberOf)
    expect(fresh(settlements, parcel(0, 2, 6), 10)).toEqual([1, 3, 5])
    expect(fresh(settlements, parcel(1, 4), 10)).toEqual([])
    expect(shown(settlements.take(numberOf))).toEqual(['ack 0-1 2-3 4-5', 'reject 1-2'])
    settlements.left(20)
    expect(fresh(settlements, parcel(0, 3), 30)).toEqual([])
  })

  it('do not mistake for one what is delivered anew after a seek, later, or after a confirmation', () => {
    const settlements = new Settlements()
    settlements.final(at(0), 1, ack, null)
    settlements.take(numberOf)
    settlements.final(at(1), 1, ack, () => undefined)
    settlements.take(numberOf)
    settlements.final(at(2), 1, ack, null)
    settlements.take(numberOf)
    settlements.acked(1, [at(1)])
    settlements.left(0)
    // The answer covers what was sent before it, and nothing after.
    expect(fresh(settlements, parcel(0, 2, 3), 10)).toEqual([0, 1])
    expect(fresh(settlements, parcel(2, 1), 10)).toEqual([2])
    expect(fresh(settlements, parcel(2, 3), RECENT_MS + 1)).toEqual([2])
  })

  it('remember so many and no more', () => {
    const settlements = new Settlements()
    for (let i = 0; i < 3 * RECENT_MAX; i++) {
      settlements.final(at(2 * i), 1, ack, null)
      if (i % 100 === 0) settlements.take(numberOf)
    }
    settlements.take(numberOf)
    settlements.left(0)
    expect(fresh(settlements, parcel(0, 2), 1)).toEqual([0])
    expect(fresh(settlements, parcel(2 * (3 * RECENT_MAX - 1), 2), 1)).toEqual([])
  })

  it('say the last acknowledgement of each partition again, and ask about those that wait, to hear that all are durable', () => {
    const settlements = new Settlements()
    for (let i = 0; i < 5; i++) settlements.final(at(i, i + 1, i % 2), 1, ack, null)
    settlements.take(numberOf)
    settlements.final(at(9), 1, ack, null)
    settlements.confirmLatest()
    const [frame] = settlements.take(numberOf)
    expect(frame).toMatchObject({
      request: 1,
      ranges: [
        { partition: 0, from: 4, to: 5 },
        { partition: 0, from: 9, to: 10 },
        { partition: 1, from: 3, to: 4 },
      ],
    })
    expect(settlements.isClear).toBe(false)
  })
})
