/** The Random contract against the system's randomness and the seeded one. */
import { systemRandom } from '../../src/base/clock.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { randomContract } from './random.ts'

randomContract('system random', () => systemRandom)
randomContract('seeded random', () => new SimRandom(1))
