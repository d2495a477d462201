/** What SQLite adds to the coordinator's contract: durability, the lock, and the refusal of damage. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Latch } from '../../../src/base/latch.ts'
import { nodeDisk } from '../../../src/base/node-disk.ts'
import type { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { openSqliteCoordinator, StoreError } from '../../../src/cluster/sqlite-coordinator.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'

let folder: string
let directory: string
let file: string
let trips: Error[]
const opened: MemoryCoordinator[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidings-store-'))
  directory = join(folder, 'data')
  mkdirSync(directory)
  file = join(directory, 'coordinator.sqlite')
  trips = []
})

afterEach(async () => {
  for (const coordinator of opened.splice(0)) await coordinator.close()
  rmSync(folder, { recursive: true, force: true })
})

async function openIn(at: string, more: { maxBytes?: number; latch?: Latch } = {}) {
  const result = await openSqliteCoordinator({
    directory: at,
    disk: nodeDisk(at),
    clock: new SimClock(),
    random: new SimRandom('sqlite'),
    latch: new Latch((cause) => trips.push(cause)),
    ...more,
  })
  opened.push(result.coordinator)
  return result
}

async function open(more: { maxBytes?: number } = {}): Promise<MemoryCoordinator> {
  return (await openIn(directory, more)).coordinator
}

async function refusalOf(opening: Promise<unknown>): Promise<StoreError> {
  const error = await opening.then(
    () => new Error('it opened'),
    (refused: unknown) => refused,
  )
  if (!(error instanceof StoreError)) throw error
  expect(error.message).not.toContain('\n')
  return error
}

/** A store with keys k/0 to k/99, closed. */
async function fill(): Promise<void> {
  const store = await open()
  const writes = Array.from({ length: 100 }, (_, i) => ({ put: `k/${i}`, value: `value ${i} `.repeat(30) }))
  await store.transact([], writes)
  await store.transact([], writes)
  await store.close()
}

describe('the store of one broker', () => {
  it('keeps everything over a restart, and its revisions go on', async () => {
    const first = await openIn(directory)
    expect(first.created).toBe(true)
    await first.coordinator.transact([], [{ put: 'a', value: '1' }])
    const { revision } = await first.coordinator.transact([], [{ put: 'b', value: 'žluť \u{1F600} \u0000' }])
    await first.coordinator.transact([], [{ delete: 'a' }])
    const before = first.coordinator.content()
    await first.coordinator.close()

    const second = await openIn(directory)
    expect(second.created).toBe(false)
    expect(second.coordinator.content()).toEqual(before)
    expect(second.coordinator.content().entries.map(({ key }) => key)).toEqual(['b'])
    const taken = await second.coordinator.transact([{ key: 'b', modRevision: revision }], [{ put: 'b', value: '2' }])
    expect(taken.ok).toBe(true)
    expect(taken.revision).toBeGreaterThan(before.revision)
  })

  it('has all that was answered on the disk when the process is killed', async () => {
    const store = await open()
    for (let i = 0; i < 20; i++) await store.transact([], [{ put: `k/${i}`, value: String(i) }])
    const image = join(folder, 'image')
    cpSync(directory, image, { recursive: true })
    expect((await openIn(image)).coordinator.content()).toEqual(store.content())
  })

  it('removes what hung on leases of an earlier process, from the file too', async () => {
    const first = await open()
    const lease = await first.grant(1000)
    await first.transact([], [{ put: 'leased', value: '1', lease }])
    await first.transact([], [{ put: 'free', value: '1' }])
    const { revision } = first.content()
    await first.close()
    const second = await open()
    expect(await second.get('leased')).toBeNull()
    expect(await second.keepAlive(lease)).toBe(false)
    expect(second.content().revision).toBeGreaterThan(revision)
    await second.close()
    const database = new Database(file, { readonly: true })
    expect(database.prepare('SELECT key FROM entry').pluck().all()).toEqual(['free'])
    database.close()
  })

  it('lets only its owner read its files', async () => {
    const store = await open()
    await store.transact([], [{ put: 'a', value: '1' }])
    const modes = readdirSync(directory).map((name) => [name, statSync(join(directory, name)).mode & 0o777])
    expect(modes).toEqual([
      ['coordinator.sqlite', 0o600],
      ['coordinator.sqlite-wal', 0o600],
    ])
  })
})

