/**
 * The checker must pass good histories and catch each anomaly in a bad one; otherwise every process test
 * that it judges proves nothing. Good histories come from a small honest model of a broker under a seed.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { History, type HistoryEvent, hashOf, type Observation } from '../../support/history.ts'
import { check } from '../../support/history-checker.ts'
import { ANOMALIES, type Anomaly, type Facts } from '../../support/history-verdict.ts'
import { HonestModel } from '../../support/honest-model.ts'

const FACTS: Facts = {
  subscriptions: [
    { name: 'work', ordered: false, ackDeadlineMs: 30_000 },
    { name: 'audit', ordered: true, ackDeadlineMs: 30_000 },
  ],
  drained: true,
  flightMs: 100,
  minPublished: 1,
  faults: [],
}

/** A good history to spoil: three messages on two subscriptions, the second one retried. */
function good(): HistoryEvent[] {
  const history = new History(() => history.events.length * 200)
  const values = ['a', 'b', 'c']
  values.forEach((value, offset) => {
    history.record({ op: 'pub', ph: 'inv', id: offset, value, hash: hashOf(value), idempotent: true })
    history.record({ op: 'pub', ph: 'ok', id: offset, partition: 0, offset, duplicate: false })
  })
  for (const [session, sub] of ['work', 'audit'].entries()) {
    history.record({ op: 'open', sub, session, consumer: 'c' })
    values.forEach((value, offset) => {
      const at = [{ partition: 0, offset }]
      history.record({ op: 'dlv', sub, session, partition: 0, offset, attempt: 1, value, hash: hashOf(value) })
      history.record({ op: 'ack', ph: 'inv', id: 10 + offset, sub, session, at })
      history.record({ op: 'ack', ph: 'ok', id: 10 + offset, sub, session, at })
    })
  }
  history.record({ op: 'hw', ph: 'inv', id: 20 })
  history.record({ op: 'hw', ph: 'ok', id: 20, partition: 0, end: 3 })
  return history.events
}

const delivery = (of: Partial<Extract<HistoryEvent, { op: 'dlv' }>>): HistoryEvent => {
  const value = of.value ?? 'c'
  return {
    op: 'dlv',
    t: 50_000,
    sub: 'work',
    session: 0,
    partition: 0,
    offset: 2,
    attempt: 2,
    value,
    hash: hashOf(value),
    ...of,
  }
}
const timed = (t: number, observation: Observation): HistoryEvent => ({ t, ...observation }) as HistoryEvent
const is = (event: HistoryEvent, op: HistoryEvent['op'], offset: number): boolean =>
  event.op === op && 'offset' in event && event.offset === offset
const swapped = (events: HistoryEvent[], a: number, b: number): HistoryEvent[] => {
  const copy = [...events]
  ;[copy[a], copy[b]] = [copy[b]!, copy[a]!]
  return copy
}

/** Each spoils the good history in one way, and names what must be found. */
const ZOO: readonly [Anomaly, string, (events: HistoryEvent[]) => HistoryEvent[]][] = [
  ['LOST', 'an answered publish is never delivered', (events) => events.filter((event) => !is(event, 'dlv', 2))],
  ['PHANTOM', 'a value comes that nobody published', (events) => [...events, delivery({ offset: 3, value: 'x' })]],
  [
    'PHANTOM',
    'a value comes with other bytes',
    (events) => events.map((event) => (is(event, 'dlv', 1) ? { ...event, hash: 'other' } : event) as HistoryEvent),
  ],
  [
    'ABORTED_READ',
    'a refused publish is delivered',
    (events) => [
      timed(0, { op: 'pub', ph: 'inv', id: 99, value: 'd', hash: hashOf('d'), idempotent: true }),
      timed(1, { op: 'pub', ph: 'fail', id: 99, code: 'storage_full' }),
      ...events,
      delivery({ offset: 3, value: 'd', attempt: 1 }),
    ],
  ],
  [
    'INCONSISTENT_OFFSET',
    'two subscriptions see two values at one offset',
    (events) => [...events, delivery({ sub: 'audit', session: 1, value: 'b' })],
  ],
  [
    'WRONG_OFFSET',
    'a value is at another offset than its receipt said',
    (events) =>
      events.map((event) =>
        event.op === 'pub' && event.ph === 'ok' && event.offset === 2 ? { ...event, offset: 7 } : event,
      ),
  ],
  [
    'DUP_LOG',
    'an idempotent publish is twice in the log',
    (events) => [...events, delivery({ offset: 3, attempt: 1 })],
  ],
  [
    'OFFSET_GAP',
    'an offset is missing in the log',
    (events) => [...events, delivery({ offset: 4, value: 'c', attempt: 1 })],
  ],
  [
    'SEND_REORDER',
    'a later publish gets a lower offset',
    (events) =>
      events.map((event) =>
        event.op === 'pub' && event.ph === 'ok' && event.offset < 2 ? { ...event, offset: 1 - event.offset } : event,
      ),
  ],
  [
    'REORDER_PART',
    'an ordered session gets offsets out of order',
    (events) => {
      const [first, second] = [0, 1].map((offset) =>
        events.findIndex((event) => event.op === 'dlv' && event.sub === 'audit' && event.offset === offset),
      )
      return swapped(events, first!, second!)
    },
  ],
  ['RESURRECTED', 'a confirmed message comes again on the same session', (events) => [...events, delivery({})]],
  [
    'RESURRECTED',
    'a confirmed message comes again after a restart',
    (events) => [
      ...events,
      timed(9000, { op: 'fault', kind: 'kill' }),
      timed(9001, { op: 'open', sub: 'work', session: 5, consumer: 'c' }),
      delivery({ session: 5, t: 9002 }),
    ],
  ],
  [
    'UNACCOUNTED_REDELIVERY',
    'a message comes again for no reason',
    (events) => {
      const at = events.findIndex((event) => event.op === 'ack' && event.sub === 'work')
      return [...events.slice(0, at), delivery({ offset: 0, value: 'a', t: events[at]!.t }), ...events.slice(at)]
    },
  ],
  [
    'UNACCOUNTED_REDELIVERY',
    'a first delivery is not attempt 1',
    (events) => events.map((event) => (is(event, 'dlv', 1) ? { ...event, attempt: 2 } : event) as HistoryEvent),
  ],
  [
    'ATT_RESET',
    'attempts begin again after a restart',
    (events) => {
      const at = events.findIndex((event) => event.op === 'ack' && event.sub === 'work')
      const t = events[at]!.t
      return [
        ...events.slice(0, at),
        timed(t, { op: 'fault', kind: 'kill' }),
        delivery({ offset: 0, value: 'a', t, attempt: 1 }),
        ...events.slice(at),
      ]
    },
  ],
  [
    'OVERLAP',
    'two consumers hold one message',
    (events) => {
      const at = events.findIndex((event) => event.op === 'ack' && event.sub === 'work')
      const t = events[at]!.t
      return [...events.slice(0, at), delivery({ offset: 0, value: 'a', t, session: 9 }), ...events.slice(at)]
    },
  ],
  [
    'HW_BACK',
    'the end of the log goes back',
    (events) => [
      ...events,
      timed(60_000, { op: 'hw', ph: 'inv', id: 21 }),
      timed(60_001, { op: 'hw', ph: 'ok', id: 21, partition: 0, end: 2 }),
    ],
  ],
  [
    'NOT_DRAINED',
    'the broker says that something is left',
    (events) => [...events, timed(60_000, { op: 'backlog', sub: 'work', backlog: 1 })],
  ],
  [
    'NOT_DRAINED',
    'a delivery is never acknowledged',
    (events) => events.filter((event) => event.op !== 'ack' || event.id !== 11),
  ],
  [
    'SKIP',
    'a message is passed over',
    (events) => events.filter((event) => !(is(event, 'dlv', 1) && 'sub' in event && event.sub === 'audit')),
  ],
]

