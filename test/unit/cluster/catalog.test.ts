import { SUBSCRIPTION_DEFAULTS, TidingsError, TOPIC_DEFAULTS, type TopicSettings } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { Catalog } from '../../../src/cluster/catalog.ts'
import type { Coordinator } from '../../../src/cluster/coordinator.ts'
import { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { UnsureCoordinator } from '../../support/unsure-coordinator.ts'

let store: MemoryCoordinator
let catalog: Catalog

beforeEach(() => {
  store = new MemoryCoordinator({ clock: new SimClock(), random: new SimRandom('store') })
  catalog = new Catalog(store, new SimRandom('catalog'))
})

const topicSettings = (partitions: number): TopicSettings => ({ ...TOPIC_DEFAULTS, partitions })
const grown = (by: number) => (current: TopicSettings) => topicSettings(current.partitions + by)
const made = (id: string) => ({ id, settings: SUBSCRIPTION_DEFAULTS })
const keys = async (): Promise<string[]> => (await store.list('')).entries.map(({ key }) => key)
const codeOf = (doing: Promise<unknown>): Promise<unknown> =>
  doing.then(
    () => 'done',
    (error: unknown) => (TidingsError.is(error) ? error.code : error),
  )

describe('the topics of the catalog', () => {
  it('are kept, found by name and listed', async () => {
    expect(await catalog.topic('orders')).toBeNull()
    const { topic, created } = await catalog.createTopic('orders', 'id-1', topicSettings(4))
    expect(created).toBe(true)
    expect(topic).toEqual({ id: 'id-1', name: 'orders', settings: topicSettings(4) })
    await catalog.createTopic('audit', 'id-2', topicSettings(1))
    expect(await catalog.topic('orders')).toEqual(topic)
    expect((await catalog.topics()).map(({ name }) => name)).toEqual(['audit', 'orders'])
  })

  it('stay as they are when one of the same name is made again', async () => {
    await catalog.createTopic('orders', 'id-1', topicSettings(4))
    const again = await catalog.createTopic('orders', 'id-2', topicSettings(1))
    expect(again).toEqual({ created: false, topic: { id: 'id-1', name: 'orders', settings: topicSettings(4) } })
  })

  it('are made once when several make them at once', async () => {
    const outcomes = await Promise.all(['a', 'b', 'c'].map((id) => catalog.createTopic('orders', id, topicSettings(1))))
    expect(outcomes.filter(({ created }) => created)).toHaveLength(1)
    expect(new Set(outcomes.map(({ topic }) => topic.id)).size).toBe(1)
  })

  it('change their settings by what the change makes of the present ones, losing no other change', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    expect((await catalog.updateTopic(topic, grown(1))).settings.partitions).toBe(2)
    await Promise.all([catalog.updateTopic(topic, grown(1)), catalog.updateTopic(topic, grown(1))])
    expect((await catalog.topic('orders'))?.settings.partitions).toBe(4)
  })

  it('are not written when a change changes nothing', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    const { revision } = store.content()
    expect(await catalog.updateTopic(topic, (current) => ({ ...current }))).toEqual(topic)
    expect(store.content().revision).toBe(revision)
  })

  it('pass on what the change throws, and are left alone then', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    const refuse = (): never => {
      throw new TidingsError('conflict', 'no')
    }
    expect(await codeOf(catalog.updateTopic(topic, refuse))).toBe('conflict')
    expect(await catalog.topic('orders')).toEqual(topic)
  })

  it('are not changed in the place of one that had the name before', async () => {
    const { topic: first } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    await catalog.deleteTopic('orders')
    expect(await codeOf(catalog.updateTopic(first, grown(1)))).toBe('topic_not_found')
    await catalog.createTopic('orders', 'id-2', topicSettings(1))
    expect(await codeOf(catalog.updateTopic(first, grown(1)))).toBe('topic_not_found')
    expect((await catalog.topic('orders'))?.settings.partitions).toBe(1)
  })

  it('go with their subscriptions, and leave a tombstone, in one transaction', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    const { topic: other } = await catalog.createTopic('orders2', 'id-10', topicSettings(1))
    await catalog.createSubscription(topic, 'billing', made('s-1'))
    await catalog.createSubscription(topic, 'audit', made('s-2'))
    await catalog.createSubscription(other, 'billing', made('s-3'))
    const { revision } = store.content()
    expect(await catalog.deleteTopic('orders')).toEqual(topic)
    expect(store.content().revision).toBe(revision + 1)
    expect(await keys()).toEqual(['subscriptions/id-10/billing', 'tombstones/id-1', 'topics/orders2'])
    expect(await catalog.tombstones()).toEqual([{ id: 'id-1', name: 'orders', holders: [] }])
    expect(await codeOf(catalog.deleteTopic('orders'))).toBe('topic_not_found')
    await catalog.forgetTombstone('id-1')
    await catalog.forgetTombstone('id-1')
    expect(await keys()).toEqual(['subscriptions/id-10/billing', 'topics/orders2'])
  })

  it('do not come back to life under an id that has a tombstone', async () => {
    await catalog.createTopic('orders', 'id-1', topicSettings(1))
    await catalog.deleteTopic('orders')
    expect(await codeOf(catalog.createTopic('orders', 'id-1', topicSettings(1)))).toBe('topic_not_found')
    expect(await keys()).toEqual(['tombstones/id-1'])
  })
})

