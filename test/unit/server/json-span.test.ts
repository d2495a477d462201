import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { elementSpans, memberSpan } from '../../../src/server/json-span.ts'

/** JSON text with white space wherever JSON lets it stand. */
const space = fc.constantFrom('', '', ' ', '\n', '\t ', '\r\n')
const { json } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(
      '1e999',
      '-0',
      '12345678901234567890',
      '0.10',
      'true',
      'null',
      '""',
      '"\\u0022"',
      '"\\\\"',
      '"]},{["',
    ),
    fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
    fc
      .tuple(fc.array(tie('json'), { maxLength: 4 }), space)
      .map(([items, gap]) => `[${gap}${items.join(`${gap},${gap}`)}${gap}]`),
    fc
      .tuple(
        fc.array(fc.tuple(fc.constantFrom('value', 'a', '__proto__', 'x"y'), tie('json')), { maxLength: 4 }),
        space,
      )
      .map(
        ([members, gap]) =>
          `{${gap}${members.map(([name, value]) => `${JSON.stringify(name)}${gap}:${gap}${value}`).join(`${gap},${gap}`)}${gap}}`,
      ),
  ),
}))

describe('memberSpan', () => {
  it('finds the text that parses to what JSON.parse says the member is', () => {
    fc.assert(
      fc.property(json, json, json, space, (first, second, value, gap) => {
        const text = `${gap}{"a":${first}${gap},"value"${gap}:${gap}${value}${gap},${gap}"b":${second}}`
        const span = memberSpan(text, 0, 'value')!
        expect(text.slice(span.from, span.to)).toBe(value)
        expect(JSON.parse(text.slice(span.from, span.to))).toEqual((JSON.parse(text) as { value: unknown }).value)
      }),
      { numRuns: 500 },
    )
  })

  it('takes the last of several, as JSON.parse does', () => {
    const text = '{"value":1,"other":2,"value": 3 }'
    const span = memberSpan(text, 0, 'value')!
    expect(text.slice(span.from, span.to)).toBe('3')
  })

  it('knows a name that is spelled with escapes', () => {
    const text = '{"v\\u0061lue":[1]}'
    expect(memberSpan(text, 0, 'value')).toEqual({ from: 14, to: 17 })
  })

  it('does not look inside other members', () => {
    expect(memberSpan('{"a":{"value":1},"b":["value",{"value":2}]}', 0, 'value')).toBeNull()
    expect(memberSpan('{}', 0, 'value')).toBeNull()
  })

  it('passes a value nested a hundred thousand deep', () => {
    const deep = '['.repeat(100_000) + ']'.repeat(100_000)
    const text = `{"value":${deep},"a":1}`
    expect(memberSpan(text, 0, 'value')).toEqual({ from: 9, to: 9 + deep.length })
  })
})

describe('elementSpans', () => {
  it('cuts an array into its elements', () => {
    fc.assert(
      fc.property(fc.array(json, { maxLength: 6 }), space, (items, gap) => {
        const text = `${gap}[${gap}${items.join(`${gap},${gap}`)}${gap}]${gap}`
        expect(elementSpans(text, 0).map(({ from, to }) => text.slice(from, to))).toEqual(items)
      }),
      { numRuns: 300 },
    )
  })
})
