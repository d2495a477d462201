/**
 * A disk in memory that keeps no promise which it did not make: what was not synced may be lost, torn or
 * overtaken at a power cut, a file whose sync failed lies from then on, room runs out, operations take as
 * long as the driver likes. One SimDisk is one machine's disk; each life of the process gets its
 * view by `mount`, and a crash ends all views: operations on them never complete. All chance comes from
 * one seeded stream, so the same seed and driver give the same disk.
 *
 * It is the double of the Disk port for contract tests (`auto`) and for simulations (`manual`: see
 * sim-schedule.ts for how a driver picks what happens next, and can crash before and after it).
 */
import { crc32 } from 'node:zlib'
import { type Disk, type DiskFile, errorCode, type OpenMode, pathNames } from '../base/disk.ts'
import { assert } from '../base/invariant.ts'
import { type Fault, SimFaults } from './sim-faults.ts'
import { pickSurvival, SimFile, type Survival } from './sim-file.ts'
import { isWithin, SimDirectory, SimNames, type SimNode } from './sim-names.ts'
import type { SimRandom } from './sim-random.ts'
import { MORE, type PendingOperation, type PerformedOperation, SimSchedule, type Work } from './sim-schedule.ts'

export interface SimDiskOptions {
  random: SimRandom
  /** `auto` unless a driver says when each operation happens. */
  schedule?: 'auto' | 'manual'
  capacityBytes?: number
  /** Told every effect, in the order in which they happen: two runs of one seed tell the same. */
  journal?: (line: string) => void
}

/** From a mount to the next crash. */
interface Life {
  isOver: boolean
}

interface Effect<T> extends Work<T> {
  /** For the journal. */
  detail?: string
  /** What happens when a planned fault hits it, beyond the error. */
  fail?: (code: Fault['code']) => void
}

export class SimDisk {
  /** May be changed at any time; below what is used, nothing more can be written. */
  capacityBytes: number
  /** Syncs asked for after one on the same file or directory had failed, in one life: must stay empty. */
  readonly syncsAfterFailure = new Map<string, number>()
  /** How often each kind of operation took effect, and each kind of fault (`sync EIO`). */
  readonly counts = new Map<string, number>()
  readonly #names = new SimNames()
  readonly #faults = new SimFaults()
  readonly #schedule: SimSchedule
  readonly #random: SimRandom
  readonly #journal: ((line: string) => void) | undefined
  #life: Life = { isOver: false }
  #failedSyncs = new Set<SimNode>()
  #usedBytes = 0

  constructor(options: SimDiskOptions) {
    this.capacityBytes = options.capacityBytes ?? 2 ** 40
    this.#random = options.random.split('disk')
    this.#schedule = new SimSchedule(options.schedule ?? 'auto', options.random.split('schedule'))
    this.#journal = options.journal
  }

