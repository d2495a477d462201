import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { eventId, othersOf, parseEventId, standingId } from '../../../src/server/event-id.ts'

const offset = fc.oneof(fc.constant(0), fc.nat(20), fc.nat({ max: Number.MAX_SAFE_INTEGER - 1 }))
const standing = fc.array(offset, { minLength: 1, maxLength: 12 })

describe('the id of an event', () => {
  it('gives back where its reader stands', () => {
    fc.assert(
      fc.property(standing, fc.nat(), offset, (offsets, at, last) => {
        const partition = at % offsets.length
        const id = eventId(partition, last, othersOf(offsets, partition))
        const expected = offsets.with(partition, last + 1)
        expect(parseEventId(id, offsets.length)).toEqual(expected)
        expect(id.split(',')[0]).toBe(`${partition}:${last}`)
      }),
    )
  })

  it('gives back a standing that no event led to', () => {
    fc.assert(
      fc.property(standing, (offsets) => {
        const id = standingId(offsets)
        expect(id).not.toBe('')
        expect(parseEventId(id, offsets.length)).toEqual(offsets)
      }),
    )
  })

  it('reads partitions that came later from 0', () => {
    fc.assert(
      fc.property(standing, fc.nat(5), (offsets, more) => {
        const grown = [...offsets, ...Array.from({ length: more }, () => 0)]
        expect(parseEventId(standingId(offsets), grown.length)).toEqual(grown)
        const id = eventId(0, 3, othersOf(offsets, 0))
        expect(parseEventId(id, grown.length)).toEqual(grown.with(0, 4))
      }),
    )
  })

  it.each([
    [4, 1, [7, 0, 0, 9], '1:12,7,0,9'],
    [2, 0, [0, 0], '0:12'],
    [1, 0, [0], '0:12'],
  ])('is as short as it can be: %i partitions, event of %i', (partitions, partition, offsets, id) => {
    expect(eventId(partition, 12, othersOf(offsets, partition))).toBe(id)
    expect(parseEventId(id, partitions)[partition]).toBe(13)
  })

  it.each([
    ['', 1],
    [',', 2],
    ['0', 1],
    ['0:', 1],
    ['0:1,', 2],
    ['0:1,,2', 3],
    ['00:1', 1],
    ['0:01', 1],
    ['0:-1', 1],
    ['0:1 ', 1],
    ['a/0:1', 1],
    ['0:1,2', 1],
    ['1:1', 1],
    ['1023:1', 2],
    [',1,2', 1],
    ['0:9007199254740992', 1],
    ['0:9007199254740991', 1],
    [`,${'9'.repeat(16)}`, 1],
    [`${'0:1'}${',0'.repeat(1_000_000)}`, 4],
  ])('is refused when no event of the topic can have it: %.20s', (text, partitions) => {
    expect(() => parseEventId(text, partitions)).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
  })
})