describe('the lock of the data directory', () => {
  it('refuses a second broker with a line that says so, and leaves the first alone', async () => {
    const first = await open()
    await first.transact([], [{ put: 'a', value: '1' }])
    const refused = await refusalOf(open())
    expect(refused.refusal).toBe('locked')
    expect(refused.message).toBe(`${directory} is in use by another broker: stop it, or choose another directory`)
    expect((await first.transact([], [{ put: 'a', value: '2' }])).ok).toBe(true)
    await first.close()
    expect(await (await open()).get('a')).toMatchObject({ value: '2' })
  })

  it('holds against another process, from the first moment on, and ends with the broker', async () => {
    const script = `
      const database = new (require('better-sqlite3'))(process.argv[1], { timeout: 0 })
      try { database.prepare('SELECT * FROM sqlite_schema').all(); console.log('free') }
      catch (error) { console.log(error.code) }`
    const askAnother = (): string =>
      execFileSync(process.execPath, ['-e', script, file], { cwd: import.meta.dirname, encoding: 'utf8' }).trim()
    const store = await open()
    expect(askAnother()).toBe('SQLITE_BUSY')
    await store.transact([], [{ put: 'a', value: '1' }])
    expect(askAnother()).toBe('SQLITE_BUSY')
    await store.close()
    expect(askAnother()).toBe('free')
  })

  it('names a directory that is not there', async () => {
    const refused = await refusalOf(openIn(join(directory, 'nowhere')))
    expect(refused.refusal).toBe('unusable')
    expect(refused.message).toContain('nowhere/coordinator.sqlite cannot be opened')
  })
})

describe('a damaged store', () => {
  const garbage = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 151 + 17) & 0xff))
  const flipped = (bytes: Buffer): Buffer => {
    const changed = Buffer.from(bytes)
    changed[bytes.indexOf('value 50 value 50') + 40]! ^= 1
    return changed
  }
  const tables = 'CREATE TABLE meta (name, value); CREATE TABLE entry (key)'

  it.each<[string, (bytes: Buffer) => Uint8Array]>([
    ['garbage all over', (bytes) => garbage(bytes.length)],
    ['a garbage first page', (bytes) => Buffer.concat([garbage(4096), bytes.subarray(4096)])],
    [
      'garbage in the middle',
      (bytes) => Buffer.concat([bytes.subarray(0, 16384), garbage(8192), bytes.subarray(24576)]),
    ],
    [
      'a page of zeros',
      (bytes) => Buffer.concat([bytes.subarray(0, 20480), Buffer.alloc(4096), bytes.subarray(24576)]),
    ],
    ['half of it gone', (bytes) => bytes.subarray(0, bytes.length / 2)],
    ['one bit of a value flipped', flipped],
    ['a text in its place', () => Buffer.from('these are not the bytes that you are looking for\n'.repeat(100))],
  ])('is refused with %s, and not touched', async (_, damage) => {
    await fill()
    const bytes = damage(readFileSync(file))
    writeFileSync(file, bytes)
    const refused = await refusalOf(open())
    expect(refused.refusal).toBe('damaged')
    expect(refused.message).toContain(`${file} is damaged (`)
    expect(readFileSync(file).equals(bytes)).toBe(true)
  })

  it.each([
    ['a database of somebody else', 'CREATE TABLE users (name TEXT)'],
    ['one of ours without its tables', 'PRAGMA application_id = 0x54646e67; CREATE TABLE users (name TEXT)'],
    ['one of ours without its numbers', `PRAGMA application_id = 0x54646e67; ${tables}`],
  ])('is refused when it is %s', async (_, sql) => {
    const database = new Database(file)
    database.exec(sql)
    database.close()
    const bytes = readFileSync(file)
    expect((await refusalOf(open())).refusal).toBe('damaged')
    expect(readFileSync(file).equals(bytes)).toBe(true)
  })

  it('is refused with garbage in a page that only a later write would look at', async () => {
    await fill()
    const store = await open()
    await store.transact(
      [],
      Array.from({ length: 90 }, (_, i) => ({ delete: `k/${i}` })),
    )
    await store.close()
    const bytes = readFileSync(file)
    const freePage = bytes.readUInt32BE(32)
    expect(freePage).toBeGreaterThan(1)
    bytes.fill(0xa5, (freePage - 1) * 4096, freePage * 4096)
    writeFileSync(file, bytes)
    expect((await refusalOf(open())).refusal).toBe('damaged')
  })

  it('is refused when an entry is newer than the whole', async () => {
    await fill()
    const database = new Database(file)
    database.exec("UPDATE meta SET value = 1 WHERE name = 'revision'")
    database.close()
    expect((await refusalOf(open())).refusal).toBe('damaged')
  })

  it('loses nothing to garbage in the write-ahead log, since nothing is left there', async () => {
    const store = await open()
    for (let i = 0; i < 10; i++) await store.transact([], [{ put: `k/${i}`, value: String(i) }])
    const image = join(folder, 'image')
    cpSync(directory, image, { recursive: true })
    writeFileSync(join(image, 'coordinator.sqlite-wal'), garbage(50_000))
    expect((await openIn(image)).coordinator.content()).toEqual(store.content())
  })

  it('is told from one of a newer release, which is refused with what to do', async () => {
    await fill()
    const database = new Database(file)
    database.exec("UPDATE meta SET value = 2 WHERE name = 'schema_version'")
    database.close()
    const bytes = readFileSync(file)
    const refused = await refusalOf(open())
    expect(refused.refusal).toBe('newer')
    expect(refused.message).toMatch(/schema 2, this one knows 1\): start that release/)
    expect(readFileSync(file).equals(bytes)).toBe(true)
  })
})

