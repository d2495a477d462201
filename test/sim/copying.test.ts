import { appendFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { CopyScenario } from './copying-scenario.ts'

/** More seeds, or one, by the environment: COPY_SEEDS=5000 COPY_FIRST_SEED=1 npm run test:sim */
const SEEDS = Number(process.env['COPY_SEEDS'] ?? 200)
const FIRST_SEED = Number(process.env['COPY_FIRST_SEED'] ?? 1)
const TRACE = process.env['SIM_TRACE']
const onLine = TRACE === undefined ? undefined : (line: string): void => appendFileSync(TRACE, `${line}\n`)

/** What must have happened: a fault that never came proves nothing. */
const EVENTS = ['crash process', 'crash power', 'lease lost', 'cut', 'break', 'election', 'open', 'removed', 'fenced']

describe('copying a topic under seeded faults', () => {
  it(`keeps the promises of replication for ${SEEDS} seeds`, async () => {
    const counts = new Map<string, number>()
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      try {
        const outcome = await new CopyScenario({ seed, ...(onLine && { onLine }) }).run()
        for (const [what, times] of outcome) counts.set(what, (counts.get(what) ?? 0) + times)
      } catch (error) {
        throw new Error(`seed ${seed} (replay: COPY_SEEDS=1 COPY_FIRST_SEED=${seed}): ${(error as Error).message}`, {
          cause: error,
        })
      }
    }
    console.log([...counts].map(([what, times]) => `${what} ${times}`).join(', '))
    if (SEEDS < 100) return
    for (const what of EVENTS) expect(counts.get(what) ?? 0, `${what} never happened`).toBeGreaterThan(0)
    expect(counts.get('committed') ?? 0).toBeGreaterThan(50 * SEEDS)
  }, 3_600_000)

  it('does the same again for the same seed', async () => {
    const trace = async (seed: number): Promise<string> => {
      const lines: string[] = []
      await new CopyScenario({ seed, onLine: (line) => lines.push(line) }).run()
      return lines.join('\n')
    }
    for (const seed of [1, 2]) expect(await trace(seed)).toBe(await trace(seed))
  })
})
