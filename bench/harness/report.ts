/** Medians over rounds, and the table that is printed. */
import type { Figures } from '../client.ts'
import type { Rows } from '../scenarios.ts'

const UNITS: Readonly<Record<string, { head: string; show: (value: number) => string }>> = {
  perSecond: { head: 'requests/s', show: whole },
  messagesPerSecond: { head: 'messages/s', show: whole },
  ofBare: { head: 'of bare', show: (value) => `${(value * 100).toFixed(0)} %` },
  p50Ms: { head: 'p50 ms', show: fine },
  p99Ms: { head: 'p99 ms', show: fine },
  p999Ms: { head: 'p99.9 ms', show: fine },
  maxMs: { head: 'max ms', show: fine },
  publishP50Ms: { head: 'answer p50 ms', show: fine },
  publishP99Ms: { head: 'answer p99 ms', show: fine },
  readyMs: { head: 'ready after ms', show: whole },
  clientUsPerMessage: { head: 'client CPU µs/message', show: fine },
  rssMiB: { head: 'RSS MiB', show: whole },
  bytesPerMessage: { head: 'disk bytes/message', show: whole },
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

function fine(value: number): string {
  return value.toFixed(2)
}

/** The median of each figure by itself. */
export function medians(rounds: readonly Rows[]): Rows {
  const result: Rows = {}
  for (const name of Object.keys(rounds[0] ?? {})) {
    const figures: Figures = {}
    for (const key of Object.keys(rounds[0]![name]!)) {
      const sorted = rounds.map((rows) => rows[name]![key]!).sort((a, b) => a - b)
      figures[key] = (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
    }
    result[name] = figures
  }
  return result
}

/** A Markdown table with a column for every figure that some row has. */
export function table(rows: Rows): string {
  const keys = Object.keys(UNITS).filter((key) => Object.values(rows).some((figures) => key in figures))
  const cells = Object.entries(rows).map(([name, figures]) => [
    name,
    ...keys.map((key) => (figures[key] === undefined ? '' : UNITS[key]!.show(figures[key]))),
  ])
  const head = ['', ...keys.map((key) => UNITS[key]!.head)]
  const widths = head.map((text, i) => Math.max(text.length, ...cells.map((row) => row[i]!.length)))
  const line = (row: string[]): string =>
    `| ${row.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(head), rule, ...cells.map(line)].join('\n')
}
