/** The contract of the coordinator, held by the store in memory and by the one in SQLite. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Latch } from '../../src/base/latch.ts'
import { nodeDisk } from '../../src/base/node-disk.ts'
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import { openSqliteCoordinator } from '../../src/cluster/sqlite-coordinator.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from '../support/settle.ts'
import { coordinatorContract } from './coordinator.ts'

coordinatorContract('memory', async () => {
  const clock = new SimClock()
  return {
    coordinator: new MemoryCoordinator({ clock, random: new SimRandom('memory') }),
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
    latch: new Latch((cause) => {
      throw cause
    }),
  })
  return {
    coordinator,
    advance: async (ms) => clock.advance(ms),
    turn: settle,
    leaseMs: 1000,
    dispose: async () => rmSync(directory, { recursive: true }),
  }
})
