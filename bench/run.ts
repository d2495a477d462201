/**
 * `npm run bench -- [--only NAME[,NAME]] [--rounds N]`: runs the scenarios of scenarios.ts, prints a table of medians for
 * each and writes all rounds with the machine and the commit to bench/results.
 * `npm run bench -- --peers [--quick] [--only ROW,…] [--with PEER,…] [--values bytes|json] [--rounds N]`: the same for the
 * rows of peers/rows.ts, ours beside other brokers.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT, stopAll } from '../test/support/broker-process.ts'
import { medians, table } from './harness/report.ts'
import { PEERS, type PeerName } from './peers/all.ts'
import { compare } from './peers/comparison.ts'
import { ROWS } from './peers/rows.ts'
import { type Rows, SCENARIOS } from './scenarios.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    peers: { type: 'boolean', default: false },
    with: { type: 'string' },
    quick: { type: 'boolean', default: false },
    values: { type: 'string', default: 'bytes' },
  },
})
const known = Object.keys(values.peers ? ROWS : SCENARIOS)
const names = values.only?.split(',') ?? known
const peers = values.with?.split(',') ?? Object.keys(PEERS)
const rounds = Number(values.rounds)
const isKnown =
  names.every((name) => known.includes(name)) &&
  peers.every((name) => name in PEERS) &&
  (values.values === 'bytes' || values.values === 'json')
if (!isKnown || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`usage: bench [--only ${Object.keys(SCENARIOS).join(',')}] [--rounds N]
       bench --peers [--quick] [--only ${Object.keys(ROWS).join(',')}]
             [--with ${Object.keys(PEERS).join(',')}] [--values bytes|json] [--rounds N]`)
  process.exit(2)
}

// Ended by a signal it still ends what it started, which hangs on the exit.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: ROOT, encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

/** The share of all cores that others use while we only wait. */
async function busyBefore(): Promise<number> {
  const sum = (): { idle: number; all: number } =>
    cpus().reduce(
      ({ idle, all }, { times }) => ({
        idle: idle + times.idle,
        all: all + Object.values(times).reduce((a, b) => a + b, 0),
      }),
      { idle: 0, all: 0 },
    )
  const before = sum()
  await new Promise((resolve) => setTimeout(resolve, 2000))
  const after = sum()
  return 1 - (after.idle - before.idle) / Math.max(after.all - before.all, 1)
}

const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  os: `${platform()} ${release()} ${arch()}`,
  node: process.version,
}
console.log(
  `${machine.cores} × ${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.os}, Node ${machine.node}, ${rounds} rounds\n`,
)

const busyShare = await busyBefore()
if (busyShare > 0.1) {
  console.log(
    `The machine is ${Math.round(busyShare * 100)} % busy with something else: these figures will say little.\n`,
  )
}

/** What goes into the results' file, and what is printed. */
async function scenarios(): Promise<{ result: object; text: string }> {
  const all: Record<string, Rows[]> = {}
  // Rounds outside, scenarios inside: what the machine does over minutes spreads over all of them.
  for (let round = 1; round <= rounds; round++) {
    for (const name of names) {
      const startedAt = performance.now()
      const rows = await SCENARIOS[name]!.round()
      all[name] = [...(all[name] ?? []), rows]
      console.error(`round ${round}: ${name} took ${((performance.now() - startedAt) / 1000).toFixed(0)} s`)
    }
  }
  const tables = names.map((name) => `${name}: ${SCENARIOS[name]!.what}\n\n${table(medians(all[name]!))}\n`)
  return { result: { rounds: all }, text: tables.join('\n') }
}

async function comparison(): Promise<{ result: object; text: string }> {
  const valueKind = values.values === 'json' ? 'json' : 'bytes'
  const options = { rows: names, peers: peers as PeerName[], rounds, isQuick: values.quick, values: valueKind } as const
  const { markdown, ...result } = await compare(options)
  return { result, text: markdown }
}

const { result, text } = values.peers ? await comparison() : await scenarios()
await stopAll()
console.log(text)

const folder = join(ROOT, 'bench/results')
mkdirSync(folder, { recursive: true })
const file = join(folder, `${values.peers ? 'peers-' : ''}${new Date().toISOString().replaceAll(':', '-')}`)
const context = { commit: commit(), machine, busyShareBefore: busyShare }
writeFileSync(`${file}.json`, `${JSON.stringify({ ...context, ...result }, null, 2)}\n`)
if (values.peers) writeFileSync(`${file}.md`, `${text}\n`)
console.log(`\nall rounds: ${file}.json`)
process.exit(0)
