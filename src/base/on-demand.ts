/**
 * Outside modules whose loading a start must not wait for: what only some brokers use (filters, schemas) is loaded when it
 * is first needed; what every broker uses, and is CommonJS, is required, since an `import` first searches all of its files
 * for the names that they export. Loading is synchronous, and happens once.
 */
import { createRequire } from 'node:module'

const load = createRequire(import.meta.url)

/** What gives the module, now or at any later call. */
export function onDemand<T>(name: string): () => T {
  let module: T | undefined
  return () => (module ??= load(name) as T)
}

/** A CommonJS module, loaded now. */
export function required<T>(name: string): T {
  return load(name) as T
}
