/** A value that the schema of its topic does not admit: what is wrong with it, and where. */
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { TidingsError } from './protocol/errors.ts'

/** One thing that is wrong with a value. */
export interface Violation {
  /** A JSON Pointer into the value; empty for the value as a whole. */
  path: string
  /** What is wrong, in the words of the validator. */
  message: string
}

/** Code `schema_violation`, as when the broker finds it. */
export class SchemaViolation extends TidingsError {
  /** Of the first. */
  readonly path: string
  /** All that the validator told, at least one. */
  readonly violations: readonly Violation[]

  constructor(violations: readonly Violation[]) {
    const [{ path, message }] = violations as [Violation]
    super('schema_violation', `${path === '' ? 'the value' : path}: ${message}`)
    this.name = 'SchemaViolation'
    this.path = path
    this.violations = violations
  }
}

export function violationOf(issues: readonly StandardSchemaV1.Issue[]): SchemaViolation {
  const violations = issues.map(({ message, path = [] }) => ({ message, path: path.map(pointerPart).join('') }))
  return new SchemaViolation(violations.length > 0 ? violations : [{ path: '', message: 'is not admitted' }])
}

function pointerPart(segment: PropertyKey | StandardSchemaV1.PathSegment): string {
  const key = typeof segment === 'object' ? segment.key : segment
  return `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`
}
