import { it } from 'vitest'
import { Scenario } from './scenario.ts'
import { writeFileSync } from 'node:fs'
it('replay', async () => {
  const lines: string[] = []
  try { await new Scenario({ seed: Number(process.env['SEED']), onLine: (l) => lines.push(l) }).run() } catch (e) { lines.push(String(e)) }
  writeFileSync('/tmp/trace.txt', lines.join('\n'))
})
