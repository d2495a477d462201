/**
 * The coordinator of a single broker: the memory one with a SQLite database as its journal. Reads come
 * from memory; a commit is a synchronous transaction, so this is for who and what, never for messages.
 *
 * The database is also the lock of the data directory: it stays locked exclusively while the broker
 * lives, and the kernel lets go when it dies. What must stay true: a store that cannot be read whole
 * is refused and left untouched, never taken for an empty one. Every commit is checkpointed at once, so
 * that outside of a crash the write-ahead log is empty: SQLite takes damage in that log for a torn end
 * and would go on without what followed. Rows carry a checksum, for quick_check sees structure only.
 */
import { crc32 } from 'node:zlib'
import { TidingsError } from '@tidings/sdk/protocol'
import type Database from 'better-sqlite3'
import type { Clock, Random } from '../base/clock.ts'
import { type Disk, errorCode } from '../base/disk.ts'
import type { Latch } from '../base/latch.ts'
import { required } from '../base/on-demand.ts'
import type { Change, Entry } from './coordinator.ts'
import { type Journal, MemoryCoordinator, type StoreContent } from './memory-coordinator.ts'

const Store = required<typeof Database>('better-sqlite3')

export const STORE_FILE = 'coordinator.sqlite'
const SCHEMA_VERSION = 1
/** "Tdng": tells our databases from others'. */
const APPLICATION_ID = 0x54646e67
/** Only a broker that is just ending can let go of the lock within this time; start-up waits no longer. */
const LOCK_WAIT_MS = 500
const PAGE_BYTES = 4096
const MAX_BYTES = 1024 * 1_048_576

/**
 * Why a store was not opened. `locked`: another broker runs on this directory. `damaged`: it is not
 * what a broker left there. `newer`: a newer release wrote it. `unusable`: missing, no permission, no room.
 */
export type StoreRefusal = 'locked' | 'damaged' | 'newer' | 'unusable'

/** The message is one line for the person who starts the broker. */
export class StoreError extends Error {
  readonly refusal: StoreRefusal

  constructor(refusal: StoreRefusal, detail: string, options?: { cause?: unknown }) {
    super(detail, options)
    this.name = 'StoreError'
    this.refusal = refusal
  }
}

export interface SqliteCoordinatorOptions {
  /** The data directory, as the disk's root. */
  directory: string
  /** Rooted at the same directory: makes the file, for its owner only. */
  disk: Disk
  clock: Clock
  random: Random
  /** Tripped when the store's file fails while it is in use. */
  latch: Latch
  /** The store never grows beyond it: `storage_full`. */
  maxBytes?: number
  /** Commits that a watch may lie behind before it is lost. */
  historyCount?: number
}

/**
 * Opens the store in the data directory, making it when there is none, or throws a StoreError.
 * `created`: it was empty; a caller that finds topics' files beside it knows that something was lost.
 */
export async function openSqliteCoordinator(
  options: SqliteCoordinatorOptions,
): Promise<{ coordinator: MemoryCoordinator; created: boolean }> {
  const { directory, disk, clock, random, latch, maxBytes = MAX_BYTES, historyCount } = options
  const path = `${directory}/${STORE_FILE}`
  let database: Database.Database | undefined
  try {
    await makeFile(disk)
    database = new Store(path, { timeout: LOCK_WAIT_MS })
    const created = claim(database)
    if (!created) check(database, path)
    configure(database, maxBytes)
    if (created) createSchema(database)
    const content = readContent(database, path)
    const journal = new SqliteJournal(database, latch)
    const history = historyCount === undefined ? {} : { historyCount }
    return { coordinator: new MemoryCoordinator({ clock, random, content, journal, ...history }), created }
  } catch (error) {
    database?.close()
    throw refusal(error, directory, path)
  }
}

/** SQLite would make the file readable for everybody; the files beside it take over its mode. */
async function makeFile(disk: Disk): Promise<void> {
  try {
    const file = await disk.open(STORE_FILE, 'create')
    await file.close()
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return
    throw error
  }
  await disk.syncDirectory('')
}

/** Takes the lock that is kept until the end. True: the database is empty. Writes nothing. */
function claim(database: Database.Database): boolean {
  database.pragma('locking_mode = EXCLUSIVE')
  database.exec('BEGIN EXCLUSIVE')
  database.exec('COMMIT')
  return database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0
}

function check(database: Database.Database, path: string): void {
  if (database.pragma('application_id', { simple: true }) !== APPLICATION_ID) {
    throw damaged(path, 'it is a SQLite database, but none of this broker')
  }
  const verdict = database.pragma('quick_check(1)', { simple: true })
  if (verdict !== 'ok') throw damaged(path, String(verdict).replaceAll('\n', ' '))
  const version = readNumber(database, path, 'schema_version')
  if (version > SCHEMA_VERSION) {
    throw new StoreError(
      'newer',
      `${path} was written by a newer release of Tidings (schema ${version}, this one knows ${SCHEMA_VERSION}): ` +
        'start that release, or restore a backup from before the upgrade',
    )
  }
  if (version !== SCHEMA_VERSION) throw damaged(path, `schema ${version} never was`)
}

function configure(database: Database.Database, maxBytes: number): void {
  const mode = database.pragma('journal_mode = WAL', { simple: true })
  if (mode !== 'wal') throw new Error(`the file system gives no write-ahead log (journal mode is ${String(mode)})`)
  database.pragma('synchronous = FULL')
  database.pragma('foreign_keys = ON')
  database.pragma('trusted_schema = OFF')
  database.pragma('cell_size_check = ON')
  database.pragma('wal_autocheckpoint = 0')
  database.pragma(`max_page_count = ${Math.ceil(maxBytes / PAGE_BYTES)}`)
}