describe('the subscriptions of the catalog', () => {
  it('are kept per topic, listed, changed and deleted', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    const { subscription, created } = await catalog.createSubscription(topic, 'billing', made('s-1'))
    expect(created).toBe(true)
    expect(subscription).toEqual({ id: 's-1', topicId: 'id-1', name: 'billing', settings: SUBSCRIPTION_DEFAULTS })
    expect(await catalog.createSubscription(topic, 'billing', made('s-2'))).toEqual({ subscription, created: false })
    const { topic: other } = await catalog.createTopic('other', 'id-2', topicSettings(1))
    await catalog.createSubscription(other, 'audit', made('s-3'))
    expect(await catalog.subscriptions('id-1')).toEqual([subscription])
    expect((await catalog.subscriptions()).map(({ id }) => id)).toEqual(['s-1', 's-3'])
    const changed = await catalog.updateSubscription('id-1', 'billing', (current) => ({ ...current, maxUnacked: 5 }))
    expect(changed.settings.maxUnacked).toBe(5)
    expect(await catalog.subscription('id-1', 'billing')).toEqual(changed)
    expect(await catalog.deleteSubscription('id-1', 'billing')).toEqual(changed)
    expect(await catalog.subscription('id-1', 'billing')).toBeNull()
    expect(await codeOf(catalog.deleteSubscription('id-1', 'billing'))).toBe('subscription_not_found')
    expect(await codeOf(catalog.updateSubscription('id-1', 'billing', (same) => same))).toBe('subscription_not_found')
  })

  it('are not made on a topic that is gone, nor on its successor of the same name', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    await catalog.deleteTopic('orders')
    expect(await codeOf(catalog.createSubscription(topic, 'billing', made('s-1')))).toBe('topic_not_found')
    await catalog.createTopic('orders', 'id-2', topicSettings(1))
    expect(await codeOf(catalog.createSubscription(topic, 'billing', made('s-1')))).toBe('topic_not_found')
    expect(await keys()).toEqual(['tombstones/id-1', 'topics/orders'])
  })
})

