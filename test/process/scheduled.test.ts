/**
 * kill -9 again and again while messages are scheduled, repeated, cancelled and fired. What was answered comes
 * once or was cancelled, what was repeated with its key is one message, and nothing comes early.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk } from '../support/admin-client.ts'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'

const ROUNDS = Number(process.env['TIDINGS_KILL_ROUNDS'] ?? 8)
const CLIENTS = 8

interface Fate {
  key: string
  /** Answered, and by what time it was to come. */
  id: string | null
  deliverAt: string
  cancelling: 'never' | 'unknown' | 'cancelled' | 'missed'
}

interface Message {
  value: string
  timestamp: string
}

afterEach(stopAll)

async function until<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch {
      // The broker is down: what was asked for may or may not have happened.
      await sleep(20)
    }
  }
}

/** Schedules one message, as often as it takes to get an answer. */
function schedule(url: string, fate: Fate, delayMs: number): Promise<void> {
  return until(async () => {
    const headers = { 'Idempotency-Key': fate.key, 'Tidings-Delay-Ms': String(delayMs), 'Content-Type': 'text/plain' }
    const response = await fetch(`${url}/v1/topics/later/messages`, { method: 'POST', headers, body: fate.key })
    const answer = (await response.json()) as { scheduled?: { id: string; deliverAt: string } }
    if (!answer.scheduled) throw new Error(`answered ${response.status}`)
    fate.id = answer.scheduled.id
    fate.deliverAt = answer.scheduled.deliverAt
  })
}

async function cancel(url: string, fate: Fate): Promise<void> {
  fate.cancelling = 'unknown'
  try {
    const { status } = await fetch(`${url}/v1/topics/later/scheduled/${fate.id}`, { method: 'DELETE' })
    if (status === 204) fate.cancelling = 'cancelled'
    if (status === 404) fate.cancelling = 'missed'
  } catch {
    // Killed before the answer.
  }
}

async function stored(url: string): Promise<Message[]> {
  const all: Message[] = []
  for (let partition = 0; partition < 2; partition++) {
    for (let offset = 0; ; ) {
      const path = `${url}/v1/topics/later/partitions/${partition}/messages?offset=${offset}&limit=10000`
      const { messages, nextOffset } = (await (await fetch(path)).json()) as { messages: Message[]; nextOffset: number }
      all.push(...messages)
      if (nextOffset === offset) break
      offset = nextOffset
    }
  }
  return all
}

describe('a broker with scheduled messages that is killed in a loop', () => {
  it('brings each into the log once, or cancels it', async () => {
    const broker = await BrokerProcess.start()
    const { url } = broker
    await callOk('PUT', `${url}/v1/topics/later`, { partitions: 2, deduplicationWindowMs: 600_000 })
    const fates: Fate[] = []
    let stopping = false
    const clients = Array.from({ length: CLIENTS }, async (_, client) => {
      for (let n = 0; !stopping; n++) {
        const fate: Fate = { key: `${client}-${n}`, id: null, deliverAt: '', cancelling: 'never' }
        fates.push(fate)
        await schedule(url, fate, 50 + ((n * 37) % 900))
        if (n % 5 === 0) await cancel(url, fate)
      }
    })
    for (let round = 0; round < ROUNDS; round++) {
      await sleep(300 + 110 * (round % 5))
      await broker.kill()
      await broker.restart()
    }
    await sleep(300)
    stopping = true
    await Promise.all(clients)
    await broker.kill()
    await broker.restart()
    const pending = async (): Promise<unknown[]> =>
      ((await (await fetch(`${url}/v1/topics/later/scheduled`)).json()) as { scheduled: unknown[] }).scheduled
    while ((await pending()).length > 0) await sleep(50)

    const messages = await stored(url)
    const times = new Map<string, number>()
    for (const { value } of messages) times.set(value, (times.get(value) ?? 0) + 1)
    const expected = ({ cancelling }: Fate, count: number): boolean => {
      if (cancelling === 'unknown') return count <= 1
      return count === (cancelling === 'cancelled' ? 0 : 1)
    }
    expect(fates.filter((fate) => !expected(fate, times.get(fate.key) ?? 0))).toEqual([])
    expect(times.size).toBe(messages.length)
    const byKey = new Map(fates.map((fate) => [fate.key, fate]))
    expect(messages.filter(({ value, timestamp }) => timestamp < byKey.get(value)!.deliverAt)).toEqual([])
    expect(messages.length).toBeGreaterThan(20 * ROUNDS)
    expect(fates.filter(({ cancelling }) => cancelling === 'cancelled').length).toBeGreaterThan(ROUNDS)
  })
})
