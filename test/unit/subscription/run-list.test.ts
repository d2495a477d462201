import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Run, RunList } from '../../../src/subscription/run-list.ts'

const any = (): boolean => true
const offsetsIn = (runs: Iterable<Run>): number[] =>
  [...runs].flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))

describe('the run list', () => {
  it('holds what a set of offsets would, sorted, through any inserts and takes', () => {
    const step = fc.record({ from: fc.nat(3000), length: fc.integer({ min: 1, max: 30 }), takes: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { minLength: 200, maxLength: 900, size: 'max' }), (steps) => {
        const runs = new RunList<Run>()
        const offsets = new Set<number>()
        for (const { from, length, takes } of steps) {
          const to = from + length
          const range = Array.from({ length }, (_, i) => from + i)
          if (takes) {
            const pieces: number[] = []
            const count = runs.take(from, to, any, (_run, a, b) => pieces.push(...offsetsIn([{ from: a, to: b }])))
            expect(pieces).toEqual(range.filter((offset) => offsets.has(offset)))
            expect(count).toBe(pieces.length)
            for (const offset of range) offsets.delete(offset)
          } else if (!range.some((offset) => offsets.has(offset))) {
            runs.insert({ from, to })
            for (const offset of range) offsets.add(offset)
          }
          expect(runs.find(from) !== undefined).toBe(offsets.has(from))
        }
        expect(offsetsIn(runs)).toEqual([...offsets].sort((a, b) => a - b))
        expect([...runs]).toHaveLength(runs.size)
        expect(runs.first).toEqual([...runs][0])
        expect(runs.last).toEqual([...runs].at(-1))
      }),
      { numRuns: 100 },
    )
  })

  it('stays sorted while one long run is worn away in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1999), { minLength: 1500, maxLength: 3000, size: 'max' }), (order) => {
        const runs = new RunList<Run>()
        runs.insert({ from: 0, to: 2000 })
        const left = new Set(Array.from({ length: 2000 }, (_, i) => i))
        for (const offset of order) {
          const isThere = left.delete(offset)
          expect(runs.take(offset, offset + 1, any, () => undefined)).toBe(isThere ? 1 : 0)
        }
        expect(offsetsIn(runs)).toEqual([...left])
        expect([...runs]).toHaveLength(runs.size)
      }),
      { numRuns: 30 },
    )
  })

  it('grows to many chunks and empties again, from either end and in the middle', () => {
    const runs = new RunList<Run>()
    for (let i = 0; i < 1000; i++) runs.insert({ from: i * 2, to: i * 2 + 1 })
    for (let i = 999; i > 900; i--) expect(runs.take(i * 2, i * 2 + 1, any, () => undefined)).toBe(1)
    expect(runs.take(0, 400, any, () => undefined)).toBe(200)
    expect(runs.take(600, 1000, any, () => undefined)).toBe(200)
    expect(runs.size).toBe(501)
    expect(runs.take(0, 2000, any, () => undefined)).toBe(501)
    expect([runs.size, runs.first, runs.last]).toEqual([0, undefined, undefined])
  })

  it('keeps what belongs to a run on both sides of a hole', () => {
    const runs = new RunList<Run & { name: string }>()
    runs.insert({ from: 0, to: 10, name: 'a' })
    runs.take(4, 6, any, () => undefined)
    expect([...runs]).toEqual([
      { from: 0, to: 4, name: 'a' },
      { from: 6, to: 10, name: 'a' },
    ])
  })

  it('takes only from the runs that are wanted', () => {
    const runs = new RunList<Run & { name: string }>()
    for (const [from, name] of [
      [0, 'a'],
      [5, 'b'],
      [10, 'a'],
    ] as const) {
      runs.insert({ from, to: from + 5, name })
    }
    expect(
      runs.take(
        2,
        13,
        ({ name }) => name === 'a',
        () => undefined,
      ),
    ).toBe(6)
    expect([...runs].map(({ from, to, name }) => `${name} ${from}-${to}`)).toEqual(['a 0-2', 'b 5-10', 'a 13-15'])
  })
})
