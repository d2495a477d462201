import { defineTopic, type Message, type TopicDefinition } from '@tidings/sdk'
import { toJsonSchema } from '@valibot/to-json-schema'
import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import { Connector } from '../../../sdk/src/connector.ts'
import { createClientOn } from '../../../sdk/src/on-platform.ts'
import type { PublishGate } from '../../../sdk/src/publish-gate.ts'
import { Questions } from '../../../sdk/src/questions.ts'
import { Topic } from '../../../sdk/src/topic.ts'
import type { TopicParts } from '../../../sdk/src/topic-parts.ts'
import { compileSchema } from '../../../src/partition/schema.ts'
import { settle } from '../../support/settle.ts'
import { SimPlatform } from '../../support/sim-platform.ts'

const time = z.iso.datetime().transform((text) => new Date(text))
const ofZod = defineTopic({
  name: 'orders',
  schema: z.object({ total: z.number().min(0), at: time, count: z.int().default(1) }),
})
const ofValibot = defineTopic({
  name: 'orders',
  schema: v.object({ total: v.pipe(v.number(), v.minValue(0)), count: v.optional(v.number(), 1) }),
  jsonSchema: (schema) => toJsonSchema(schema, { typeMode: 'input' }) as Record<string, unknown>,
})
const ofArktype = defineTopic({ name: 'orders', schema: type({ total: 'number >= 0', at: 'string.date.iso.parse' }) })

/** A topic whose publishes are noted; what is asked over HTTP waits at the platform. */
function rig<In, Out, A, B>(definition: TopicDefinition<In, Out, A, B>) {
  const platform = new SimPlatform()
  const busy = new Set<PublishGate>()
  const published: unknown[] = []
  const never = (): never => expect.unreachable()
  const plain: TopicParts = {
    async publish(value) {
      published.push(value)
      return { topic: definition.name, partition: 0, offset: 0, id: '0:0' }
    },
    subscribe: never,
    asking: never,
  }
  const connector = new Connector(platform, 'http://a', undefined)
  const { clock, signals } = connector
  const { ask } = new Questions(connector, platform.http())
  const parts = definition.bind(plain, { clock, signals, ask, timeoutMs: 60_000, busyGates: busy })
  return { topic: new Topic<In, Out, A, B>(definition.name, parts), platform, published, busy }
}

/** Registered, by a first publish that is refused. */
async function registered(platform: SimPlatform, publish: () => Promise<unknown>): Promise<void> {
  const first = publish().catch(() => undefined)
  await settle()
  platform.request().answer(201, {})
  await first
}

describe('defining a topic', () => {
  const schema = z.number()
  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['a name that is none', { name: 5, schema }],
    ['no schema', { name: 'n' }],
    ['a JSON Schema in place of a validator', { name: 'n', schema: { type: 'number' } }],
    ['an answer that is no validator', { name: 'n', schema, answer: null }],
    ['a JSON Schema that is none', { name: 'n', schema, jsonSchema: 'number' }],
  ])('is refused with %s', (_, options) => {
    expect(() => defineTopic(options as never)).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
  })
})

describe('the types of a defined topic', () => {
  const client = createClientOn(new SimPlatform(), { url: 'http://a' })

  it('are what the validator takes and what it gives', () => {
    const orders = client.topic(ofZod)
    type In = { total: number; at: string; count?: number | undefined }
    type Out = { total: number; at: Date; count: number }
    expectTypeOf<Parameters<typeof orders.publish>[0]>().toEqualTypeOf<In>()
    expectTypeOf<Parameters<typeof orders.tryPublish>[0]>().toEqualTypeOf<In>()
    orders.subscribe('s', (message) => expectTypeOf(message).toEqualTypeOf<Message<Out>>())
    expectTypeOf(orders.subscribe('s')[Symbol.asyncIterator]().next).returns.resolves.toHaveProperty('value')
    // @ts-expect-error The total is missing.
    void orders.publish({ at: '2026-01-01T00:00:00Z' }).catch(() => undefined)
  })

  it('are inferred from valibot and arktype, too', () => {
    const first = client.topic(ofValibot)
    expectTypeOf<Parameters<typeof first.publish>[0]>().toEqualTypeOf<{ total: number; count?: number | undefined }>()
    first.subscribe('s', ({ value }) => expectTypeOf(value).toEqualTypeOf<{ total: number; count: number }>())
    const second = client.topic(ofArktype)
    expectTypeOf<Parameters<typeof second.publish>[0]>().toEqualTypeOf<{ total: number; at: string }>()
    second.subscribe('s', ({ value }) => expectTypeOf(value).toEqualTypeOf<{ total: number; at: Date }>())
  })

  it('are those of the answers for requests and replies', () => {
    const sums = client.topic(defineTopic({ name: 'sums', schema: z.number(), answer: z.object({ at: time }) }))
    expectTypeOf(() => sums.request(1)).returns.resolves.toEqualTypeOf<{ at: Date }>()
    sums.reply('s', () => ({ at: '2026-01-01T00:00:00Z' }))
    // @ts-expect-error An answer has a time.
    sums.reply('s', () => ({}))
    const plain = client.topic<number>('sums')
    expectTypeOf(() => plain.request<string>(1)).returns.resolves.toEqualTypeOf<string>()
    expectTypeOf<Parameters<typeof plain.publish>[0]>().toEqualTypeOf<number>()
  })
})

