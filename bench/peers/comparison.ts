/**
 * `npm run bench -- --peers`: every row on ours and on the peers in turn, in an order that turns round with every round,
 * and the tables of it. A peer whose program cannot be had is left out with a sentence; a row that lost a message, or
 * failed otherwise, has no figure and says why.
 */
import { PEERS, type PeerName } from './all.ts'
import { comparisonTable, cpuTable, median, type Results } from './comparison-table.ts'
import type { Scale } from './measure.ts'
import type { ValueKind } from './payload.ts'
import { ROWS } from './rows.ts'

export interface ComparisonOptions {
  rows: readonly string[]
  peers: readonly PeerName[]
  rounds: number
  isQuick: boolean
  values: ValueKind
}

export interface Comparison {
  versions: Partial<Record<PeerName, string>>
  options: ComparisonOptions
  results: Results
  markdown: string
}

/** The measurement that hangs is given up. */
const TIMEOUT_MS = 240_000

function scaleOf({ isQuick, values }: ComparisonOptions): Scale {
  const full = { backlog: 500_000, stored: 1_000_000, fillMs: 40_000, topics: 1000, topicsMs: 22_000 }
  const quick = { backlog: 100_000, stored: 200_000, fillMs: 8000, topics: 1000, topicsMs: 5000 }
  return { values, warmUpMs: isQuick ? 1000 : 2000, durationMs: isQuick ? 1500 : 3000, ...(isQuick ? quick : full) }
}

export async function compare(options: ComparisonOptions): Promise<Comparison> {
  const versions: Partial<Record<PeerName, string>> = {}
  for (const name of options.peers) {
    try {
      versions[name] = await PEERS[name].prepare()
    } catch (error) {
      console.log(`${PEERS[name].label} is left out: ${textOf(error)}`)
    }
  }
  const peers = options.peers.filter((name) => versions[name] !== undefined)
  const results: Results = {}
  for (let round = 1; round <= options.rounds; round++)
    for (const row of options.rows) await oneRow(row, round, peers, scaleOf(options), results)
  return { versions, options, results, markdown: markdownOf(results, peers, versions) }
}

async function oneRow(
  name: string,
  round: number,
  peers: readonly PeerName[],
  scale: Scale,
  results: Results,
): Promise<void> {
  const row = ROWS[name]!
  const isForAll = round <= (row.otherRounds ?? round)
  const order = peers.filter((peer) => row.peers.includes(peer) && (isForAll || peer === 'tidings' || peer === 'redis'))
  if (round % 2 === 0) order.reverse()
  for (const peer of order) {
    results[name] ??= {}
    const result = (results[name][peer] ??= { rounds: [], failures: [] })
    const startedAt = performance.now()
    let said: string
    try {
      const figures = await inTime(row.measure(peer, scale))
      result.rounds.push(figures)
      said = row.shown.map(({ figure, unit }) => `${Number(figures[figure]?.toPrecision(4))} ${unit}`).join(', ')
    } catch (error) {
      said = `failed: ${textOf(error)}`
      result.failures.push(textOf(error))
    }
    const tookS = ((performance.now() - startedAt) / 1000).toFixed(0)
    console.error(`round ${round}, ${name}, ${PEERS[peer].label}: ${said} (${tookS} s)`)
  }
}

async function inTime<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function markdownOf(results: Results, peers: readonly PeerName[], versions: Comparison['versions']): string {
  const settings = peers.map((name) => `- ${PEERS[name].label} ${versions[name]}: ${PEERS[name].durability}.`)
  const failures = Object.entries(results).flatMap(([row, of]) =>
    Object.entries(of).flatMap(([peer, { failures: texts }]) => texts.map((text) => `- ${row}, ${peer}: ${text}`)),
  )
  // A peer has a bounded time to store what a row begins with, and may have stored less of it.
  const counts = Object.entries(results).flatMap(([row, of]) =>
    Object.entries(of).flatMap(([peer, { rounds }]) => {
      const count = ROWS[row]!.isCounted ? (median(rounds.map(({ published }) => published ?? 0)) ?? 0) : 0
      return count > 0 ? [`${peer} ${row}: ${count.toLocaleString('en-US')}`] : []
    }),
  )
  return [
    comparisonTable(results, peers),
    ...(counts.length > 0 ? [`Messages that lay there: ${counts.join(', ')}.`] : []),
    cpuTable(results, peers),
    settings.join('\n'),
    ...(failures.length > 0 ? [`Failed:\n${failures.join('\n')}`] : []),
  ].join('\n\n')
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
