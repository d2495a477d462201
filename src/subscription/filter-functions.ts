/**
 * The functions of the filter language, metered: those of the library behind a charge by the size of what
 * they are given, and ours where the library's could take long (deep equality, long lists, patterns), where
 * JSON needs them (a null is a value that is there), or where they are called for every message
 * (comparing). The names with an `@` are those that filter-syntax.ts puts into an expression.
 */

import { compileRe2, type RE2JS } from '../base/re2.ts'
import { type CelEnv, celError, celList, isCelList, isCelMap } from './cel.ts'
import type { Meter } from './filter-meter.ts'

/** What an expression may mention, by name; null is a value, an Error says why there is none. */
export type Variables = Readonly<Record<string, () => unknown>>

/** Answers undefined where it knows no such arguments: then the library's is asked. */
type Own = (args: readonly unknown[], target: unknown) => unknown

interface Callee {
  call(id: number, target: unknown, args: unknown[]): unknown
}

/** Text that is read as a number or a time: a longer one is none. */
const NUMERAL_CHARS_MAX = 64
const NUMERAL_READERS: ReadonlySet<string> = new Set(['int', 'uint', 'double', 'timestamp', 'duration'])
/** A time in a named zone takes a calendar. */
const ZONE_STEPS = 500

type Order = (comparison: number) => boolean
const ORDERS: Readonly<Record<string, Order>> = {
  '_<_': (comparison) => comparison < 0,
  '_<=_': (comparison) => comparison <= 0,
  '_>_': (comparison) => comparison > 0,
  '_>=_': (comparison) => comparison >= 0,
}

const ARITHMETIC: Readonly<Record<string, (a: number, b: number) => number>> = {
  '_+_': (a, b) => a + b,
  '_-_': (a, b) => a - b,
  '_*_': (a, b) => a * b,
  '_/_': (a, b) => a / b,
  '_%_': (a, b) => a % b,
}

export class MeteredFunctions {
  readonly #library: CelEnv['funcs']
  readonly #meter: Meter
  readonly #own: ReadonlyMap<string, Own>

