/**
 * What one transaction of the coordinator may hold, the same for every store, so that what passes in a test or on one
 * node passes in a cluster: etcd takes 128 operations and 1.5 MiB a request unless it is configured otherwise.
 * Pure; called by each coordinator before anything is written.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import { assert } from '../base/invariant.ts'
import type { Guard, Write } from './coordinator.ts'

export const GUARDS_MAX = 128
export const WRITES_MAX = 128
/** Keys and values together. What is left of a request is for what stands around them. */
export const TRANSACTION_BYTES_MAX = 1_048_576

/** Lone surrogates: no UTF-8 can hold them. */
const ILL_FORMED = /\p{Surrogate}/u

/** Throws `invalid_argument` for one that is too large, and InvariantError for one that makes no sense. */
export function checkTransaction(guards: readonly Guard[], writes: readonly Write[]): void {
  if (guards.length > GUARDS_MAX || writes.length > WRITES_MAX) {
    throw new TidingsError(
      'invalid_argument',
      `the change has ${guards.length} conditions and ${writes.length} writes, and at most ${GUARDS_MAX} of each are made at once: ` +
        'nothing was written, make it in parts',
    )
  }
  const keys = writes.flatMap((write) => ('put' in write ? [write.put] : 'delete' in write ? [write.delete] : []))
  assert(new Set(keys).size === keys.length, 'a transaction writes a key once')
  const prefixes = writes.flatMap((write) => ('deleteUnder' in write ? [write.deleteUnder] : []))
  for (const [i, prefix] of prefixes.entries()) {
    const others = [...keys, ...prefixes.toSpliced(i, 1)]
    assert(!others.some((key) => key.startsWith(prefix)), 'a transaction writes a key once, also under a prefix')
  }
  const texts = [...keys, ...prefixes, ...writes.flatMap((write) => ('put' in write ? [write.value] : []))]
  assert(!texts.some((text) => ILL_FORMED.test(text)), 'keys and values are well-formed Unicode')
  const bytes = [...texts, ...guards.map(({ key }) => key)].reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  if (bytes > TRANSACTION_BYTES_MAX) {
    throw new TidingsError(
      'invalid_argument',
      `the change has ${bytes} bytes, and at most ${TRANSACTION_BYTES_MAX} are stored at once: nothing was written`,
    )
  }
}
