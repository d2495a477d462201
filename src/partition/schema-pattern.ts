/**
 * The regular expressions of schemas (`pattern`, `patternProperties`), by an engine whose time grows with the
 * text only, never with the way it fails to match. It is RE2's syntax: no look-around and no references
 * back; `\uXXXX` of JavaScript is taken too. What a match takes is charged to the meter.
 */
import { compileRe2, type RE2JS } from '../base/re2.ts'
import type { SchemaMeter } from './schema-meter.ts'

/** Characters of a pattern, and how often it may repeat its parts by counting (`{1,20}`), nested ones multiplied. */
export const PATTERN_CHARS_MAX = 1024
export const PATTERN_REPEATS_MAX = 1024
const COUNTS = /\{(?:\d*,)?(\d+)\}|\{(\d+),\}/g
/** What JavaScript writes in another way than RE2: a code point by its number. */
const CODE_POINTS = /\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|(.))/gs
/** Characters of pattern that one step pays for, for each character of text. */
const PATTERN_CHARS_PER_STEP = 32

/** Throws an Error whose message says why the pattern cannot be taken. */
export class SchemaPattern {
  readonly #source: string
  readonly #regex: RE2JS
  readonly #stepsPerChar: number
  readonly #meter: SchemaMeter

  constructor(source: string, meter: SchemaMeter) {
    let repeats = 1
    for (const [, most, least] of source.matchAll(COUNTS)) repeats *= Math.max(1, Number(most ?? least))
    if (source.length > PATTERN_CHARS_MAX) throw new Error(`it is longer than ${PATTERN_CHARS_MAX} characters`)
    if (repeats > PATTERN_REPEATS_MAX) throw new Error(`its counts, multiplied, are more than ${PATTERN_REPEATS_MAX}`)
    this.#regex = compileRe2(
      source.replaceAll(CODE_POINTS, (whole, braced?: string, four?: string) => {
        const code = braced ?? four
        return code === undefined ? whole : `\\x{${code}}`
      }),
    )
    this.#source = source
    this.#stepsPerChar = (source.length * repeats) / PATTERN_CHARS_PER_STEP
    this.#meter = meter
  }

  /** What tells it from others: the compiler keeps one for each text. */
  toString(): string {
    return this.#source
  }

  test(text: string): boolean {
    this.#meter.charge(1 + text.length * this.#stepsPerChar)
    return this.#regex.test(text)
  }
}
