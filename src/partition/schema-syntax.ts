/**
 * The shape of a JSON Schema before anybody compiles it: which keywords there are, where subschemas stand
 * in it, how much of it there may be, and that it refers to nothing outside itself. Pure: schema in, a
 * fresh copy out, without annotations of the user's own (`x-…`); or `invalid_argument` with the place.
 */
import { type JsonSchema, TidingsError } from '@tidings/sdk/protocol'
import { shown } from '../base/field.ts'

export type Draft = '2020-12' | '07'

/** A schema is an object of keywords, or says yes or no to everything. */
export type Subschema = JsonSchema | boolean

const DRAFTS: ReadonlyMap<string, Draft> = new Map([
  ['https://json-schema.org/draft/2020-12/schema', '2020-12'],
  ['https://json-schema.org/draft/2020-12/schema#', '2020-12'],
  ['http://json-schema.org/draft-07/schema', '07'],
  ['http://json-schema.org/draft-07/schema#', '07'],
])

/** Objects of keywords in one schema, and how deep they may lie: compiling takes time for each. */
export const SUBSCHEMAS_MAX = 1000
export const DEPTH_MAX = 64

/** What a keyword holds: one schema, a list, schemas by name, or something that is no schema. */
type Holds = 'schema' | 'schemas' | 'named' | 'schema or schemas' | 'named or names' | 'data'

const BOTH: Readonly<Record<string, Holds>> = {
  $id: 'data',
  $schema: 'data',
  $ref: 'data',
  $comment: 'data',
  title: 'data',
  description: 'data',
  default: 'data',
  example: 'data',
  examples: 'data',
  deprecated: 'data',
  readOnly: 'data',
  writeOnly: 'data',
  type: 'data',
  enum: 'data',
  const: 'data',
  multipleOf: 'data',
  maximum: 'data',
  exclusiveMaximum: 'data',
  minimum: 'data',
  exclusiveMinimum: 'data',
  maxLength: 'data',
  minLength: 'data',
  pattern: 'data',
  format: 'data',
  contentMediaType: 'data',
  contentEncoding: 'data',
  maxItems: 'data',
  minItems: 'data',
  uniqueItems: 'data',
  maxProperties: 'data',
  minProperties: 'data',
  required: 'data',
  contains: 'schema',
  properties: 'named',
  patternProperties: 'named',
  additionalProperties: 'schema',
  propertyNames: 'schema',
  allOf: 'schemas',
  anyOf: 'schemas',
  oneOf: 'schemas',
  not: 'schema',
  if: 'schema',
  // biome-ignore lint/suspicious/noThenProperty: the keyword is called that
  then: 'schema',
  else: 'schema',
  definitions: 'named',
}
const KEYWORDS: Readonly<Record<Draft, ReadonlyMap<string, Holds>>> = {
  '2020-12': new Map<string, Holds>([
    ...Object.entries(BOTH),
    ['$defs', 'named'],
    ['$anchor', 'data'],
    ['items', 'schema'],
    ['prefixItems', 'schemas'],
    ['minContains', 'data'],
    ['maxContains', 'data'],
    ['dependentRequired', 'data'],
    ['dependentSchemas', 'named'],
    ['unevaluatedItems', 'schema'],
    ['unevaluatedProperties', 'schema'],
    ['contentSchema', 'data'],
  ]),
  '07': new Map<string, Holds>([
    ...Object.entries(BOTH),
    ['items', 'schema or schemas'],
    ['additionalItems', 'schema'],
    ['dependencies', 'named or names'],
  ]),
}

export interface ReadSchema {
  draft: Draft
  schema: Subschema
}

export interface ReadOptions {
  /** Keywords that every object of the copy gets besides. */
  mark?: JsonSchema
  /** Names of formats that can be checked; without it any is let through. */
  formats?: ReadonlySet<string>
}

export function readSchema(schema: JsonSchema, options: ReadOptions = {}): ReadSchema {
  const named = schema['$schema'] ?? 'https://json-schema.org/draft/2020-12/schema'
  const draft = typeof named === 'string' ? DRAFTS.get(named) : undefined
  if (!draft) throw invalid('/$schema', `known are draft 2020-12 (the default) and draft-07, not ${shown(named)}`)
  return { draft, schema: new Reader(draft, options).read(schema, '', 0) }
}

class Reader {
  readonly #draft: Draft
  readonly #mark: JsonSchema
  readonly #formats: ReadonlySet<string> | undefined
  #count = 0

  constructor(draft: Draft, { mark = {}, formats }: ReadOptions) {
    this.#draft = draft
    this.#mark = mark
    this.#formats = formats
  }

  read(schema: unknown, path: string, depth: number): Subschema {
    if (typeof schema === 'boolean') return schema
    if (!isObject(schema)) throw invalid(path, `expected a schema (an object, true or false), got ${shown(schema)}`)
    if (depth > DEPTH_MAX) throw invalid(path, `schemas lie at most ${DEPTH_MAX} deep in each other`)
    if (++this.#count > SUBSCHEMAS_MAX) throw invalid('', `it has more than ${SUBSCHEMAS_MAX} subschemas`)
    const copy: [string, unknown][] = Object.entries(this.#mark)
    for (const [keyword, value] of Object.entries(schema)) {
      if (keyword.startsWith('x-')) continue
      copy.push([keyword, this.#keyword(keyword, value, path, depth)])
    }
    return Object.fromEntries(copy)
  }

  #keyword(keyword: string, value: unknown, path: string, depth: number): unknown {
    const at = `${path}/${escape(keyword)}`
    const holds = KEYWORDS[this.#draft].get(keyword)
    if (!holds) {
      throw invalid(
        at,
        `draft ${this.#draft} has no such keyword that can be checked; begin names of your own with "x-"`,
      )
    }
    if (keyword === '$ref' && !(typeof value === 'string' && value.startsWith('#'))) {
      throw invalid(at, `a schema may refer to places of itself only ("#/…"), not to ${shown(value)}`)
    }
    if (keyword === 'format' && typeof value === 'string' && this.#formats?.has(value) === false) {
      throw invalid(at, `no format ${shown(value)} can be checked; known are ${[...this.#formats].join(', ')}`)
    }
    if (keyword === '$id' && path !== '') throw invalid(at, 'only the whole schema may have an id')
    return this.#held(holds, value, at, depth + 1)
  }

  #held(holds: Holds, value: unknown, at: string, depth: number): unknown {
    switch (holds) {
      case 'data':
        return value
      case 'schema':
        return this.read(value, at, depth)
      case 'schemas':
        if (!Array.isArray(value)) throw invalid(at, `expected a list of schemas, got ${shown(value)}`)
        return value.map((one, i) => this.read(one, `${at}/${i}`, depth))
      case 'schema or schemas':
        return this.#held(Array.isArray(value) ? 'schemas' : 'schema', value, at, depth)
      case 'named':
      case 'named or names':
        if (!isObject(value)) throw invalid(at, `expected an object of schemas, got ${shown(value)}`)
        return Object.fromEntries(
          Object.entries(value).map(([name, one]) => {
            if (name === '__proto__') throw invalid(at, '"__proto__" cannot be the name of a property')
            if (holds === 'named or names' && Array.isArray(one)) return [name, one]
            return [name, this.read(one, `${at}/${escape(name)}`, depth)]
          }),
        )
    }
  }
}

/** A name as it stands in a JSON Pointer. */
export function escape(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

export function isObject(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function invalid(path: string, why: string): TidingsError {
  return new TidingsError('invalid_argument', `schema${path === '' ? '' : ` at ${path}`}: ${why}`)
}
