import { type JsonSchema, TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PublishInput } from '../../../src/partition/publish-input.ts'
import { compileSchema } from '../../../src/partition/schema.ts'

function input(value: unknown, contentType = 'application/json'): PublishInput {
  return {
    key: null,
    value: value instanceof Uint8Array ? value : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
    contentType,
    headers: [],
    idempotencyKey: null,
    partition: null,
    ttlMs: null,
    valueChecked: false,
  }
}

/** `code: detail` of what is thrown, or null. */
function refusal(run: () => unknown): string | null {
  try {
    run()
    return null
  } catch (error) {
    if (TidingsError.is(error)) return `${error.code}: ${error.message}`
    throw error
  }
}

const check = (schema: JsonSchema, value: unknown): string | null =>
  refusal(() => compileSchema(schema).check(input(JSON.stringify(value))))

const ORDER: JsonSchema = {
  type: 'object',
  required: ['id', 'lines'],
  properties: {
    id: { type: 'string', pattern: '^[A-Z]{2}-\\d+$' },
    placed: { format: 'date-time' },
    state: { enum: ['new', 'paid', { other: 1 }] },
    lines: { type: 'array', minItems: 1, items: { $ref: '#/$defs/line' }, uniqueItems: true },
    'a/b': { type: 'null' },
  },
  additionalProperties: false,
  $defs: { line: { type: 'object', properties: { quantity: { type: 'integer', minimum: 1 } } } },
}

describe('a value on a topic with a schema', () => {
  it('is let in when it satisfies it, and known to be JSON then', () => {
    const message = input({ id: 'AB-1', lines: [{ quantity: 1 }], state: { other: 1 }, placed: '2026-01-31T12:00:00Z' })
    compileSchema(ORDER).check(message)
    expect(message.valueChecked).toBe(true)
  })

  it.each([
    [{ id: 'AB-1' }, "the value: must have required property 'lines'"],
    [{ id: 'AB-1', lines: [] }, '/lines: must NOT have fewer than 1 items'],
    [{ id: 'AB-1', lines: [{ quantity: 1 }, { quantity: 0 }] }, '/lines/1/quantity: must be >= 1'],
    [{ id: 'AB-1', lines: [{ q: 1 }, { q: 1 }] }, '/lines: must not have the same item twice'],
    [{ id: 'AB-1', lines: [{}], x: 1 }, 'the value: must NOT have additional properties ("x")'],
    [{ id: 'AB-1', lines: [{}], 'a/b': 1 }, '/a~1b: must be null'],
    [{ id: 'AB-x', lines: [{}] }, '/id: must match pattern'],
    [{ id: 'AB-1', lines: [{}], state: 'gone' }, '/state: must be one of the allowed values'],
    [{ id: 'AB-1', lines: [{}], placed: '2026-02-30T12:00:00Z' }, '/placed: must match format "date-time"'],
    [[], 'the value: must be object'],
  ])('is refused for %j', (value, detail) => {
    expect(check(ORDER, value)).toContain(`schema_violation: ${detail}`)
  })

  it.each([
    ['{"id":', 'application/json', 'expected JSON: the value is none'],
    ['', 'application/json', 'expected JSON: the value is none'],
    [Buffer.from([0x22, 0xff, 0x22]), 'application/vnd.x+json', 'expected JSON: the value is none'],
    ['{}', 'text/plain', 'expected JSON, got "text/plain"'],
    ['{}', 'application/octet-stream', 'expected JSON, got "application/octet-stream"'],
  ])('is refused when it is no JSON: %j as %s', (value, contentType, detail) => {
    expect(refusal(() => compileSchema({}).check(input(value, contentType)))).toContain(
      `schema_violation: the value: ${detail}`,
    )
  })

  it('is no value of an object’s prototype', () => {
    expect(check({ required: ['toString'] }, {})).toContain('toString')
    expect(check({ properties: { constructor: { type: 'string' } } }, {})).toBeNull()
    expect(refusal(() => compileSchema({ additionalProperties: false }).check(input('{"__proto__":1}')))).toContain(
      '__proto__',
    )
  })

  it('is checked by the draft that the schema names', () => {
    const draft07 = {
      $schema: 'http://json-schema.org/draft-07/schema#',
      items: [{ type: 'string' }],
      additionalItems: false,
    }
    expect(check(draft07, ['a'])).toBeNull()
    expect(check(draft07, ['a', 1])).not.toBeNull()
    const draft2020 = { prefixItems: [{ type: 'string' }], items: false }
    expect(check(draft2020, ['a'])).toBeNull()
    expect(check(draft2020, ['a', 1])).not.toBeNull()
  })

  it.each(['https://json-schema.org/draft/2020-12/schema', 'http://json-schema.org/draft-07/schema#'])(
    'may be a tree whose branches are like the whole (%s)',
    ($schema) => {
      const tree = {
        $schema,
        type: 'object',
        required: ['n'],
        properties: { n: { type: 'number' }, next: { $ref: '#' } },
      }
      expect(check(tree, { n: 1, next: { n: 2, next: { n: 3 } } })).toBeNull()
      expect(check(tree, { n: 1, next: { n: 2, next: {} } })).toContain('/next/next')
      expect(check({ ...tree, $id: 'https://example.org/tree' }, { n: 1, next: {} })).toContain('/next')
    },
  )

  it('tells two patterns of one schema apart', () => {
    const schema = {
      properties: { a: { pattern: '^a$' }, b: { pattern: '^b$' } },
      patternProperties: { '^x\\u002d': false },
    }
    expect(check(schema, { a: 'a', b: 'b' })).toBeNull()
    expect(check(schema, { a: 'b' })).toContain('/a')
    expect(check(schema, { b: 'a' })).toContain('/b')
    expect(check(schema, { 'x-': 1 })).not.toBeNull()
  })
})