describe('a store that fails while in use', () => {
  it('answers storage_full when there is no room, stores nothing of it, and goes on', async () => {
    const store = await open({ maxBytes: 100_000 })
    await store.transact([], [{ put: 'small', value: '1' }])
    const before = store.content()
    const writes = [
      { put: 'small', value: '2' },
      { put: 'big', value: 'x'.repeat(200_000) },
    ]
    await expect(store.transact([], writes)).rejects.toMatchObject({ code: 'storage_full' })
    expect(store.content()).toEqual(before)
    expect((await store.transact([], [{ put: 'small', value: '3' }])).ok).toBe(true)
    expect(trips).toEqual([])
    await store.close()
    expect((await (await open()).get('small'))?.value).toBe('3')
  })

  it('trips the latch when its file is no longer what it wrote, and confirms nothing from then on', async () => {
    const store = await open()
    const keys = Array.from({ length: 24 }, (_, i) => `k/${i}`)
    // More than SQLite keeps in memory, so that it has to read the file again.
    const value = 'x'.repeat(1_000_000)
    for (const key of keys) await store.transact([], [{ put: key, value }])
    writeFileSync(file, Buffer.alloc(statSync(file).size, 0xa5), { flag: 'r+' })
    for (const key of keys) {
      const confirmed = await store.transact([], [{ delete: key }]).then(
        () => true,
        () => false,
      )
      expect(confirmed, 'what is confirmed before the latch trips').toBe(trips.length === 0)
      expect((await store.get(key)) === null).toBe(confirmed)
    }
    expect(trips).toHaveLength(1)
    expect(trips[0]).toMatchObject({ code: expect.stringMatching(/^SQLITE_(CORRUPT|IOERR|NOTADB)/) })
    const refused = await store.transact([], [{ put: 'late', value: '1' }]).catch((error: unknown) => error)
    expect(refused).toMatchObject({ message: 'the store failed, this process ends', cause: trips[0] })
    expect(await store.get('late')).toBeNull()
  })

  it('writes nothing more once something else tripped the latch', async () => {
    const latch = new Latch((cause) => trips.push(cause))
    const { coordinator } = await openIn(directory, { latch })
    await coordinator.transact([], [{ put: 'a', value: '1' }])
    const bytes = readFileSync(file)
    latch.trip(new Error('a sync failed'))
    await expect(coordinator.transact([], [{ put: 'a', value: '2' }])).rejects.toThrow('the store failed')
    expect(readFileSync(file).equals(bytes)).toBe(true)
    expect(statSync(`${file}-wal`).size).toBe(0)
  })
})
