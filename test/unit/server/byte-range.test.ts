import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hasAlready, isWanted, meetsIfRange, rangeOf } from '../../../src/server/byte-range.ts'

describe('a range', () => {
  it.each([
    ['bytes=0-', { from: 0, to: 100 }],
    ['bytes=0-0', { from: 0, to: 1 }],
    ['bytes=10-19', { from: 10, to: 20 }],
    ['bytes=90-1000', { from: 90, to: 100 }],
    ['bytes=-10', { from: 90, to: 100 }],
    ['bytes=-1000', { from: 0, to: 100 }],
    ['Bytes=99-', { from: 99, to: 100 }],
    ['bytes=100-', 'unsatisfiable'],
    ['bytes=100-200', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
  ] as const)('%s of 100 bytes is %o', (header, expected) => {
    expect(rangeOf(header, 100)).toEqual(expected)
  })

  it.each([undefined, '', 'bytes=', 'bytes=-', 'bytes=20-10', 'bytes=0-1,5-6', 'lines=0-1', 'bytes=a-b', 'bytes=1e3-'])(
    '%s is passed over',
    (header) => {
      expect(rangeOf(header, 100)).toBe('whole')
    },
  )

  it('is never empty and never outside, whatever is asked for', () => {
    fc.assert(
      fc.property(fc.nat(), fc.option(fc.nat()), fc.integer({ min: 1, max: 2 ** 31 }), (from, to, bytes) => {
        const range = rangeOf(`bytes=${from}-${to ?? ''}`, bytes)
        if (typeof range === 'string') return
        expect(range.from).toBe(from)
        expect(range.to).toBeGreaterThan(range.from)
        expect(range.to).toBeLessThanOrEqual(bytes)
      }),
    )
  })
})

describe('a condition', () => {
  it('is met by the very tag', () => {
    expect(hasAlready('"a"', '"a"')).toBe(true)
    expect(hasAlready('"x", W/"a"', '"a"')).toBe(true)
    expect(hasAlready('*', '"a"')).toBe(true)
    expect(hasAlready('"b"', '"a"')).toBe(false)
    expect(hasAlready(undefined, '"a"')).toBe(false)
    expect(isWanted('"a"', '"a"')).toBe(true)
    expect(isWanted('"x","a"', '"a"')).toBe(true)
    expect(isWanted('W/"x", "a"', '"a"')).toBe(true)
    expect(isWanted(' * ', '"a"')).toBe(true)
    expect(isWanted(undefined, '"a"')).toBe(true)
    expect(isWanted('W/"a"', '"a"')).toBe(false)
    expect(isWanted('"b"', '"a"')).toBe(false)
    expect(isWanted('', '"a"')).toBe(false)
    expect(meetsIfRange('"a"', '"a"')).toBe(true)
    expect(meetsIfRange(undefined, '"a"')).toBe(true)
    expect(meetsIfRange('W/"a"', '"a"')).toBe(false)
    expect(meetsIfRange('Tue, 24 Nov 2026 08:00:00 GMT', '"a"')).toBe(false)
  })
})
