/** What a browser has to load of the SDK. */
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { rolldown } from 'rolldown'
import { describe, expect, it } from 'vitest'
import { ROOT } from '../support/broker-process.ts'

const BROWSER_BYTES_MAX = 15 * 1024

describe('the SDK', () => {
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
