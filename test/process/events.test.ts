import { afterEach, describe, expect, it } from 'vitest'
import { BrokerProcess, stopAll } from '../support/broker-process.ts'
import { EventClient } from '../support/event-client.ts'

afterEach(stopAll)

const post = async (broker: BrokerProcess, first: number, count: number): Promise<void> => {
  const messages = Array.from({ length: count }, (_, i) => ({ value: first + i }))
  const response = await fetch(`${broker.url}/v1/topics/t/messages/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages }),
  })
  if (!response.ok) throw new Error(await response.text())
  await response.arrayBuffer()
}

describe('a reader of events', () => {
  it('goes on exactly where it was after kill -9 and after an orderly end', async () => {
    const broker = await BrokerProcess.start()
    await fetch(`${broker.url}/v1/topics/t`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"partitions":3}',
    })
    const got: unknown[] = []
    let lastId = ''
    for (const [round, end] of (['kill', 'terminate', 'kill'] as const).entries()) {
      const client = await EventClient.open(broker.url, 't', '', { 'last-event-id': lastId })
      await post(broker, round * 100, 50)
      for (const { value } of await client.messages(round === 0 ? 30 : 70)) got.push(value)
      const ended = client.ended
      expect(await broker[end]()).toMatchObject(end === 'kill' ? { signal: 'SIGKILL' } : { code: 0 })
      expect(await ended).toBe(end === 'kill' ? 'cut' : 'end')
      lastId = client.takenId
      await broker.restart()
      await post(broker, round * 100 + 50, 50)
    }
    const client = await EventClient.open(broker.url, 't', '', { 'last-event-id': lastId })
    for (const { value } of await client.messages(300 - got.length)) got.push(value)
    expect(client.left).toBe(0)
    expect((got as number[]).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, i) => i))
    client.close()
  })
})
