/**
 * The coordinator in memory: it defines what the port means. Simulation and the broker inside a unit
 * test use it as it is; the SQLite store is this one with a journal that makes every commit durable
 * before anybody sees it, so that revisions, leases and watches exist once.
 *
 * Owns the entries, the revision (one higher with every commit that changed something), the leases and
 * the recent changes for watches. What must stay true: a commit is journalled, then visible, as a whole;
 * watches see commits in order, in a microtask of their own and so never from within a call.
 * Leases do not outlive the instance: what hung on them is removed when the next one starts.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Change, Coordinator, Entry, Guard, Write } from './coordinator.ts'
import { checkTransaction } from './transaction-rules.ts'

/** All that an instance leaves to the next one on the same store. */
export interface StoreContent {
  readonly revision: number
  readonly entries: readonly Entry[]
}

/** Where commits are kept durably. */
export interface Journal {
  /** The changes of one revision. Throws: nothing of them happened, or the process ends. */
  commit(revision: number, changes: readonly Change[]): void
  close(): void
}

export interface MemoryCoordinatorOptions {
  clock: Clock
  random: Random
  /** What an earlier instance left; empty when it is missing. */
  content?: StoreContent
  journal?: Journal
  /** Commits that a watch may lie behind before it is lost. */
  historyCount?: number
}

interface Lease {
  ttlMs: number
  /** In monotonic time; -Infinity once it has ended, though its keys may still have to go. */
  deadline: number
  timer: Timer
  readonly keys: Set<string>
}

interface Watcher {
  readonly prefix: string
  readonly on: { changes(changes: Change[]): void; lost(): void }
  seenRevision: number
  waking: boolean
}

const HISTORY_COUNT = 1000
/** When a lease's keys could not be removed (disk full), they are tried again. */
const RETRY_MS = 1000

export class MemoryCoordinator implements Coordinator {
  #clock: Clock
  #random: Random
  #journal: Journal | undefined
  #historyCount: number
  #entries = new Map<string, Entry>()
  #revision: number
  /** Changes of the revisions after `#forgotten`, one element a revision, at most `#historyCount`. */
  #history: Change[][] = []
  #forgotten: number
  #leases = new Map<string, Lease>()
  #watchers = new Set<Watcher>()
  #closed = false

  constructor(options: MemoryCoordinatorOptions) {
    this.#clock = options.clock
    this.#random = options.random
    this.#journal = options.journal
    this.#historyCount = options.historyCount ?? HISTORY_COUNT
    const { revision, entries } = options.content ?? { revision: 0, entries: [] }
    this.#revision = revision
    this.#forgotten = revision
    for (const entry of entries) this.#entries.set(entry.key, Object.freeze({ ...entry }))
    this.#commit(entries.filter(({ lease }) => lease !== null).map(({ key }) => ({ delete: key })))
  }

