import { describe, expect, it } from 'vitest'
import { recover, type SegmentFacts, TABLE } from '../../../src/log/recovery.ts'

const SPACE: SegmentFacts[] = []
for (const role of ['last', 'inner'] as const) {
  for (const header of ['ok', 'bad', 'older', 'newer'] as const) {
    for (const footer of ['valid', 'none'] as const) {
      for (const meetsNext of [true, false]) {
        for (const rest of ['nothing', 'zeros', 'garbage'] as const) {
          for (const provenLost of [true, false]) SPACE.push({ role, header, footer, meetsNext, rest, provenLost })
        }
      }
    }
  }
}

describe('the recovery table', () => {
  it('has exactly one row for every combination of facts', () => {
    for (const facts of SPACE) expect(() => recover(facts)).not.toThrow()
    expect(SPACE).toHaveLength(192)
  })

  it('uses every row', () => {
    const used = new Set(SPACE.map((facts) => recover(facts).why))
    expect(used.size).toBe(new Set(TABLE.map((row) => row.why)).size)
  })

  it('never cuts, seals or recreates what is proven durable (S-TORN)', () => {
    for (const facts of SPACE.filter((one) => one.provenLost && one.role === 'last' && one.footer === 'none')) {
      expect(['corrupt', 'older', 'newer']).toContain(recover(facts).action)
    }
  })

  it('never goes on over a gap', () => {
    for (const facts of SPACE.filter((one) => one.role === 'inner' && !one.meetsNext)) {
      expect(['corrupt', 'older', 'newer']).toContain(recover(facts).action)
    }
  })

  it('cuts only the tail of the last segment', () => {
    for (const facts of SPACE.filter((one) => recover(one).action === 'cut')) {
      expect(facts).toMatchObject({ role: 'last', header: 'ok', footer: 'none', rest: 'garbage', provenLost: false })
    }
  })
})
