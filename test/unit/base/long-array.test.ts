import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LongArray } from '../../../src/base/long-array.ts'

describe('a long array', () => {
  it('is an array, whatever is done to it', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ do: fc.constant('push' as const), count: fc.nat(40_000) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('pop' as const), count: fc.nat(60_000) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('set' as const), count: fc.nat() }) },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const array = new LongArray((length) => new Float64Array(length))
        const plain: number[] = []
        for (const { do: what, count } of steps) {
          if (what === 'push') {
            for (let i = 0; i < count; i++) {
              array.push(i)
              plain.push(i)
            }
          } else if (what === 'pop') {
            for (let i = 0; i < Math.min(count, plain.length); i++) array.pop()
            plain.length -= Math.min(count, plain.length)
          } else if (plain.length > 0) {
            array.set(count % plain.length, -count)
            plain[count % plain.length] = -count
          }
          expect(array.length).toBe(plain.length)
        }
        expect(plain.every((value, at) => array.get(at) === value)).toBe(true)
      }),
      { numRuns: 30 },
    )
  }, 30_000)

  it('never makes more at once than one chunk, and gives chunks back', () => {
    const made: number[] = []
    const array = new LongArray((length) => {
      made.push(length)
      return new Uint32Array(length)
    })
    for (let i = 0; i < 1_000_000; i++) array.push(i)
    expect(Math.max(...made)).toBe(16_384)
    const before = made.length
    while (array.length > 0) array.pop()
    for (let i = 0; i < 1_000_000; i++) array.push(i)
    expect(made.length).toBeGreaterThan(before + 50)
  }, 30_000)
})
