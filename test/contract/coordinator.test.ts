/** The contract of the coordinator, held by the store in memory, by the one in SQLite and by a real etcd. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { Latch } from '../../src/base/latch.ts'
import { nodeDisk } from '../../src/base/node-disk.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import type { Coordinator } from '../../src/cluster/coordinator.ts'
import { EtcdCoordinator } from '../../src/cluster/etcd-coordinator.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import { openSqliteCoordinator } from '../../src/cluster/sqlite-coordinator.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { Etcd } from '../support/etcd.ts'
import { settle } from '../support/settle.ts'
import { coordinatorContract } from './coordinator.ts'

const HISTORY_COUNT = 50

coordinatorContract('memory', async () => {
  const clock = new SimClock()
  const coordinator = new MemoryCoordinator({ clock, random: new SimRandom('memory'), historyCount: HISTORY_COUNT })
  return {
    coordinator,
    forget: () => outnumber(coordinator),
    advance: async (ms) => clock.advance(ms),
    turn: settle,
    leaseMs: 1000,
    dispose: async () => undefined,
  }
})

coordinatorContract('SQLite', async () => {
  const clock = new SimClock()
  const directory = mkdtempSync(join(tmpdir(), 'tidings-store-'))
  const { coordinator } = await openSqliteCoordinator({
    directory,
    disk: nodeDisk(directory),
    clock,
    random: new SimRandom('sqlite'),
    historyCount: HISTORY_COUNT,
    latch: new Latch((cause) => {
      throw cause
    }),
  })
  return {
    coordinator,
    forget: () => outnumber(coordinator),
    advance: async (ms) => clock.advance(ms),
    turn: settle,
    leaseMs: 1000,
    dispose: async () => rmSync(directory, { recursive: true }),
  }
})

describe('with a real etcd', () => {
  let etcd: Etcd
  let made = 0

  beforeAll(async () => {
    etcd = await Etcd.start({ flags: ['--unsafe-no-fsync'] })
  }, 300_000)

  afterAll(() => etcd.stop())

  coordinatorContract('etcd', async () => ({
    coordinator: new EtcdCoordinator({
      urls: [etcd.url],
      prefix: `/contract/${++made}/`,
      user: null,
      tls: {},
      clock: systemClock,
      logger: nullLogger,
    }),
    forget: () => etcd.compact(),
    advance: (ms) => etcd.live(ms),
    turn: () => etcd.live(10),
    leaseMs: 2000,
    dispose: async () => undefined,
  }))
})

/** Commits more than the store remembers. */
async function outnumber(coordinator: Coordinator): Promise<void> {
  for (let i = 0; i <= HISTORY_COUNT; i++) await coordinator.transact([], [{ put: 'forget', value: String(i) }])
}
