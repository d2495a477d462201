/**
 * A filter's text as an expression that may be planned: parsed, its names, calls and kinds of values checked as
 * far as they can be seen, bounded in size, and rewritten so that evaluation is metered (see
 * filter-functions.ts) and has a JSON null counted as present. A decision; `filter_invalid` says what is
 * wrong and where.
 */

import { TidingsError } from '@tidings/sdk/protocol'
import { type CelEnv, type CelFunc, type CelType, parse } from './cel.ts'
import { compilePattern, type Pattern } from './filter-functions.ts'

export type Expr = ReturnType<typeof parse>['expr']
type Positions = ReturnType<typeof parse>['sourceInfo']
type Call = Extract<Expr['exprKind'], { case: 'callExpr' }>['value']
type Comprehension = Extract<Expr['exprKind'], { case: 'comprehensionExpr' }>['value']

/** Kinds of values as the library names them; `dyn`: only the message tells; `other`: several, but neither true nor false. */
type Kind = string

/** The kinds of what an expression may mention. A key is text or null. */
export const VARIABLE_KINDS: Readonly<Record<string, Kind>> = {
  key: 'key',
  headers: 'map',
  contentType: 'string',
  topic: 'string',
  timestamp: 'google.protobuf.Timestamp',
  value: 'dyn',
}
const TYPE_NAMES: ReadonlySet<string> = new Set([
  'int',
  'uint',
  'double',
  'bool',
  'string',
  'bytes',
  'list',
  'map',
  'null_type',
  'type',
])

const NODES_MAX = 1000
const DEPTH_MAX = 250

export interface CheckedFilter {
  expr: Expr
  /** The variables that it mentions. */
  mentions: ReadonlySet<string>
  patterns: ReadonlyMap<string, Pattern>
}

/** Throws `filter_invalid`. `functions` are those of the library. */
export function checkFilter(source: string, functions: CelEnv['funcs']): CheckedFilter {
  const { expr, sourceInfo } = parseFilter(source)
  const checker = new Checker(source, sourceInfo, functions)
  const kind = checker.visit(expr, new Set(), 0)
  if (kind !== 'bool' && kind !== 'dyn') {
    throw invalid(source, 0, `it gives ${shownKind(kind)}, and only true or false can say whether a message passes`)
  }
  return { expr, mentions: checker.mentions, patterns: checker.patterns }
}

function parseFilter(source: string): ReturnType<typeof parse> {
  try {
    return parse(source)
  } catch (error) {
    if (error instanceof RangeError) throw invalid(source, 0, 'it is nested too deeply')
    const offset = offsetOf(error) ?? 0
    const found = source.slice(offset, offset + 20).trim()
    const what = found === '' ? 'it ends too early' : `this is no CEL from here on: ${JSON.stringify(found)}`
    throw invalid(source, offset, what)
  }
}

/** The place that the parser's error names. */
function offsetOf(error: unknown): number | null {
  if (typeof error !== 'object' || error === null || !('location' in error)) return null
  const { start } = error.location as { start?: { offset?: number } }
  return start?.offset ?? null
}

function invalid(source: string, offset: number, why: string): TidingsError {
  const before = source.slice(0, offset).split('\n')
  const place = `line ${before.length}, column ${before.at(-1)!.length + 1}`
  return new TidingsError('filter_invalid', `filter, ${place}: ${why}`)
}

class Checker {
  readonly mentions = new Set<string>()
  readonly patterns = new Map<string, Pattern>()
  readonly #source: string
  readonly #positions: Positions
  readonly #functions: CelEnv['funcs']
  #nodes = 0

  constructor(source: string, positions: Positions, functions: CelEnv['funcs']) {
    this.#source = source
    this.#positions = positions
    this.#functions = functions
  }

