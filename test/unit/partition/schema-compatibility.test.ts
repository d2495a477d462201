import { type JsonSchema, TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileSchema } from '../../../src/partition/schema.ts'
import { incompatibilityOf } from '../../../src/partition/schema-compatibility.ts'

const object = (properties: object, more: object = {}): JsonSchema => ({ type: 'object', properties, ...more })

describe('a changed schema', () => {
  it.each<[string, JsonSchema, JsonSchema]>([
    ['the same', object({ a: { type: 'string' } }), object({ a: { type: 'string' } })],
    ['more types', { type: 'integer' }, { type: ['number', 'null'] }],
    ['wider bounds', { type: 'number', minimum: 1, exclusiveMaximum: 5 }, { minimum: 0, maximum: 5 }],
    ['longer texts', { type: 'string', minLength: 2, maxLength: 5 }, { type: 'string', minLength: 1, maxLength: 6 }],
    ['more constants', { enum: ['a', 'b'] }, { enum: ['c', 'b', 'a'] }],
    ['a type of constants', { const: 5 }, { type: 'integer' }],
    ['fewer required', object({}, { required: ['a', 'b'] }), object({}, { required: ['b'] })],
    [
      'a new property where none could be',
      object({}, { additionalProperties: false }),
      object({ a: { type: 'string' } }, { additionalProperties: false }),
    ],
    ['other properties where none could be', object({ a: {} }, { additionalProperties: false }), object({ a: {} })],
    ['a wider property', object({ a: { type: 'integer' } }), object({ a: { type: 'number' } })],
    [
      'longer lists of wider items',
      { type: 'array', items: { type: 'integer' }, maxItems: 3 },
      { items: { type: 'number' }, maxItems: 4 },
    ],
    ['a choice of more', { anyOf: [{ type: 'string' }, { type: 'null' }] }, { type: ['string', 'null', 'boolean'] }],
    ['one of several branches', { type: 'string' }, { anyOf: [{ type: 'null' }, { type: 'string' }] }],
    ['notes', { type: 'string', description: 'a' }, { type: 'string', title: 'b', 'x-a': 1 }],
    [
      'definitions under other names',
      { $ref: '#/$defs/a', $defs: { a: object({ next: { $ref: '#/$defs/a' } }) } },
      { $ref: '#/$defs/b', $defs: { b: object({ next: { $ref: '#/$defs/b' } }) } },
    ],
    ['nothing at all', object({ a: { type: 'string' } }), {}],
  ])('is taken for %s', (_, before, after) => {
    expect(incompatibilityOf(before, after)).toBeNull()
  })

  it.each<[string, JsonSchema, JsonSchema, string]>([
    ['fewer types', { type: ['string', 'null'] }, { type: 'string' }, '/type'],
    ['whole numbers only', { type: 'number' }, { type: 'integer' }, '/type'],
    ['narrower bounds', { minimum: 0 }, { minimum: 1 }, '/minimum'],
    ['an open bound', { maximum: 5 }, { exclusiveMaximum: 5 }, '/exclusiveMaximum'],
    ['fewer constants', { enum: ['a', 'b'] }, { enum: ['a'] }, '/enum'],
    ['a new required property', object({}), object({}, { required: ['a'] }), '/required'],
    ['a property that could be anything', object({}), object({ a: { type: 'string' } }), '/properties/a/type'],
    [
      'a narrower property',
      object({ a: { type: 'number' } }),
      object({ a: { type: 'integer' } }),
      '/properties/a/type',
    ],
    [
      'no other properties',
      object({ a: {} }),
      object({ a: {} }, { additionalProperties: false }),
      '/additionalProperties',
    ],
    [
      'a property less',
      object({ a: {}, b: {} }, { additionalProperties: false }),
      object({ a: {} }, { additionalProperties: false }),
      '/additionalProperties',
    ],
    ['another pattern', { pattern: 'a' }, { pattern: 'b' }, '/pattern'],
    ['narrower items', { items: { type: 'number' } }, { items: { type: 'integer' } }, '/items/type'],
    ['a branch less', { anyOf: [{ type: 'string' }, { type: 'null' }] }, { anyOf: [{ type: 'string' }] }, '/anyOf'],
    ['what is not looked into', { type: 'object' }, { not: { required: ['a'] } }, '/not'],
    [
      'another draft',
      { type: 'string' },
      { $schema: 'http://json-schema.org/draft-07/schema#', type: 'string' },
      '/$schema',
    ],
  ])('is refused for %s', (_, before, after, path) => {
    expect(incompatibilityOf(before, after)).toMatchObject({ path })
  })

  it('lets in all that the old one let in, whenever it is taken', () => {
    let taken = 0
    let tried = 0
    fc.assert(
      fc.property(pairs, fc.array(values, { minLength: 10, maxLength: 40 }), ([old, fresh], samples) => {
        const [before, after] = [whole(old), whole(fresh)]
        if (incompatibilityOf(before, after) !== null) return
        taken += 1
        for (const value of samples) {
          if (!admits(before, value)) continue
          tried += 1
          expect(admits(after, value), JSON.stringify(value)).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
    expect(taken).toBeGreaterThan(100)
    expect(tried).toBeGreaterThan(200)
  }, 120_000)
})

const NAMES = ['a', 'b', 'c']
const small = fc.integer({ min: -2, max: 3 })
const name = fc.constantFrom(...NAMES)
const values = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 2 },
    fc.constantFrom<unknown>(null, true, 'a', 'ab', 0.5),
    small,
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(name, tie('any'), { maxKeys: 3 }),
  ),
})).any

