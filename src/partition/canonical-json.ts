/**
 * A JSON value as text such that equal values, and only those, have equal texts: members in order of their
 * names. Pure; used where schemas compare values.
 */
import type { SchemaMeter } from './schema-meter.ts'

/** What a list or an object costs to write out, in steps, beside its parts. */
const CONTAINER_STEPS = 4
const CHARS_PER_STEP = 64

/** @param meter charged for every part */
export function canonical(value: unknown, meter?: SchemaMeter): string {
  if (Array.isArray(value)) {
    meter?.charge(CONTAINER_STEPS)
    return `[${value.map((item) => canonical(item, meter)).join(',')}]`
  }
  if (typeof value === 'object' && value !== null) {
    meter?.charge(CONTAINER_STEPS)
    const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member, meter)}`).join(',')}}`
  }
  meter?.charge(1 + (typeof value === 'string' ? value.length / CHARS_PER_STEP : 0))
  // 0 and -0 are one number, and JSON.stringify writes both as 0.
  return JSON.stringify(value)
}
