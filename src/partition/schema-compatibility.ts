/**
 * Whether every value that one schema admits is admitted by another: a decision, conservative. It compares
 * structure and answers null only where that proves it; what it cannot judge is answered like what is
 * wrong, with the place in the new schema and the reason.
 *
 * Both schemas are conjunctions of assertions. The new one holds when each assertion of it follows from
 * what the old one asserts of the same place. Pairs of places that are being compared already are taken to
 * hold: a value is finite, so what would refute them is found on the way.
 */
import type { JsonSchema } from '@tidings/sdk/protocol'
import { canonical } from './canonical-json.ts'
import { assertionFollows, factsOf } from './schema-assertions.ts'
import { escape, isObject, readSchema, type Subschema } from './schema-syntax.ts'

export interface Incompatibility {
  /** JSON Pointer into the new schema. */
  path: string
  why: string
}

/** Comparisons of places: more, and it is not judged. */
const PAIRS_MAX = 5000

export function incompatibilityOf(before: JsonSchema, after: JsonSchema): Incompatibility | null {
  const old = readSchema(before)
  const fresh = readSchema(after)
  if (canonical(old.schema) === canonical(fresh.schema)) return null
  if (old.draft !== fresh.draft) return { path: '/$schema', why: 'schemas of two drafts cannot be compared' }
  try {
    new Comparison(old.schema, fresh.schema).compare([old.schema], fresh.schema, '')
    return null
  } catch (error) {
    if (error instanceof Unproven) return { path: error.path, why: error.message }
    throw error
  }
}

class Unproven extends Error {
  readonly path: string

  constructor(path: string, why: string) {
    super(why)
    this.path = path
  }
}

/** What gives a choice. */
const BRANCHES = ['anyOf', 'oneOf'] as const

/** Assertions that say how parts of a value are to be; all others stand for themselves. */
const PARTS = new Set([
  '$ref',
  'allOf',
  'anyOf',
  'properties',
  'patternProperties',
  'additionalProperties',
  'items',
  'prefixItems',
  'additionalItems',
])

class Comparison {
  readonly #old: Subschema
  readonly #fresh: Subschema
  readonly #assumed: Set<string> = new Set()
  /** The assumed pairs in order, so that those of an attempt that failed can be given up. */
  readonly #trail: string[] = []
  readonly #ids: Map<unknown, number> = new Map()
  readonly #rests: Map<JsonSchema, Map<string, JsonSchema>> = new Map()
  #pairs = 0

  constructor(old: Subschema, fresh: Subschema) {
    this.#old = old
    this.#fresh = fresh
  }

