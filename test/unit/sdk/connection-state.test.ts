import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CONNECTION_TABLE,
  type ConnectionEffect,
  type ConnectionEvent,
  type ConnectionState,
  type Step,
} from '../../../sdk/src/connection-state.ts'

/** Every cell, said a second time: the state after, and what is done on the way. A dot changes nothing. */
const CELLS: Record<ConnectionState, Record<ConnectionEvent, string>> = {
  new: {
    start: 'connecting connect',
    opened: '.',
    lost: '.',
    refused: '.',
    broken: '.',
    due: '.',
    drain: 'closed finish',
    stop: 'closed finish',
  },
  connecting: {
    start: '.',
    opened: 'open welcome',
    lost: 'waiting rest',
    refused: 'closed fail',
    broken: 'waiting terminate rest',
    due: '.',
    drain: 'closed terminate finish',
    stop: 'closed terminate finish',
  },
  open: {
    start: '.',
    opened: '.',
    lost: 'waiting leave rest',
    refused: 'closed leave fail',
    broken: 'waiting terminate leave rest',
    due: '.',
    drain: 'draining pause',
    stop: 'closing goodbye',
  },
  waiting: {
    start: '.',
    opened: '.',
    lost: '.',
    refused: '.',
    broken: '.',
    due: 'connecting connect',
    drain: 'closed cancelRest finish',
    stop: 'closed cancelRest finish',
  },
  draining: {
    start: '.',
    opened: '.',
    lost: 'closed leave finish',
    refused: 'closed leave finish',
    broken: 'closed terminate leave finish',
    due: '.',
    drain: '.',
    stop: 'closing goodbye',
  },
  closing: {
    start: '.',
    opened: '.',
    lost: 'closed leave finish',
    refused: 'closed leave finish',
    broken: 'closed terminate leave finish',
    due: '.',
    drain: '.',
    stop: '.',
  },
  closed: { start: '.', opened: '.', lost: '.', refused: '.', broken: '.', due: '.', drain: '.', stop: '.' },
}

const STATES = Object.keys(CELLS) as ConnectionState[]
const EVENTS = Object.keys(CELLS.new) as ConnectionEvent[]

describe('the table of connection states', () => {
  it('is the one that was meant, in every cell', () => {
    const said = STATES.map((state) => [
      state,
      Object.fromEntries(
        EVENTS.map((event) => {
          const { to, effects } = CONNECTION_TABLE[state][event]
          return [event, to === state && effects.length === 0 ? '.' : [to, ...effects].join(' ')]
        }),
      ),
    ])
    expect(Object.fromEntries(said)).toEqual(CELLS)
    expect(Object.keys(CONNECTION_TABLE)).toHaveLength(STATES.length)
    expect(STATES.length * EVENTS.length).toBe(56)
  })

  it('has one socket, one farewell for every welcome and one end, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 40 }), (events) => {
        let state: ConnectionState = 'new'
        const count = new Map<ConnectionEffect | 'gone', number>()
        const times = (what: ConnectionEffect | 'gone'): number => count.get(what) ?? 0
        for (const event of [...events, 'stop', 'broken'] as const) {
          const step: Step = CONNECTION_TABLE[state][event]
          const { to, effects } = step
          // A socket that ended by itself is gone without being cut off.
          const hadSocket = ['connecting', 'open', 'draining', 'closing'].includes(state)
          if (hadSocket && (event === 'lost' || event === 'refused')) count.set('gone', times('gone') + 1)
          for (const effect of effects) {
            if (times('finish') + times('fail') > 0) throw new Error(`${effect} after the end`)
            count.set(effect, times(effect) + 1)
          }
          const sockets = times('connect') - times('terminate') - times('gone')
          expect(sockets).toBe(['connecting', 'open', 'draining', 'closing'].includes(to) ? 1 : 0)
          expect(times('welcome') - times('leave')).toBe(['open', 'draining', 'closing'].includes(to) ? 1 : 0)
          expect(times('finish') + times('fail')).toBe(to === 'closed' ? 1 : 0)
          state = to
        }
        expect(state).toBe('closed')
      }),
    )
  })
})
