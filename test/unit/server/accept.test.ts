import { describe, expect, it } from 'vitest'
import { accepts, names } from '../../../src/server/accept.ts'

const STREAM = 'text/event-stream'

describe('an Accept header', () => {
  it.each([
    undefined,
    '',
    ' ',
    '*/*',
    'text/*',
    'TEXT/Event-Stream',
    'a/b, text/event-stream;q=0.1',
    'text/html;q=0, */*',
  ])('allows the type: %s', (accept) => {
    expect(accepts(accept, STREAM)).toBe(true)
  })

  it.each(['text/html', 'application/*', 'text/event-stream;q=0, */*', '*/*;q=0', 'text/event-stream ; q=0.000', ',;'])(
    'rules the type out: %s',
    (accept) => {
      expect(accepts(accept, STREAM)).toBe(false)
    },
  )

  it.each([
    ['text/html, text/event-stream', true],
    ['*/*', false],
    ['text/*', false],
    ['text/event-stream;q=0', false],
    [undefined, false],
  ])('names the type or not: %s', (accept, expected) => {
    expect(names(accept, STREAM)).toBe(expected)
  })
})
