/** Every expression in docs/FILTERS.md does what the page says. */
import { readFileSync } from 'node:fs'
import type { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { compileFilter } from '../../../src/subscription/filter.ts'
import { batchOf } from '../../support/batch-of.ts'

const page = readFileSync(new URL('../../../docs/FILTERS.md', import.meta.url), 'utf8')
const example = /```json\n(.*?)\n```/s.exec(page)![1]!
const rows = [...page.matchAll(/^\| `(.+)` \| (.+) \|$/gm)].map(([, code, result]) => ({
  code: code!.replaceAll('\\|', '|'),
  result: result!,
}))
const judged = rows.filter(({ result }) => result === 'passes' || result === 'does not')
const refused = rows.slice(rows.findIndex(({ code }) => code === 'value.total >'))

const message = batchOf(
  {
    key: Buffer.from('customer-1'),
    value: Buffer.from(example),
    headers: [
      ['region', 'eu'],
      ['retry', '2'],
    ],
  },
  0,
)

describe('the page on filters', () => {
  it('has examples', () => {
    expect(judged.length).toBeGreaterThanOrEqual(35)
    expect(refused.length).toBeGreaterThanOrEqual(7)
  })

  it.each(judged)('is right that $code: $result', ({ code, result }) => {
    expect(compileFilter(code).admits('orders.eu', message, 0)).toBe(result === 'passes')
  })

  it.each(refused)('is right that $code is refused: $result', ({ code, result }) => {
    let error: TidingsError | undefined
    try {
      compileFilter(code)
    } catch (thrown) {
      error = thrown as TidingsError
    }
    expect(error?.code).toBe('filter_invalid')
    expect(error?.message).toContain(result)
  })
})