function createSchema(database: Database.Database): void {
  const create = database.transaction(() => {
    database.pragma(`application_id = ${APPLICATION_ID}`)
    database.exec(`
      CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
      INSERT INTO meta VALUES ('schema_version', ${SCHEMA_VERSION}), ('revision', 0);
      CREATE TABLE entry (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL,
        lease TEXT,
        checksum INTEGER NOT NULL
      ) STRICT`)
  })
  create.immediate()
  checkpoint(database)
}

/** Moves everything into the database file, synced, and empties the write-ahead log. */
function checkpoint(database: Database.Database): void {
  database.pragma('wal_checkpoint(TRUNCATE)')
}

type Row = [
  key: string,
  value: string,
  createRevision: number,
  modRevision: number,
  lease: string | null,
  checksum: number,
]

function readContent(database: Database.Database, path: string): StoreContent {
  const revision = readNumber(database, path, 'revision')
  const rows = database
    .prepare<[], Row>('SELECT key, value, create_revision, mod_revision, lease, checksum FROM entry ORDER BY key')
    .raw()
    .all()
  const entries = rows.map(([key, value, createRevision, modRevision, lease, checksum]) => {
    const entry: Entry = { key, value, createRevision, modRevision, lease }
    if (checksum !== checksumOf(entry)) throw damaged(path, `the checksum of ${JSON.stringify(key)} is wrong`)
    if (modRevision > revision) throw damaged(path, `${JSON.stringify(key)} is newer than the store`)
    return entry
  })
  return { revision, entries }
}

function readNumber(database: Database.Database, path: string, name: string): number {
  const value = database.prepare('SELECT value FROM meta WHERE name = ?').pluck().get(name)
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw damaged(path, `it has no ${name}`)
  return value
}

function checksumOf({ key, value, createRevision, modRevision, lease }: Entry): number {
  return crc32(JSON.stringify([key, value, createRevision, modRevision, lease]))
}

class SqliteJournal implements Journal {
  #database: Database.Database
  #latch: Latch
  #write: (revision: number, changes: readonly Change[]) => void

  constructor(database: Database.Database, latch: Latch) {
    this.#database = database
    this.#latch = latch
    const put = database.prepare<Row>('INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?)')
    const remove = database.prepare<[string]>('DELETE FROM entry WHERE key = ?')
    const advance = database.prepare<[number]>("UPDATE meta SET value = ? WHERE name = 'revision'")
    const write = database.transaction((revision: number, changes: readonly Change[]) => {
      for (const change of changes) {
        if ('deleted' in change) {
          remove.run(change.deleted)
        } else {
          const { key, value, createRevision, modRevision, lease } = change.put
          put.run(key, value, createRevision, modRevision, lease, checksumOf(change.put))
        }
      }
      advance.run(revision)
    })
    this.#write = (revision, changes) => write.immediate(revision, changes)
  }

  commit(revision: number, changes: readonly Change[]): void {
    this.#refusePoisoned()
    try {
      this.#write(revision, changes)
    } catch (error) {
      if (isFull(error)) {
        throw new TidingsError('storage_full', 'the store of topics and subscriptions is full; nothing was stored', {
          cause: error,
        })
      }
      this.#latch.trip(error)
    }
    this.#checkpoint()
    this.#refusePoisoned()
  }

  /** When the disk is full it is left for later: the commit is safe in the write-ahead log. */
  #checkpoint(): void {
    if (this.#latch.tripped) return
    try {
      checkpoint(this.#database)
    } catch (error) {
      if (!isFull(error)) this.#latch.trip(error)
    }
  }

  /** Nothing is confirmed once the latch is tripped; what is on the disk is read by the next process. */
  #refusePoisoned(): void {
    if (this.#latch.tripped) throw new Error('the store failed, this process ends', { cause: this.#latch.cause })
  }

  close(): void {
    this.#database.close()
  }
}

function isFull(error: unknown): boolean {
  return errorCode(error) === 'SQLITE_FULL'
}

function damaged(path: string, why: string, cause?: unknown): StoreError {
  return new StoreError(
    'damaged',
    `${path} is damaged (${why}): restore it from a backup; nothing was changed, and no topic was touched`,
    { cause },
  )
}

const LOCKED_CODES = ['SQLITE_BUSY', 'SQLITE_LOCKED', 'SQLITE_PROTOCOL']
const DAMAGED_CODES = ['SQLITE_CORRUPT', 'SQLITE_NOTADB', 'SQLITE_ERROR']

function refusal(error: unknown, directory: string, path: string): StoreError {
  if (error instanceof StoreError) return error
  const text = error instanceof Error ? error.message : String(error)
  // Extended codes are the plain one with something behind it: SQLITE_BUSY_RECOVERY.
  const isOneOf = (codes: string[]): boolean => codes.some((code) => errorCode(error)?.startsWith(code))
  if (isOneOf(LOCKED_CODES)) {
    return new StoreError('locked', `${directory} is in use by another broker: stop it, or choose another directory`, {
      cause: error,
    })
  }
  if (isOneOf(DAMAGED_CODES)) return damaged(path, text, error)
  return new StoreError('unusable', `${path} cannot be opened: ${text}`, { cause: error })
}
