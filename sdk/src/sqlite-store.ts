/**
 * Processed ids in SQLite, through `better-sqlite3` or whatever has its shape. Its transactions are synchronous, so the
 * effect has to be. The table is made at once.
 */
import { createTableSql, type ProcessedStore, type StoreOptions, statementsOf, tableName } from './processed-store.ts'
import { isPromise } from './publish-gate.ts'

/** What it needs of a database. */
export interface SqliteDatabase {
  exec(sql: string): unknown
  prepare(sql: string): { run(...values: (string | number)[]): { changes: number } }
}

const NOW_MS = `cast((julianday('now') - 2440587.5) * 86400000 as integer)`

export function sqliteStore<Database extends SqliteDatabase>(
  database: Database,
  options: StoreOptions = {},
): ProcessedStore<Database> {
  const table = tableName(options)
  database.exec(createTableSql(table))
  const sql = statementsOf(table, NOW_MS, () => '?')
  const note = database.prepare(sql.note)
  const see = database.prepare(sql.see)
  const prune = database.prepare(sql.prune)
  const inTransaction = (work: () => boolean): boolean => {
    // At once for writing: two processes come one after the other here, and not halfway.
    database.exec('begin immediate')
    try {
      const result = work()
      database.exec('commit')
      return result
    } catch (error) {
      database.exec('rollback')
      throw error
    }
  }
  return {
    async once({ subscription, topic, partition, offset, timestamp }, effect) {
      return inTransaction(() => {
        const isNew = note.run(subscription, topic, partition, offset, timestamp).changes === 1
        if (isNew) mustBeOver(effect(database))
        else see.run(subscription, topic, partition, offset)
        return isNew
      })
    },
    async prune(subscription, through, keepMs) {
      for (const { topic, partition, offset } of through) prune.run(subscription, topic, partition, offset, keepMs)
    },
  }
}

function mustBeOver(result: unknown): void {
  if (!isPromise(result)) return
  void result.then(undefined, () => undefined)
  throw new TypeError('an effect on SQLite must be synchronous: its transaction would end before the effect does')
}
