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

const BROWSER_BYTES_MAX = 27 * 1024

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
      input: join(ROOT, 'sdk/dist/browser.js'),
      platform: 'browser',
      onLog: (level, log) => {
        if (level === 'warn') throw new Error(log.message)
      },
    })
    const { output } = await bundle.generate({ format: 'esm', minify: true })
    expect(output).toHaveLength(1)
    expect(output[0].imports).toEqual([])
    const bytes = gzipSync(output[0].code, { level: 9 }).length
    console.log(`the SDK's browser build: ${output[0].code.length} bytes minified, ${bytes} gzipped`)
    expect(bytes).toBeLessThan(BROWSER_BYTES_MAX)
  })
})
