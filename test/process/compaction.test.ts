/**
 * kill -9 in the middle of compaction, again and again: each key's last value is there afterwards, and nothing of the
 * files is damaged.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk, eventually } from '../support/admin-client.ts'
import { BrokerProcess, runCli, stopAll } from '../support/broker-process.ts'

const ROUNDS = 4
const BATCHES = 16
const BATCH = 500
const KEYS = 997

afterEach(stopAll)

describe('a broker that is killed while it compacts', () => {
  it('has the last value of every key, at its offset', async () => {
    const broker = await BrokerProcess.start()
    const topic = `${broker.url}/v1/topics/prices`
    await callOk('PUT', topic, { compact: true, segmentBytes: 262_144 })
    const expected = new Map<string, number>()
    let published = 0
    let caught = 0
    for (let round = 0; round < ROUNDS; round++) {
      for (let batch = 0; batch < BATCHES; batch++) {
        const messages = Array.from({ length: BATCH }, () => {
          const key = `k${(published * 7) % KEYS}`
          expected.set(key, published)
          return { key, value: { n: published++, text: 'x'.repeat(100) } }
        })
        await callOk('POST', `${topic}/messages/batch`, { messages })
      }
      if (await isCompacting(broker.dataDir)) caught++
      await broker.kill()
      await broker.restart()
      expect(await lastValues(topic)).toEqual(expected)
    }
    // A round that was over before it was seen proves less.
    expect(caught).toBeGreaterThan(0)
    await eventually(
      'most messages go',
      async () => (await readAll(topic)).length,
      (count) => count < published / 3,
    )
    expect(await lastValues(topic)).toEqual(expected)
    await broker.terminate()
    const verified = await runCli(['verify', '--data-dir', broker.dataDir])
    expect(verified.code).toBe(0)
    expect(verified.stdout).toContain(' 0 damaged, 0 torn tails')
  })
})

/** Waits for the file that compaction writes; false when none was seen for so long. */
async function isCompacting(dataDir: string): Promise<boolean> {
  const partitions = join(dataDir, 'partitions')
  const paths = readdirSync(partitions).map((name) => join(partitions, name, 'data', 'compacting'))
  for (const deadline = performance.now() + 8000; performance.now() < deadline; await sleep(1)) {
    if (paths.some((path) => existsSync(path))) return true
  }
  return false
}

interface Read {
  offset: number
  key: string
  value: { n: number }
}

async function readAll(topic: string): Promise<Read[]> {
  const all: Read[] = []
  for (let offset = 0; ; ) {
    const { messages, nextOffset } = await callOk('GET', `${topic}/partitions/0/messages?offset=${offset}&limit=1000`)
    all.push(...(messages as Read[]))
    if (nextOffset === offset) return all
    offset = nextOffset as number
  }
}

async function lastValues(topic: string): Promise<Map<string, number>> {
  const last = new Map<string, number>()
  for (const { offset, key, value } of await readAll(topic)) {
    expect(value.n).toBe(offset)
    last.set(key, value.n)
  }
  return last
}