describe('publishing to a defined topic', () => {
  it.each([
    ['zod', () => rig(ofZod), { total: -1, at: '2026-01-01T00:00:00Z' }],
    ['valibot', () => rig(ofValibot), { total: -1 }],
    ['arktype', () => rig(ofArktype), { total: -1, at: '2026-01-01T00:00:00Z' }],
  ])('refuses what breaks the schema (%s), with its place, before anything of it is sent', async (_, open, bad) => {
    const { topic, platform, published } = open()
    const publish = (): Promise<unknown> => (topic as unknown as Topic<unknown>).publish(bad)
    await registered(platform, publish)
    await expect(publish()).rejects.toMatchObject({ code: 'schema_violation', path: '/total', retryable: false })
    expect(published).toEqual([])
  })

  it('checks what its readers will see, and sends that, before transformations', async () => {
    const schema = z.object({ day: z.coerce.date(), note: z.string().default('') })
    const days = rig(defineTopic({ name: 'days', schema, jsonSchema: false }))
    await days.topic.publish({ day: new Date(0) })
    expect(days.published).toEqual([{ day: '1970-01-01T00:00:00.000Z' }])
    const dates = rig(defineTopic({ name: 'dates', schema: z.object({ a: z.array(z.date()) }), jsonSchema: false }))
    await expect(dates.topic.publish({ a: [new Date(0)] })).rejects.toMatchObject({ path: '/a/0' })
  })

  it('keeps the order of publishes over asynchronous validators, and passes over those that fail', async () => {
    const ends = new Map<number, () => void>()
    const slow = z.number().refine(async (value) => {
      await new Promise<void>((resolve) => ends.set(value, resolve))
      return value !== 2
    })
    const { topic, published, busy } = rig(defineTopic({ name: 'slow', schema: slow, jsonSchema: false }))
    const outcomes = [1, 2, 3].map((value) => topic.publish(value).catch((error: unknown) => error))
    await settle()
    for (const value of [3, 2]) ends.get(value)!()
    await settle()
    expect(published).toEqual([])
    expect(busy.size).toBe(1)
    ends.get(1)!()
    expect(await Promise.all(outcomes)).toMatchObject([{ id: '0:0' }, { code: 'schema_violation' }, { id: '0:0' }])
    expect(published).toEqual([1, 3])
    await settle()
    expect(busy.size).toBe(0)
  })

  it('gives up on a validator that does not end, and on one that a signal interrupts', async () => {
    const never = z.number().refine(() => new Promise<boolean>(() => undefined))
    const { topic, platform, published } = rig(defineTopic({ name: 'never', schema: never, jsonSchema: false }))
    const abort = new AbortController()
    const aborted = topic.publish(1, { signal: abort.signal }).catch((error: unknown) => error)
    const late = topic.publish(1, { timeoutMs: 500 }).catch((error: unknown) => error)
    abort.abort()
    expect(await aborted).toMatchObject({ code: 'aborted' })
    platform.clock.advance(500)
    expect(await late).toMatchObject({ code: 'unavailable' })
    expect(published).toEqual([])
  })
})

