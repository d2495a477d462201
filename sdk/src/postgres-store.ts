/**
 * Processed ids in PostgreSQL, through `pg` or whatever has its shape. Two deliveries of one message at the same time
 * meet at the row: the second waits until the first has committed or given up.
 */
import { createTableSql, type ProcessedStore, type StoreOptions, statementsOf, tableName } from './processed-store.ts'

/** What it needs of a `PoolClient`. */
export interface PgClient {
  query(text: string, values?: unknown[]): Promise<{ rowCount: number | null }>
  /** True: the connection is not to be used again. */
  release(destroy?: boolean): void
}

const NOW_MS = '(extract(epoch from clock_timestamp()) * 1000)::bigint'

/** `connect` gives a connection for one transaction: `() => pool.connect()`. */
export function postgresStore<Client extends PgClient>(
  connect: () => Promise<Client>,
  options: StoreOptions = {},
): ProcessedStore<Client> & { createTable(): Promise<void> } {
  const table = tableName(options)
  const sql = statementsOf(table, NOW_MS, (position) => `$${position}`)
  const using = async <T>(work: (client: Client) => Promise<T>): Promise<T> => {
    const client = await connect()
    let isSound = false
    try {
      const result = await work(client)
      isSound = true
      return result
    } catch (error) {
      isSound = await client.query('rollback').then(
        () => true,
        () => false,
      )
      throw error
    } finally {
      client.release(!isSound)
    }
  }
  return {
    once({ subscription, topic, partition, offset, timestamp }, effect) {
      return using(async (client) => {
        await client.query('begin')
        const id = [subscription, topic, partition, offset]
        const isNew = (await client.query(sql.note, [...id, timestamp])).rowCount === 1
        if (isNew) await effect(client)
        else await client.query(sql.see, id)
        await client.query('commit')
        return isNew
      })
    },
    async prune(subscription, through, keepMs) {
      for (const { topic, partition, offset } of through) {
        await using((client) => client.query(sql.prune, [subscription, topic, partition, offset, keepMs]))
      }
    },
    async createTable() {
      await using(async (client) => {
        await client.query('begin')
        // Of several who make it at the same time, all but one would fail.
        await client.query("select pg_advisory_xact_lock(hashtext('tidings_processed'))")
        await client.query(createTableSql(table))
        await client.query('commit')
      })
    },
  }
}