describe('the subscriptions of patterns', () => {
  it('are kept per pattern, with or without topics, and outlive them', async () => {
    const { subscription, created } = await catalog.createPatternSubscription('orders.*', 'billing', made('s-1'))
    expect(created).toBe(true)
    expect(subscription).toEqual({ id: 's-1', topicId: 'orders.*', name: 'billing', settings: SUBSCRIPTION_DEFAULTS })
    expect(await catalog.createPatternSubscription('orders.*', 'billing', made('s-2'))).toEqual({
      subscription,
      created: false,
    })
    expect((await catalog.createPatternSubscription('orders.**', 'billing', made('s-3'))).created).toBe(true)
    await catalog.createTopic('orders.eu', 'id-1', topicSettings(1))
    await catalog.deleteTopic('orders.eu')
    await catalog.forgetTombstone('id-1')
    expect(await catalog.subscriptions('orders.*')).toEqual([subscription])
    expect((await catalog.subscriptions()).map(({ id }) => id).sort()).toEqual(['s-1', 's-3'])
    const changed = await catalog.updateSubscription('orders.*', 'billing', (current) => ({
      ...current,
      maxUnacked: 5,
    }))
    expect(await catalog.subscription('orders.*', 'billing')).toEqual(changed)
    expect(await catalog.deleteSubscription('orders.*', 'billing')).toEqual(changed)
    expect(await keys()).toEqual(['subscriptions/orders.**/billing'])
  })

  it('are made once when answers get lost', async () => {
    const unsure = new Catalog(new UnsureCoordinator(store, new SimRandom(11), 0.5), new SimRandom('patterns'))
    for (let i = 0; i < 30; i++) {
      const made1 = await unsure.createPatternSubscription(`p${i}.*`, 's', made(`s-${i}`)).catch(() => null)
      if (made1) expect(made1.subscription.id).toBe(`s-${i}`)
    }
    expect(new Set((await catalog.subscriptions()).map(({ topicId }) => topicId)).size).toBeGreaterThan(20)
  })
})

describe('the epoch of a node', () => {
  it('rises with every start, whatever the outcome of the one before looked like', async () => {
    const unsure = new Catalog(new UnsureCoordinator(store, new SimRandom(7), 0.6), new SimRandom('epochs'))
    let last = 0
    for (let i = 0; i < 50; i++) {
      const epoch = await unsure.nodeEpoch('node-1')
      expect(epoch).toBeGreaterThan(last)
      last = epoch
    }
    expect(await catalog.nodeEpoch('node-2')).toBeGreaterThan(0)
  })
})

