/**
 * A disk that runs full: publishers are told, readers and acknowledgements go on, and when there is room again the
 * broker takes publishes again without a restart.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { call, callOk, eventually } from '../support/admin-client.ts'
import { BrokerProcess, stopAll, temporaryDirectory } from '../support/broker-process.ts'

const mounts: string[] = []

/** A file system of its own, or null where we may not mount one. */
function smallDisk(bytes: number): string | null {
  const path = join(temporaryDirectory(), 'disk')
  mkdirSync(path)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path])
  if (mounted.status !== 0) return null
  mounts.push(path)
  return path
}

function unmountAll(): void {
  for (const path of mounts.splice(0)) spawnSync('umount', ['-l', path])
}

afterEach(async () => {
  const left = [...mounts]
  unmountAll()
  await stopAll()
  expect(left.length).toBeLessThanOrEqual(1)
})

const canMount = smallDisk(1_048_576) !== null
unmountAll()

const VALUE = 'v'.repeat(64 * 1024)
const MESSAGES = 'v1/topics/orders/messages'
const SUBSCRIPTION = 'v1/topics/orders/subscriptions/work'

describe('a full disk', () => {
  it.skipIf(!canMount)(
    'answers 507, goes on reading and acknowledging, and recovers (needs the right to mount)',
    async () => {
      const disk = smallDisk(64 * 1_048_576)!
      const ballast = join(disk, 'ballast')
      writeFileSync(ballast, Buffer.alloc(16 * 1_048_576, 1))
      const broker = await BrokerProcess.start({ dataDir: join(disk, 'data') })
      const publish = async (): Promise<{ status: number; code?: string }> => {
        const headers = { 'content-type': 'text/plain' }
        const answer = await fetch(`${broker.url}/${MESSAGES}`, { method: 'POST', headers, body: VALUE })
        const { code } = (await answer.json()) as { code?: string }
        return code === undefined ? { status: answer.status } : { status: answer.status, code }
      }
      await callOk('PUT', `${broker.url}/v1/topics/orders`, { segmentBytes: 1_048_576 })
      await callOk('PUT', `${broker.url}/${SUBSCRIPTION}`, { start: 'earliest', ackDeadlineMs: 60_000 })

      let answered = 0
      let refusal = await publish()
      for (; refusal.status === 200 && answered < 2000; answered++) refusal = await publish()
      expect(answered).toBeGreaterThan(50)
      expect(refusal).toEqual({ status: 507, code: 'storage_full' })
      expect((await call('GET', `${broker.url}/readyz`)).status).toBe(503)
      expect((await call('GET', `${broker.url}/healthz`)).status).toBe(200)

      const page = await callOk('GET', `${broker.url}/v1/topics/orders/partitions/0/messages?limit=20`)
      expect(page.messages).toHaveLength(20)
      const pulled = await callOk('POST', `${broker.url}/${SUBSCRIPTION}/pull`, { max: 40 })
      expect(pulled.messages).toHaveLength(40)
      const ids = (pulled.messages as { id: string }[]).map((message) => message.id)
      expect(await callOk('POST', `${broker.url}/${SUBSCRIPTION}/ack`, { ids })).toEqual({ count: 40 })

      rmSync(ballast)
      await eventually('publishes are taken again', publish, ({ status }) => status === 200, 30_000)
      expect((await call('GET', `${broker.url}/readyz`)).status).toBe(200)
      await broker.kill()
      await broker.restart()
      const { state } = await callOk('GET', `${broker.url}/${SUBSCRIPTION}`)
      const { partitionStates } = await callOk('GET', `${broker.url}/v1/topics/orders`)
      expect(partitionStates[0].nextOffset).toBeGreaterThanOrEqual(answered + 1)
      expect(state.backlog).toBe(partitionStates[0].nextOffset - 40)
    },
  )
})
