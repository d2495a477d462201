/** Checks a stopped broker's data, byte for byte, and says what it found. Changes nothing. */
import { existsSync, readFileSync } from 'node:fs'
import { systemClock, systemRandom } from '../base/clock.ts'
import { Latch } from '../base/latch.ts'
import { nodeDisk } from '../base/node-disk.ts'
import { Catalog } from '../cluster/catalog.ts'
import { openSqliteCoordinator, STORE_FILE } from '../cluster/sqlite-coordinator.ts'
import { ConfigError, resolveConfig } from '../config.ts'
import { type VerifiedLog, verifyAll } from '../log/verify.ts'
import { PARTITIONS_DIRECTORY } from '../partition/log-place.ts'
import { type Context, EXIT, UsageError } from './command.ts'
import { startProblem } from './start-problem.ts'

export async function verify(context: Context): Promise<number> {
  const dataDir = dataDirOf(context)
  const { logs, strangers } = await checked(dataDir).catch((error: unknown) => {
    throw new Error(startProblem(error), { cause: error })
  })
  const findings = logs.flatMap((log) => log.findings)
  const damaged = findings.filter(({ severity }) => severity === 'damaged').length
  const sums = {
    records: logs.reduce((sum, log) => sum + log.records, 0),
    bytes: logs.reduce((sum, log) => sum + log.bytes, 0),
    damaged,
    torn: findings.length - damaged,
  }
  const { call, terminal } = context
  if (call.isOn('json')) await terminal.print(`${JSON.stringify({ dataDir, logs, strangers, ...sums })}\n`)
  else {
    await terminal.print(logs.map(logText).join(''))
    await terminal.print(strangers.map((directory) => `${directory}: belongs to no topic, not checked\n`).join(''))
    await terminal.print(
      `${logs.length} logs, ${sums.records} records, ${sums.bytes} bytes checked: ${damaged} damaged, ${sums.torn} torn tails\n`,
    )
  }
  return damaged > 0 ? EXIT.failed : EXIT.done
}

async function checked(dataDir: string): Promise<{ logs: VerifiedLog[]; strangers: string[] }> {
  const disk = nodeDisk(dataDir)
  const names = existsSync(dataDir) ? await disk.list('') : []
  if (!names.includes(STORE_FILE)) throw new Error(`${dataDir} holds no data of tidings`)
  // Nothing is written here, so nothing of it can fail to be.
  const latch = new Latch(() => undefined)
  // The store is the lock of the directory: a running broker's files would be judged in the middle of a write.
  const ports = { disk, clock: systemClock, random: systemRandom, latch }
  const { coordinator } = await openSqliteCoordinator({ ...ports, directory: dataDir })
  try {
    const topics = await new Catalog(coordinator, systemRandom).topics()
    const isKnown = (topicId: string, partition: number): boolean =>
      topics.some(({ id, settings }) => id === topicId && partition < settings.partitions)
    return await verifyAll(disk, PARTITIONS_DIRECTORY, isKnown)
  } finally {
    await coordinator.close()
  }
}

/** From the flag, the environment, the config file or the default, as `serve` takes it. */
function dataDirOf({ call, env }: Context): string {
  const given = call.text('data-dir')
  const path = call.text('config')
  try {
    const file: unknown = path === undefined ? undefined : JSON.parse(readFileSync(path, 'utf8'))
    const flags = new Map(given === undefined ? [] : [['dataDir', given]])
    return resolveConfig({ flags, env, file }).dataDir
  } catch (error) {
    if (error instanceof ConfigError) throw new UsageError(error.message)
    throw new UsageError(`--config ${path}: the file cannot be read, or is not JSON`)
  }
}

function logText({ directory, segments, batches, startOffset, nextOffset, findings }: VerifiedLog): string {
  const lines = findings.map(
    ({ path, position, severity, what }) =>
      `  ${severity}: ${path}${position === null ? '' : ` at byte ${position}`}: ${what}\n`,
  )
  return `${directory}: offsets ${startOffset} to ${nextOffset}, ${segments} segments, ${batches} batches\n${lines.join('')}`
}
