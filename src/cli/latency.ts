/**
 * Times of single events, all of them kept: percentiles are of what was measured, not of an estimate. One that too few
 * samples speak for is not given. Pure.
 */

const SHARES = [
  ['p50', 0.5, 1],
  ['p95', 0.95, 20],
  ['p99', 0.99, 100],
  ['p99.9', 0.999, 1000],
] as const

export type LatencySummary = { count: number; max: number | null } & Partial<Record<(typeof SHARES)[number][0], number>>

export class Latency {
  #times: Float64Array
  #count = 0

  constructor(most: number) {
    this.#times = new Float64Array(most)
  }

  get count(): number {
    return this.#count
  }

  add(ms: number): void {
    if (this.#count < this.#times.length) this.#times[this.#count++] = ms
  }

  /** In milliseconds: the smallest time that this share of the events did not exceed. */
  summary(): LatencySummary {
    const sorted = this.#times.subarray(0, this.#count).slice().sort()
    const summary: LatencySummary = { count: this.#count, max: sorted.at(-1) ?? null }
    for (const [name, share, atLeast] of SHARES) {
      if (this.#count >= atLeast) summary[name] = sorted[Math.ceil(share * this.#count) - 1]!
    }
    return summary
  }
}

export function latencyText(summary: LatencySummary): string {
  const { max } = summary
  const parts = SHARES.flatMap(([name]) => (summary[name] === undefined ? [] : [`${name} ${summary[name].toFixed(2)}`]))
  return max === null ? 'nothing was measured' : `${[...parts, `max ${max.toFixed(2)}`].join('   ')} ms`
}
