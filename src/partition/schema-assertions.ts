/**
 * The assertions of a schema that need no look at the parts of a value (types, bounds, lengths, constants): does
 * one follow from what other schemas assert of the same value? Pure; schema-compatibility.ts asks it for each
 * keyword of the new schema, and answers for the parts itself.
 */
import type { JsonSchema } from '@tidings/sdk/protocol'
import { canonical } from './canonical-json.ts'

type Kind = 'null' | 'boolean' | 'integer' | 'number' | 'string' | 'array' | 'object'
const KINDS: readonly Kind[] = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object']

/** What is known of a value that several schemas admit together. */
export interface Facts {
  schemas: readonly JsonSchema[]
  /** `number` stands for numbers that are not whole. */
  kinds: ReadonlySet<Kind>
  /** The only values that it can be, as canonical text; null: not known. */
  values: ReadonlySet<string> | null
  admits(kind: Kind): boolean
}

export function factsOf(schemas: readonly JsonSchema[]): Facts {
  let kinds = new Set(KINDS)
  let values: Set<string> | null = null
  for (const schema of schemas) {
    const typed = kindsOf(schema['type'])
    kinds = new Set([...kinds].filter((kind) => typed.has(kind)))
    const listed = valuesOf(schema)
    if (listed) values = new Set([...listed].filter((value) => values === null || values.has(value)))
  }
  if (values) {
    const present = new Set([...values].map((text) => kindOf(JSON.parse(text))))
    kinds = new Set([...kinds].filter((kind) => present.has(kind)))
    values = new Set([...values].filter((text) => kinds.has(kindOf(JSON.parse(text)))))
  }
  return { schemas, kinds, values, admits: (kind) => kinds.has(kind) }
}

function kindsOf(type: unknown): ReadonlySet<Kind> {
  if (type === undefined) return new Set(KINDS)
  const named = (Array.isArray(type) ? type : [type]) as Kind[]
  return new Set(named.flatMap((kind): Kind[] => (kind === 'number' ? ['number', 'integer'] : [kind])))
}

function valuesOf(schema: JsonSchema): string[] | null {
  const listed: unknown[] | null = Array.isArray(schema['enum']) ? schema['enum'] : null
  if (!Object.hasOwn(schema, 'const')) return listed && listed.map((value) => canonical(value))
  const only = canonical(schema['const'])
  return !listed || listed.some((value) => canonical(value) === only) ? [only] : []
}

function kindOf(value: unknown): Kind {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value as Kind
}

/** What a keyword says nothing about values of other kinds. */
const CONCERNS: Readonly<Record<string, readonly Kind[]>> = {
  multipleOf: ['number', 'integer'],
  maximum: ['number', 'integer'],
  exclusiveMaximum: ['number', 'integer'],
  minimum: ['number', 'integer'],
  exclusiveMinimum: ['number', 'integer'],
  maxLength: ['string'],
  minLength: ['string'],
  pattern: ['string'],
  maxItems: ['array'],
  minItems: ['array'],
  uniqueItems: ['array'],
  contains: ['array'],
  minContains: ['array'],
  maxContains: ['array'],
  unevaluatedItems: ['array'],
  maxProperties: ['object'],
  minProperties: ['object'],
  required: ['object'],
  propertyNames: ['object'],
  dependencies: ['object'],
  dependentRequired: ['object'],
  dependentSchemas: ['object'],
  unevaluatedProperties: ['object'],
}

/** What asserts nothing. */
const SILENT = new Set([
  '$id',
  '$schema',
  '$comment',
  '$anchor',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'contentMediaType',
  'contentEncoding',
  'contentSchema',
  // Together with the keyword that they belong to.
  'then',
  'else',
  'minContains',
  'maxContains',
])

/** Of two such bounds the higher admits more. */
const UPPER = new Set(['maxLength', 'maxItems', 'maxProperties'])
const LOWER = new Set(['minLength', 'minItems', 'minProperties'])