  /** The port for one life of the process. */
  mount(): Disk {
    const life = this.#life
    const run = <T>(kind: string, path: string, act: () => T | typeof MORE, detail?: string): Promise<T> =>
      this.#run(life, detail === undefined ? { kind, path, act } : { kind, path, act, detail })
    return {
      open: (path, mode) => run(mode === 'create' ? 'create' : 'open', path, () => this.#open(life, path, mode), mode),
      list: (path) => run('list', path, () => [...this.#directory('list', path).entries.keys()].sort()),
      makeDirectory: (path) =>
        run('makeDirectory', path, () => this.#create('makeDirectory', path, new SimDirectory())),
      rename: (from, to) => run('rename', from, () => this.#rename(from, to), `to ${to}`),
      remove: (path) => run('remove', path, () => this.#remove(path)),
      removeTree: (path) => run('removeTree', path, () => this.#removeOneBelow(path)),
      syncDirectory: async (path) => this.#syncDirectory(life, path),
      freeBytes: () => run('freeBytes', '', () => Math.max(0, this.capacityBytes - this.#usedBytes)),
    }
  }

  // What a driver does.

  /** Operations that were asked for and have not taken effect, oldest first. */
  get pending(): readonly PendingOperation[] {
    return this.#schedule.pending
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Lets one operation happen, chosen by the seed, and tells its asker; null when none is ready. */
  step(): PendingOperation | null {
    return this.#schedule.step()
  }

  /** Lets this one happen; its asker learns of it by `deliver`, so that a crash can come between. */
  perform(id: number): PerformedOperation | null {
    return this.#schedule.perform(id)
  }

  /** Matching operations are slow: they wait until the returned function is called, or until a crash. */
  stall(matches: (operation: PendingOperation) => boolean): () => void {
    return this.#schedule.stall(matches)
  }

  fail(fault: Fault): void {
    this.#faults.add(fault)
  }

  /** No planned fault happens any more; what past ones did to files stays. */
  heal(): void {
    this.#faults.clear()
  }

  /**
   * `process`: kill -9; all that took effect stays, some of what was under way takes effect too.
   * `power`: of that, only what was synced is sure to be there; the seed says what else is, or `survival`.
   */
  crash(kind: 'process' | 'power', survival?: Survival): void {
    this.#note(`crash ${kind}`)
    this.#schedule.abandon()
    this.#life.isOver = true
    this.#life = { isOver: false }
    this.#failedSyncs.clear()
    if (kind === 'power') {
      const everywhere = survival ?? (this.#random.chance(0.3) ? pickSurvival(this.#random) : undefined)
      const fate = (): Survival => everywhere ?? pickSurvival(this.#random)
      this.#names.crash(this.#random, fate())
      for (const [path, file] of this.#names.files()) {
        file.crash(this.#random, fate())
        this.#note(`left ${path} ${describe(file.durable())}`)
      }
    }
    this.#recount()
  }

  /** Damages a file where it lies, as a failing disk does. */
  flipBit(path: string, position: number, bit: number): void {
    const file = this.#find(path)
    assert(file?.kind === 'file', `${path} is a file`)
    file.flip(position, bit)
    this.#note(`flip ${path} ${position}.${bit}`)
  }

  // What a test sees without asking the port.

  /** The paths of all files, sorted. */
  files(): string[] {
    return this.#names.files().map(([path]) => path)
  }

  /** A file as programs see it now. */
  content(path: string): Buffer | null {
    const node = this.#find(path)
    return node?.kind === 'file' ? node.read(0, node.size) : null
  }

  /** What a power cut would leave of a file if nothing unsynced survived, its name included. */
  durableContent(path: string): Buffer | null {
    const node = this.#find(path, 'platter')
    return node?.kind === 'file' ? node.durable() : null
  }

  // What operations do.

  #run<T>(life: Life, effect: Effect<T>): Promise<T> {
    if (life.isOver) return new Promise<T>(() => undefined)
    const { kind, path } = effect
    const line = `${kind} ${path}${effect.detail === undefined ? '' : ` ${effect.detail}`}`
    const act = (): T | typeof MORE => {
      try {
        const code = this.#faults.hit(kind, path)
        if (code !== undefined) {
          effect.fail?.(code)
          this.#count(`${kind} ${code}`)
          throw diskError(code, kind, path)
        }
        const value = effect.act()
        this.#count(kind)
        this.#note(value === MORE ? `${line}: more` : line)
        return value
      } catch (error) {
        this.#note(`${line}: ${errorCode(error) ?? String(error)}`)
        throw error
      }
    }
    return this.#schedule.submit({ ...effect, act })
  }

  #open(life: Life, path: string, mode: OpenMode): DiskFile {
    assert(path !== '', 'the data directory itself is no file')
    if (mode === 'create') {
      const file = new SimFile()
      this.#create('create', path, file)
      return this.#handle(life, path, mode, file)
    }
    const node = this.#find(path)
    if (!node) throw diskError('ENOENT', 'open', path)
    if (node.kind === 'directory') throw diskError('EISDIR', 'open', path)
    return this.#handle(life, path, mode, node)
  }

  #handle(life: Life, path: string, mode: OpenMode, file: SimFile): DiskFile {
    let underWay = 0
    let closing: Promise<void> | null = null
    let onIdle: (() => void) | null = null
    const leave = (): void => {
      underWay -= 1
      if (underWay === 0) onIdle?.()
    }
    const run = <T>(effect: Omit<Effect<T>, 'path'>): Promise<T> => {
      const isWrite = effect.kind === 'write' || effect.kind === 'writeDurably' || effect.kind === 'truncate'
      if (closing || (isWrite && mode === 'read')) return Promise.reject(diskError('EBADF', effect.kind, path))
      underWay += 1
      const promise = this.#run(life, { ...effect, path })
      promise.then(leave, leave)
      return promise
    }
    const close = async (): Promise<void> => {
      if (underWay > 0) await new Promise<void>((resolve) => (onIdle = resolve))
      await this.#run(life, { kind: 'close', path, act: () => undefined })
    }
    return {
      size: () => run({ kind: 'size', act: () => file.size }),
      read: (position, length) =>
        run({ kind: 'read', detail: `${position}+${length}`, act: () => file.read(position, position + length) }),
      write: (position, bytes) =>
        run({
          kind: 'write',
          detail: `${position} ${describe(bytes)}`,
          act: () => this.#write(file, path, position, bytes, 'write'),
          tear: () => this.#writePart(file, position, bytes),
          fail: () => this.#writePart(file, position, bytes),
        }),
      writeDurably: (position, bytes) => {
        if (!closing) this.#noteSync(file, path)
        return run({
          kind: 'writeDurably',
          detail: `${position} ${describe(bytes)}`,
          act: () => this.#write(file, path, position, bytes, 'writeDurably'),
          tear: () => this.#writePart(file, position, bytes),
          fail: (code) => {
            this.#writePart(file, position, bytes)
            if (code === 'ENOSPC') return
            this.#failedSyncs.add(file)
            file.failSync(file.performed, this.#random)
          },
        })
      },
      truncate: (size) =>
        run({ kind: 'truncate', detail: String(size), act: () => this.#resize(file, () => file.truncate(size)) }),
      sync: () => {
        const issuedAt = file.performed
        if (!closing) this.#noteSync(file, path)
        return run({
          kind: 'sync',
          act: () => file.sync(issuedAt, this.#random),
          fail: () => {
            this.#failedSyncs.add(file)
            file.failSync(issuedAt, this.#random)
          },
        })
      },
      close: () => (closing ??= close()),
    }
  }

  #write(file: SimFile, path: string, position: number, bytes: Uint8Array, how: 'write' | 'writeDurably'): void {
    if (this.#fitting(file, position, bytes) < bytes.length) {
      this.#writePart(file, position, bytes)
      throw diskError('ENOSPC', how, path)
    }
    this.#resize(file, () => file[how](position, bytes))
  }

  /** The beginning of a write, of any length. */
  #writePart(file: SimFile, position: number, bytes: Uint8Array): void {
    const part = this.#random.integer(this.#fitting(file, position, bytes) + 1)
    this.#resize(file, () => file.write(position, bytes.subarray(0, part)))
  }

  /** How many of these bytes there is room for. */
  #fitting(file: SimFile, position: number, bytes: Uint8Array): number {
    const room = Math.max(0, this.capacityBytes - this.#usedBytes)
    const growth = Math.max(0, position + bytes.length - file.occupied)
    return growth <= room ? bytes.length : Math.max(0, bytes.length - (growth - room))
  }

  #resize(file: SimFile, change: () => void): void {
    const before = file.occupied
    change()
    this.#usedBytes += file.occupied - before
  }

  #recount(): void {
    this.#usedBytes = this.#names.files().reduce((sum, [, file]) => sum + file.occupied, 0)
  }

  #create(kind: string, path: string, node: SimNode): void {
    const place = this.#place(kind, path)
    if (place.directory.entries.has(place.name)) throw diskError('EEXIST', kind, path)
    this.#names.put(place, node)
  }

  #rename(fromPath: string, toPath: string): void {
    const from = this.#place('rename', fromPath)
    const to = this.#place('rename', toPath)
    const node = from.directory.entries.get(from.name)
    const target = to.directory.entries.get(to.name)
    if (!node) throw diskError('ENOENT', 'rename', fromPath)
    if (node === target) return
    if (node.kind === 'directory') {
      if (isWithin(to.directory, node)) throw diskError('EINVAL', 'rename', toPath)
      if (target?.kind === 'file') throw diskError('ENOTDIR', 'rename', toPath)
      if (target && target.entries.size > 0) throw diskError('ENOTEMPTY', 'rename', toPath)
    } else if (target?.kind === 'directory') throw diskError('EISDIR', 'rename', toPath)
    this.#names.move(from, to)
    this.#recount()
  }

  #remove(path: string): void {
    const place = this.#place('remove', path)
    const node = place.directory.entries.get(place.name)
    if (!node) throw diskError('ENOENT', 'remove', path)
    if (node.kind === 'directory') throw diskError('EISDIR', 'remove', path)
    this.#names.take(place)
    this.#recount()
  }

  /** One step of removing a tree: something in it that has nothing below it, at last the directory itself. */
  #removeOneBelow(path: string): undefined | typeof MORE {
    const top = this.#place('removeTree', path)
    const directory = this.#directory('removeTree', path)
    let place = top
    let node: SimNode = directory
    while (node.kind === 'directory' && node.entries.size > 0) {
      place = { directory: node, name: this.#random.pick([...node.entries.keys()].sort()) }
      node = node.entries.get(place.name)!
    }
    this.#names.take(place)
    this.#recount()
    return place === top ? undefined : MORE
  }

  #syncDirectory(life: Life, path: string): Promise<void> {
    const issuedAt = this.#names.performed
    const kind = 'syncDirectory'
    if (!life.isOver) this.#noteSync(this.#find(path), path)
    return this.#run(life, {
      kind,
      path,
      act: () => this.#names.sync(this.#directory(kind, path), issuedAt, this.#random),
      fail: () => this.#failedSyncs.add(this.#directory(kind, path)),
    })
  }

  #noteSync(node: SimNode | undefined, path: string): void {
    if (!node || !this.#failedSyncs.has(node)) return
    this.syncsAfterFailure.set(path, (this.syncsAfterFailure.get(path) ?? 0) + 1)
  }

  #find(path: string, view: 'entries' | 'platter' = 'entries'): SimNode | undefined {
    let node: SimNode | undefined = this.#names.root
    for (const name of pathNames(path)) node = node?.kind === 'directory' ? node[view].get(name) : undefined
    return node
  }

  #directory(kind: string, path: string): SimDirectory {
    const node = this.#find(path)
    if (!node) throw diskError('ENOENT', kind, path)
    if (node.kind === 'file') throw diskError('ENOTDIR', kind, path)
    return node
  }

  #place(kind: string, path: string): { directory: SimDirectory; name: string } {
    const names = pathNames(path)
    const name = names.pop()
    assert(name !== undefined, 'the root is not created, renamed or removed')
    return { directory: this.#directory(kind, names.join('/')), name }
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  #note(line: string): void {
    this.#journal?.(line)
  }
}

function describe(bytes: Uint8Array): string {
  return `${bytes.length}#${crc32(bytes).toString(16)}`
}

function diskError(code: string, kind: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${kind} '${path}'`), { code })
}
