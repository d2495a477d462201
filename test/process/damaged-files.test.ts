/**
 * What a broker makes of a data directory that a crash or a bad disk left behind: a torn tail is cut and nothing
 * that was answered before it goes; a flipped bit is found by `verify`, which says where.
 */
import { truncateSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk } from '../support/admin-client.ts'
import { BrokerProcess, runCli, stopAll } from '../support/broker-process.ts'
import { flipBit, overwrite, type SegmentFile, segmentsHolding, tear } from '../support/data-files.ts'

const COUNT = 60
const textOf = (n: number): string => `message-${n}-${'abcdefgh'.repeat(20)}-end`

afterEach(stopAll)

/** A broker that took COUNT messages, one answered after the other, and was killed. */
async function killedBroker(topic: object = {}): Promise<BrokerProcess> {
  const broker = await BrokerProcess.start()
  await callOk('PUT', `${broker.url}/v1/topics/orders`, topic)
  for (let n = 0; n < COUNT; n++) await publish(broker, n)
  await broker.kill()
  return broker
}

async function publish(broker: BrokerProcess, n: number): Promise<number> {
  const headers = { 'content-type': 'text/plain' }
  const answer = await fetch(`${broker.url}/v1/topics/orders/messages`, { method: 'POST', headers, body: textOf(n) })
  expect(answer.status).toBe(200)
  return ((await answer.json()) as { offset: number }).offset
}

async function values(broker: BrokerProcess): Promise<string[]> {
  const page = await callOk('GET', `${broker.url}/v1/topics/orders/partitions/0/messages?limit=1000`)
  return (page.messages as { value: string }[]).map((message) => message.value)
}

const expected = (count: number): string[] => Array.from({ length: count }, (_, n) => textOf(n))
const active = (broker: BrokerProcess): SegmentFile => segmentsHolding(broker.dataDir, textOf(0)).at(-1)!

describe('a torn tail', () => {
  it('is cut when it is garbage, and all that was answered is there', async () => {
    const broker = await killedBroker()
    const { path, usedBytes } = active(broker)
    overwrite(
      path,
      usedBytes,
      Uint8Array.from({ length: 700 }, (_, i) => (i * 151 + 7) % 256),
    )
    await broker.restart()
    expect(await values(broker)).toEqual(expected(COUNT))
    expect(await publish(broker, COUNT)).toBe(COUNT)
    await broker.kill()
    await broker.restart()
    expect(await values(broker)).toEqual(expected(COUNT + 1))
  })

  it.each([
    ['zeros in its place', tear],
    ['the file cut short', truncateSync],
  ])('is cut in the middle of the last batch, %s, and all before it is there', async (_how, damage) => {
    const broker = await killedBroker()
    const { path, usedBytes } = active(broker)
    damage(path, usedBytes - 50)
    await broker.restart()
    expect(await values(broker)).toEqual(expected(COUNT - 1))
    expect(await publish(broker, COUNT - 1)).toBe(COUNT - 1)
    expect(await values(broker)).toEqual(expected(COUNT))
  })
})

describe('a flipped bit before what is proven durable', () => {
  it('is never cut away: the messages before it can be read and nothing wrong is served', async () => {
    const broker = await killedBroker()
    const { path, usedBytes } = active(broker)
    flipBit(path, Math.floor(usedBytes / 2))
    const before = usedBytes
    await broker.restart().catch(() => undefined)
    const answer = await fetch(`${broker.url}/v1/topics/orders/partitions/0/messages?limit=1000`).catch(() => undefined)
    if (answer?.status === 200) {
      const { messages } = (await answer.json()) as { messages: { value: string }[] }
      expect(expected(COUNT)).toEqual(expect.arrayContaining(messages.map((message) => message.value)))
    }
    expect(segmentsHolding(broker.dataDir, textOf(0)).at(-1)!.usedBytes).toBeGreaterThanOrEqual(before)
  })
})

describe('tidings verify', () => {
  it('passes a directory after a clean stop and after kill -9', async () => {
    const broker = await killedBroker({ segmentBytes: 4096 })
    const killed = await runCli(['verify', '--data-dir', broker.dataDir])
    expect(killed).toMatchObject({ code: 0 })
    await broker.restart()
    await broker.terminate()
    const clean = await runCli(['verify', '--data-dir', broker.dataDir])
    expect(clean).toMatchObject({ code: 0 })
    expect(clean.stdout).not.toBe('')
  })

  it.each(['a sealed', 'the active'])('finds a flipped bit in %s segment and prints where', async (which) => {
    const broker = await killedBroker({ segmentBytes: 4096 })
    await broker.restart()
    await broker.terminate()
    const segments = segmentsHolding(broker.dataDir, textOf(0))
    expect(segments.length).toBeGreaterThan(2)
    const { path, usedBytes } =
      which === 'a sealed' ? segments[1]! : segments.findLast((segment) => segment.usedBytes > 500)!
    flipBit(path, Math.floor(usedBytes / 2))
    const exit = await runCli(['verify', '--data-dir', broker.dataDir])
    expect(exit.code).not.toBe(0)
    expect(exit.code).not.toBe(2)
    expect(exit.stdout + exit.stderr).toContain(path.slice(path.lastIndexOf('/') + 1))
  })
})