describe('the registration of a JSON Schema', () => {
  it('comes before the first publish, once', async () => {
    const { topic, platform, published } = rig(ofZod)
    const at = '2026-01-01T00:00:00Z'
    const both = [1, 2].map((total) => topic.publish({ total, at }))
    await settle()
    expect(published).toEqual([])
    const request = platform.request()
    expect([request.request.method, request.path]).toEqual(['PUT', '/v1/topics/orders'])
    expect(JSON.parse(request.request.body!)).toMatchObject({ schema: { required: ['total', 'at'] } })
    request.answer(201, {})
    await Promise.all(both)
    await topic.publish({ total: 3, at })
    expect(published).toEqual([1, 2, 3].map((total) => ({ total, at })))
    expect(platform.requests).toEqual([])
  })

  it('fails publishes with what the broker says of an incompatible one, and is tried again by the next', async () => {
    const { topic, platform, published } = rig(ofValibot)
    for (let i = 0; i < 2; i++) {
      const failed = topic.publish({ total: 1 }).catch((error: unknown) => error)
      await settle()
      platform.request().refuse(409, 'conflict')
      expect(await failed).toMatchObject({ code: 'conflict', retryable: false })
    }
    const third = topic.publish({ total: 1 })
    await settle()
    platform.request().answer(200, {})
    await third
    expect(published).toEqual([{ total: 1 }])
  })

  it.each([
    ['the broker cannot be reached', (platform: SimPlatform) => platform.request().lose(false)],
    ['somebody else sets the schemas', (platform: SimPlatform) => platform.request().refuse(403, 'permission_denied')],
  ])('does not hold up publishes when %s', async (_, fail) => {
    const { topic, platform, published } = rig(ofValibot)
    const publish = topic.publish({ total: 1 })
    await settle()
    fail(platform)
    await publish
    expect(published).toHaveLength(1)
  })

  it('can be left to a call', async () => {
    const { topic, platform, published } = rig(defineTopic({ name: 't', schema: z.number(), register: false }))
    await topic.publish(1)
    expect(published).toEqual([1])
    const done = topic.register()
    await settle()
    platform.request().answer(200, {})
    await done
    const none = rig(defineTopic({ name: 't', schema: z.number(), jsonSchema: false }))
    await expect(none.topic.register()).rejects.toMatchObject({ code: 'invalid_argument' })
  })
})

describe('a JSON Schema that is derived', () => {
  const rich = z.object({
    email: z.email(),
    id: z.cuid2(),
    tag: z.string().regex(/^(?!no)\w+$/),
    plain: z.string().regex(/^a+$/),
    kind: z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('a'), url: z.url() }),
      z.object({ kind: z.literal('b'), at: z.iso.datetime() }),
    ]),
  })

  it('can be compiled by the broker, whatever formats and patterns there are', () => {
    const { jsonSchema } = defineTopic({ name: 't', schema: rich })
    expect(() => compileSchema(jsonSchema!)).not.toThrow()
    const { properties } = jsonSchema as { properties: Record<string, Record<string, unknown>> }
    expect(properties['email']).toMatchObject({ type: 'string', 'x-format': 'email' })
    expect(properties['tag']).toEqual({ type: 'string', 'x-pattern': '^(?!no)\\w+$' })
    expect(properties['plain']).toEqual({ type: 'string', pattern: '^a+$' })
    expect(properties['kind']).toHaveProperty('anyOf')
  })

  it('is none where the validator cannot write one, and the one that is given where it is', () => {
    expect(defineTopic({ name: 't', schema: z.date() }).jsonSchema).toBeNull()
    expect(defineTopic({ name: 't', schema: v.number() }).jsonSchema).toBeNull()
    expect(defineTopic({ name: 't', schema: z.number(), jsonSchema: false }).jsonSchema).toBeNull()
    expect(
      defineTopic({ name: 't', schema: z.number(), jsonSchema: { type: 'integer', format: 'int32' } }).jsonSchema,
    ).toEqual({ type: 'integer', format: 'int32' })
    expect(ofArktype.jsonSchema).toMatchObject({ type: 'object', required: ['at', 'total'] })
    expect(ofValibot.jsonSchema).toMatchObject({ type: 'object', required: ['total'] })
  })
})
