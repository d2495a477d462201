import { describe, expect, it } from 'vitest'
import { RECENT_MAX, RECENT_MS, Settlements } from '../../../sdk/src/settlements.ts'

const ack = { verb: 'ack' } as const

describe('settlements', () => {
  it('gather a turn into one frame a verb, extensions first and acknowledgements last', () => {
    const settlements = new Settlements()
    settlements.add('0:0', 1, ack, null)
    settlements.add('0:1', 1, { verb: 'release' }, null)
    settlements.add('0:2', 1, { verb: 'nack', reason: 'x' }, null)
    settlements.add('0:3', 1, { verb: 'nack', delayMs: 0 }, null)
    settlements.add('0:4', 1, { verb: 'nack', reason: 'x' }, null)
    settlements.add('0:5', 1, { verb: 'reject', reason: 'bad' }, null)
    settlements.add('0:6', 1, ack, null)
    settlements.extend(['0:7'], 1000)
    expect(settlements.take()).toEqual([
      { type: 'extend', ids: ['0:7'], ms: 1000 },
      { type: 'nack', ids: ['0:2', '0:4'], reason: 'x' },
      { type: 'nack', ids: ['0:3'], delayMs: 0 },
      { type: 'release', ids: ['0:1'] },
      { type: 'ack', ids: ['0:0', '0:6'] },
      { type: 'reject', ids: ['0:5'], reason: 'bad' },
    ])
    expect([settlements.take(), settlements.isClear]).toEqual([[], true])
  })

  it('ask for an answer where somebody awaits it, and tell them what it says', () => {
    const settlements = new Settlements()
    const told: string[] = []
    for (const id of ['0:0', '0:1']) settlements.add(id, 1, ack, (isAcked) => told.push(`${id} ${isAcked}`))
    settlements.add('0:2', 1, ack, null)
    const [frame] = settlements.take()
    expect(frame).toEqual({ type: 'ack', ids: ['0:0', '0:1', '0:2'], request: 1 })
    settlements.acked('other', ['0:0'])
    expect([told, settlements.isClear]).toEqual([[], false])
    settlements.acked(1, ['0:0', '0:2'])
    settlements.acked(1, ['0:1'])
    expect([told, settlements.isClear]).toEqual([['0:0 true', '0:1 false'], true])
  })

  it('await so many answers at a time, and gather meanwhile', () => {
    const settlements = new Settlements()
    const requests: number[] = []
    let confirmed = 0
    for (let i = 0; i < 40; i++) {
      settlements.add(`0:${i}`, 1, ack, () => confirmed++)
      for (const { request } of settlements.take()) requests.push(request!)
    }
    expect(requests).toHaveLength(16)
    settlements.acked(1, ['0:0'])
    const [next] = settlements.take()
    expect(next!.ids).toHaveLength(24)
    for (const request of [...requests, next!.request]) settlements.acked(request, [])
    expect([confirmed, settlements.isClear]).toEqual([40, true])
  })

  it('split what is too much for a frame', () => {
    const settlements = new Settlements()
    for (let i = 0; i < 12_000; i++) settlements.add(`${'t'.repeat(150)}/0:${i}`, 1, ack, null)
    settlements.extend(
      Array.from({ length: 25_000 }, (_, i) => `0:${i}`),
      5,
    )
    const frames = settlements.take()
    expect(frames.map(({ type, ids }) => (type === 'extend' ? ids.length : type))).toEqual([
      10_000,
      10_000,
      5000,
      'ack',
      'ack',
      'ack',
      'ack',
    ])
    for (const frame of frames) expect(JSON.stringify(frame).length).toBeLessThan(1_048_576)
    expect(frames.flatMap(({ ids }) => ids)).toHaveLength(37_000)
  })

  it('tell again over the next connection what somebody awaits, and forget what has no meaning any more', () => {
    const settlements = new Settlements()
    const told: boolean[] = []
    settlements.add('0:0', 1, ack, (isAcked) => told.push(isAcked))
    settlements.take()
    settlements.add('0:1', 1, { verb: 'nack' }, null)
    settlements.left(0)
    expect(settlements.take()).toEqual([{ type: 'ack', ids: ['0:0'], request: 2 }])
    settlements.failed(2)
    expect(told).toEqual([false])
  })

  it('keep nobody waiting at the end', () => {
    const settlements = new Settlements()
    const told: boolean[] = []
    settlements.add('0:0', 1, ack, (isAcked) => told.push(isAcked))
    settlements.take()
    settlements.add('0:1', 1, ack, (isAcked) => told.push(isAcked))
    settlements.end()
    expect([told, settlements.isClear]).toEqual([[false, false], true])
  })

  it('know a message that was done just before a connection was lost', () => {
    const settlements = new Settlements()
    settlements.add('0:0', 1, ack, null)
    settlements.add('0:1', 3, { verb: 'reject', reason: 'bad' }, null)
    settlements.take()
    expect(settlements.isRepeated('0:0', 2, 0)).toBe(false)
    settlements.left(0)
    expect(settlements.isRepeated('0:0', 2, 10)).toBe(true)
    expect(settlements.isRepeated('0:1', 4, 10)).toBe(true)
    expect(settlements.isRepeated('0:2', 2, 10)).toBe(false)
    expect(settlements.take()).toEqual([
      { type: 'ack', ids: ['0:0'] },
      { type: 'reject', ids: ['0:1'], reason: 'bad' },
    ])
    settlements.left(20)
    expect(settlements.isRepeated('0:0', 3, 30)).toBe(true)
  })

  it('do not mistake for one what is delivered anew after a seek, later, or after a confirmation', () => {
    const settlements = new Settlements()
    settlements.add('0:0', 1, ack, null)
    settlements.add('0:1', 1, ack, () => undefined)
    settlements.take()
    settlements.acked(1, ['0:1'])
    settlements.left(0)
    expect(settlements.isRepeated('0:0', 1, 10)).toBe(false)
    expect(settlements.isRepeated('0:1', 2, 10)).toBe(false)
    expect(settlements.isRepeated('0:0', 2, RECENT_MS + 1)).toBe(false)
  })

  it('remember so many and no more', () => {
    const settlements = new Settlements()
    for (let i = 0; i <= RECENT_MAX; i++) settlements.add(`0:${i}`, 1, ack, null)
    settlements.left(0)
    expect([settlements.isRepeated('0:0', 2, 1), settlements.isRepeated('0:1', 2, 1)]).toEqual([false, true])
  })

  it('say the latest acknowledgements again to hear that they are durable', () => {
    const settlements = new Settlements()
    for (let i = 0; i < 5; i++) settlements.add(`0:${i}`, 1, ack, null)
    settlements.take()
    settlements.confirmLatest(2)
    expect(settlements.take()).toEqual([{ type: 'ack', ids: ['0:3', '0:4'], request: 1 }])
    expect(settlements.isClear).toBe(false)
  })
})