  /** Throws Unproven unless all that the old schemas admit together is admitted by the new one. */
  compare(olds: readonly Subschema[], fresh: Subschema, path: string): void {
    if (fresh === true) return
    const old = this.#flatten(olds, this.#old, path)
    if (old === null) return
    const pair = `${old.map((one) => this.#id(one)).join()}/${this.#id(fresh)}`
    if (this.#assumed.has(pair)) return
    this.#assumed.add(pair)
    this.#trail.push(pair)
    if (++this.#pairs > PAIRS_MAX) throw new Unproven(path, 'the schemas are too large to be compared')
    if (fresh === false) throw new Unproven(path, 'no value is admitted here any more')
    const branching = old.find((one) => BRANCHES.some((keyword) => Array.isArray(one[keyword])))
    if (!branching) return this.#each(old, fresh, path)
    const failure = this.#attempt(() => this.#each(old, fresh, path))
    if (!failure) return
    // Where the old schema gives a choice, it is enough that each of its branches fits.
    const keyword = BRANCHES.find((name) => Array.isArray(branching[name]))!
    const branches = branching[keyword]
    const rest = this.#without(branching, [keyword])
    const others = old.filter((one) => one !== branching)
    for (const branch of branches as Subschema[]) {
      if (this.#attempt(() => this.compare([...others, rest, branch], fresh, path))) throw failure
    }
  }

  /** Runs a proof; where it fails, nothing that it assumed is believed any more. */
  #attempt(prove: () => void): Unproven | null {
    const mark = this.#trail.length
    try {
      prove()
      return null
    } catch (error) {
      if (!(error instanceof Unproven)) throw error
      for (const pair of this.#trail.splice(mark)) this.#assumed.delete(pair)
      return error
    }
  }

  #each(old: readonly JsonSchema[], fresh: JsonSchema, path: string): void {
    const facts = factsOf(old)
    for (const keyword of Object.keys(fresh)) {
      if (PARTS.has(keyword)) continue
      const why = assertionFollows(keyword, fresh, facts)
      if (why !== null) throw new Unproven(`${path}/${escape(keyword)}`, why)
    }
    if (fresh['$ref'] !== undefined) this.compare(old, this.#resolve(this.#fresh, fresh['$ref'], path), `${path}/$ref`)
    for (const [i, part] of (listOf(fresh['allOf']) ?? []).entries()) this.compare(old, part, `${path}/allOf/${i}`)
    if (fresh['anyOf'] !== undefined) this.#choice(old, listOf(fresh['anyOf']) ?? [], path)
    if (facts.admits('object')) this.#members(old, fresh, path)
    if (facts.admits('array')) this.#elements(old, fresh, path)
  }

  #choice(old: readonly JsonSchema[], branches: readonly Subschema[], path: string): void {
    for (const [i, branch] of branches.entries()) {
      if (!this.#attempt(() => this.compare(old, branch, `${path}/anyOf/${i}`))) return
    }
    throw new Unproven(`${path}/anyOf`, 'no branch is sure to admit all that was admitted')
  }

  #members(old: readonly JsonSchema[], fresh: JsonSchema, path: string): void {
    const properties = namedOf(fresh['properties'])
    for (const [name, schema] of properties) {
      this.#compareEach(
        old.map((one) => memberOf(one, name)),
        schema,
        `${path}/properties/${escape(name)}`,
      )
    }
    for (const [pattern, schema] of namedOf(fresh['patternProperties'])) {
      const at = `${path}/patternProperties/${escape(pattern)}`
      const same = old.flatMap((one) => named(one['patternProperties'], pattern))
      if (same.length === 0 && schema !== true) throw new Unproven(at, 'the old schema has no such pattern')
      this.compare(same, schema, at)
    }
    const additional = subschema(fresh['additionalProperties'])
    if (additional === true) return
    const at = `${path}/additionalProperties`
    const covered = new Set(properties.keys())
    const patterns = namedOf(fresh['patternProperties'])
    // Each of the old conjuncts that says what may be additional proves it by itself, or none does.
    const reasons: Unproven[] = []
    for (const one of old) {
      const reason = this.#attempt(() => this.#additional(one, old, additional, { covered, patterns }, at))
      if (!reason) return
      reasons.push(reason)
    }
    throw reasons[0] ?? new Unproven(at, 'the old schema admits any other property')
  }

  #additional(
    one: JsonSchema,
    old: readonly JsonSchema[],
    additional: Subschema,
    fresh: { covered: ReadonlySet<string>; patterns: ReadonlyMap<string, Subschema> },
    at: string,
  ): void {
    const rest = subschema(one['additionalProperties'])
    if (rest === true) throw new Unproven(at, 'the old schema admits any other property')
    this.compare([rest], additional, at)
    for (const [pattern, schema] of namedOf(one['patternProperties'])) {
      if (!fresh.patterns.has(pattern)) this.compare([schema], additional, at)
    }
    for (const name of namedOf(one['properties']).keys()) {
      if (fresh.covered.has(name)) continue
      this.#compareEach(
        old.map((other) => memberOf(other, name)),
        additional,
        at,
      )
    }
  }

  #elements(old: readonly JsonSchema[], fresh: JsonSchema, path: string): void {
    const { first, rest, restAt } = elementsOf(fresh)
    for (const [i, schema] of first.entries()) {
      this.compare(
        old.map((one) => elementOf(one, i)),
        schema,
        `${path}/${first === listOf(fresh['prefixItems']) ? 'prefixItems' : 'items'}/${i}`,
      )
    }
    if (rest === true) return
    const longest = Math.max(first.length, ...old.map((one) => elementsOf(one).first.length))
    for (let i = first.length; i <= longest; i++) {
      this.compare(
        old.map((one) => elementOf(one, i)),
        rest,
        `${path}/${restAt}`,
      )
    }
  }

  /** Each conjunct gives alternatives for a member: all combinations that matter are covered when one conjunct proves it. */
  #compareEach(alternatives: readonly (readonly Subschema[])[], fresh: Subschema, path: string): void {
    if (fresh === true) return
    const sure = alternatives.filter((of) => of.length === 1).map((of) => of[0]!)
    const reason = this.#attempt(() => this.compare(sure, fresh, path))
    if (!reason) return
    for (const of of alternatives.filter((several) => several.length > 1)) {
      const failure = this.#attempt(() => {
        for (const one of of) this.compare([...sure, one], fresh, path)
      })
      if (!failure) return
    }
    throw reason
  }

  /** The conjuncts behind references and allOf; null when nothing is admitted at all. */
  #flatten(schemas: readonly Subschema[], root: Subschema, path: string): JsonSchema[] | null {
    const flat: JsonSchema[] = []
    const seen = new Set<Subschema>()
    const queue = [...schemas]
    for (let one = queue.pop(); one !== undefined; one = queue.pop()) {
      if (one === false) return null
      if (one === true || seen.has(one)) continue
      seen.add(one)
      flat.push(this.#without(one, ['$ref', 'allOf']))
      if (one['$ref'] !== undefined) queue.push(this.#resolve(root, one['$ref'], path))
      for (const part of listOf(one['allOf']) ?? []) queue.push(part)
    }
    return flat.sort((a, b) => this.#id(a) - this.#id(b))
  }

  #resolve(root: Subschema, reference: unknown, path: string): Subschema {
    let at: unknown = root
    const pointer = String(reference).slice(1)
    if (pointer !== '' && !pointer.startsWith('/')) throw new Unproven(path, 'references by anchor are not compared')
    for (const part of pointer.split('/').slice(1)) {
      const name = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')
      at = typeof at === 'object' && at !== null && Object.hasOwn(at, name) ? (at as JsonSchema)[name] : undefined
    }
    if (typeof at === 'boolean' || isObject(at)) return at
    throw new Unproven(path, `${String(reference)} is no schema`)
  }

  /** What else the schema says; always the same object for the same question, so that pairs are known again. */
  #without(schema: JsonSchema, keywords: readonly string[]): JsonSchema {
    if (!keywords.some((keyword) => keyword in schema)) return schema
    const of = this.#rests.get(schema) ?? new Map<string, JsonSchema>()
    this.#rests.set(schema, of)
    const known = of.get(keywords.join())
    if (known) return known
    const rest = Object.fromEntries(Object.entries(schema).filter(([keyword]) => !keywords.includes(keyword)))
    of.set(keywords.join(), rest)
    return rest
  }

  /** Numbers stand for schemas in the names of pairs. */
  #id(schema: Subschema): number {
    let id = this.#ids.get(schema)
    if (id === undefined) {
      id = this.#ids.size
      this.#ids.set(schema, id)
    }
    return id
  }
}

