import fc from 'fast-check'
import { describe, it } from 'vitest'
import { KeyPlayer, keySteps } from '../../support/key-ledger-steps.ts'

const backoff = { minMs: 10, maxMs: 35 }

describe('a key ledger', () => {
  it.each([
    ['by key, parking', { ordered: false, backoff, maxDeliveries: 2, parks: true }],
    ['by key, without an end', { ordered: false, backoff, maxDeliveries: null, parks: false }],
    ['by key, giving up', { ordered: false, backoff, maxDeliveries: 2, parks: false }],
    ['in order, parking', { ordered: true, backoff, maxDeliveries: 2, parks: true }],
  ])(
    'agrees with a naive model over any history: %s',
    (_, policy) => {
      fc.assert(
        fc.property(keySteps, (steps) => {
          const player = new KeyPlayer(policy)
          for (const step of steps) player.play(step)
        }),
        { numRuns: 400 },
      )
    },
    30_000,
  )
})
