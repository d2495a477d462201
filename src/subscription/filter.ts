/**
 * A subscription's filter: an expression in CEL over one record, compiled once. It admits the records for
 * which it gives true; one on which it errs, runs out of steps, or gives anything else, is not admitted.
 * A decision: synchronous, and bounded in time by its steps (filter-meter.ts). The host compiles on
 * the way in, to refuse what is wrong; screen.ts asks it for every record whose turn has come.
 *
 * A record's parts are read only where the expression mentions them. A value is the JSON that its content
 * type claims; one that is none, or larger than the bounds below, is not there for the expression.
 */
import { isUtf8 } from 'node:buffer'
import {
  recordEnd,
  recordHeaders,
  recordKey,
  recordValueAt,
  recordValueChecked,
  valueKind,
} from '@tidings/sdk/protocol'
import type { RecordBatch } from '../log/record-batch.ts'
import { type CelEnv, type CelInput, celEnv, celError, celMap, parse, plan } from './cel.ts'
import { MeteredFunctions } from './filter-functions.ts'
import { Meter, OutOfSteps } from './filter-meter.ts'
import { checkFilter } from './filter-syntax.ts'
import { celJson } from './filter-value.ts'

/** A longer value is not decoded: as many bytes as a topic takes unless it is told otherwise. */
export const VALUE_BYTES_MAX = 1_048_576
/** So many elements and members take as long to decode as the event loop can spare at once. */
export const VALUE_PARTS_MAX = 50_000
/** A shorter value cannot have as many. */
const UNCOUNTED_BYTES = 2 * VALUE_PARTS_MAX
/** Bytes of JSON that are parsed in one step. */
const JSON_BYTES_PER_STEP = 64
const COMMA = 0x2c
const BRACKET = 0x5b
const BRACE = 0x7b

export interface Filter {
  readonly source: string
  /** Whether the record passes. */
  admits(topic: string, batch: RecordBatch, offset: number): boolean
  /** What the last call took, in steps of which a pass may take so many. */
  readonly steps: number
}

interface Library {
  env: CelEnv
  timestampOf: (names: { ms: bigint }) => CelInput
}

let loaded: Library | undefined

/** Made for the first filter. */
function library(): Library {
  if (!loaded) {
    const env = celEnv()
    loaded = { env, timestampOf: plan(env, parse('timestamp(ms)')) as Library['timestampOf'] }
  }
  return loaded
}

/** The filter, or `filter_invalid` that says what is wrong with it and where. */
export function compileFilter(source: string): Filter {
  return new CelFilter(source)
}

class CelFilter implements Filter {
  readonly source: string
  readonly #meter = new Meter()
  readonly #run: () => unknown
  readonly #mentionsHead: boolean
  #topic = ''
  #batch: RecordBatch | null = null
  #at = 0
  #head: { contentType: string; headers: readonly (readonly [string, string])[] } | null = null
  /** The record's value once it was asked for. */
  #decoded: { value: unknown } | null = null
  #time: { ms: number; value: CelInput } | null = null
  #jsonSteps = 0

  constructor(source: string) {
    this.source = source
    const { env: base } = library()
    const { expr, mentions, patterns } = checkFilter(source, base.funcs)
    this.#mentionsHead = ['headers', 'contentType', 'value'].some((name) => mentions.has(name))
    const variables = {
      key: () => this.#key(),
      headers: () => celMap(new Map(this.#head!.headers)),
      contentType: () => this.#head!.contentType,
      topic: () => this.#topic,
      timestamp: () => this.#timestamp(),
      value: () => (this.#decoded ??= { value: this.#decode() }).value,
    }
    const funcs = new MeteredFunctions(base.funcs, this.#meter, variables, patterns)
    // The library's environment with our functions before its own.
    const env = Object.create(base, { funcs: { value: funcs } }) as CelEnv
    this.#run = plan(env, expr)
  }

  get steps(): number {
    return this.#meter.spent + this.#jsonSteps
  }

  admits(topic: string, batch: RecordBatch, offset: number): boolean {
    this.#meter.spent = 0
    this.#jsonSteps = 0
    this.#topic = topic
    this.#batch = batch
    this.#at = batch.positionOf(offset)
    if (this.#mentionsHead) this.#head = recordHeaders(batch.bytes, this.#at)
    const result = this.#run()
    this.#batch = null
    this.#head = null
    this.#decoded = null
    return result === true
  }

  #key(): string | null {
    const key = recordKey(this.#batch!.bytes, this.#at)
    return key && Buffer.from(key.buffer, key.byteOffset, key.length).toString('utf8')
  }

  /** Records of one batch share it. */
  #timestamp(): unknown {
    const ms = this.#batch!.timestamp
    if (this.#time?.ms !== ms) this.#time = { ms, value: library().timestampOf({ ms: BigInt(ms) }) }
    return this.#time.value
  }

  #decode(): unknown {
    const { bytes } = this.#batch!
    const value = bytes.subarray(recordValueAt(bytes, this.#at), recordEnd(bytes, this.#at, bytes.length))
    if (valueKind(this.#head!.contentType) !== 'json') return celError('the value is not JSON')
    if (value.length > VALUE_BYTES_MAX || hasTooManyParts(value)) return celError('the value is too large')
    this.#jsonSteps = value.length / JSON_BYTES_PER_STEP
    if (!recordValueChecked(bytes, this.#at) && !isUtf8(value)) return celError('the value is not UTF-8')
    try {
      return celJson(JSON.parse(value.toString('utf8')), this.#meter)
    } catch (error) {
      if (error instanceof OutOfSteps) throw error
      return celError('the value is not JSON')
    }
  }
}

/** Elements and members have a comma between them, or each a bracket around it; those in texts are counted too. */
function hasTooManyParts(json: Buffer): boolean {
  return json.length > UNCOUNTED_BYTES && [COMMA, BRACKET, BRACE].some((sign) => isTooOften(sign, json))
}

function isTooOften(sign: number, json: Buffer): boolean {
  let left = VALUE_PARTS_MAX
  for (let at = json.indexOf(sign); at !== -1; at = json.indexOf(sign, at + 1)) if (--left < 0) return true
  return false
}
