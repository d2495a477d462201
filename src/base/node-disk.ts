/**
 * The Disk port over node:fs, the only place that touches real files. Every call goes through the
 * callback API and makes one promise. Writes name their position and are repeated until the system
 * has counted every byte; syncs are real (fdatasync, fsync of directories). A file waits with its
 * closing until nothing is under way on it, since the descriptor's number may be given to
 * another file at once. Only the owner may read what is made here.
 */
import fs from 'node:fs'
import { resolve as absolutePath, dirname } from 'node:path'
import { type Disk, type DiskFile, type OpenMode, pathNames } from './disk.ts'
import { assert } from './invariant.ts'

const FILE_MODE = 0o600
const DIRECTORY_MODE = 0o700

const OPEN_FLAGS: Record<OpenMode, number> = {
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
  edit: fs.constants.O_RDWR,
  read: fs.constants.O_RDONLY,
}

/** A descriptor of what another one has open, whose writes end on stable storage; where there is no such thing (not on Linux) it fails. */
const DURABLE_FLAGS = fs.constants.O_WRONLY | fs.constants.O_DSYNC
const again = (descriptor: number): string => `/proc/self/fd/${descriptor}`
/** Files with a second descriptor, at most: handles are needed for connections too. */
const DURABLE_MAX = 2048
let durable = 0

type Done<T> = (error: Error | null, value?: T) => void

/** The files below `root`, a directory that exists: see `makeDataDirectory`. */
export function nodeDisk(root: string): Disk {
  const at = (path: string): string => (pathNames(path).length === 0 ? root : `${root}/${path}`)
  const below = (path: string): string => {
    assert(path !== '', 'the data directory itself is not created, renamed or removed')
    return at(path)
  }
  return {
    async open(path, mode) {
      const descriptor = await call<number>((done) => fs.open(below(path), OPEN_FLAGS[mode], FILE_MODE, done))
      return new NodeFile(descriptor, path, mode === 'read' ? null : undefined)
    },
    async list(path) {
      return (await call<string[]>((done) => fs.readdir(at(path), done))).sort()
    },
    makeDirectory: (path) =>
      call<void>((done) => fs.mkdir(below(path), { mode: DIRECTORY_MODE }, (error) => done(error))),
    rename: (from, to) => call<void>((done) => fs.rename(below(from), below(to), done)),
    remove: (path) => call<void>((done) => fs.unlink(below(path), done)),
    removeTree: (path) => call<void>((done) => fs.rm(below(path), { recursive: true }, done)),
    syncDirectory: (path) => call<void>((done) => syncDirectory(at(path), done)),
    async freeBytes() {
      const stats = await call<fs.StatsFs>((done) => fs.statfs(root, done))
      return stats.bavail * stats.bsize
    },
  }
}

/** Makes the data directory where it is missing, parents included, so that it survives a power cut. */
export async function makeDataDirectory(root: string): Promise<void> {
  const path = absolutePath(root)
  const options = { recursive: true, mode: DIRECTORY_MODE } as const
  const topmost = await call<string | undefined>((done) => fs.mkdir(path, options, done))
  if (topmost === undefined) return
  for (let made = path; ; made = dirname(made)) {
    await call<void>((done) => syncDirectory(dirname(made), done))
    if (made === topmost || made === dirname(made)) return
  }
}

class NodeFile implements DiskFile {
  readonly #descriptor: number
  readonly #path: string
  /** For `writeDurably`, made when it is first asked for; null: it is not to be had. */
  #durable: number | 'opening' | null | undefined
  #underWay = 0
  #closing: Promise<void> | null = null
  #onIdle: (() => void) | null = null

  constructor(descriptor: number, path: string, durable: null | undefined) {
    this.#descriptor = descriptor
    this.#path = path
    this.#durable = durable
  }

