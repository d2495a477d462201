#!/usr/bin/env node
/**
 * The edge of the process: signals, exit codes, standard output; nothing else. Exit codes: 0 after an
 * orderly end, 1 when the broker cannot run here, 2 for a command line or configuration that cannot be
 * used, 70 when a disk, or the broker itself, failed while it ran.
 */
import { readFileSync } from 'node:fs'
import { systemClock, systemRandom } from './base/clock.ts'
import { errorCode } from './base/disk.ts'
import { Latch } from './base/latch.ts'
import { makeDataDirectory, nodeDisk } from './base/node-disk.ts'
import { Broker } from './broker.ts'
import { parseCommandLine } from './cli.ts'
import { Catalog } from './cluster/catalog.ts'
import { openSqliteCoordinator, STORE_FILE, StoreError } from './cluster/sqlite-coordinator.ts'
import type { Config } from './config.ts'
import { CorruptionError, VersionError } from './log/log-recovery.ts'
import { type VerifiedLog, verifyAll } from './log/verify.ts'
import { PARTITIONS_DIRECTORY } from './partition/partition.ts'
import { createLogger } from './server/logging.ts'
import { createMetrics } from './server/metrics.ts'

const EXIT = { cannotRun: 1, misused: 2, failed: 70 } as const

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return manifest.version
}

/** One line for the person who started us, then the end. */
function fail(code: number, message: string): never {
  process.stderr.write(`tidings: ${message.replaceAll(/\s*\n\s*/g, ' ')}\n`)
  process.exit(code)
}

async function serve(config: Config): Promise<void> {
  const logger = createLogger(config.logLevel)
  const latch = new Latch((cause) => {
    logger.error({ error: cause.message, code: errorCode(cause) }, 'the disk failed: nothing is acknowledged any more')
    process.exit(EXIT.failed)
  })
  // A bug left state behind that nobody can vouch for: what is on disk can, after a restart.
  process.on('uncaughtException', (error) => {
    logger.error({ error: error.stack }, 'a bug in tidings: ending, to start again from what is on disk')
    process.exit(EXIT.failed)
  })
  await makeDataDirectory(config.dataDir)
  const disk = nodeDisk(config.dataDir)
  const ports = { disk, clock: systemClock, random: systemRandom, latch, logger }
  const { coordinator, created } = await openSqliteCoordinator({ ...ports, directory: config.dataDir })
  const broker = await Broker.create(
    { ...ports, coordinator, coordinatorIsNew: created, metrics: createMetrics() },
    { ...config, version: version() },
  )
  stopOnSignal(broker, logger)
  const { url } = await broker.start()
  logger.info({ url, dataDir: config.dataDir, version: version(), docs: `${url}/docs` }, `tidings is ready on ${url}`)
}

function stopOnSignal(broker: Broker, logger: ReturnType<typeof createLogger>): void {
  let stopping = false
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) return
    stopping = true
    logger.info({ signal }, 'draining: finishing what is in flight')
    broker.stop().then(
      () => process.exit(0),
      (error: unknown) => fail(EXIT.cannotRun, explain(error)),
    )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

async function verify(dataDir: string): Promise<void> {
  const disk = nodeDisk(dataDir)
  const latch = new Latch((cause) => fail(EXIT.cannotRun, cause.message))
  if (!(await disk.list('')).includes(STORE_FILE)) fail(EXIT.cannotRun, `${dataDir} holds no data of tidings`)
  // The store is the lock of the directory: a running broker's files would be judged in the middle of a write.
  const ports = { disk, clock: systemClock, random: systemRandom, latch }
  const { coordinator } = await openSqliteCoordinator({ ...ports, directory: dataDir })
  const topics = await new Catalog(coordinator, systemRandom).topics()
  const isKnown = (topicId: string, partition: number): boolean =>
    topics.some(({ id, settings }) => id === topicId && partition < settings.partitions)
  const { logs, strangers } = await verifyAll(disk, PARTITIONS_DIRECTORY, isKnown)
  await coordinator.close()
  for (const log of logs) printVerified(log)
  for (const directory of strangers) process.stdout.write(`${directory}: belongs to no topic, not checked\n`)
  const findings = logs.flatMap((log) => log.findings)
  const damaged = findings.filter(({ severity }) => severity === 'damaged').length
  const records = logs.reduce((sum, log) => sum + log.records, 0)
  const bytes = logs.reduce((sum, log) => sum + log.bytes, 0)
  process.stdout.write(
    `${logs.length} logs, ${records} records, ${bytes} bytes checked: ${damaged} damaged, ${findings.length - damaged} torn tails\n`,
  )
  process.exitCode = damaged > 0 ? EXIT.cannotRun : 0
}

function printVerified(log: VerifiedLog): void {
  const { directory, segments, batches, startOffset, nextOffset } = log
  process.stdout.write(
    `${directory}: offsets ${startOffset} to ${nextOffset}, ${segments} segments, ${batches} batches\n`,
  )
  for (const { path, position, severity, what } of log.findings) {
    process.stdout.write(`  ${severity}: ${path}${position === null ? '' : ` at byte ${position}`}: ${what}\n`)
  }
}

/** What went wrong at start, in a sentence. */
function explain(error: unknown): string {
  const code = errorCode(error)
  if (error instanceof StoreError) return error.message
  if (error instanceof VersionError) return error.message
  if (error instanceof CorruptionError) {
    return `${error.message}; nothing was changed: see what is there with "tidings verify", restore that file from a backup`
  }
  if (code === 'EADDRINUSE') return `the port is in use by another process: ${(error as Error).message}`
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return `no permission: ${(error as Error).message}`
  if (code === 'ENOTDIR' || code === 'EEXIST') return `the data directory cannot be made: ${(error as Error).message}`
  return error instanceof Error ? error.message : String(error)
}

const command = parseCommandLine(process.argv.slice(2), process.env, (path) => readFileSync(path, 'utf8'))
switch (command.kind) {
  case 'serve':
    serve(command.config).catch((error: unknown) => fail(EXIT.cannotRun, explain(error)))
    break
  case 'verify':
    verify(command.dataDir).catch((error: unknown) => fail(EXIT.cannotRun, explain(error)))
    break
  case 'help':
    process.stdout.write(`${command.text}\n`)
    break
  case 'version':
    process.stdout.write(`${version()}\n`)
    break
  case 'refused':
    fail(EXIT.misused, command.message)
}
