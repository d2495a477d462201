import { createClient, defineTopic, type Message, SchemaViolation } from '@tidings/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { call, startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
let client: ReturnType<typeof createClient>
beforeAll(async () => {
  broker = await startTestBroker()
  client = createClient({ url: broker.url })
})
afterAll(async () => {
  await client.close()
  await broker.stop()
})

const order = z.object({ total: z.number().min(0), at: z.iso.datetime().transform((text) => new Date(text)) })
const at = '2026-01-01T00:00:00.000Z'

describe('a defined topic', () => {
  it('gives subscribers what the schema makes of what was published, and the broker its JSON Schema', async () => {
    const orders = client.topic(defineTopic({ name: 'orders', schema: order }))
    await orders.publish({ total: 5, at })
    const { json } = await call(broker, 'GET', '/v1/topics/orders')
    expect(json).toMatchObject({ schema: { properties: { total: { type: 'number', minimum: 0 } } } })
    for await (const message of orders.subscribe('s', { start: 'earliest' })) {
      expect(message.value).toEqual({ total: 5, at: new Date(at) })
      expect(await message.ack()).toBe(true)
      break
    }
    const raw = await call(broker, 'POST', '/v1/topics/orders/messages', { total: -5, at })
    expect(raw).toMatchObject({ status: 422, json: { code: 'schema_violation' } })
  })

  it('takes a schema that admits more, and refuses one that admits less', async () => {
    const name = 'changing'
    const open = (total: z.ZodNumber) => client.topic(defineTopic({ name, schema: z.object({ total }) }))
    await open(z.number().min(10)).publish({ total: 10 })
    await open(z.number().min(0)).publish({ total: 1 })
    await expect(open(z.number().min(20)).publish({ total: 20 })).rejects.toMatchObject({ code: 'conflict' })
    await expect(open(z.number().min(20)).register()).rejects.toMatchObject({ code: 'conflict' })
    const forced = defineTopic({ name, schema: z.object({ total: z.number().min(20) }), schemaCompatibility: 'none' })
    await client.topic(forced).publish({ total: 20 })
  })

  /** Two good messages around a bad one, which somebody else published. */
  async function mixed(name: string, deadLetter: object | null): Promise<void> {
    await call(broker, 'PUT', `/v1/topics/${name}/subscriptions/s`, {
      start: 'earliest',
      deadLetter,
      backoff: { minMs: 60_000, maxMs: 60_000 },
    })
    for (const total of [1, 'a lot', 3]) await call(broker, 'POST', `/v1/topics/${name}/messages`, { total, at })
  }

  const stateOf = async (name: string): Promise<Record<string, unknown>> => {
    const { json } = await call(broker, 'GET', `/v1/topics/${name}/subscriptions/s`)
    return (json as { state: Record<string, unknown> }).state
  }

  it('puts a message that breaks the schema to the dead letters, and hands it to nobody', async () => {
    await mixed('letters', {})
    const seen: number[] = []
    const failures: unknown[] = []
    const onFailure = (error: unknown): void => void failures.push(error)
    const letters = client.topic(defineTopic({ name: 'letters', schema: order, register: false }))
    const subscription = letters.subscribe('s', { onFailure }, ({ value }) => void seen.push(value.total))
    await expect.poll(async () => (await stateOf('letters'))['backlog'], { timeout: 10_000 }).toBe(0)
    expect(seen).toEqual([1, 3])
    expect(failures).toEqual([expect.any(SchemaViolation)])
    await subscription.drain()
    const { json } = await call(broker, 'GET', '/v1/topics/letters.s.dlq/partitions/0/messages')
    const [letter] = (json as { messages: Message<unknown>[] }).messages
    expect(letter!.value).toEqual({ total: 'a lot', at })
    expect(letter!.headers['tidings-reason']).toMatch(/^schema_violation: \/total: /)
  })

  it('hands it back where there are no dead letters, so that nothing is lost', async () => {
    await mixed('kept', null)
    const kept = client.topic(defineTopic({ name: 'kept', schema: order, register: false }))
    const seen: number[] = []
    for await (const message of kept.subscribe('s')) {
      seen.push(message.value.total)
      await message.ack()
      if (seen.length === 2) break
    }
    expect(seen).toEqual([1, 3])
    expect(await stateOf('kept')).toMatchObject({ backlog: 1, redelivering: 1 })
  })

  it('does with it what the subscriber says', async () => {
    await mixed('dropped', null)
    const dropped = client.topic(defineTopic({ name: 'dropped', schema: order, register: false }))
    const told: string[] = []
    const onInvalid = (violation: Error, { id }: { id: string }): 'ack' => {
      told.push(`${id} ${violation.message.slice(0, 7)}`)
      return 'ack'
    }
    const subscription = dropped.subscribe('s', { onInvalid }, () => undefined)
    await expect.poll(async () => (await stateOf('dropped'))['backlog'], { timeout: 10_000 }).toBe(0)
    await subscription.drain()
    expect(told).toEqual(['0:1 /total:'])
  })
})