  /** Checks and rewrites the expression in place; `bound` are the names that macros around it have made. */
  visit(expr: Expr, bound: ReadonlySet<string>, depth: number): Kind {
    this.#nodes++
    if (this.#nodes > NODES_MAX) throw this.#invalid(expr, `it has more than ${NODES_MAX} parts`)
    if (depth > DEPTH_MAX) throw this.#invalid(expr, 'it is nested too deeply')
    const { exprKind } = expr
    const visit = (part: Expr | undefined): Kind => (part ? this.visit(part, bound, depth + 1) : 'dyn')
    switch (exprKind.case) {
      case 'constExpr':
        return constantKind(exprKind.value.constantKind.case)
      case 'identExpr':
        return this.#name(expr, exprKind.value.name, bound)
      case 'selectExpr': {
        const { operand, field, testOnly } = exprKind.value
        const kind = visit(operand)
        if (kind !== 'map' && kind !== 'dyn') throw this.#invalid(expr, `${shownKind(kind)} has no field "${field}"`)
        if (!testOnly) return isHeaders(operand) ? 'string' : 'dyn'
        expr.exprKind = callOf('@has', [operand as Expr, stringExpr(expr.id, field)])
        return 'bool'
      }
      case 'listExpr':
        exprKind.value.elements.forEach(visit)
        return 'list'
      case 'structExpr':
        if (exprKind.value.messageName !== '') throw this.#invalid(expr, 'messages cannot be made here')
        for (const { keyKind, value } of exprKind.value.entries) {
          if (keyKind.case === 'mapKey') visit(keyKind.value)
          visit(value)
        }
        return 'map'
      case 'callExpr':
        return this.#call(expr, exprKind.value, visit)
      case 'comprehensionExpr':
        return this.#macro(expr, exprKind.value, bound, depth)
      default:
        throw this.#invalid(expr, 'this is no expression')
    }
  }

  #name(expr: Expr, name: string, bound: ReadonlySet<string>): Kind {
    if (bound.has(name)) return 'dyn'
    if (Object.hasOwn(VARIABLE_KINDS, name)) {
      this.mentions.add(name)
      expr.exprKind = callOf(`@${name}`, [])
      return VARIABLE_KINDS[name]!
    }
    if (TYPE_NAMES.has(name)) return 'type'
    const known = Object.keys(VARIABLE_KINDS).join(', ')
    throw this.#invalid(expr, `there is no ${JSON.stringify(name)}; a filter can see ${known}`)
  }

  #call(expr: Expr, call: Call, visit: (part: Expr | undefined) => Kind): Kind {
    const { function: name, target, args } = call
    if (name === 'matches') this.#pattern(expr, args[0])
    const targetKind = target && visit(target)
    const kinds = args.map(visit)
    switch (name) {
      case '_&&_':
      case '_||_':
        args.forEach((arg, i) => this.#expectBool(arg, kinds[i]!))
        return 'bool'
      case '_?_:_':
        this.#expectBool(args[0]!, kinds[0]!)
        return kinds[1] === kinds[2] ? kinds[1]! : 'dyn'
      case '_[_]':
        return isHeaders(args[0]) ? 'string' : 'dyn'
      case '@append':
        return 'list'
      case '@not_strictly_false':
      case '_==_':
      case '_!=_':
        return 'bool'
      default:
        return this.#function(expr, name, targetKind, kinds)
    }
  }

  #expectBool(part: Expr, kind: Kind): void {
    if (kind !== 'bool' && kind !== 'dyn') {
      throw this.#invalid(part, `${shownKind(kind)} stands where true or false is needed`)
    }
  }

  /** What the functions of that name that take such arguments give; at least one must. */
  #function(expr: Expr, name: string, target: Kind | undefined, args: readonly Kind[]): Kind {
    const known = this.#functions.find(name) as unknown as Iterable<CelFunc> | undefined
    if (!known) throw this.#invalid(expr, noFunction(name))
    const fitting = [...known].filter(
      (one) =>
        one.arguments.length === args.length &&
        (one.target === undefined) === (target === undefined) &&
        (one.target === undefined || fits(target!, one.target)) &&
        one.arguments.every((argument, i) => fits(args[i]!, argument)),
    )
    const results = new Set(fitting.map(({ result }) => kindOf(result)))
    if (isMixedArithmetic(name, args)) results.add('double')
    if (results.size === 0) {
      const given = [...(target === undefined ? [] : [target]), ...args].map(shownKind).join(', ')
      throw this.#invalid(expr, `${shownFunction(name)} does not take ${given === '' ? 'no arguments' : given}`)
    }
    if (results.size === 1) return [...results][0]!
    return results.has('bool') || results.has('dyn') ? 'dyn' : 'other'
  }

  /** A pattern is compiled once, so it must be there now. */
  #pattern(expr: Expr, pattern: Expr | undefined): void {
    const constant = pattern?.exprKind.case === 'constExpr' ? pattern.exprKind.value.constantKind : undefined
    if (constant?.case !== 'stringValue') {
      throw this.#invalid(expr, 'the pattern of matches() must be a text in quotes')
    }
    if (this.patterns.has(constant.value)) return
    const compiled = compilePattern(constant.value)
    if (typeof compiled === 'string') throw this.#invalid(pattern!, `the pattern of matches() is refused: ${compiled}`)
    this.patterns.set(constant.value, compiled)
  }

  /** `all`, `exists`, `map` and so on: every turn is charged for what it goes through. */
  #macro(expr: Expr, macro: Comprehension, bound: ReadonlySet<string>, depth: number): Kind {
    const { accuInit, iterRange, loopCondition, loopStep, result, accuVar, iterVar } = macro
    if (!accuInit || !iterRange || !loopCondition || !loopStep || !result) {
      throw this.#invalid(expr, 'this is no expression')
    }
    const range = this.visit(iterRange, bound, depth + 1)
    if (!['list', 'map', 'dyn', 'other'].includes(range)) {
      throw this.#invalid(iterRange, `${shownKind(range)} is neither a list nor a map`)
    }
    macro.iterRange = { ...iterRange, exprKind: callOf('@range', [iterRange]) }
    const init = this.visit(accuInit, bound, depth + 1)
    const within = new Set([...bound, accuVar, iterVar])
    const nodesBefore = this.#nodes
    this.visit(loopCondition, within, depth + 1)
    if (init === 'list') {
      accuInit.exprKind = callOf('@list', [])
      renameAppend(loopStep, accuVar)
    }
    this.visit(loopStep, within, depth + 1)
    const steps = intExpr(expr.id, this.#nodes - nodesBefore)
    macro.loopCondition = { ...loopCondition, exprKind: callOf('@turn', [loopCondition, steps]) }
    const kind = this.visit(result, within, depth + 1)
    return kind === 'dyn' ? init : kind
  }

  #invalid(expr: Expr, why: string): TidingsError {
    return invalid(this.#source, this.#positions?.positions[expr.id.toString()] ?? 0, why)
  }
}