describe('what the catalog finds in the store', () => {
  const topic = { version: 1, nonce: 'n', id: 'id-1', name: 'orders', settings: TOPIC_DEFAULTS }
  it.each<[string, string, RegExp]>([
    ['no JSON', '{"version":1', /"topics\/orders" cannot be read \(it is no JSON\)/],
    ['no object', '[]', /cannot be read \(entry: expected a JSON object/],
    ['no version', JSON.stringify({ ...topic, version: undefined }), /cannot be read \(version: expected/],
    ['a newer version', JSON.stringify({ ...topic, version: 2 }), /written by a newer release \(layout 2/],
    ['an unknown key', JSON.stringify({ ...topic, more: 1 }), /unknown key "more"/],
    ['an id that would leave its directory', JSON.stringify({ ...topic, id: '../../etc' }), /id: .* is none/],
    ['the name of another', JSON.stringify({ ...topic, name: 'bills' }), /the value belongs to "topics\/bills"/],
    ['settings that never were', JSON.stringify({ ...topic, settings: { partitions: 0 } }), /partitions: expected/],
    ['no settings', JSON.stringify({ ...topic, settings: undefined }), /topic settings: expected a JSON object/],
  ])('is refused with %s, as an error of ours that names the entry', async (_, value, detail) => {
    await store.transact([], [{ put: 'topics/orders', value }])
    for (const reading of [catalog.topics(), catalog.topic('orders'), catalog.deleteTopic('orders')]) {
      await expect(reading).rejects.toMatchObject({ code: 'internal', message: expect.stringMatching(detail) })
    }
    expect((await store.get('topics/orders'))?.value).toBe(value)
  })

  it('is refused for subscriptions and tombstones likewise', async () => {
    const value = JSON.stringify({ version: 1, nonce: 'n', id: 's', topicId: 't', name: 'billing', settings: {} })
    await store.transact([], [{ put: 'subscriptions/t/billing', value }])
    expect((await catalog.subscriptions('t'))[0]?.settings).toEqual(SUBSCRIPTION_DEFAULTS)
    await store.transact([], [{ put: 'subscriptions/t/other', value }])
    expect(await codeOf(catalog.subscriptions('t'))).toBe('internal')
    await store.transact([], [{ put: 'tombstones/t', value: '{"version":1,"id":"u","name":"orders"}' }])
    expect(await codeOf(catalog.tombstones())).toBe('internal')
  })
})

describe('a store that does not answer', () => {
  const failing = (error: Error): Coordinator => {
    const wrapped = new UnsureCoordinator(store, new SimRandom(1))
    wrapped.transact = () => Promise.reject(error)
    return wrapped
  }

  it('ends in an error that says that nobody knows, after a few tries', async () => {
    const unsure = new Catalog(failing(new Error('lost')), new SimRandom('c'))
    await expect(unsure.createTopic('orders', 'id-1', topicSettings(1))).rejects.toMatchObject({
      code: 'overloaded',
      message: expect.stringMatching(/^topic orders: the store did not say whether/),
    })
  })

  it('passes on at once what the store says it did not do', async () => {
    const full = new Catalog(failing(new TidingsError('storage_full', 'full')), new SimRandom('c'))
    expect(await codeOf(full.createTopic('orders', 'id-1', topicSettings(1)))).toBe('storage_full')
  })

  it('ends in an error when others are always faster', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    const outrun = new UnsureCoordinator(store, new SimRandom(1), 0)
    const transact = outrun.transact.bind(outrun)
    outrun.transact = async (guards, writes) => {
      await catalog.updateTopic(topic, grown(1))
      return transact(guards, writes)
    }
    const refused = new Catalog(outrun, new SimRandom('c')).updateTopic(topic, grown(1))
    await expect(refused).rejects.toMatchObject({
      code: 'overloaded',
      message: expect.stringMatching(/nothing was stored/),
    })
    expect((await catalog.topic('orders'))?.settings.partitions).toBe(9)
  })
})

describe('a single lost answer or lost race', () => {
  let catalogs = 0

  /** Does something before the first transaction of another, and loses the answer of it when asked to. */
  function interrupted(before: () => Promise<unknown>, loseAnswer = false): Catalog {
    const wrapped = new UnsureCoordinator(store, new SimRandom(1), 0)
    const transact = wrapped.transact.bind(wrapped)
    let first = true
    wrapped.transact = async (guards, writes) => {
      if (!first) return transact(guards, writes)
      first = false
      await before()
      const outcome = await transact(guards, writes)
      if (loseAnswer) throw new Error('the answer got lost')
      return outcome
    }
    return new Catalog(wrapped, new SimRandom(`interrupted ${catalogs++}`))
  }
  const losing = (): Catalog => interrupted(async () => undefined, true)

  it('leaves a change done once, and its caller told so', async () => {
    expect((await losing().createTopic('orders', 'id-1', topicSettings(1))).created).toBe(true)
    const topic = (await catalog.topic('orders'))!
    expect((await losing().updateTopic(topic, grown(1))).settings.partitions).toBe(2)
    expect((await losing().createSubscription(topic, 'billing', made('s-1'))).created).toBe(true)
    let changes = 0
    await losing().updateSubscription('id-1', 'billing', (current) => ({ ...current, maxUnacked: ++changes }))
    expect((await catalog.subscription('id-1', 'billing'))?.settings.maxUnacked).toBe(1)
    expect((await losing().deleteSubscription('id-1', 'billing')).id).toBe('s-1')
    expect((await losing().deleteTopic('orders')).id).toBe('id-1')
    await losing().forgetTombstone('id-1')
    expect(await keys()).toEqual([])
  })

  it('does not revive a topic that a late try of its own made and another deleted', async () => {
    const revived = interrupted(async () => {
      await catalog.createTopic('orders', 'id-1', topicSettings(1))
      await catalog.deleteTopic('orders')
    }).createTopic('orders', 'id-1', topicSettings(1))
    expect(await codeOf(revived)).toBe('topic_not_found')
    expect(await keys()).toEqual(['tombstones/id-1'])
  })

  it('does not put a subscription on a topic that was deleted in between, or made anew', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    const late = interrupted(async () => {
      await catalog.deleteTopic('orders')
      await catalog.createTopic('orders', 'id-2', topicSettings(1))
    }).createSubscription(topic, 'billing', made('s-1'))
    expect(await codeOf(late)).toBe('topic_not_found')
    expect(await keys()).toEqual(['tombstones/id-1', 'topics/orders'])
  })

  it('removes a subscription that was made while its topic was deleted at the latest with the tombstone', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    await interrupted(() => catalog.createSubscription(topic, 'late', made('s-1'))).deleteTopic('orders')
    await catalog.forgetTombstone('id-1')
    expect(await keys()).toEqual([])
  })

  it('deletes a topic that was changed in between', async () => {
    const { topic } = await catalog.createTopic('orders', 'id-1', topicSettings(1))
    await interrupted(() => catalog.updateTopic(topic, grown(1))).deleteTopic('orders')
    expect(await catalog.topics()).toEqual([])
  })
})