  constructor(library: CelEnv['funcs'], meter: Meter, variables: Variables, patterns: ReadonlyMap<string, Pattern>) {
    this.#library = library
    this.#meter = meter
    this.#own = new Map<string, Own>([
      ...Object.entries(variables).map(([name, read]): [string, Own] => [`@${name}`, read]),
      ...Object.entries(ORDERS).map(([name, order]): [string, Own] => [name, compare(order, meter)]),
      ...Object.entries(ARITHMETIC).map(([name, operation]): [string, Own] => [name, calculate(operation)]),
      ['_+_', add(ARITHMETIC['_+_']!, meter)],
      ['_==_', ([a, b]) => this.#equals(a, b)],
      ['_!=_', ([a, b]) => !this.#equals(a, b)],
      ['@in', ([value, container]) => this.#isIn(value, container)],
      ['@has', ([map, field]) => (isCelMap(map) ? map.get(field as string) !== undefined : celError('no map'))],
      ['size', ([argument], target) => sizeOf(target ?? argument, meter)],
      ['matches', ([pattern], text) => matches(patterns.get(pattern as string), text, meter)],
      ...macros(meter),
    ])
  }

  /** As the library's planner asks for it. */
  find(name: string): Callee | undefined {
    const own = this.#own.get(name)
    const library = this.#library.find(name) as Callee | undefined
    if (!own && !library) return undefined
    const meter = this.#meter
    return {
      call: (id, target, args) => {
        meter.charge(1)
        const answer = own?.(args, target)
        if (answer !== undefined || !library) return answer
        return chargeArguments(name, target, args, meter) ?? library.call(id, target, args)
      },
    }
  }

  #equals(a: unknown, b: unknown): boolean {
    if (a === b) return true
    if (typeof a === 'string' && typeof b === 'string') return false
    if (isNumeric(a) && isNumeric(b)) return compareNumbers(a, b) === 0
    if (isCelList(a)) {
      if (!isCelList(b) || a.size !== b.size) return false
      for (let i = 0; i < a.size; i++) {
        this.#meter.charge(1)
        if (!this.#equals(a.get(i), b.get(i))) return false
      }
      return true
    }
    if (isCelMap(a)) {
      if (!isCelMap(b) || a.size !== b.size) return false
      for (const [key, value] of a) {
        this.#meter.charge(1)
        const other = b.get(key)
        if (other === undefined || !this.#equals(value, other)) return false
      }
      return true
    }
    if (a instanceof Uint8Array) this.#meter.chargeLength(a.length)
    return (this.#library.find('_==_') as Callee).call(0, undefined, [a, b]) === true
  }

  #isIn(value: unknown, container: unknown): unknown {
    if (isCelMap(container)) {
      return typeof value === 'object' ? undefined : container.get(value as string) !== undefined
    }
    if (!isCelList(container)) return undefined
    for (const element of container) {
      this.#meter.charge(1)
      if (this.#equals(element, value)) return true
    }
    return false
  }
}

/** A regular expression that was checked before: matching takes time by the text and by its weight. */
export interface Pattern {
  regex: RE2JS
  stepsPerChar: number
}

/** Characters of a pattern, and how often it may repeat its parts by counting (`{1,20}`), nested ones multiplied. */
export const PATTERN_CHARS_MAX = 512
export const PATTERN_REPEATS_MAX = 128
const COUNTS = /\{(?:\d*,)?(\d+)\}|\{(\d+),\}/g

/** Compiles a pattern in RE2's syntax, or says what is wrong with it. */
export function compilePattern(source: string): Pattern | string {
  let repeats = 1
  for (const [, most, least] of source.matchAll(COUNTS)) repeats *= Math.max(1, Number(most ?? least))
  if (source.length > PATTERN_CHARS_MAX) return `it is longer than ${PATTERN_CHARS_MAX} characters`
  if (repeats > PATTERN_REPEATS_MAX) return `its counts, multiplied, are more than ${PATTERN_REPEATS_MAX}`
  try {
    return { regex: compileRe2(source), stepsPerChar: 1 + (source.length * repeats) / 8 }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function matches(pattern: Pattern | undefined, text: unknown, meter: Meter): unknown {
  if (!pattern || typeof text !== 'string') return undefined
  meter.charge(text.length * pattern.stepsPerChar)
  return pattern.regex.test(text)
}

/** What macros (`all`, `exists`, `map`, …) are made of: what they go through, a turn, and the list that they make. */
function macros(meter: Meter): [string, Own][] {
  const growing = new WeakMap<object, unknown[]>()
  const list = (elements: unknown[]): unknown => {
    const made = celList(elements as never)
    growing.set(made, elements)
    return made
  }
  const range: Own = ([value]) => {
    if (isCelList(value) || isCelMap(value)) meter.charge(value.size)
    return value
  }
  const turn: Own = ([condition, steps]) => {
    meter.charge(Number(steps))
    return condition
  }
  const append: Own = ([made, added]) => {
    const elements = growing.get(made as object)
    if (elements && isCelList(added)) elements.push(...added)
    return made
  }
  return [
    ['@range', range],
    ['@turn', turn],
    ['@list', () => list([])],
    ['@append', append],
  ]
}

/** As numbers, exactly, be they ints or doubles; NaN, which is in no order, where one of them is none. */
function compareNumbers(a: number | bigint, b: number | bigint): number {
  if (a < b) return -1
  if (a > b) return 1
  return Number.isNaN(a) || Number.isNaN(b) ? Number.NaN : 0
}

function compare(order: Order, meter: Meter): Own {
  return ([a, b]) => {
    if (isNumeric(a) && isNumeric(b)) return order(compareNumbers(a, b))
    if (typeof a !== 'string' || typeof b !== 'string') return undefined
    meter.chargeLength(Math.min(a.length, b.length))
    return order(a < b ? -1 : a > b ? 1 : 0)
  }
}

/** With a double the result is one: JSON knows no other numbers, and a literal like `2` is an int. */
function calculate(operation: (a: number, b: number) => number): Own {
  return ([a, b]) => {
    if (!isNumeric(a) || !isNumeric(b) || (typeof a === 'bigint' && typeof b === 'bigint')) return undefined
    return operation(Number(a), Number(b))
  }
}

function add(operation: (a: number, b: number) => number, meter: Meter): Own {
  const numbers = calculate(operation)
  return (args, target) => {
    const [a, b] = args
    if (typeof a === 'string' && typeof b === 'string') meter.chargeLength(a.length + b.length)
    if (!isCelList(a) || !isCelList(b)) return numbers(args, target)
    meter.charge(a.size + b.size)
    return celList([...a, ...b] as never)
  }
}

function sizeOf(value: unknown, meter: Meter): unknown {
  if (typeof value !== 'string') return undefined
  meter.charge(value.length / 8)
  let count = 0
  for (const _ of value) count++
  return BigInt(count)
}

/** Charges for the library's function; answers an error where it is not to be asked at all. */
function chargeArguments(name: string, target: unknown, args: readonly unknown[], meter: Meter): unknown {
  for (const value of [target, ...args]) {
    if (typeof value !== 'string' && !(value instanceof Uint8Array)) continue
    meter.chargeLength(value.length)
    if (value.length > NUMERAL_CHARS_MAX && NUMERAL_READERS.has(name)) return celError(`${name}: the text is too long`)
  }
  if (name.startsWith('get') && args.length > 0) meter.charge(ZONE_STEPS)
  return undefined
}

function isNumeric(value: unknown): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint'
}
