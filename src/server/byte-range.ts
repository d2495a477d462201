/**
 * Conditional and partial requests for bytes that have a strong entity tag (RFC 9110, sections 13 and 14): what
 * to answer, from the headers. Pure.
 */

/** Half-open. */
export interface ByteRange {
  from: number
  to: number
}

export type RangeAnswer = 'whole' | 'unsatisfiable' | ByteRange

const RANGE = /^bytes=\s*(\d{1,15})?-(\d{1,15})?\s*$/i
const TAG = /(W\/)?("[^"]*")/g

/**
 * What of `bytes` bytes is asked for. Anything but one range of bytes is passed over, as the standard allows: the
 * whole is always a right answer.
 */
export function rangeOf(header: string | undefined, bytes: number): RangeAnswer {
  const [, first, last] = RANGE.exec(header ?? '') ?? []
  if (first === undefined && last === undefined) return 'whole'
  if (first === undefined) {
    const suffix = Number(last)
    return suffix === 0 || bytes === 0 ? 'unsatisfiable' : { from: Math.max(0, bytes - suffix), to: bytes }
  }
  const from = Number(first)
  const to = last === undefined ? bytes : Math.min(bytes, Number(last) + 1)
  if (last !== undefined && Number(last) < from) return 'whole'
  return from >= bytes ? 'unsatisfiable' : { from, to }
}

/** Whether a range may be answered: `If-Range` is absent, or names these very bytes. We know no dates. */
export function meetsIfRange(header: string | undefined, etag: string): boolean {
  return header === undefined || header.trim() === etag
}

/** Whether these bytes are what is asked for: `If-Match` is absent, or names them. Weak tags name no bytes. */
export function isWanted(ifMatch: string | undefined, etag: string): boolean {
  if (ifMatch === undefined || ifMatch.trim() === '*') return true
  return [...ifMatch.matchAll(TAG)].some(([, weak, tag]) => weak === undefined && tag === etag)
}

/** Whether whoever asks has these bytes already. */
export function hasAlready(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  return [...ifNoneMatch.matchAll(TAG)].some(([, , tag]) => tag === etag)
}