describe('a catalog whose answers get lost', () => {
  /** Runs a few clients at once over a store that loses answers, and checks what each of them was told. */
  async function run(seed: number): Promise<{ before: number; after: number; late: number }> {
    const random = new SimRandom(seed)
    const inner = new MemoryCoordinator({ clock: new SimClock(), random: random.split('store') })
    const unsure = new UnsureCoordinator(inner, random.split('loss'), 0.4)
    const truth = new Catalog(inner, random.split('truth'))
    const told: { id: string; created: boolean }[] = []
    const deleted: string[] = []
    const ids = random.split('ids')
    await Promise.all(
      ['one', 'two', 'three'].map(async (client) => {
        const own = random.split(client)
        const mine = new Catalog(unsure, own.split('nonces'))
        for (let i = 0; i < 6; i++) {
          const name = own.pick(['a', 'b'])
          const id = ids.id()
          try {
            const { topic, created } = await mine.createTopic(name, id, topicSettings(2))
            told.push({ id: topic.id, created })
            expect(created).toBe(topic.id === id)
            const subscribed = await mine.createSubscription(topic, 's', made(ids.id()))
            expect(subscribed.subscription.topicId).toBe(topic.id)
            await mine.updateTopic(topic, grown(1))
            if (own.chance(0.5)) deleted.push((await mine.deleteTopic(name)).id)
          } catch (error) {
            expect(TidingsError.is(error) ? error.code : error).toMatch(/^(overloaded|topic_not_found)$/)
          }
        }
      }),
    )
    await unsure.deliverAll()

    const topics = await truth.topics()
    expect(new Set(topics.map(({ name }) => name)).size).toBe(topics.length)
    expect(new Set(topics.map(({ id }) => id)).size).toBe(topics.length)
    const tombs = (await truth.tombstones()).map(({ id }) => id)
    const alive = topics.map(({ id }) => id)
    expect(alive.filter((id) => tombs.includes(id))).toEqual([])
    // Whoever was told that a topic is there: it is, or somebody deleted it.
    for (const { id } of told) expect([...alive, ...tombs]).toContain(id)
    for (const id of deleted) expect(tombs).toContain(id)
    // Nobody was told to have made what another made.
    const creations = told.filter(({ created }) => created).map(({ id }) => id)
    expect(new Set(creations).size).toBe(creations.length)
    for (const id of tombs) await truth.forgetTombstone(id)
    for (const { topicId } of await truth.subscriptions()) expect(alive).toContain(topicId)
    return unsure.lost
  }

  it('never holds a topic twice or by halves, and tells nobody what is not so', async () => {
    const lost = { before: 0, after: 0, late: 0 }
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const more = await run(seed)
        for (const fate of ['before', 'after', 'late'] as const) lost[fate] += more[fate]
      }),
      { numRuns: 150 },
    )
    expect(Math.min(lost.before, lost.after, lost.late)).toBeGreaterThan(100)
  }, 30_000)

  it('comes out the same for the same seed', async () => {
    expect(await run(5)).toEqual(await run(5))
  })
})
