/**
 * A topic's JSON Schema, compiled once, and the check of a value against it. A decision: synchronous, bounded
 * by its meter. The topic compiles what the catalog says; the host compiles a new one first, to refuse
 * what is wrong with it.
 *
 * The compiler writes code, from keywords alone: names and constants of the schema go into it as quoted
 * text. What in it could take long is replaced: patterns (schema-pattern.ts), `enum` and `uniqueItems`,
 * which look their values up here instead of comparing each with each.
 */
import { isUtf8 } from 'node:buffer'
import { type JsonSchema, LIMITS, TidingsError, valueKind } from '@tidings/sdk/protocol'
import type * as Of07 from 'ajv'
import type { Ajv, ErrorObject, KeywordCxt, Options, ValidateFunction } from 'ajv'
import type * as Of2020 from 'ajv/dist/2020.js'
import type * as Formats from 'ajv-formats/dist/formats.js'
import { shown } from '../base/field.ts'
import { onDemand } from '../base/on-demand.ts'
import type { Logger } from '../base/telemetry.ts'
import { canonical } from './canonical-json.ts'
import type { PublishInput } from './publish-input.ts'
import { OutOfSteps, SchemaMeter } from './schema-meter.ts'
import { SchemaPattern } from './schema-pattern.ts'
import { invalid, readSchema } from './schema-syntax.ts'

export interface TopicSchema {
  /** Throws `schema_violation` that names the place, or `message_too_large`; notes on the input that its value was parsed. */
  check(input: PublishInput): void
}

/** In every object of the compiled schema: counts it. */
const STEP = 'x-step'
const UNEVALUATED = /"unevaluated(?:Items|Properties)":/
/** Formats are regular expressions of the ordinary kind: their time can grow with the square of the text. */
const FORMAT_CHARS_MAX = 2048

const ajvOf07 = onDemand<typeof Of07>('ajv')
const ajvOf2020 = onDemand<typeof Of2020>('ajv/dist/2020.js')
const formats = onDemand<typeof Formats>('ajv-formats/dist/formats.js')

/** The schema, or `invalid_argument` that says what is wrong with it and where. */
export function compileSchema(schema: JsonSchema): TopicSchema {
  return new CompiledSchema(schema)
}

/** The schema that a topic has, compiled; null for none. One that cannot be compiled lets nothing in. */
export function openSchema(schema: JsonSchema | null, topic: string, logger: Logger): TopicSchema | null {
  if (schema === null) return null
  try {
    return compileSchema(schema)
  } catch (cause) {
    // It was compiled when it was set, by the release of that time.
    logger.error({ err: cause, topic }, 'the schema of a topic cannot be compiled: the topic takes no messages')
    return {
      check() {
        throw new TidingsError('internal', 'this release cannot compile the schema of the topic: set another', {
          cause,
        })
      },
    }
  }
}

class CompiledSchema implements TopicSchema {
  readonly #meter = new SchemaMeter()
  readonly #validate: ValidateFunction

  constructor(source: JsonSchema) {
    const known = new Set(Object.keys(formats().fullFormats))
    const { draft, schema } = readSchema(source, { mark: { [STEP]: true }, formats: known })
    const options = this.#options()
    const ajv = draft === '07' ? new (ajvOf07().Ajv)(options) : new (ajvOf2020().Ajv2020)(options)
    // Keeping account of what was evaluated costs time, and goes wrong where choices lie in choices.
    ajv.opts.unevaluated = UNEVALUATED.test(JSON.stringify(schema))
    this.#keywords(ajv)
    try {
      this.#validate = ajv.compile(schema)
    } catch (error) {
      if (TidingsError.is(error)) throw error
      const problem = ajv.errors?.[0]
      if (problem) throw invalid(problem.instancePath, problem.message ?? 'not a schema')
      throw invalid('', error instanceof Error ? error.message : String(error))
    }
  }

