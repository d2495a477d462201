/**
 * What may be said in options: whole numbers within their bounds, and only names that there are; one that is none is a
 * typing error, and is named beside the one that was meant. Pure.
 */
import { TidingsError } from './protocol/errors.ts'

/** Throws `invalid_argument`. An option that is undefined was not given. */
export function checkKnown(what: string, options: object, known: object): void {
  if (typeof options !== 'object' || options === null) throw invalid(`the options of ${what} must be an object`)
  for (const name in options) {
    if (name in known || options[name as keyof typeof options] === undefined) continue
    const [nearest] = Object.keys(known).sort((a, b) => likeness(b, name) - likeness(a, name))
    throw invalid(`${what} has no option ${JSON.stringify(name)}: is ${nearest} meant?`)
  }
}

/** Letters that are the same at the beginning and at the end. */
function likeness(one: string, other: string): number {
  const [a, b] = [one.toLowerCase(), other.toLowerCase()]
  let from = 0
  while (from < a.length && a[from] === b[from]) from++
  let to = 0
  while (to < a.length && a.at(-1 - to) === b.at(-1 - to)) to++
  return from + to
}

/** Throws `invalid_argument`. */
export function integer(name: string, value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
  throw invalid(`${name} must be a whole number from ${min} to ${max}`)
}

export function invalid(detail: string, options?: { cause: unknown }): TidingsError {
  return new TidingsError('invalid_argument', detail, options)
}

/** What is asked of a client that has ended. */
export function clientClosed(): TidingsError {
  return new TidingsError('aborted', 'the client is closed')
}