  /** What the next instance starts from. Entries do not change: sharing them is safe. */
  content(): StoreContent {
    return { revision: this.#revision, entries: this.#under('') }
  }

  async get(key: string): Promise<Entry | null> {
    this.#refuseClosed()
    return this.#entries.get(key) ?? null
  }

  async list(prefix: string): Promise<{ entries: Entry[]; revision: number }> {
    this.#refuseClosed()
    return { entries: this.#under(prefix), revision: this.#revision }
  }

  async transact(guards: readonly Guard[], writes: readonly Write[]): Promise<{ ok: boolean; revision: number }> {
    this.#refuseClosed()
    checkTransaction(guards, writes)
    if (!guards.every((guard) => this.#holds(guard))) return { ok: false, revision: this.#revision }
    for (const write of writes) {
      if ('put' in write && write.lease !== undefined && !this.#alive(write.lease)) {
        throw new TidingsError('conflict', `the lease of ${write.put} has ended; nothing was written`)
      }
    }
    return { ok: true, revision: this.#commit(writes) }
  }

  watch(prefix: string, afterRevision: number, on: Watcher['on']): { stop(): void } {
    this.#refuseClosed()
    const watcher: Watcher = { prefix, on, seenRevision: afterRevision, waking: false }
    this.#watchers.add(watcher)
    this.#wake(watcher)
    return { stop: () => void this.#watchers.delete(watcher) }
  }

  async grant(ttlMs: number): Promise<string> {
    this.#refuseClosed()
    const id = this.#random.id()
    const deadline = this.#clock.monotonic() + ttlMs
    const timer = this.#clock.after(ttlMs, () => this.#expire(id))
    this.#leases.set(id, { ttlMs, deadline, timer, keys: new Set() })
    return id
  }

  async keepAlive(lease: string): Promise<boolean> {
    this.#refuseClosed()
    if (!this.#alive(lease)) return false
    const kept = this.#leases.get(lease)!
    kept.deadline = this.#clock.monotonic() + kept.ttlMs
    return true
  }

  async revoke(lease: string): Promise<void> {
    this.#refuseClosed()
    this.#end(lease)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#watchers.clear()
    for (const { timer } of this.#leases.values()) timer.cancel()
    this.#journal?.close()
  }

  #refuseClosed(): void {
    if (this.#closed) throw new TidingsError('no_leader', 'the coordinator store is closed: this broker is stopping')
  }

  #under(prefix: string): Entry[] {
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix))
    return entries.sort((a, b) => compareAsUtf8(a.key, b.key))
  }

  #holds(guard: Guard): boolean {
    const entry = this.#entries.get(guard.key)
    return 'modRevision' in guard
      ? (entry?.modRevision ?? 0) === guard.modRevision
      : (entry?.createRevision ?? 0) === guard.createRevision
  }

  /** Journals and applies the writes, and answers the revision afterwards. */
  #commit(writes: readonly Write[]): number {
    const revision = this.#revision + 1
    const changes = writes.flatMap((write) => this.#changeOf(write, revision))
    if (changes.length === 0) return this.#revision
    this.#journal?.commit(revision, changes)
    this.#revision = revision
    for (const change of changes) this.#apply(change)
    this.#history.push(changes)
    if (this.#history.length > this.#historyCount) {
      this.#history.shift()
      this.#forgotten++
    }
    for (const watcher of this.#watchers) this.#wake(watcher)
    return revision
  }

  #changeOf(write: Write, revision: number): Change[] {
    if ('deleteUnder' in write) return this.#under(write.deleteUnder).map(({ key }) => ({ deleted: key, revision }))
    if ('delete' in write) return this.#entries.has(write.delete) ? [{ deleted: write.delete, revision }] : []
    const createRevision = this.#entries.get(write.put)?.createRevision ?? revision
    const lease = write.lease ?? null
    return [
      { put: Object.freeze({ key: write.put, value: write.value, createRevision, modRevision: revision, lease }) },
    ]
  }

  #apply(change: Change): void {
    const key = keyOf(change)
    const before = this.#entries.get(key)
    if (before?.lease) this.#leases.get(before.lease)?.keys.delete(key)
    if ('deleted' in change) {
      this.#entries.delete(key)
      return
    }
    this.#entries.set(key, change.put)
    if (change.put.lease) this.#leases.get(change.put.lease)?.keys.add(key)
  }

  #wake(watcher: Watcher): void {
    if (watcher.waking) return
    watcher.waking = true
    queueMicrotask(() => {
      watcher.waking = false
      if (this.#watchers.has(watcher)) this.#tell(watcher)
    })
  }

  #tell(watcher: Watcher): void {
    if (watcher.seenRevision < this.#forgotten) {
      this.#watchers.delete(watcher)
      watcher.on.lost()
      return
    }
    const fresh = this.#history.slice(watcher.seenRevision - this.#forgotten).flat()
    watcher.seenRevision = Math.max(watcher.seenRevision, this.#revision)
    const changes = fresh.filter((change) => keyOf(change).startsWith(watcher.prefix))
    if (changes.length > 0) watcher.on.changes(changes)
  }

  /** By its deadline, not by whether the timer had its turn yet. */
  #alive(id: string): boolean {
    const lease = this.#leases.get(id)
    return lease !== undefined && this.#clock.monotonic() < lease.deadline
  }

  /** Keep-alives only move the deadline: the timer finds out when it fires, and is set for the rest. */
  #expire(id: string): void {
    const lease = this.#leases.get(id)!
    const leftMs = lease.deadline - this.#clock.monotonic()
    if (leftMs > 0) {
      lease.timer = this.#clock.after(leftMs, () => this.#expire(id))
      return
    }
    try {
      this.#end(id)
    } catch {
      // The lease counts as gone already and its keys go at a later try: `#end` saw to that. A journal
      // that is beyond retrying has ended the process by itself.
    }
  }

  #end(id: string): void {
    const lease = this.#leases.get(id)
    if (!lease) return
    lease.timer.cancel()
    lease.deadline = Number.NEGATIVE_INFINITY
    try {
      this.#commit([...lease.keys].map((key) => ({ delete: key })))
      this.#leases.delete(id)
    } catch (error) {
      lease.timer = this.#clock.after(RETRY_MS, () => this.#expire(id))
      throw error
    }
  }
}

function keyOf(change: Change): string {
  return 'put' in change ? change.put.key : change.deleted
}

/** The order of the UTF-8 bytes, which is that of code points: UTF-16 puts surrogates too low. */
function compareAsUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i)
    const unitB = b.charCodeAt(i)
    if (unitA !== unitB) return rank(unitA) - rank(unitB)
  }
  return a.length - b.length
}

function rank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800
}
