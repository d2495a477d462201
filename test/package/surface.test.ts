/**
 * What users of the SDK see: what they compile against, what its reference says of it, and what a browser has to load. A
 * change of the declarations shows in the diff of `sdk.d.ts.snapshot`: run with `-u` when it is meant, and say it in
 * CHANGELOG.md.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'
import { describe, expect, it } from 'vitest'
import { ROOT } from '../support/broker-process.ts'
import { declarationsOf } from '../support/declarations.ts'
import { run } from '../support/packed.ts'

/** For a page that publishes and subscribes; it may only go down. */
const BROWSER_BYTES_MAX = 22.3 * 1024
/** What an application's bundler makes of this is what its users load. */
const APP = `import { createClient } from ${JSON.stringify(join(ROOT, 'sdk/dist/browser.js'))}; globalThis.app = createClient`

describe('the SDK', () => {
  it('declares what it declared before', async () => {
    const declared = declarationsOf(join(ROOT, 'sdk/dist/node.d.ts'))
    await expect(declared).toMatchFileSnapshot('sdk.d.ts.snapshot')
  })

  it('has a reference that leaves nothing out', async () => {
    const out = await mkdtemp(join(tmpdir(), 'tidings-reference-'))
    await run(join(ROOT, 'reference'), 'npx', ['typedoc', '--out', out])
    await rm(out, { recursive: true })
  })

  it('is small in a browser, and brings nothing of Node', async () => {
    const bundle = await rolldown({
      input: 'app',
      platform: 'browser',
      plugins: [
        {
          name: 'app',
          resolveId: (id) => (id === 'app' ? id : null),
          load: (id) => (id === 'app' ? APP : null),
        },
      ],
      onLog: (level, log) => {
        if (level === 'warn') throw new Error(log.message)
      },
    })
    const { output } = await bundle.generate({ format: 'esm', minify: true })
    const chunks = output.filter((one) => one.type === 'chunk')
    const [atOnce, later] = [chunks.filter(({ isEntry }) => isEntry), chunks.filter(({ isEntry }) => !isEntry)]
    expect(atOnce.flatMap(({ imports }) => imports)).toEqual([])
    expect(later.map(({ name }) => name)).toEqual(['browser-asking'])
    const bytesOf = (some: typeof chunks) =>
      some.reduce((sum, { code }) => sum + gzipSync(code, { level: 9 }).length, 0)
    console.log(`the SDK in a browser: ${bytesOf(atOnce)} bytes gzipped, and ${bytesOf(later)} with the first request`)
    expect(bytesOf(atOnce)).toBeLessThan(BROWSER_BYTES_MAX)
  })
})
