/** Broken invariants: our own bugs, kept strictly apart from errors of operation. */

export class InvariantError extends Error {
  constructor(what: string) {
    super(`invariant broken: ${what}`)
    this.name = 'InvariantError'
  }
}

/** Throws when something that cannot be false is false. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InvariantError(what)
}
