import { sqliteStore, subscribeExactlyOnce } from '@tidings/sdk/exactly-once'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'

const id = {
  subscription: 'orders/billing',
  topic: 'orders',
  partition: 0,
  offset: 7,
  timestamp: '2026-01-01T00:00:00.000Z',
}

function rig() {
  const database = new Database(':memory:')
  const store = sqliteStore(database)
  database.exec('create table effects (name text)')
  const effect = (name: string) => (tx: Database.Database) => tx.prepare('insert into effects values (?)').run(name)
  const effects = (): unknown[] => database.prepare('select name from effects').pluck().all()
  const age = (ms: number): unknown => database.prepare('update tidings_processed set seen_at = seen_at - ?').run(ms)
  const ids = (): unknown[] => database.prepare('select topic_offset from tidings_processed order by 1').pluck().all()
  return { database, store, effect, effects, age, ids }
}

describe('a store of processed ids', () => {
  it('runs an effect once for each message of a subscription', async () => {
    const { store, effect, effects } = rig()
    expect(await store.once(id, effect('first'))).toBe(true)
    expect(await store.once(id, effect('again'))).toBe(false)
    expect(await store.once({ ...id, partition: 1 }, effect('of another partition'))).toBe(true)
    expect(await store.once({ ...id, subscription: 'orders.*/billing' }, effect('of a pattern'))).toBe(true)
    expect(effects()).toEqual(['first', 'of another partition', 'of a pattern'])
  })

  it('takes a message before those acknowledged for new when its turn comes', async () => {
    const { store, effect, effects } = rig()
    await store.once({ ...id, offset: 9 }, effect('later'))
    expect(await store.once(id, effect('earlier'))).toBe(true)
    expect(effects()).toEqual(['later', 'earlier'])
  })

  it('takes a message of a topic that was made again for a new one', async () => {
    const { store, effect, effects } = rig()
    await store.once(id, effect('old'))
    const later = { ...id, timestamp: '2026-01-02T00:00:00.000Z' }
    expect(await store.once(later, effect('new'))).toBe(true)
    expect(await store.once(later, effect('new again'))).toBe(false)
    expect(effects()).toEqual(['old', 'new'])
  })

  it('forgets the id with an effect that fails', async () => {
    const { store, effect, effects } = rig()
    const failing = (tx: Database.Database): never => {
      effect('half')(tx)
      throw new Error('broken')
    }
    await expect(store.once(id, failing)).rejects.toThrow('broken')
    expect(effects()).toEqual([])
    expect(await store.once(id, effect('whole'))).toBe(true)
  })

  it('refuses an effect that would outlive its transaction', async () => {
    const { store, effect, effects } = rig()
    const asynchronous = async (tx: Database.Database): Promise<void> => {
      effect('early')(tx)
      await Promise.reject(new Error('late'))
    }
    await expect(store.once(id, asynchronous)).rejects.toThrow('must be synchronous')
    expect(effects()).toEqual([])
  })

  it('removes ids that are acknowledged and were not seen for long, and no others', async () => {
    const { store, effect, age, ids } = rig()
    for (const offset of [1, 2, 3, 8]) await store.once({ ...id, offset }, effect(`${offset}`))
    age(100_000)
    // It came again a moment ago: its acknowledgement may not be durable yet.
    expect(await store.once({ ...id, offset: 2 }, effect('2'))).toBe(false)
    await store.prune(id.subscription, [{ topic: 'orders', partition: 0, offset: 8 }], 60_000)
    expect(ids()).toEqual([2, 8])
  })

  it('has a table of a plain name', () => {
    expect(() => sqliteStore(new Database(':memory:'), { table: 'x; drop table y' })).toThrow('no plain name')
    const { store } = rig()
    const topic = { name: 't', subscribe: (): never => expect.unreachable() }
    expect(() => subscribeExactlyOnce(topic, 's', { store, keepMs: 10 }, () => undefined)).toThrow('keepMs')
  })
})
