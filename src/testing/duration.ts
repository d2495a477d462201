/** Lengths of time as a test writes them: `'10m'`, `'1h30m'`, `'500ms'`, or a number of milliseconds. Pure. */
import { TidingsError } from '@tidings/sdk/protocol'

/** Milliseconds, or numbers with units (`d`, `h`, `m`, `s`, `ms`), the larger ones first: `'1h30m'`, `'1.5s'`. */
export type Duration = number | string

const UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const
const PART = /(\d+(?:\.\d+)?)(ms|d|h|m|s)/y
/** A hundred years. */
const LONGEST_MS = 36_525 * UNITS.d

/** Whole milliseconds, or `invalid_argument`. */
export function durationMs(duration: Duration): number {
  const ms = typeof duration === 'string' ? readMs(duration) : duration
  if (typeof ms === 'number' && ms >= 0 && ms <= LONGEST_MS) return Math.round(ms)
  const shown = typeof duration === 'string' ? JSON.stringify(duration) : String(duration)
  throw new TidingsError(
    'invalid_argument',
    `${shown} is no duration: give milliseconds (0 to ${LONGEST_MS}) or a text such as "500ms", "10m" or "1h30m"`,
  )
}

function readMs(text: string): number {
  let ms = 0
  let least = Number.POSITIVE_INFINITY
  PART.lastIndex = 0
  while (PART.lastIndex < text.length) {
    const match = PART.exec(text)
    if (!match) return Number.NaN
    const unit = UNITS[match[2] as keyof typeof UNITS]
    // Larger units first and each once: "1m1h" is a typing error.
    if (unit >= least) return Number.NaN
    least = unit
    ms += Number(match[1]) * unit
  }
  return text === '' ? Number.NaN : ms
}