  check(input: PublishInput): void {
    if (input.byBroker || input.admittedBy === this) return
    const value = this.#parse(input)
    this.#meter.reset()
    let isValid: unknown
    try {
      isValid = this.#validate(value)
    } catch (error) {
      if (error instanceof OutOfSteps) throw violation('', 'the value takes too long to check against the schema')
      if (error instanceof RangeError) throw violation('', 'the value is nested too deeply')
      // A fault of the compiler lets nothing in that was not checked.
      throw new TidingsError('schema_violation', 'the value: the schema cannot be applied to it', { cause: error })
    }
    if (isValid !== true) throw violationOf(this.#validate.errors ?? [])
    input.valueChecked = true
    input.admittedBy = this
  }

  #parse({ value, contentType }: PublishInput): unknown {
    if (value.length > LIMITS.schemaValueBytes) {
      throw new TidingsError(
        'message_too_large',
        `the value has ${value.length} bytes, a topic with a schema takes at most ${LIMITS.schemaValueBytes}`,
      )
    }
    if (valueKind(contentType) !== 'json') {
      throw violation('', `expected JSON, got ${shown(contentType)}: publish as application/json`)
    }
    try {
      if (isUtf8(value)) return JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.length).toString('utf8'))
    } catch {
      // Said below, as for what is no UTF-8.
    }
    throw violation('', 'expected JSON: the value is none')
  }

  #options(): Options {
    const engine = (pattern: string): SchemaPattern => {
      try {
        return new SchemaPattern(pattern, this.#meter)
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        throw new TidingsError(
          'invalid_argument',
          `schema: pattern ${shown(pattern)} cannot be taken (${why}); patterns are RE2: no look-around, no references back`,
        )
      }
    }
    return {
      strict: false,
      strictNumbers: true,
      inlineRefs: false,
      ownProperties: true,
      logger: false,
      // Only asked for when code is written out as a file, which never happens.
      code: { regExp: Object.assign(engine, { code: 'new RegExp' }) as never, optimize: false },
    }
  }

  #keywords(ajv: Ajv | Of2020.Ajv2020): void {
    const meter = this.#meter
    const { _ } = ajvOf07()
    ajv.addKeyword({
      keyword: STEP,
      // Before the first keyword that looks further: what fails ends the rest.
      before: '$ref',
      code({ gen }: KeywordCxt) {
        // Errors of branches that failed are carried along, and copied at every level.
        gen.code(_`${gen.scopeValue('obj', { ref: meter })}.charge(vErrors === null ? 1 : 1 + vErrors.length);`)
      },
    })
    ajv.removeKeyword('uniqueItems')
    ajv.addKeyword({
      keyword: 'uniqueItems',
      type: 'array',
      schemaType: 'boolean',
      error: { message: 'must not have the same item twice' },
      validate: (isWanted: boolean, items: unknown[]) => !isWanted || areUnique(items, meter),
    })
    ajv.removeKeyword('enum')
    ajv.addKeyword({
      keyword: 'enum',
      schemaType: 'array',
      error: { message: 'must be one of the allowed values' },
      compile: (allowed: unknown[]) => {
        const known = new Set(allowed.map((value) => canonical(value)))
        return (value: unknown) => known.has(canonical(value, meter))
      },
    })
    for (const [name, format] of Object.entries(formats().fullFormats)) {
      if (format === true || typeof format === 'string' || format instanceof Function || 'type' in format) {
        ajv.addFormat(name, format instanceof Function ? metered(format as (text: string) => boolean, meter) : format)
        continue
      }
      const test = format instanceof RegExp ? (text: string) => format.test(text) : format.validate
      ajv.addFormat(name, metered(test as (text: string) => boolean, meter))
    }
  }
}

function metered(test: (text: string) => boolean, meter: SchemaMeter): (text: string) => boolean {
  return (text) => {
    if (text.length > FORMAT_CHARS_MAX) return false
    meter.charge(1 + (text.length * text.length) / 64)
    return test(text)
  }
}

function areUnique(items: readonly unknown[], meter: SchemaMeter): boolean {
  const seen = new Set<string>()
  for (const item of items) {
    const text = canonical(item, meter)
    if (seen.has(text)) return false
    seen.add(text)
  }
  return true
}

/** The outermost of what failed says what was expected where; what lies below it are its reasons. */
function violationOf(errors: readonly ErrorObject[]): TidingsError {
  const last = errors.at(-1)
  const error = last?.keyword === 'if' ? errors[0] : last
  if (!error) return violation('', 'the schema admits no value')
  const params = error.params as Record<string, unknown>
  const name = params['additionalProperty'] ?? params['unevaluatedProperty'] ?? params['propertyName']
  const said = error.message ?? `must satisfy "${error.keyword}"`
  return violation(error.instancePath, name === undefined ? said : `${said} (${shown(name)})`)
}

function violation(path: string, expected: string): TidingsError {
  const where = path === '' ? 'the value' : path.length > 200 ? `${path.slice(0, 200)}…` : path
  return new TidingsError('schema_violation', `${where}: ${expected}`)
}
