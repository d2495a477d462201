/**
 * What a request's `Accept` header says about a media type (RFC 9110, 12.5.1): of the ranges that match, the
 * most specific one counts. Pure; called by the routes that can answer in more than one form.
 */

/** Whether the header names the type itself, not by a wildcard, and does not exclude it. */
export function names(accept: string | undefined, type: string): boolean {
  return qualityOf(accept, (range) => (range === type ? 2 : 0)) > 0
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
