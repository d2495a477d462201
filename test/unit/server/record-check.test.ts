import { describe, expect, it } from 'vitest'
import { checkRecords } from '../../../src/server/record-check.ts'
import { recordOf } from '../../support/publish-client.ts'

const now = (): number => 0
const check = (headers: [string, string][]) => () => checkRecords(recordOf(1, { headers }), 1, 1000, now)

describe('the headers of a publisher’s record', () => {
  it('are taken as every other way in stores them', () => {
    expect(
      check([
        ['region', 'EU'],
        ['größe', 'XL'],
        ['regions', ''],
        ['a', ''],
        ['b', ''],
      ]),
    ).not.toThrow()
  })

  it.each<[string, [string, string][]]>([
    [
      'in lower case',
      [
        ['a', '1'],
        ['Region', 'eu'],
      ],
    ],
    ['in lower case', [['GRÖSSE', 'XL']]],
    ['in lower case', [['gröÖe', 'XL']]],
    [
      'two headers have one name',
      [
        ['a', '1'],
        ['region', 'eu'],
        ['b', ''],
        ['region', 'us'],
      ],
    ],
    [
      'two headers have one name',
      [
        ['a', ''],
        ['a', ''],
      ],
    ],
    ['at most 64 headers', Array.from({ length: 65 }, (_, i) => [`h${i}`, ''])],
    [
      'two headers have one name',
      [...Array.from({ length: 63 }, (_, i): [string, string] => [`h${i}`, '']), ['h0', '']],
    ],
  ])('have names %s', (wrong, headers) => {
    expect(check(headers)).toThrow(wrong)
    expect(check(headers)).toThrow(expect.objectContaining({ code: 'invalid_argument', entry: 0 }))
  })
})