/** What the list macros make grows in place: copying it every turn would take time by its square. */
function renameAppend(step: Expr, accuVar: string): void {
  if (step.exprKind.case !== 'callExpr') return
  const call = step.exprKind.value
  const [first] = call.args
  if (call.function === '_+_' && first?.exprKind.case === 'identExpr' && first.exprKind.value.name === accuVar) {
    call.function = '@append'
  } else if (call.function === '_?_:_') for (const branch of call.args.slice(1)) renameAppend(branch, accuVar)
}

function callOf(name: string, args: Expr[]): Expr['exprKind'] {
  return { case: 'callExpr', value: { $typeName: 'cel.expr.Expr.Call', function: name, args } }
}

function stringExpr(id: bigint, value: string): Expr {
  const constantKind = { case: 'stringValue', value } as const
  return constantExpr(id, constantKind)
}

function intExpr(id: bigint, value: number): Expr {
  const constantKind = { case: 'int64Value', value: BigInt(value) } as const
  return constantExpr(id, constantKind)
}

type Constant = Extract<Expr['exprKind'], { case: 'constExpr' }>['value']

function constantExpr(id: bigint, constantKind: Constant['constantKind']): Expr {
  const value: Constant = { $typeName: 'cel.expr.Constant', constantKind }
  return { $typeName: 'cel.expr.Expr', id, exprKind: { case: 'constExpr', value } }
}

function isHeaders(expr: Expr | undefined): boolean {
  return expr?.exprKind.case === 'callExpr' && expr.exprKind.value.function === '@headers'
}

function constantKind(name: Constant['constantKind']['case']): Kind {
  switch (name) {
    case 'int64Value':
      return 'int'
    case 'uint64Value':
      return 'uint'
    case 'nullValue':
      return 'null_type'
    default:
      return name?.replace('Value', '') ?? 'dyn'
  }
}

function kindOf(type: CelType): Kind {
  return type.kind === 'scalar' || type.kind === 'object' ? type.name : type.kind
}

function fits(kind: Kind, type: CelType): boolean {
  const wanted = kindOf(type)
  return (
    kind === 'dyn' || kind === 'other' || wanted === 'dyn' || kind === wanted || (kind === 'key' && wanted === 'string')
  )
}

/** A double and an int calculate as doubles; `%` does too, since JSON has no ints. */
function isMixedArithmetic(name: string, args: readonly Kind[]): boolean {
  const numeric = (kind: Kind | undefined): boolean => ['dyn', 'other', 'int', 'double'].includes(kind ?? '')
  return /^_[-+*/%]_$/.test(name) && args.every(numeric) && args.some((kind) => kind !== 'int')
}

function noFunction(name: string): string {
  return name === 'has' ? 'has() takes a field, as in has(value.total)' : `there is no function ${JSON.stringify(name)}`
}

/** `_+_` is how the parser calls what people write as `+`. */
function shownFunction(name: string): string {
  return name.replaceAll('_', '').replace('@', '') || name
}

const KIND_WORDS: Readonly<Record<string, string>> = {
  bool: 'true or false',
  null_type: 'null',
  string: 'a text',
  key: 'a key',
  int: 'an int',
  uint: 'a uint',
  double: 'a double',
  bytes: 'bytes',
  list: 'a list',
  map: 'a map',
  type: 'a type',
  dyn: 'a value',
  other: 'something else than true or false',
  'google.protobuf.Timestamp': 'a timestamp',
  'google.protobuf.Duration': 'a duration',
}

function shownKind(kind: Kind): string {
  return KIND_WORDS[kind] ?? kind
}
