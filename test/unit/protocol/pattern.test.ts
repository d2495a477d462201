import { checkPattern, checkTopicOrPattern, isPattern, matchesPattern } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../../support/subscription-rig.ts'

describe('a pattern', () => {
  it.each([
    ['orders.*', ['orders.eu', 'orders.'], ['orders', 'orders.eu.north', 'orders2.eu', 'xorders.eu']],
    ['orders.**', ['orders.eu', 'orders.eu.north', 'orders..'], ['orders', 'orderseu', 'x.orders.eu']],
    ['*.created', ['orders.created', 'a.created'], ['created', 'orders.eu.created', 'orders.created.x']],
    ['*.*.created', ['orders.eu.created'], ['orders.created', 'a.b.c.created']],
    ['*', ['orders', 'a-b~c_d'], ['orders.eu', '_internal']],
    ['**', ['orders', 'orders.eu.north'], ['_internal', '_internal.x']],
    ['*.**', ['orders.eu', 'a.b.c'], ['orders']],
    ['a.*.c.**', ['a.b.c.d', 'a.x.c.d.e'], ['a.b.c', 'a.b.d.c.e']],
  ])('%s stands for the names that it says', (pattern, matching, others) => {
    expect(checkPattern(pattern)).toBe(pattern)
    for (const name of matching) expect(matchesPattern(pattern, name), name).toBe(true)
    for (const name of others) expect(matchesPattern(pattern, name), name).toBe(false)
  })

  it.each([
    'ord*',
    '*ers',
    'a.**.b',
    '**.b',
    '***',
    'a.***',
    'a b.*',
    '_*',
    '_a.*',
    '.*',
    'a/*',
    'é.*',
    `${'a'.repeat(199)}.*`,
  ])('is refused: %s', (text) => {
    expect(codeOf(() => checkTopicOrPattern(text))).toBe('invalid_argument')
  })

  it('is told from a name by its stars', () => {
    expect([isPattern('a.*'), isPattern('**'), isPattern('a.b')]).toEqual([true, true, false])
    expect(checkTopicOrPattern('a.b')).toBe('a.b')
    expect(codeOf(() => checkTopicOrPattern('a b'))).toBe('invalid_argument')
  })

  it('matches as a regular expression made of it would', () => {
    const level = fc.constantFrom('a', 'b', 'ab', '')
    const wanted = fc.constantFrom('a', 'b', '*')
    fc.assert(
      fc.property(
        fc.array(level, { minLength: 1, maxLength: 4 }),
        fc.array(wanted, { maxLength: 3 }),
        fc.boolean(),
        (levels, parts, isOpen) => {
          const pattern = [...parts, isOpen ? '**' : '*'].join('.')
          const source = pattern.split('.').map((part) => (part === '**' ? '.+' : part === '*' ? '[^.]*' : part))
          const name = `a${levels.join('.')}`
          const naive = new RegExp(`^${source.join('\\.')}$`).test(name)
          // `.+` wants a character where an empty last level has none; that is a level all the same.
          const isEmptyRest = isOpen && name.split('.').length === parts.length + 1 && name.endsWith('.')
          if (!isEmptyRest) expect(matchesPattern(pattern, name)).toBe(naive)
        },
      ),
    )
  })
})
