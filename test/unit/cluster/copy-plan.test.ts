import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { agreementOf, cutOf, type LogShape, NO_LOG } from '../../../src/cluster/copy-plan.ts'

/** A log whose records have these epochs, from an offset on. */
function shape(start: number, ...epochs: number[]): LogShape {
  const entries: { epoch: number; startOffset: number }[] = []
  epochs.forEach((epoch, at) => {
    if (entries.at(-1)?.epoch !== epoch) entries.push({ epoch, startOffset: start + at })
  })
  return { start, end: start + epochs.length, epochs: entries }
}

describe('the agreement of two logs', () => {
  it('is where they name different epochs, or where one ends', () => {
    expect(agreementOf(shape(0, 1, 1, 2), shape(0, 1, 1, 2, 2))).toBe(3)
    expect(agreementOf(shape(0, 1, 1, 2), shape(0, 1, 1, 3))).toBe(2)
    expect(agreementOf(shape(0, 1, 1, 1, 1), shape(0, 1, 2, 2))).toBe(1)
    expect(agreementOf(shape(0, 2), shape(0, 1))).toBe(0)
    expect(agreementOf(shape(0), shape(0, 1))).toBe(0)
    // A leader in between that neither knows: KIP-279.
    expect(agreementOf(shape(0, 1, 1, 3, 3), shape(0, 1, 1, 2, 4))).toBe(2)
  })

  it('is looked for from the later start on', () => {
    expect(agreementOf(shape(0, 1, 1, 1, 2), shape(2, 1, 2, 2))).toBe(4)
    expect(agreementOf(shape(2, 1, 2), shape(0, 1, 1, 1, 3))).toBe(3)
  })

  it('is the first offset at which the records differ: by one record at a time', () => {
    const log = fc
      .array(fc.integer({ min: 1, max: 4 }), { maxLength: 12 })
      .map((epochs) => epochs.sort((a, b) => a - b))
    const start = fc.nat({ max: 3 })
    fc.assert(
      fc.property(log, log, start, start, (mine, theirs, a, b) => {
        const [one, other] = [shape(a, ...mine), shape(b, ...theirs)]
        const from = Math.max(a, b)
        const to = Math.min(one.end, other.end)
        let expected = to
        for (let offset = from; offset < to; offset++) {
          if (mine[offset - a] === theirs[offset - b]) continue
          expected = offset
          break
        }
        expect(agreementOf(one, other)).toBe(expected)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('what a follower cuts', () => {
  it('nothing where it has a part of what the leader has', () => {
    expect(cutOf(shape(0, 1, 1), shape(0, 1, 1, 2), 0)).toEqual({ kind: 'none' })
    expect(cutOf(shape(0), shape(0), 0)).toEqual({ kind: 'none' })
    expect(cutOf(shape(3), shape(3, 1), 3)).toEqual({ kind: 'none' })
  })

  it('what goes beyond the agreement', () => {
    expect(cutOf(shape(0, 1, 1, 1), shape(0, 1, 1), 2)).toEqual({ kind: 'truncate', to: 2 })
    expect(cutOf(shape(0, 1, 1, 1), shape(0, 1, 2, 2), 0)).toEqual({ kind: 'truncate', to: 1 })
    expect(cutOf(shape(0, 1, 1), NO_LOG, 0)).toEqual({ kind: 'truncate', to: 0 })
  })

  it('everything where the leader has let go of what comes next, or nobody can tell what is the same', () => {
    expect(cutOf(shape(0, 1, 1), shape(5, 2), 0)).toEqual({ kind: 'restart', at: 5 })
    expect(cutOf(shape(0, 1, 1), shape(2, 2), 0)).toEqual({ kind: 'restart', at: 2 })
    expect(cutOf(shape(0, 3, 3, 3), shape(1, 2, 2), 0)).toEqual({ kind: 'restart', at: 1 })
    expect(cutOf(shape(7), shape(0, 1), 0)).toEqual({ kind: 'restart', at: 0 })
  })

  it('R-TRUNC: nothing at all where that would cut what is known to be committed', () => {
    expect(cutOf(shape(0, 1, 1, 1), shape(0, 1, 1), 3)).toMatchObject({ kind: 'refuse' })
    expect(cutOf(shape(0, 1, 1, 1), shape(0, 1, 2), 2)).toMatchObject({ kind: 'refuse' })
    expect(cutOf(shape(0, 1, 1), NO_LOG, 1)).toMatchObject({ kind: 'refuse' })
    expect(cutOf(shape(5, 1), shape(0, 1, 1), 0)).toMatchObject({ kind: 'refuse' })
  })
})
