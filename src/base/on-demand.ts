/**
 * Outside modules that are loaded when they are first needed: what only some brokers use (filters, schemas) would
 * otherwise cost every start its tenths of a second. Loading is synchronous, and happens once.
 */
import { createRequire } from 'node:module'

const load = createRequire(import.meta.url)

/** What gives the module, now or at any later call. */
export function onDemand<T>(name: string): () => T {
  let module: T | undefined
  return () => (module ??= load(name) as T)
}
