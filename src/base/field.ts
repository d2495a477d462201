/**
 * Checks on the fields of a JSON value from outside: a request's body, an entry of the coordinator's
 * store. Every check answers the value with its type proven, or throws `invalid_argument` with a detail
 * that names the field (as a path, `retention.maxBytes`) and says what is accepted.
 * Nothing of the input object is passed on: callers build fresh objects from checked fields.
 */
import { TidingsError } from '@tidings/sdk/protocol'

/** A value as a person should see it in an error: JSON, cut short. */
export function shown(value: unknown): string {
  if (typeof value === 'number') return String(value)
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch {
    // A bigint or a cycle: no JSON, so it came from code and not from the wire.
  }
  text ??= typeof value
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

export function invalidField(path: string, expected: string, value: unknown): TidingsError {
  return new TidingsError('invalid_argument', `${path}: expected ${expected}, got ${shown(value)}`)
}

/**
 * The fields of a JSON object that has only known keys. A key whose value is undefined counts as left
 * out. `__proto__` is no known key of anything, and the map cannot reach a prototype.
 */
export function fieldsOf(path: string, value: unknown, known: readonly string[]): ReadonlyMap<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidField(path, 'a JSON object', value)
  }
  const fields = new Map<string, unknown>()
  for (const [key, field] of Object.entries(value)) {
    if (!known.includes(key)) {
      throw new TidingsError('invalid_argument', `${path}: unknown key ${shown(key)}; known are ${known.join(', ')}`)
    }
    if (field !== undefined) fields.set(key, field)
  }
  return fields
}

/** A whole number within the closed range; -0 becomes 0. */
export function integerField(path: string, value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
    throw invalidField(path, `a whole number from ${least} to ${most}`, value)
  }
  return value + 0
}

export function booleanField(path: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalidField(path, 'true or false', value)
  return value
}

export function stringField(path: string, value: unknown): string {
  if (typeof value !== 'string') throw invalidField(path, 'a string', value)
  return value
}

export function oneOfField<T extends string>(path: string, value: unknown, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === value)
  if (choice === undefined) throw invalidField(path, choices.map((text) => `"${text}"`).join(' or '), value)
  return choice
}

/** The value checked, or null where null is given. */
export function nullable<T>(value: unknown, check: (value: unknown) => T): T | null {
  return value === null ? null : check(value)
}