describe('a schema', () => {
  const bomb: Record<string, JsonSchema> = { d0: { type: 'string' } }
  for (let i = 1; i <= 40; i++) {
    bomb[`d${i}`] = { anyOf: [{ $ref: `#/$defs/d${i - 1}` }, { $ref: `#/$defs/d${i - 1}` }] }
  }

  it.each([
    ['branches that double', { $defs: bomb, $ref: '#/$defs/d40' }, 1],
    ['a reference to itself', { $defs: { a: { anyOf: [{ $ref: '#/$defs/a' }] } }, $ref: '#/$defs/a' }, 1],
    ['a reference to the whole', { $ref: '#' }, 1],
    ['a pattern against a long text', { pattern: '^(a|aa|aaa|[a-z]+)+$' }, `${'a'.repeat(2_000_000)}!`],
    [
      'a format against many texts',
      { items: { format: 'email' } },
      Array.from({ length: 2000 }, () => `${'a.'.repeat(700)}a@example.org`),
    ],
    ['unique items, all different', { uniqueItems: true }, Array.from({ length: 250_000 }, (_, i) => [i])],
    [
      'a long enum for many items',
      { items: { enum: Array.from({ length: 5000 }, (_, i) => `v${i}`) } },
      Array.from({ length: 600_000 }, () => 'v4999'),
    ],
  ])('cannot hold the broker up by %s', (_, schema, value) => {
    const compiled = compileSchema(schema as JsonSchema)
    const refused = refusal(() => compiled.check(input(JSON.stringify(value))))
    expect(refused).toMatch(/^schema_violation: the value: (the value takes too long|the value is nested)/)
    // The next value is another matter.
    expect(refusal(() => compileSchema({ type: 'string' }).check(input('"a"')))).toBeNull()
  })

  it('checks a large plain value', () => {
    const rows = Array.from({ length: 50_000 }, (_, i) => ({ id: i, name: `name ${i}`, mail: `m${i}@example.org` }))
    const schema = {
      items: { properties: { id: { type: 'integer' }, name: { type: 'string' }, mail: { format: 'email' } } },
    }
    expect(check(schema, rows)).toBeNull()
  })

  it.each([
    [{ type: 'objekt' }, '/type'],
    [{ properties: { a: { minimum: 'x' } } }, '/properties/a/minimum'],
    [{ properties: [] }, '/properties'],
    [{ allOf: [{}, 5] }, '/allOf/1'],
    [{ propertees: {} }, '/propertees'],
    [{ properties: { 'a/b': { nope: 1 } } }, '/properties/a~1b/nope'],
    [{ $ref: 'https://example.org/schema.json' }, '/$ref'],
    [{ $ref: '#/$defs/none' }, 'resolve'],
    [{ properties: { a: { $id: 'https://example.org/a' } } }, '/properties/a/$id'],
    [{ $schema: 'http://json-schema.org/draft-04/schema#' }, '/$schema'],
    [{ pattern: '(' }, 'pattern'],
    [{ pattern: '(a+)\\1' }, 'RE2'],
    [{ pattern: '^(?=a)' }, 'RE2'],
    [{ pattern: '(a{20}){20}(b{10}){10}' }, 'counts'],
    [{ format: 'telephone' }, '/format'],
    [{ $schema: 'http://json-schema.org/draft-07/schema#', prefixItems: [] }, '/prefixItems'],
  ])('is refused: %j', (schema, detail) => {
    expect(refusal(() => compileSchema(schema as JsonSchema))).toMatch(/^invalid_argument: schema/)
    expect(refusal(() => compileSchema(schema as JsonSchema))).toContain(detail)
  })

  it('is refused when it is too deep or has too many parts', () => {
    let deep: JsonSchema = {}
    for (let i = 0; i < 100; i++) deep = { not: deep }
    expect(refusal(() => compileSchema(deep))).toContain('deep')
    const wide = { allOf: Array.from({ length: 1001 }, () => ({})) }
    expect(refusal(() => compileSchema(wide))).toContain('subschemas')
  })

  it('may have names of its own, which say nothing', () => {
    expect(check({ 'x-owner': 'billing', type: 'string' }, 'a')).toBeNull()
  })

  it('runs no code that stands in it', () => {
    const code = '"); globalThis.hacked = true; ("'
    const schema = {
      title: code,
      properties: { [code]: { const: code, description: code } },
      required: [code],
      $comment: code,
    }
    expect(check(schema, { [code]: code })).toBeNull()
    expect(check(schema, { [code]: 1 })).not.toBeNull()
    expect('hacked' in globalThis).toBe(false)
  })

  it('gives a verdict or a TidingsError for whatever comes', () => {
    const keyword = fc.constantFrom(
      'type',
      'properties',
      'items',
      'anyOf',
      '$ref',
      'enum',
      'pattern',
      'required',
      'not',
      'if',
      'then',
      'const',
      'format',
      'prefixItems',
      'dependentSchemas',
      'x-a',
      '$id',
      '$anchor',
      'propertyNames',
      'unevaluatedProperties',
    )
    const schema = fc.letrec<{ any: unknown }>((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(null, true, false, 'string', 'object', '#', '#/$defs/a', '[a', 'email', 3, -1, 0.5),
        fc.array(tie('any'), { maxLength: 3 }),
        fc.dictionary(fc.oneof(keyword, fc.string({ maxLength: 4 })), tie('any'), { maxKeys: 4 }),
      ),
    }))
    const object = fc.dictionary(keyword, schema.any, { maxKeys: 5 })
    fc.assert(
      fc.property(object, fc.jsonValue(), (made, value) => {
        refusal(() => compileSchema(made as JsonSchema).check(input(JSON.stringify(value))))
      }),
      { numRuns: 300 },
    )
  })
})
