/**
 * Consumers that are killed between the commit of an effect and the acknowledgement of its message, again and again:
 * every effect is there once. The consumers are processes of their own, which kill themselves.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@tidings/sdk'
import Database from 'better-sqlite3'
import pg from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { BrokerProcess, ROOT, stopAll } from '../support/broker-process.ts'
import { startPostgres } from '../support/postgres.ts'

/** About one message in ten kills its consumer. `TIDINGS_KILL_ROUNDS=50` makes it fifty kills. */
const MESSAGES = 10 * Number(process.env['TIDINGS_KILL_ROUNDS'] ?? 8)
const ENOUGH_KILLS = 3

const SQLITE = `
  import Database from 'better-sqlite3'
  import { sqliteStore } from '@tidings/sdk/exactly-once'
  const database = new Database(process.env.STORE)
  const store = sqliteStore(database)
  const effect = ({ offset }, tx) => tx.prepare('insert into effects values (?)').run(offset)
  const again = async ({ offset }) => database.prepare('insert into again values (?)').run(offset)
`
const POSTGRES = `
  import pg from 'pg'
  import { postgresStore } from '@tidings/sdk/exactly-once'
  const pool = new pg.Pool({ connectionString: process.env.STORE })
  pool.on('error', () => undefined)
  const store = postgresStore(() => pool.connect())
  const effect = ({ offset }, tx) => tx.query('insert into effects values ($1)', [offset])
  const again = ({ offset }) => pool.query('insert into again values ($1)', [offset])
`
const CONSUMER = `
  import { createClient } from '@tidings/sdk'
  import { subscribeExactlyOnce } from '@tidings/sdk/exactly-once'
  const dying = {
    ...store,
    async once(id, work) {
      const isNew = await store.once(id, work)
      if (!isNew) await again(id)
      else if (Math.random() < 0.1) process.kill(process.pid, 'SIGKILL')
      return isNew
    },
  }
  const orders = createClient({ url: process.env.BROKER }).topic('orders')
  const onFailure = (error) => console.error(error)
  const options = { store: dying, concurrency: 8, prefetch: 16, pruneEvery: 20, onFailure, onError: onFailure }
  subscribeExactlyOnce(orders, 'billing', options, effect)
`

afterEach(stopAll)

/** Until everything is acknowledged; gives how many of them died on the way. */
async function consumeDying(broker: BrokerProcess, source: string, store: string): Promise<number> {
  let kills = 0
  for (;;) {
    const env = { ...process.env, STORE: store, BROKER: broker.url }
    const args = ['--input-type=module', '-e', source + CONSUMER]
    const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'ignore', 'inherit'] })
    const exit = once(child, 'exit')
    while (child.exitCode === null && child.signalCode === null && (await backlog(broker)) > 0) await sleep(20)
    const isDone = (await backlog(broker)) === 0
    if (isDone) child.kill('SIGKILL')
    await exit
    expect(child.signalCode).toBe('SIGKILL')
    if (isDone) return kills
    kills++
  }
}

async function backlog(broker: BrokerProcess): Promise<number> {
  const answer = await fetch(`${broker.url}/v1/topics/orders/subscriptions/billing`)
  return ((await answer.json()) as { state: { backlog: number } }).state.backlog
}

async function brokerWithOrders(type: string): Promise<BrokerProcess> {
  const broker = await BrokerProcess.start()
  const settings = { type, start: 'earliest', backoff: { minMs: 1, maxMs: 50 } }
  await fetch(`${broker.url}/v1/topics/orders/subscriptions/billing`, {
    method: 'PUT',
    body: JSON.stringify(settings),
    headers: { 'content-type': 'application/json' },
  })
  const client = createClient({ url: broker.url })
  const orders = client.topic('orders')
  await Promise.all(Array.from({ length: MESSAGES }, (_, i) => orders.publish({ i }, { key: `k${i % 5}` })))
  await client.close()
  return broker
}

const all = Array.from({ length: MESSAGES }, (_, offset) => offset)

describe('an effect', { timeout: 240_000 }, () => {
  it.each(['shared', 'key_shared'])('is there once in SQLite, whenever its consumer (%s) is killed', async (type) => {
    const directory = mkdtempSync(join(tmpdir(), 'tidings-once-'))
    const file = join(directory, 'app.db')
    const database = new Database(file)
    database.pragma('journal_mode = wal')
    database.exec('create table effects (o int); create table again (o int)')
    const broker = await brokerWithOrders(type)
    const kills = await consumeDying(broker, SQLITE, file)
    const column = (table: string): unknown[] => database.prepare(`select o from ${table} order by o`).pluck().all()
    expect(column('effects')).toEqual(all)
    expect(kills).toBeGreaterThanOrEqual(ENOUGH_KILLS)
    // Every kill left at least its own message to come again.
    expect(new Set(column('again')).size).toBeGreaterThanOrEqual(kills)
    database.close()
    rmSync(directory, { recursive: true })
  })

  it('is there once in PostgreSQL, whenever its consumer is killed', async () => {
    const postgres = await startPostgres()
    const pool = new pg.Pool({ connectionString: postgres.url })
    // A pool counts as ended before its connections are, and a connection that the server ends throws at nobody.
    const ends: Promise<void>[] = []
    pool.on('connect', (client) => ends.push(new Promise((resolve) => client.once('end', resolve))))
    try {
      const { postgresStore } = await import('@tidings/sdk/exactly-once')
      const store = postgresStore(() => pool.connect())
      await Promise.all([store.createTable(), store.createTable()])
      await pool.query('create table effects (o int); create table again (o int)')
      const broker = await brokerWithOrders('shared')
      const kills = await consumeDying(broker, POSTGRES, postgres.url)
      const column = async (table: string): Promise<number[]> =>
        (await pool.query<{ o: number }>(`select o from ${table} order by o`)).rows.map(({ o }) => o)
      expect(await column('effects')).toEqual(all)
      expect(kills).toBeGreaterThanOrEqual(ENOUGH_KILLS)
      expect(new Set(await column('again')).size).toBeGreaterThanOrEqual(kills)
    } finally {
      await pool.end()
      await Promise.all(ends)
      await postgres.stop()
    }
  })
})
