/**
 * Runs a broker as this process: signals, exit codes, log. Exit codes: 0 after an orderly end, 1 when the broker cannot
 * run here, 70 when a disk, or the broker itself, failed while it ran.
 */
import { systemClock, systemRandom } from '../base/clock.ts'
import { errorCode } from '../base/disk.ts'
import { Latch } from '../base/latch.ts'
import { makeDataDirectory, nodeDisk } from '../base/node-disk.ts'
import { Broker } from '../broker.ts'
import type { Hello } from '../cluster/peer-protocol.ts'
import type { Config } from '../config.ts'
import { createLogger } from '../server/logging.ts'
import { createMetrics } from '../server/metrics.ts'
import { openCoordinator } from './open-coordinator.ts'
import { clusterOf, peerNetwork } from './peer-network.ts'
import { startProblem } from './start-problem.ts'

const EXIT = { cannotRun: 1, failed: 70 } as const

/** Resolves when the broker is ready, and rejects when it cannot be. */
export async function serve(config: Config, version: string): Promise<void> {
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
  const coordinator = await openCoordinator(config, ports)
  const network = config.etcd.length === 0 ? null : (hello: () => Hello) => peerNetwork(config, ports, hello)
  const broker = await Broker.create(
    { ...ports, ...coordinator, ...(network && { network }), metrics: createMetrics() },
    { ...config, version, ...(network && { cluster: clusterOf(config) }) },
  )
  stopOnSignal(broker, logger)
  const { url } = await broker.start()
  logger.info({ url, dataDir: config.dataDir, version, docs: `${url}/docs` }, `tidings is ready on ${url}`)
}

function stopOnSignal(broker: Broker, logger: ReturnType<typeof createLogger>): void {
  let stopping = false
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) return
    stopping = true
    logger.info({ signal }, 'draining: finishing what is in flight')
    broker.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`tidings: ${startProblem(error)}\n`)
        process.exit(EXIT.cannotRun)
      },
    )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}
