/**
 * What all values in the coordinator's store have in common: a codec that the codecs of each kind are made of. A value is
 * a JSON object with a `version` and known keys, checked like any input, since the store outlives
 * releases and can be damaged; ids in particular, because they become names of directories. A value
 * that its writer must know again, when the answer got lost, carries a `nonce`.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { fieldsOf, integerField, shown, stringField } from '../base/field.ts'
import { assert } from '../base/invariant.ts'
import type { Entry, Guard } from './coordinator.ts'

export type Fields = ReadonlyMap<string, unknown>

const ID = /^[A-Za-z0-9_-]{1,64}$/
const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

/** Names are checked before they come here; a slash would reach into another's keys. */
export function segment(text: string): string {
  assert(text !== '' && !text.includes('/'), `${shown(text)} is one segment of a key`)
  return text
}

export function idField(path: string, value: unknown): string {
  const id = stringField(path, value)
  if (!ID.test(id)) throw new TidingsError('invalid_argument', `${path}: ${shown(id)} is none`)
  return id
}

export function nodeIdField(path: string, value: unknown): string {
  const id = stringField(path, value)
  if (!NODE_ID.test(id)) throw new TidingsError('invalid_argument', `${path}: ${shown(id)} is no name of a node`)
  return id
}

export function listField<T>(path: string, value: unknown, item: (path: string, value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new TidingsError('invalid_argument', `${path}: expected a list, got ${shown(value)}`)
  return value.map((one, i) => item(`${path}[${i}]`, one))
}

export function expectKey(entry: Entry, key: string): void {
  if (entry.key !== key) throw new TidingsError('invalid_argument', `the value belongs to ${shown(key)}`)
}

/** Whether the entry is as the write with the nonce left it. */
export function isWriteOf(entry: Entry, nonce: string): boolean {
  const value = parse(entry)
  return typeof value === 'object' && value !== null && 'nonce' in value && value.nonce === nonce
}

export function absent(key: string): Guard {
  return { key, modRevision: 0 }
}

export function unchanged(entry: Entry): Guard {
  return { key: entry.key, modRevision: entry.modRevision }
}

/**
 * The value, read by `read` from its checked fields. Throws `internal` for what a newer release wrote
 * (`version` is the layout that this one reads) and for what is damaged, naming the entry.
 */
export function decodeEntry<T>(entry: Entry, version: number, keys: readonly string[], read: (fields: Fields) => T): T {
  const value = parse(entry)
  const found = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined
  if (typeof found === 'number' && found > version) {
    throw new TidingsError(
      'internal',
      `the store's entry ${shown(entry.key)} was written by a newer release (layout ${found}, this one reads ${version}): ` +
        'start that release again',
    )
  }
  try {
    const fields = fieldsOf('entry', value, ['version', ...keys])
    integerField('version', fields.get('version'), version, version)
    return read(fields)
  } catch (error) {
    throw damaged(entry, error instanceof Error ? error.message : String(error), error)
  }
}

function parse(entry: Entry): unknown {
  try {
    return JSON.parse(entry.value)
  } catch (error) {
    throw damaged(entry, 'it is no JSON', error)
  }
}

function damaged(entry: Entry, why: string, cause: unknown): TidingsError {
  const detail = `the store's entry ${shown(entry.key)} cannot be read (${why}): it is damaged, or another release wrote it`
  return new TidingsError('internal', detail, { cause })
}
