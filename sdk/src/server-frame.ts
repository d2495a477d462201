/** A broker's text frame, checked as far as the client relies on it. What it does not know is passed over. A codec. */
import { TidingsError } from './protocol/errors.ts'
import type { ServerFrame } from './protocol/frames.ts'

/** The frame, or null for a type from a later version. Throws `invalid_argument` for what no broker sends. */
export function readServerFrame(text: string): ServerFrame | null {
  let frame: Partial<Record<string, unknown>>
  try {
    frame = JSON.parse(text) as Partial<Record<string, unknown>>
  } catch (cause) {
    throw new TidingsError('invalid_argument', 'the broker sent a frame that is no JSON', { cause })
  }
  if (typeof frame !== 'object' || frame === null || typeof frame['type'] !== 'string') {
    throw new TidingsError('invalid_argument', 'the broker sent a frame without a type')
  }
  if (!isWhole(frame))
    throw new TidingsError('invalid_argument', `the broker sent a malformed frame "${frame['type']}"`)
  return isKnown(frame['type']) ? (frame as unknown as ServerFrame) : null
}

function isKnown(type: string): boolean {
  return type === 'message' || type === 'acked' || type === 'error' || type === 'gap'
}

function isWhole(frame: Partial<Record<string, unknown>>): boolean {
  switch (frame['type']) {
    case 'message':
      return typeof frame['id'] === 'string' && typeof frame['topic'] === 'string' && isCount(frame['offset'])
    case 'acked':
      return frame['ids'] === undefined || Array.isArray(frame['ids'])
    case 'error':
      return typeof frame['code'] === 'string'
    case 'gap':
      return isCount(frame['from']) && isCount(frame['to'])
    default:
      return true
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value)
}