function listOf(value: unknown): readonly Subschema[] | null {
  return Array.isArray(value) ? (value as Subschema[]) : null
}

function namedOf(value: unknown): ReadonlyMap<string, Subschema> {
  return new Map(isObject(value) ? (Object.entries(value) as [string, Subschema][]) : [])
}

function named(value: unknown, name: string): Subschema[] {
  const found = namedOf(value).get(name)
  return found === undefined ? [] : [found]
}

function subschema(value: unknown): Subschema {
  return typeof value === 'boolean' || isObject(value) ? value : true
}

/** What one conjunct says of a member: one schema that is sure to hold, or several of which one does. */
function memberOf(one: JsonSchema, name: string): Subschema[] {
  const own = named(one['properties'], name)
  if (own.length > 0) return own
  return [...namedOf(one['patternProperties']).values(), subschema(one['additionalProperties'])]
}

interface Elements {
  first: readonly Subschema[]
  rest: Subschema
  restAt: string
}

/** Arrays as both drafts have them: the first elements one by one, then the rest. */
function elementsOf(one: JsonSchema): Elements {
  const listed = listOf(one['items'])
  if (listed) return { first: listed, rest: subschema(one['additionalItems']), restAt: 'additionalItems' }
  return { first: listOf(one['prefixItems']) ?? [], rest: subschema(one['items']), restAt: 'items' }
}

function elementOf(one: JsonSchema, index: number): Subschema {
  const { first, rest } = elementsOf(one)
  return first[index] ?? rest
}
