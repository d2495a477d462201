/**
 * What is published: the right files, an export map that every resolver understands, and a project that has nothing
 * but the tarballs compiles and runs.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { BrokerProcess, ROOT, stopAll } from '../support/broker-process.ts'
import { installedProject, type Packed, pack, run } from '../support/packed.ts'

let sdk: Packed
let broker: Packed

beforeAll(async () => {
  sdk = await pack('@tidings/sdk')
  broker = await pack('tidings')
}, 120_000)
afterEach(stopAll)

describe.each(['@tidings/sdk', 'tidings'])('the package %s', (name) => {
  const packed = (): Packed => (name === 'tidings' ? broker : sdk)

  it('has its build and its pages, and nothing of our tests', () => {
    const { files } = packed()
    expect(files).toContain('package.json')
    expect(files).toContain('LICENSE')
    expect(files.filter((path) => /(^|\/)(test|bench|node_modules)\//.test(path))).toEqual([])
    const strange = files.filter((path) => !/^(dist|docs|src)\/|^[A-Z]+(\.md)?$|^package\.json$/.test(path))
    expect(strange).toEqual([])
  })

  it('passes publint', async () => {
    const { messages, pkg } = await publint({ pack: { tarball: await bytesOf(packed()) }, strict: true })
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([])
  })

  it('has types that every resolver of modules finds', async () => {
    const tarball = createPackageFromTarballData(new Uint8Array(await bytesOf(packed())))
    const manifest: { exports?: Record<string, unknown> } = JSON.parse(
      tarball.readFile(`/node_modules/${name}/package.json`),
    )
    const analysis = await checkPackage(tarball, { entrypoints: Object.keys(manifest.exports ?? {}) })
    // Node 10's resolution knows no export maps; nobody who imports ESM uses it.
    const problems = analysis.types ? analysis.problems.filter((problem) => !isOfNode10(problem)) : []
    // The packages are ESM only, which `require` loads since Node 20.19.
    expect(problems.filter(({ kind }) => kind !== 'CJSResolvesToESM')).toEqual([])
  })
})

describe('an empty project', () => {
  it('compiles against the SDK and publishes through a broker from the other tarball', {
    timeout: 300_000,
  }, async () => {
    const project = await installedProject([sdk, broker])
    await writeFile(join(project, 'tsconfig.json'), TSCONFIG)
    await writeFile(join(project, 'app.ts'), APP)
    await run(project, join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', '.'])

    expect(await run(project, 'npx', ['tidings', '--help'])).toContain('serve')
    const { url } = await BrokerProcess.start({ main: join(project, 'node_modules', 'tidings', 'dist', 'main.js') })
    const printed = await run(project, process.execPath, ['app.js', url])
    expect(printed.trim()).toBe('stored 0:0, got ada 120')
  })
})

async function bytesOf({ path }: Packed): Promise<ArrayBuffer> {
  const bytes = await readFile(path)
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
}

function isOfNode10(problem: { kind: string; resolutionKind?: string }): boolean {
  return problem.resolutionKind === 'node10'
}

const TSCONFIG = `{"compilerOptions": {
  "target": "es2022", "module": "nodenext", "strict": true, "exactOptionalPropertyTypes": true, "types": [], "lib": ["es2023", "dom"], "skipLibCheck": false
}, "files": ["app.ts"]}`

const APP = `import { createClient } from '@tidings/sdk'

interface Order { customer: string; total: number }

declare const process: { argv: string[] }
const client = createClient({ url: process.argv[2]! })
const orders = client.topic<Order>('orders')
const receipt = await orders.publish({ customer: 'ada', total: 120 }, { key: 'ada' })
for await (const message of orders.subscribe('billing', { start: 'earliest' })) {
  console.log(\`stored \${receipt.id}, got \${message.value.customer} \${message.value.total}\`)
  await message.ack()
  break
}
await client.close()
`
