/**
 * Latencies in microseconds, in a histogram with three digits. What goes in is measured from when a request was
 * due and not from when it could be sent, so that a stall counts for all who waited behind it.
 */
import { build, type Histogram } from 'hdr-histogram-js'

export interface LatencySummary {
  p50Ms: number
  p99Ms: number
  p999Ms: number
  maxMs: number
}

export class Latencies {
  readonly #histogram: Histogram = build({ highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })

  add(ms: number): void {
    this.#histogram.recordValue(Math.min(Math.max(1, Math.round(ms * 1000)), 60_000_000))
  }

  summary(): LatencySummary {
    const at = (percentile: number): number => this.#histogram.getValueAtPercentile(percentile) / 1000
    return { p50Ms: at(50), p99Ms: at(99), p999Ms: at(99.9), maxMs: this.#histogram.maxValue / 1000 }
  }
}
