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

const MIB = 1_048_576
const VALUE = 'v'.repeat(MIB / 4)
const MESSAGES = 'v1/topics/orders/messages'
const SUBSCRIPTION = 'v1/topics/orders/subscriptions/work'

/** A broker on a disk of its own, filled until it refuses; `makeRoom` gives a part of the disk back. */
async function filledBroker(flags: readonly string[] = []) {
  const disk = smallDisk(224 * MIB)!
  const ballast = join(disk, 'ballast')
  writeFileSync(ballast, Buffer.alloc(48 * MIB, 1))
  const broker = await BrokerProcess.start({ dataDir: join(disk, 'data'), flags })
  const publish = async (): Promise<{ status: number; code?: string }> => {
    const headers = { 'content-type': 'text/plain' }
    const answer = await fetch(`${broker.url}/${MESSAGES}`, { method: 'POST', headers, body: VALUE })
    const { code } = (await answer.json()) as { code?: string }
    return code === undefined ? { status: answer.status } : { status: answer.status, code }
  }
  await callOk('PUT', `${broker.url}/v1/topics/orders`, { segmentBytes: 4 * MIB })
  await callOk('PUT', `${broker.url}/${SUBSCRIPTION}`, { start: 'earliest', ackDeadlineMs: 60_000 })
  let answered = 0
  let refusal = await publish()
  for (; refusal.status === 200 && answered < 2000; answered++) refusal = await publish()
  return { broker, publish, answered, refusal, makeRoom: () => rmSync(ballast) }
}

const nextOffset = async ({ url }: BrokerProcess): Promise<number> =>
  (await callOk('GET', `${url}/v1/topics/orders`)).partitionStates[0].nextOffset as number

describe.skipIf(!canMount)('a full disk (needs the right to mount)', () => {
  it('answers 507 while the reserve lasts, goes on reading and acknowledging, and recovers', async () => {
    const { broker, publish, answered, refusal, makeRoom } = await filledBroker()
    expect(answered).toBeGreaterThan(50)
    expect(refusal).toEqual({ status: 507, code: 'storage_full' })
    expect((await call('GET', `${broker.url}/readyz`)).status).toBe(503)
    expect((await call('GET', `${broker.url}/healthz`)).status).toBe(200)

    const page = await callOk('GET', `${broker.url}/v1/topics/orders/partitions/0/messages?limit=20`)
    expect(page.messages).toHaveLength(20)
    const ids: string[] = []
    while (ids.length < 40) {
      const { messages } = await callOk('POST', `${broker.url}/${SUBSCRIPTION}/pull`, { max: 40 - ids.length })
      expect(messages).not.toEqual([])
      ids.push(...(messages as { id: string }[]).map((message) => message.id))
    }
    expect(await callOk('POST', `${broker.url}/${SUBSCRIPTION}/ack`, { ids })).toEqual({ count: 40 })

    makeRoom()
    await eventually('publishes are taken again', publish, ({ status }) => status === 200)
    await eventually(
      'it is ready again',
      () => call('GET', `${broker.url}/readyz`),
      ({ status }) => status === 200,
    )
    await broker.kill()
    await broker.restart()
    const { state } = await callOk('GET', `${broker.url}/${SUBSCRIPTION}`)
    const end = await nextOffset(broker)
    expect(end).toBeGreaterThanOrEqual(answered + 1)
    expect(state.backlog).toBe(end - 40)
  })

  it('loses nothing when there is no reserve and writes really fail', async () => {
    const { broker, publish, answered, refusal, makeRoom } = await filledBroker(['--reserve-bytes', '0'])
    expect(refusal).toEqual({ status: 507, code: 'storage_full' })
    const page = await callOk('GET', `${broker.url}/v1/topics/orders/partitions/0/messages?limit=20`)
    expect(page.messages).toHaveLength(20)

    makeRoom()
    await eventually('publishes are taken again', publish, ({ status }) => status === 200)
    const end = await nextOffset(broker)
    expect(end).toBeGreaterThanOrEqual(answered + 1)
    await broker.kill()
    await broker.restart()
    expect(await nextOffset(broker)).toBe(end)
    expect(await publish()).toEqual({ status: 200 })
  })
})