/** Null when the new schema's keyword follows from the facts; else the reason why it may not. */
export function assertionFollows(keyword: string, fresh: JsonSchema, facts: Facts): string | null {
  if (SILENT.has(keyword)) return null
  if (facts.kinds.size === 0 || facts.values?.size === 0) return null
  const concerns = CONCERNS[keyword]
  if (concerns && !concerns.some((kind) => facts.admits(kind))) return null
  const value = fresh[keyword]
  switch (keyword) {
    case 'type':
      return typeFollows(value, facts)
    case 'enum':
    case 'const':
      return valuesFollow(fresh, facts)
    case 'required':
      return requiredFollow(value as string[], facts)
    case 'minimum':
    case 'exclusiveMinimum':
      return boundFollows(keyword, value as number, facts, 1)
    case 'maximum':
    case 'exclusiveMaximum':
      return boundFollows(keyword, value as number, facts, -1)
    case 'uniqueItems':
      return value === false ? null : sameFollows([keyword], fresh, facts)
    case 'if':
      return sameFollows(['if', 'then', 'else'], fresh, facts)
    case 'contains':
      return sameFollows(['contains', 'minContains', 'maxContains'], fresh, facts)
  }
  if (UPPER.has(keyword) || LOWER.has(keyword)) return sizeFollows(keyword, value as number, facts)
  if (keyword.startsWith('unevaluated')) return 'what it leaves unevaluated cannot be judged'
  return sameFollows([keyword], fresh, facts)
}

function typeFollows(type: unknown, facts: Facts): string | null {
  const allowed = kindsOf(type)
  const lost = [...facts.kinds].find((kind) => !allowed.has(kind))
  return lost === undefined
    ? null
    : `the old schema admits ${lost === 'number' ? 'numbers that are not whole' : `a value of type ${lost}`}`
}

function valuesFollow(fresh: JsonSchema, facts: Facts): string | null {
  if (!facts.values) return 'the old schema admits other values'
  const allowed = new Set(valuesOf(fresh))
  const lost = [...facts.values].find((value) => !allowed.has(value))
  return lost === undefined ? null : `the old schema admits ${lost.slice(0, 60)}`
}

function requiredFollow(names: readonly string[], facts: Facts): string | null {
  const known = new Set(facts.schemas.flatMap((schema) => (schema['required'] as string[] | undefined) ?? []))
  const lost = names.find((name) => !known.has(name))
  return lost === undefined ? null : `the old schema does not require ${JSON.stringify(lost)}`
}

/** @param sign 1 for lower bounds, -1 for upper ones, which are lower bounds of the negated value */
function boundFollows(keyword: string, bound: number, facts: Facts, sign: 1 | -1): string | null {
  const [inclusive, exclusive] = sign === 1 ? ['minimum', 'exclusiveMinimum'] : ['maximum', 'exclusiveMaximum']
  const isStrict = keyword === exclusive
  for (const schema of facts.schemas) {
    const weak = schema[inclusive!]
    const strict = schema[exclusive!]
    if (typeof strict === 'number' && sign * strict >= sign * bound) return null
    if (typeof weak === 'number' && (isStrict ? sign * weak > sign * bound : sign * weak >= sign * bound)) return null
  }
  return `the old schema admits numbers beyond ${bound}`
}

function sizeFollows(keyword: string, bound: number, facts: Facts): string | null {
  const isUpper = UPPER.has(keyword)
  if (!isUpper && bound === 0) return null
  const known = facts.schemas.some((schema) => {
    const old = schema[keyword]
    return typeof old === 'number' && (isUpper ? old <= bound : old >= bound)
  })
  return known ? null : `the old schema does not say ${keyword} ${bound} or ${isUpper ? 'less' : 'more'}`
}

/** What is not looked into follows only from the same in one of the old schemas. */
function sameFollows(keywords: readonly string[], fresh: JsonSchema, facts: Facts): string | null {
  const [text] = textsOf([fresh], keywords)
  if (/"\$ref"/.test(text!)) return 'it holds a reference, which cannot be judged here'
  return textsOf(facts.schemas, keywords).includes(text!)
    ? null
    : 'the old schema does not say the same, and this keyword is not looked into'
}

function textsOf(schemas: readonly JsonSchema[], keywords: readonly string[]): string[] {
  return schemas.map((schema) => canonical(keywords.map((keyword) => schema[keyword] ?? null)))
}
