/**
 * Holds the shape of the source: the tables are in support/source-rules.ts. The second half proves on
 * small samples that each rule can fail.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { judge, MAX_LINES, type SourceFile } from './support/source-rules.ts'
import { readSource } from './support/source-text.ts'

const ROOT = join(import.meta.dirname, '..')

function filesUnder(folder: string): SourceFile[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .sort()
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
}

describe('the source', () => {
  it('keeps its layers, its owners, its sizes and its names', () => {
    const verdict = judge([...filesUnder('src'), ...filesUnder('sdk/src')])
    console.log(
      [`${verdict.files} files, ${verdict.imports} imports; the largest:`]
        .concat(verdict.largest.map(({ path, lines }) => `${String(lines).padStart(5)} ${path}`))
        .join('\n'),
    )
    expect(verdict.problems).toEqual([])
    expect(verdict.files).toBeGreaterThanOrEqual(50)
    expect(verdict.imports).toBeGreaterThanOrEqual(150)
  })

  it('keeps tests free of module mocks and fake timers', () => {
    const tests = filesUnder('test').filter(({ path }) => path !== 'test/tidy.test.ts')
    const mocked = tests.filter(({ text }) =>
      /\bvi\s*\.\s*(mock|doMock|useFakeTimers|stubGlobal)\b/.test(readSource(text).code),
    )
    expect(mocked.map(({ path }) => path)).toEqual([])
    expect(tests.length).toBeGreaterThanOrEqual(10)
  })
})

describe('the tidy rules', () => {
  const problemsOf = (path: string, code: string, ...more: SourceFile[]): string =>
    judge([{ path, text: `/** What it is. */\n${code}\n` }, ...more]).problems.join('\n')
  const other = (path: string): SourceFile => ({ path, text: '/** Another. */\nexport const other = 1\n' })

  it('lets an ordinary file pass', () => {
    const code =
      "import { other } from '../base/other.ts'\nexport const time = (ms: number) => new Date(ms).toISOString() + other"
    expect(problemsOf('src/log/thing.ts', code, other('src/base/other.ts'))).toBe('')
  })

  it('refuses an import upwards, of types too', () => {
    const code = "import type { X } from '../partition/other.ts'"
    expect(problemsOf('src/log/thing.ts', code, other('src/partition/other.ts'))).toMatch(/imports go only downwards/)
  })

  it('refuses an import of the broker from the protocol', () => {
    const code = "export * from '../../../src/base/other.ts'"
    expect(problemsOf('sdk/src/protocol/thing.ts', code, other('src/base/other.ts'))).toMatch(/only downwards/)
  })

  it('refuses an import that leads nowhere', () => {
    expect(problemsOf('src/log/thing.ts', "import './gone.ts'")).toMatch(/no source file/)
  })

  it('refuses circles', () => {
    const back = { path: 'src/log/b.ts', text: "/** B. */\nimport type { A } from './a.ts'\n" }
    expect(problemsOf('src/log/a.ts', "import { b } from './b.ts'", back)).toMatch(
      /a\.ts → src\/log\/b\.ts → src\/log\/a\.ts/,
    )
  })

  it.each([
    ['src/log/thing.ts', "import { open } from 'node:fs/promises'"],
    ['src/server/thing.ts', "const fs = await import('node:fs')"],
    ['src/log/thing.ts', "import fastify from 'fastify'"],
    ['src/cluster/thing.ts', "import Database from 'better-sqlite3'"],
    ['src/server/thing.ts', "import { randomBytes } from 'node:crypto'"],
    ['src/log/thing.ts', "import lodash from 'lodash'"],
  ])('refuses in %s: %s', (path, code) => {
    expect(problemsOf(path, code)).toMatch(/belongs to|no owner/)
  })

  it.each([
    'const t = Date.now()',
    'const t = new Date()',
    'setTimeout(() => 1, 5)',
    'const i = setInterval(f, 5)',
    'const p = performance.now()',
    'const r = Math.random()',
    'const id = crypto.randomUUID()',
    'process.exit(1)',
    'const line = `${process.pid} is me`',
    'console.log(1)',
  ])('refuses a global without its owner: %s', (code) => {
    expect(problemsOf('src/subscription/thing.ts', code)).toMatch(/handed in, as a port/)
  })

  it.each([
    '// Date.now() is not used here',
    "const text = 'Date.now()'",
    'clock.setTimeout(5); this.process.run()',
    'const match = /process.exit(1) "/.exec(text); const rest = 1 / 2',
    'const text = `process.exit(${1}) Math.random()`',
  ])('does not mistake for one: %s', (code) => {
    expect(problemsOf('src/subscription/thing.ts', code)).toBe('')
  })

  it.each([
    'if (error.message.includes("full")) retry()',
    'if (/full/.test(error.message)) retry()',
    "if (error.message.startsWith('E')) retry()",
  ])('refuses reading an error text: %s', (code) => {
    expect(problemsOf('src/log/thing.ts', code)).toMatch(/errors have codes/)
  })

  it.each(["'tidings-key'", "'Idempotency-Key'", "'application/problem+json'", "'tidings.json.v1'", "'traceparent'"])(
    'refuses the protocol string %s outside the protocol',
    (text) => {
      expect(problemsOf('src/server/thing.ts', `const name = ${text}`)).toMatch(/only in sdk\/src\/protocol/)
      expect(problemsOf('sdk/src/protocol/thing.ts', `const name = ${text}`)).toBe('')
    },
  )

  it.each([
    'src/log/utils.ts',
    'src/base/disk-helpers.ts',
    'src/server/types.ts',
    'src/log/index.ts',
    'src/log/Thing.ts',
    'src/new/thing.ts',
  ])('refuses the file name %s', (path) => {
    expect(problemsOf(path, '')).not.toBe('')
  })

  it('refuses a file without a head comment and one that is too long', () => {
    expect(judge([{ path: 'src/log/thing.ts', text: 'export const a = 1\n' }]).problems).toHaveLength(1)
    expect(problemsOf('src/log/thing.ts', 'let a\n'.repeat(MAX_LINES))).toMatch(/which idea is missing/)
  })
})
