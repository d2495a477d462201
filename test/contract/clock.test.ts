/** The Clock contract against the system's clock and the simulated one. */
import { systemClock } from '../../src/base/clock.ts'
import { SimClock } from '../../src/testing/sim-clock.ts'
import { settle } from '../support/settle.ts'
import { clockContract } from './clock.ts'

clockContract('system clock', () => ({
  clock: systemClock,
  pass: (ms) =>
    new Promise((resolve) => {
      systemClock.after(ms, resolve)
    }),
}))

clockContract('simulated clock', () => {
  const clock = new SimClock()
  return {
    clock,
    async pass(ms) {
      clock.advance(ms)
      await settle()
    },
  }
})

clockContract('simulated clock of one process, driven', () => {
  const clock = new SimClock({ soon: 'driven' })
  return { clock: clock.process(), pass: (ms) => Promise.resolve(clock.advance(ms)) }
})
