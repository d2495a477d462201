/**
 * `npm run bench -- [--only NAME[,NAME]] [--rounds N]`: runs the scenarios of scenarios.ts, prints a table of medians for
 * each and writes all rounds with the machine and the commit to bench/results.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT, stopAll } from '../test/support/broker-process.ts'
import { medians, table } from './harness/report.ts'
import { type Rows, SCENARIOS } from './scenarios.ts'

const { values } = parseArgs({ options: { only: { type: 'string' }, rounds: { type: 'string', default: '3' } } })
const names = values.only?.split(',') ?? Object.keys(SCENARIOS)
const rounds = Number(values.rounds)
const unknown = names.filter((name) => !SCENARIOS[name])
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(`usage: bench [--only ${Object.keys(SCENARIOS).join(',')}] [--rounds N]`)
  process.exit(2)
}

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
await stopAll()
for (const name of names) console.log(`${name}: ${SCENARIOS[name]!.what}\n\n${table(medians(all[name]!))}\n`)

const folder = join(ROOT, 'bench/results')
mkdirSync(folder, { recursive: true })
const file = join(folder, `${new Date().toISOString().replaceAll(':', '-')}.json`)
writeFileSync(
  file,
  `${JSON.stringify({ commit: commit(), machine, busyShareBefore: busyShare, rounds: all }, null, 2)}\n`,
)
console.log(`all rounds: ${file}`)
process.exit(0)
