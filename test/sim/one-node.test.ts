import { appendFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Scenario } from './scenario.ts'

/** More seeds, or one, by the environment: SIM_SEEDS=20000 SIM_FIRST_SEED=1 npm run test:sim */
const SEEDS = Number(process.env['SIM_SEEDS'] ?? 1000)
const FIRST_SEED = Number(process.env['SIM_FIRST_SEED'] ?? 1)
/** A file that gets every line of what happened, for a seed to be replayed by eye. */
const TRACE = process.env['SIM_TRACE']
const onLine = TRACE === undefined ? undefined : (line: string): void => appendFileSync(TRACE, `${line}\n`)

/** What must have happened in a thousand runs: a fault that never fired, a promise that was never asked for, prove nothing. */
const EVENTS = [
  'crash process',
  'crash power',
  'failed',
  'orderly end',
  'fault sync',
  'fault write',
  'fault room',
  'fault full',
  'wall jump',
  'wait',
  'publish ok',
  'publish duplicate',
  'publish storage_full',
  'publish scheduled',
  'repeat',
  'repeat of what is removed',
  'frame ok',
  'frame duplicate',
  'frame storage_full',
  'frame overloaded',
  'schedule cancelled',
  'schedule cancelled too late',
  'delivered',
  'redelivered',
  'keyed delivered',
  'keyed redelivered',
  'pattern delivered',
  'ack confirmed',
  'reject confirmed',
  'busy',
  'consumer nack',
  'consumer release',
  'consumer reject',
  'consumer detach',
  'consumer extend',
  'pull',
  'pull aborted',
  'dead letter',
  'redriven',
  'parked key resume',
  'parked key replace',
  'parked key skip',
  'parked key discard',
  'seek',
  'gap',
  'grow',
  'delete topic',
  'delete subscription',
  'expired',
  'removed bounded',
  'removed until acked',
  'compacted',
  'cursor log trimmed',
]

describe('one broker under seeded faults', () => {
  it(`keeps its promises for ${SEEDS} seeds`, async () => {
    const counts = new Map<string, number>()
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      try {
        const outcome = await new Scenario({ seed, ...(onLine && { onLine }) }).run()
        for (const [what, times] of outcome.counts) counts.set(what, (counts.get(what) ?? 0) + times)
      } catch (error) {
        throw new Error(`seed ${seed} (replay: SIM_SEEDS=1 SIM_FIRST_SEED=${seed}): ${(error as Error).message}`, {
          cause: error,
        })
      }
    }
    console.log(
      [...counts]
        .map(([what, times]) => `${what} ${times}`)
        .sort((a, b) => (a < b ? -1 : 1))
        .join(', '),
    )
    if (SEEDS < 500) return
    for (const what of EVENTS) {
      expect(counts.get(what) ?? 0, `${what} never happened`).toBeGreaterThan(0)
    }
  })

  it('does the same again for the same seed', async () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const first = await new Scenario({ seed }).run()
      const second = await new Scenario({ seed }).run()
      expect(second.trace).toBe(first.trace)
    }
  })
})
