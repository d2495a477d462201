/** `tidings/testing` as a project has it: the build, in a process of its own under node's test runner. */
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ROOT } from '../support/broker-process.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tidings-testing-'))
  await mkdir(join(directory, 'node_modules'))
  await symlink(ROOT, join(directory, 'node_modules', 'tidings'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function run(args: readonly string[], source: string): Promise<{ code: number | null; output: string }> {
  const file = join(directory, 'orders.test.mjs')
  await writeFile(file, source)
  const child = spawn(process.execPath, [...args, file], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  clearTimeout(timer)
  return { code, output }
}

describe('the test broker under node:test', () => {
  it('passes, and leaves nothing that keeps the process', async () => {
    const { code, output } = await run(
      ['--test'],
      `import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createTestBroker } from 'tidings/testing'

let broker
before(async () => { broker = await createTestBroker() })
after(() => broker.close())

test('an order is billed', async () => {
  const billed = []
  const orders = broker.client.topic('orders')
  orders.subscribe('billing', { start: 'earliest' }, (message) => {
    billed.push(message.value.total)
    if (message.attempt === 1) throw new Error('again')
  })
  await orders.publish({ total: 120 })
  const { acked } = await broker.topic('orders').subscription('billing').settled({ within: '1m' })
  assert.deepEqual(billed, [120, 120])
  assert.equal(acked.length, 1)
})`,
    )
    expect(output).toMatch(/pass 1/)
    expect(code).toBe(0)
  })

  it('loads no native addon, and nothing that it does not use', async () => {
    const { code, output } = await run(
      [],
      `import { createRequire } from 'node:module'
import { createTestBroker } from 'tidings/testing'
const broker = await createTestBroker()
await broker.client.topic('orders').publish({ total: 1 })
await broker.advance('1h')
await broker.close()
const loaded = Object.keys(createRequire(import.meta.url).cache)
const isNamed = (name) => loaded.some((path) => path.includes('/node_modules/' + name + '/'))
const names = ['better-sqlite3', 'ajv', 'ajv-formats', '@bufbuild/cel', 'ws', 'undici', 'prom-client'].filter(isNamed)
console.log(JSON.stringify({ names, addons: loaded.filter((path) => path.endsWith('.node')), fastify: isNamed('fastify') }))
// Standard output is a pipe here, and there from the start.
console.log(JSON.stringify(process.getActiveResourcesInfo().filter((name) => !name.startsWith('Pipe'))))`,
    )
    expect(output.trim().split('\n')).toEqual([JSON.stringify({ names: [], addons: [], fastify: true }), '[]'])
    expect(code).toBe(0)
  })
})
