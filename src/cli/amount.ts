/** Durations, sizes and positions as people write them, and numbers as people read them. Pure. */
import { type Position, parseTimestamp } from '@tidings/sdk/protocol'

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const UNIT_BYTES: Readonly<Record<string, number>> = { b: 1, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 }

/** `500ms`, `5s`, `1.5h`, `7d`; without a unit milliseconds. Null for what is none. */
export function parseDuration(text: string): number | null {
  return parseAmount(text, /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/, UNIT_MS)
}

/** `512`, `64KiB`, `1MiB`; a unit in any case. */
export function parseBytes(text: string): number | null {
  return parseAmount(text.toLowerCase(), /^(\d+(?:\.\d+)?)(b|kib|mib|gib|tib)?$/, UNIT_BYTES)
}

function parseAmount(text: string, pattern: RegExp, units: Readonly<Record<string, number>>): number | null {
  const match = pattern.exec(text)
  if (!match) return null
  const amount = Math.round(Number(match[1]) * (match[2] === undefined ? 1 : units[match[2]]!))
  return Number.isSafeInteger(amount) ? amount : null
}

/**
 * `earliest`, `latest`, an RFC 3339 time, so long ago (`10m`, with its unit), or offsets by partition (`0:12,1:40`).
 * Null for what is none.
 */
export function parsePosition(text: string, now: number): Position | null {
  if (text === 'earliest' || text === 'latest') return text
  if (parseTimestamp(text) !== null) return { timestamp: text }
  const agoMs = /[a-z]$/.test(text) ? parseDuration(text) : null
  if (agoMs !== null && agoMs <= now) return { timestamp: new Date(now - agoMs).toISOString() }
  const offsets: Record<string, number> = {}
  for (const part of text.split(',')) {
    const match = /^(\d{1,4}):(\d{1,15})$/.exec(part)
    if (!match) return null
    offsets[String(Number(match[1]))] = Number(match[2])
  }
  return { offsets }
}

/** With a comma between thousands. */
export function countText(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ',')
}

export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let power = 0
  while (power < units.length - 1 && bytes >= 1024 ** (power + 1)) power++
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${trimmed(ms / 1000)} s`
  if (ms < 3_600_000) return `${trimmed(ms / 60_000)} min`
  if (ms < 86_400_000) return `${trimmed(ms / 3_600_000)} h`
  return `${trimmed(ms / 86_400_000)} d`
}

/** Events a second; small ones with a digit, so that a slow topic does not look dead. */
export function rateText(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : countText(perSecond)
}

function trimmed(value: number): string {
  return String(Number(value.toFixed(1)))
}
