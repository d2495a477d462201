/** The contract of the coordinator, held by the store in memory and by the one in SQLite. */
import { MemoryCoordinator } from '../../src/cluster/memory-coordinator.ts'
import { settle } from '../support/settle.ts'
import { SimClock } from '../support/sim-clock.ts'
import { SimRandom } from '../support/sim-random.ts'
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