describe('the history checker', () => {
  it('passes a good history and counts it', () => {
    const verdict = check(good(), FACTS)
    expect(verdict.anomalies).toEqual({})
    expect(verdict).toMatchObject({ invalid: [], published: 3, unanswered: 0 })
    expect(verdict).toMatchObject({
      delivered: { work: 3, audit: 3 },
      redelivered: { work: 0 },
      confirmed: { audit: 3 },
    })
  })

  it('passes everything that an honest broker shows under crashes, refusals and retries', () => {
    const run = fc.property(
      fc.infiniteStream(fc.nat(1_000_000)),
      fc.integer({ min: 1, max: 300 }),
      (numbers, steps) => {
        const events = new HonestModel((below) => numbers.next().value! % below).run(steps)
        const verdict = check(events, { ...FACTS, minPublished: 0 })
        expect(verdict.anomalies).toEqual({})
      },
    )
    fc.assert(run, { numRuns: 300 })
  })

  it.each(ZOO)('finds %s: %s', (code, _what, spoil) => {
    expect(check(spoil(good()), FACTS).anomalies[code]?.count).toBeGreaterThanOrEqual(1)
  })

  it('has something in its zoo for every anomaly', () => {
    expect([...new Set(ZOO.map(([code]) => code))].sort()).toEqual([...ANOMALIES].sort())
  })

  it('takes a redelivery after a passed deadline, a closed session or a release for what it is', () => {
    const at = good().findIndex((event) => event.op === 'ack' && event.sub === 'work')
    const causes: [HistoryEvent[], number, number][] = [
      [[], 2, 60_000],
      [[timed(0, { op: 'close', sub: 'work', session: 0, consumer: 'c' })], 2, 0],
      [[timed(0, { op: 'release', sub: 'work', session: 0, at: [{ partition: 0, offset: 0 }] })], 1, 0],
    ]
    for (const [between, attempt, t] of causes) {
      const again = delivery({ offset: 0, value: 'a', attempt, t, session: 7 })
      expect(check([...good().slice(0, at), ...between, again, ...good().slice(at)], FACTS).anomalies).toEqual({})
    }
  })

  it('lets deliveries overtake the answer to who asked for the end of the log', () => {
    const [asked, shown] = [
      timed(0, { op: 'hw', ph: 'inv', id: 30 }),
      timed(9, { op: 'hw', ph: 'ok', id: 30, partition: 0, end: 1 }),
    ]
    expect(check([asked, ...good(), shown], FACTS).anomalies).toEqual({})
  })

  it('lets a seek deliver again what was confirmed', () => {
    const events = [...good(), timed(9000, { op: 'seek', sub: 'work' }), delivery({ attempt: 1, t: 9001 })]
    expect(check(events, FACTS).anomalies).toEqual({})
  })

  it('calls a run invalid in which too little happened', () => {
    expect(check(good(), { ...FACTS, minPublished: 4, faults: ['kill'] }).invalid).toHaveLength(2)
  })
})
