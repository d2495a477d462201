import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT } from '../support/broker-process.ts'
import { examplesOf } from '../support/docs-page.ts'
import { runExample } from '../support/docs-run.ts'
import { startTestBroker, type TestBroker } from '../support/test-broker.ts'

const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
const pages = PAGES.map((path) => ({ path, examples: examplesOf(readFileSync(join(ROOT, path), 'utf8')) }))

/** One after the other, as they stand: an example may build on those before it on its page. */
describe.each(pages.filter(({ examples }) => examples.length > 0))('the examples of $path', ({ examples }) => {
  let broker: TestBroker
  beforeAll(async () => {
    broker = await startTestBroker()
  })
  afterAll(() => broker.stop())

  it.each(examples)('line $line', { timeout: 60_000 }, (example) => runExample(example, broker))
})

describe('the pages', () => {
  it('have examples that were run', () => {
    const count = pages.reduce((sum, { examples }) => sum + examples.length, 0)
    expect(count).toBeGreaterThan(MANY)
  })
})

/** Fewer would mean that they are not found any more. */
const MANY = 20
