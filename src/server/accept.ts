/**
 * What a request's `Accept` header says about a media type (RFC 9110, 12.5.1): of the ranges that match, the
 * most specific one counts. Pure; called by the routes that can answer in more than one form.
 */

/** Whether the header names the type itself, not by a wildcard, and does not exclude it. */
export function names(accept: string | undefined, type: string): boolean {
  return qualityOf(accept, (range) => (range === type ? 1 : 0)) > 0
}

/** Of these types the one that the header names and likes best, of equals the first that it names; null: it names none. */
export function preferred<T extends string>(accept: string | undefined, types: readonly T[]): T | null {
  let best: T | null = null
  let quality = 0
  for (const part of accept?.split(',') ?? []) {
    const range = part.split(';', 1)[0]!.trim().toLowerCase()
    const type = types.find((one) => one === range)
    const liked = type === undefined ? 0 : qualityOf(accept, (other) => (other === range ? 1 : 0))
    if (liked <= quality) continue
    best = type!
    quality = liked
  }
  return best
}

/** Whether an answer of that type is welcome; without the header everything is. */
export function accepts(accept: string | undefined, type: string): boolean {
  if (accept === undefined || accept.trim() === '') return true
  const family = `${type.slice(0, type.indexOf('/'))}/*`
  return qualityOf(accept, (range) => (range === type ? 3 : range === family ? 2 : range === '*/*' ? 1 : 0)) > 0
}

/** The quality of the range that ranks highest, 0 when none matches (rank 0). */
function qualityOf(accept: string | undefined, rankOf: (range: string) => number): number {
  let best = 0
  let quality = 0
  for (const part of accept?.split(',') ?? []) {
    const [range = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    const rank = rankOf(range)
    if (rank <= best) continue
    best = rank
    const weight = parameters.find((parameter) => parameter.startsWith('q='))
    quality = weight === undefined ? 1 : Number(weight.slice(2))
  }
  return quality
}
