/** Regular expressions that take time in proportion to the text, in RE2's syntax; the library is loaded for the first one. */
import type * as Library from '@bufbuild/re2'
import { onDemand } from './on-demand.ts'

export type { RE2JS } from '@bufbuild/re2'

const re2 = onDemand<typeof Library>('@bufbuild/re2')

/** Throws an Error that says what is wrong with the pattern. */
export function compileRe2(source: string): Library.RE2JS {
  return re2().RE2JS.compile(source)
}
