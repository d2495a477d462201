import { describe, expect, it } from 'vitest'
import { endsAsSaid, examplesOf } from '../../support/docs-page.ts'

const page = (...lines: string[]): string => lines.join('\n')

describe('the examples of a page', () => {
  it('are its blocks of sh and js, with what they print', () => {
    const text = page(
      'Words.',
      '```sh',
      'a=1',
      'curl x',
      '#=> {"a":1}',
      '',
      'curl y',
      '#=> one',
      '#=> two',
      'true',
      '```',
      '```json',
      '{"not": "an example"}',
      '```',
      '```js',
      'console.log(1)',
      '//=> 1',
      '```',
    )
    expect(examplesOf(text)).toEqual([
      {
        language: 'sh',
        line: 2,
        isEndless: false,
        steps: [
          { code: 'a=1\ncurl x\n', expected: '{"a":1}' },
          { code: 'curl y\n', expected: 'one\ntwo' },
          { code: 'true\n', expected: '{"not": "an example"}' },
        ],
      },
      { language: 'js', line: 15, isEndless: false, steps: [{ code: 'console.log(1)\n', expected: '1' }] },
    ])
  })

  it('leave out what says skip, and what only shows something', () => {
    const text = page(
      '```sh skip',
      'rm -rf x',
      '```',
      '```json',
      '1',
      '```',
      '```',
      'x',
      '```',
      '```sh endless',
      'tail',
      '```',
      'And:',
      '```text',
      'y',
      '```',
    )
    expect(examplesOf(text)).toMatchObject([{ line: 10, isEndless: true, steps: [{ expected: null }] }])
  })

  it.each([
    [page('```sh sometimes', '```'), 'sometimes'],
    [page('```sh', 'true'), 'no end'],
    [page('```sh', '#=> 1', '```'), 'no command'],
    [page('```js', 'a()', '//=> 1', 'b()', '```'), 'at its end'],
  ])('are refused when they are not written as they should be', (text, why) => {
    expect(() => examplesOf(text)).toThrow(why)
  })
})

describe('an output', () => {
  it.each([
    ['{"a": 1,\n "b": "…"}', '{"a":1,"b":"x y"}\n', true],
    ['{"a":1,…}', '{"a":1,"b":{"c":2}}', true],
    ['{"a":1}', '{"a":1,"b":2}', false],
    ['[1]', '[1', false],
    ['…', '', true],
    ['a.c', 'abc', false],
    ['{"b":2}', '{"a":1}\n{"b":2}\n', true],
    ['{"a":1}', '{"a":1}\n{"b":2}\n', false],
  ])('is as said or not: %j and %j', (expected, output, is) => {
    expect(endsAsSaid(expected, output)).toBe(is)
  })
})
