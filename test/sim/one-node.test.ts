import { appendFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Scenario } from './scenario.ts'

/** More seeds, or one, by the environment: SIM_SEEDS=20000 SIM_FIRST_SEED=1 npm run test:sim */
const SEEDS = Number(process.env['SIM_SEEDS'] ?? 1000)
const FIRST_SEED = Number(process.env['SIM_FIRST_SEED'] ?? 1)
/** A file that gets every line of what happened, for a seed to be replayed by eye. */
const TRACE = process.env['SIM_TRACE']
const onLine = TRACE === undefined ? undefined : (line: string): void => appendFileSync(TRACE, `${line}\n`)

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
    for (const what of [
      'crash process',
      'crash power',
      'failed',
      'fault sync',
      'fault write',
      'fault room',
      'fault full',
      'seek',
      'gap',
      'parked key resume',
      'parked key replace',
      'parked key skip',
      'parked key discard',
      'publish ok',
      'publish duplicate',
      'publish storage_full',
      'redelivered',
      'ack confirmed',
      'busy',
      'consumer nack',
      'consumer release',
      'consumer detach',
      'consumer extend',
      'orderly end',
      'wall jump',
      'delete topic',
      'delete subscription',
      'grow',
      'cursor log trimmed',
    ]) {
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
