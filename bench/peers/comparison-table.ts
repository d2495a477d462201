/**
 * The comparison as Markdown: medians of the rounds, ours beside each peer, the ratio to Redis Streams, and whether the
 * target is met; then the processor time of servers and clients.
 */
import { PEERS, type PeerName } from './all.ts'
import type { Figures } from './measure.ts'
import { ROWS, type Shown, type Target } from './rows.ts'

/** Of a row and a peer: a figure set a round, or why there is none. */
export type Results = Record<string, Partial<Record<PeerName, { rounds: Figures[]; failures: string[] }>>>

export function median(values: readonly number[]): number | undefined {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b)
  if (sorted.length === 0) return undefined
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
}

export function comparisonTable(results: Results, peers: readonly PeerName[]): string {
  const head = ['work', 'unit', ...peers.map((name) => PEERS[name].label), '÷ Redis', 'target', 'met']
  const lines = Object.entries(results).flatMap(([name, row]) =>
    ROWS[name]!.shown.map((shown, i) => {
      const of = (peer: PeerName): number | undefined => figureOf(row[peer]?.rounds ?? [], shown.figure)
      const cells = peers.map((peer) => {
        const value = of(peer)
        if (value === undefined) return (row[peer]?.failures.length ?? 0) > 0 ? 'failed' : '—'
        const failed = row[peer]!.failures.length
        return show(value) + (failed > 0 ? ` (${failed} failed)` : '')
      })
      const [ours, redis] = [of('tidings'), of('redis')]
      const ratio = ours !== undefined && redis !== undefined ? ours / redis : undefined
      return [
        i === 0 ? ROWS[name]!.what : '',
        shown.unit,
        ...cells,
        ratio === undefined ? '' : ratio.toFixed(2),
        targetText(shown.target),
        verdict(shown, ours, ratio),
      ]
    }),
  )
  return markdown(head, lines)
}

export function cpuTable(results: Results, peers: readonly PeerName[]): string {
  const lines = Object.entries(results).flatMap(([name, row]) => {
    const cells = peers.map((peer) => {
      const rounds = row[peer]?.rounds ?? []
      const [server, client] = [figureOf(rounds, 'serverCpuS'), figureOf(rounds, 'clientCpuS')]
      return server === undefined || client === undefined ? '—' : `${server.toFixed(2)} / ${client.toFixed(2)}`
    })
    return cells.every((cell) => cell === '—') ? [] : [[ROWS[name]!.what, ...cells]]
  })
  return markdown(['seconds of processor, server / clients', ...peers.map((name) => PEERS[name].label)], lines)
}

function figureOf(rounds: readonly Figures[], figure: string): number | undefined {
  return median(rounds.map((figures) => figures[figure] ?? Number.NaN))
}

function targetText({ of, atLeast, atMost }: Target): string {
  const times = of === 'redis' ? ' × Redis' : ''
  if (atLeast !== undefined) return `≥ ${atLeast}${times}`
  return atMost === undefined ? '' : `≤ ${atMost}${times}`
}

function verdict({ target }: Shown, ours: number | undefined, ratio: number | undefined): string {
  const value = target.of === 'redis' ? ratio : ours
  if (value === undefined || (target.atLeast === undefined && target.atMost === undefined)) return ''
  return value >= (target.atLeast ?? 0) && value <= (target.atMost ?? Number.POSITIVE_INFINITY) ? 'yes' : 'no'
}

function show(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US')
  return value.toFixed(value >= 10 ? 1 : 2)
}

function markdown(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = head.map((text, i) => Math.max(text.length, ...lines.map((line) => line[i]!.length)))
  const row = (cells: readonly string[]): string =>
    `| ${cells.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [row(head), rule, ...lines.map(row)].join('\n')
}
