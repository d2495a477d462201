import { getU32 } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Changes } from '../../../src/subscription/changes.ts'
import {
  type CursorFold,
  encodeDeleted,
  encodeDelta,
  encodeState,
  foldRecord,
} from '../../../src/subscription/cursor-record.ts'
import type { LedgerState } from '../../../src/subscription/ledger-state.ts'
import { KeyPlayer, keySteps } from '../../support/key-ledger-steps.ts'
import { perMessage } from '../../support/ledger-model.ts'
import { Player, steps } from '../../support/ledger-steps.ts'

const WALL_MS = 1_767_225_600_000
const backoff = { minMs: 10, maxMs: 35 }

function fold(records: readonly Uint8Array[]): Map<string, CursorFold> {
  const folds = new Map<string, CursorFold>()
  for (const record of records) foldRecord(folds, record, 0, 4 + getU32(record, 0))
  return folds
}

/** The state with its times moved from the ledger's clock to wall time. */
function onTheWall({ next, runs }: LedgerState): LedgerState {
  return {
    next,
    runs: runs.map((run) => ({ ...run, notBefore: run.notBefore === 0 ? 0 : run.notBefore + WALL_MS })),
  }
}

interface Playing<Step> {
  readonly ledger: { changes: Changes; state(): LedgerState }
  play(step: Step): void
}

/** Every record of a history, one after each group of steps. */
function record<Step>(player: Playing<Step>, groups: readonly Step[][]): Uint8Array[] {
  const { ledger } = player
  const records = [encodeState('sub', ledger.state(), WALL_MS)]
  for (const group of groups) {
    for (const step of group) player.play(step)
    records.push(
      ledger.changes.whole ? encodeState('sub', ledger.state(), WALL_MS) : encodeDelta('sub', ledger.changes, WALL_MS),
    )
    ledger.changes.clear()
  }
  return records
}

/** The same of a ledger by key, replacements included. */
function inFull(state: LedgerState): string[] {
  const replaced = (state.replaced ?? []).map(({ offset, record }) => `${offset}: ${Buffer.from(record).toString()}`)
  return [...perMessage(state), ...replaced.sort()]
}

describe('the records of a subscription log', () => {
  it('say after any history what a ledger by key says, replacements included', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(fc.array(keySteps, { minLength: 1, maxLength: 5 }), (groups) => {
        const player = new KeyPlayer({ ordered: false, backoff, maxDeliveries: 1, parks: true })
        // A restart begins its records with what it read: here that is a state.
        const lasting = groups.map((group) => group.filter((step) => step.do !== 'restart'))
        const records = record(player, lasting)
        const { replaced, ...state } = player.ledger.state()
        const told = fold(records).get('sub')!.state()
        expect(inFull(told)).toEqual(inFull({ ...onTheWall(state), ...(replaced ? { replaced } : {}) }))
      }),
      { numRuns: 300 },
    )
  })

  it.each([false, true])(
    'say after any history what the ledger says (in order: %s)',
    { timeout: 60_000 },
    (ordered) => {
      fc.assert(
        fc.property(fc.array(steps, { minLength: 1, maxLength: 5 }), (groups) => {
          const player = new Player({ ordered, backoff, maxDeliveries: null })
          const records = record(player, groups)
          const told = fold(records).get('sub')!.state()
          expect(perMessage(told)).toEqual(perMessage(onTheWall(player.ledger.state())))
        }),
        { numRuns: 500 },
      )
    },
  )

  it('lose no message when any one of them is missing', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(fc.array(steps, { minLength: 2, maxLength: 5 }), fc.nat(), (groups, which) => {
        // A seek and a revival change what "unacknowledged" means, so that they are left to the test above.
        const history = groups.map((group) => group.filter((step) => step.do !== 'seek' && step.do !== 'revive'))
        const player = new Player({ ordered: false, backoff, maxDeliveries: null })
        const records = record(player, history)
        const missing = 1 + (which % history.length)
        const told = fold(records.filter((_, i) => i !== missing))
          .get('sub')!
          .state()
        const { ledger } = player
        for (let offset = 0; offset < told.next; offset++) {
          const isOwed = told.runs.some(({ from, to }) => from <= offset && offset < to)
          expect(isOwed || ledger.isAcknowledged(offset)).toBe(true)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('have the bytes that cursor-record.ts describes', () => {
    const runs = [
      { from: 5, to: 7, attempts: 2, failed: true, notBefore: 300 },
      { from: 9, to: 10, attempts: 1, failed: false, notBefore: 0 },
    ]
    const value = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(12 + 1)).toString('hex')
    // next 300 = ac 02, two runs: +5 len 2, 2*2+1, 300 | +2 len 1, 1*2, 0
    expect(value(encodeState('s', { next: 300, runs }, 0))).toBe(
      ['01', 'ac02', '02', '0a0205ac02', '04010200'].join(''),
    )
    const changes = new Changes()
    changes.acked(10, 12)
    changes.pending(4, 5, 3, false, 0)
    // +10 len 2, acked | 12 back to 4 is -8, zigzag 15, len 1, 1 + 3*2, at once
    expect(value(encodeDelta('s', changes, 0))).toBe(['02', '02', '140200', '0f010700'].join(''))
    expect(value(encodeDeleted('s'))).toBe('03')
  })

  it('end a subscription, and keep the others', () => {
    const state = { next: 4, runs: [] }
    const folds = fold([encodeState('a', state, 0), encodeState('b', state, 0), encodeDeleted('a')])
    expect([...folds.keys()]).toEqual(['b'])
  })

  it('say nothing where a change has no state to stand on', () => {
    const changes = new Changes()
    changes.acked(0, 3)
    expect(fold([encodeDelta('a', changes, 0)]).size).toBe(0)
  })

  it('are cut with the log they speak of', () => {
    const runs = [{ from: 2, to: 9, attempts: 1, failed: false, notBefore: 0 }]
    const cursor = fold([encodeState('a', { next: 12, runs }, 0)]).get('a')!
    cursor.cutAt(6)
    expect(cursor.state()).toEqual({ next: 6, runs: [{ ...runs[0]!, to: 6 }] })
  })

  it('are refused when they are none, and never hang or grow', () => {
    const whole = encodeState('s', { next: 9, runs: [{ from: 1, to: 3, attempts: 1, failed: false, notBefore: 7 }] }, 0)
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 20 }), (value) => {
        const bytes = Uint8Array.from([...whole.subarray(0, 13), ...value])
        try {
          foldRecord(new Map(), bytes, 0, bytes.length)
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
