/** When a broker wants to be asked again: an HTTP header. Pure. */

/** A `Retry-After` header, seconds or a date, as milliseconds from now; 0 when there is none that makes sense. */
export function retryAfterMs(header: string | null, now: number): number {
  if (header === null) return 0
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000
  const at = header.endsWith(' GMT') ? Date.parse(header) : Number.NaN
  return Number.isNaN(at) ? 0 : Math.max(0, at - now)
}
