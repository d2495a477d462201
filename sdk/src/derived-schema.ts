/**
 * The JSON Schema that a validator gives of itself, made fit for the broker: it must refuse nothing that the validator
 * admits, and hold nothing that the broker cannot check. Validators disagree on formats, also with their own next
 * release, and the broker's patterns know no look-around; those stay for readers only, as `x-…`. Pure.
 */
import type { JsonSchema } from './protocol/subscription.ts'

/** Look-around, references back, and classes by property, which engines spell differently. */
const BEYOND = /\(\?<?[=!]|\\[1-9k]|\\[pP]\{|\(\?<[A-Za-z]/
/** Where a weaker schema within makes the whole a stricter one, or something else. */
const TURNED: readonly string[] = [
  'not',
  'if',
  'contains',
  'dependentSchemas',
  'unevaluatedProperties',
  'unevaluatedItems',
]
/** What stands there is data, not schemas. */
const DATA: readonly string[] = ['enum', 'const', 'default', 'examples', 'required', 'type', 'dependentRequired']
/** Schemas by names, which are no keywords. */
const NAMED: readonly string[] = ['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas']

export function weakened(schema: JsonSchema): JsonSchema {
  return weaken(schema) as JsonSchema
}

function weaken(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(weaken)
  if (typeof schema !== 'object' || schema === null) return schema
  const result: Record<string, unknown> = {}
  let hasLostIf = false
  for (const [keyword, held] of Object.entries(schema)) {
    if (keyword === 'format' || (keyword === 'pattern' && ('format' in schema || BEYOND.test(String(held))))) {
      result[`x-${keyword}`] = held
      continue
    }
    if (DATA.includes(keyword)) {
      result[keyword] = held
      continue
    }
    const inner = NAMED.includes(keyword) ? namedWeakened(held) : weaken(held)
    const isSame = JSON.stringify(inner) === JSON.stringify(held)
    if (keyword === 'patternProperties' && Object.keys(held as object).some((name) => BEYOND.test(name))) continue
    if (isSame || !TURNED.includes(keyword)) {
      // Exactly one of several: weaker ones may overlap.
      result[keyword === 'oneOf' && !isSame ? 'anyOf' : keyword] = inner
    } else if (keyword === 'if') hasLostIf = true
  }
  if (hasLostIf) for (const keyword of ['then', 'else']) delete result[keyword]
  return result
}

function namedWeakened(schemas: unknown): unknown {
  return Object.fromEntries(Object.entries(schemas as object).map(([name, schema]) => [name, weaken(schema)]))
}
