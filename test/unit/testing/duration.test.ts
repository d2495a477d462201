import { describe, expect, it } from 'vitest'
import { durationMs } from '../../../src/testing/duration.ts'

describe('a duration', () => {
  it.each([
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['2d1ms', 172_800_001],
    ['0s', 0],
    [0, 0],
    [1500, 1500],
    [0.6, 1],
  ])('%s is so many milliseconds: %s', (duration, ms) => {
    expect(durationMs(duration)).toBe(ms)
  })

  it.each([
    '',
    '10',
    'm',
    '10 m',
    '10m ',
    '-5s',
    '1m1h',
    '5s5s',
    '1e3s',
    '10mins',
    -1,
    Number.NaN,
    Infinity,
    '999999d',
  ])('%s is none, and the error says what one is', (duration) => {
    expect(() => durationMs(duration)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining('"10m"') }),
    )
  })
})