type Assertion = [keyword: string, value: unknown]

/** Small schemas: a few assertions, parts of parts at most. */
const drawn = fc.letrec<{ any: JsonSchema | boolean; object: JsonSchema; assertion: Assertion }>((tie) => {
  const of = (keyword: string, value: fc.Arbitrary<unknown>): fc.Arbitrary<Assertion> =>
    value.map((one): Assertion => [keyword, one])
  const list = fc.array(tie('any'), { minLength: 1, maxLength: 2 })
  return {
    any: fc.oneof(
      { maxDepth: 2 },
      { weight: 2, arbitrary: fc.constantFrom<JsonSchema | boolean>(true, false, { $ref: '#/$defs/d' }) },
      { weight: 5, arbitrary: tie('object') },
    ),
    object: fc.array(tie('assertion'), { maxLength: 3 }).map((all): JsonSchema => Object.fromEntries(all)),
    assertion: fc.oneof(
      of('type', fc.constantFrom<unknown>('string', 'number', 'integer', 'object', 'array', ['string', 'null'])),
      of('enum', fc.uniqueArray(fc.constantFrom(1, 'a', null), { minLength: 1, maxLength: 3 })),
      of('minimum', small),
      of('exclusiveMinimum', small),
      of('maximum', small),
      of('maxLength', fc.nat(2)),
      of('minItems', fc.nat(2)),
      of('uniqueItems', fc.boolean()),
      of('required', fc.uniqueArray(name, { maxLength: 2 })),
      of('properties', fc.dictionary(name, tie('any'), { maxKeys: 2 })),
      of('patternProperties', fc.dictionary(fc.constantFrom('^a', 'b'), tie('any'), { maxKeys: 1 })),
      of('additionalProperties', tie('any')),
      of('items', tie('any')),
      of('prefixItems', list),
      of('anyOf', list),
      of('oneOf', list),
      of('allOf', list),
      of('not', tie('any')),
    ),
  }
})
const DEFINITIONS = { d: { type: ['number', 'object'], properties: { a: { $ref: '#/$defs/d' } } } }
const whole = (schema: JsonSchema): JsonSchema => ({ ...schema, $defs: DEFINITIONS })

/** Two that have nothing to do with each other, or one that an assertion of the other was changed or taken away in. */
const pairs = fc.oneof(
  { weight: 1, arbitrary: fc.tuple(drawn.object, drawn.object) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(drawn.object, drawn.assertion)
      .map(([before, [keyword, value]]): [JsonSchema, JsonSchema] => [before, { ...before, [keyword]: value }]),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(drawn.object, fc.nat()).map(([before, which]): [JsonSchema, JsonSchema] => {
      const keyword = Object.keys(before)[which % Math.max(1, Object.keys(before).length)]
      return [before, Object.fromEntries(Object.entries(before).filter(([other]) => other !== keyword))]
    }),
  },
)

const compiled = new Map<string, ReturnType<typeof compileSchema>>()

function admits(schema: JsonSchema, value: unknown): boolean {
  const text = JSON.stringify(schema)
  const one = compiled.get(text) ?? compileSchema(schema)
  compiled.set(text, one)
  const input = { value: Buffer.from(JSON.stringify(value)), contentType: 'application/json' }
  try {
    one.check(input as never)
    return true
  } catch (error) {
    if (TidingsError.is(error) && error.code === 'schema_violation') return false
    throw error
  }
}