  async size(): Promise<number> {
    return (await this.#run<fs.Stats>((done) => fs.fstat(this.#descriptor, done))).size
  }

  read(position: number, length: number): Promise<Buffer> {
    return this.#run((done) => readAll(this.#descriptor, Buffer.allocUnsafe(length), 0, position, done))
  }

  write(position: number, bytes: Uint8Array): Promise<void> {
    return this.#run((done) => writeAll(this.#descriptor, bytes, 0, position, done))
  }

  writeDurably(position: number, bytes: Uint8Array): Promise<void> {
    return this.#run((done) =>
      this.#withDurable((descriptor) => {
        if (descriptor !== null) return writeAll(descriptor, bytes, 0, position, done)
        writeAll(this.#descriptor, bytes, 0, position, (error) => {
          if (error) return done(error)
          fs.fdatasync(this.#descriptor, (failure) => done(failure && syncFailed(failure)))
        })
      }),
    )
  }

  /**
   * Gives the second descriptor. A full disk is told apart from a failed sync by the first one: what went wrong
   * while the system wrote back is reported once to each descriptor, so that the sync after a rollback fails.
   */
  #withDurable(use: (descriptor: number | null) => void): void {
    const descriptor = this.#durable
    if (descriptor !== undefined) return use(descriptor === 'opening' ? null : descriptor)
    if (durable >= DURABLE_MAX) return use(null)
    durable += 1
    this.#durable = 'opening'
    fs.open(again(this.#descriptor), DURABLE_FLAGS, (error, opened) => {
      if (error) durable -= 1
      this.#durable = error ? null : opened
      use(this.#durable)
    })
  }

  sync(): Promise<void> {
    return this.#run((done) => fs.fdatasync(this.#descriptor, done))
  }

  truncate(size: number): Promise<void> {
    return this.#run((done) => fs.ftruncate(this.#descriptor, size, done))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((idle) => (this.#onIdle = idle))
    if (typeof this.#durable === 'number') {
      durable -= 1
      const second = this.#durable
      await call<void>((done) => fs.close(second, done))
    }
    await call<void>((done) => fs.close(this.#descriptor, done))
  }

  #run<T>(start: (done: Done<T>) => void): Promise<T> {
    if (this.#closing) {
      return Promise.reject(Object.assign(new Error(`EBADF: ${this.#path} is closed`), { code: 'EBADF' }))
    }
    return call<T>((done) => {
      this.#underWay += 1
      const over: Done<T> = (error, value) => {
        this.#underWay -= 1
        if (this.#underWay === 0) this.#onIdle?.()
        done(error, value)
      }
      try {
        start(over)
      } catch (error) {
        over(error as Error)
      }
    })
  }
}

function call<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    start((error, value) => {
      if (error) reject(error)
      else resolve(value as T)
    })
  })
}

function readAll(descriptor: number, into: Buffer, from: number, position: number, done: Done<Buffer>): void {
  if (from === into.length) {
    done(null, into)
    return
  }
  fs.read(descriptor, into, from, into.length - from, position + from, (error, count) => {
    if (error) done(error)
    else if (count === 0) done(null, into.subarray(0, from))
    else readAll(descriptor, into, from + count, position, done)
  })
}

function writeAll(descriptor: number, bytes: Uint8Array, from: number, position: number, done: Done<void>): void {
  if (from === bytes.length) {
    done(null)
    return
  }
  fs.write(descriptor, bytes, from, bytes.length - from, position + from, (error, count) => {
    if (error) done(error)
    else if (count === 0) done(Object.assign(new Error('EIO: a write wrote nothing'), { code: 'EIO' }))
    else writeAll(descriptor, bytes, from + count, position, done)
  })
}

/** Room that is missing while syncing is no full disk to whoever wrote: it is in doubt what the file holds. */
function syncFailed(error: Error): Error {
  return Object.assign(new Error(`EIO: a sync failed: ${error.message}`, { cause: error }), { code: 'EIO' })
}

function syncDirectory(path: string, done: Done<void>): void {
  fs.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY, (openError, descriptor) => {
    if (openError) {
      done(openError)
      return
    }
    fs.fsync(descriptor, (syncError) => {
      fs.close(descriptor, (closeError) => done(syncError ?? closeError ?? null))
    })
  })
}
