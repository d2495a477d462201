/** How far something is, in a line. Pure. */
import { countText, durationText, rateText } from './amount.ts'

export interface Progress {
  /** Of the file, in bytes; null where nobody knows how much there is. */
  fraction: number | null
  count: number
  elapsedMs: number
}

const CELLS = 24

export function progressLine({ fraction, count, elapsedMs }: Progress): string {
  const perSecond = elapsedMs > 0 ? (count * 1000) / elapsedMs : 0
  const counted = `${countText(count)} messages, ${rateText(perSecond)}/s`
  if (fraction === null) return counted
  const done = Math.min(1, Math.max(0, fraction))
  const full = Math.round(done * CELLS)
  const left = done > 0 && done < 1 ? `, ${durationText((elapsedMs / done) * (1 - done))} left` : ''
  return `[${'#'.repeat(full)}${'.'.repeat(CELLS - full)}] ${Math.floor(done * 100)} %  ${counted}${left}`
}
