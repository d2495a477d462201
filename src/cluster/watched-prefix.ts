/**
 * The entries under one prefix of the coordinator's store, decoded, kept by list and watch. A runner, four of which make
 * the cluster view. Listed anew when the watch is lost; while the store does not answer, what is known stays.
 *
 * What must stay true: of each key the newest revision that was seen counts, a deletion included, so that a list, a
 * read and a watch may overtake one another. Keys are kept by what follows the prefix.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Change, Coordinator, Entry } from './coordinator.ts'

export interface WatchedPrefixOptions<T> {
  prefix: string
  decode(entry: Entry): T
  coordinator: Coordinator
  clock: Clock
  logger: Logger
  /** Something under the prefix is not as it was. Called in the midst of things: do it later. */
  changed(): void
}

const RETRY_MS = 500

export class WatchedPrefix<T> {
  readonly values = new Map<string, T>()
  readonly #options: WatchedPrefixOptions<T>
  /** The revision at which each key was seen last: put, or deleted. Those of deleted keys go with the next list. */
  readonly #seen = new Map<string, number>()
  /** Of the newest list: what is not known and older than this was deleted before. */
  #listedAt = 0
  #changedKeys = new Set<string>()
  #watch: { stop(): void } | null = null
  #retry: Timer | null = null
  #listed: Promise<void> | null = null
  #stopped = false
  #isAway = false
  #started: (() => void) | null = null

  constructor(options: WatchedPrefixOptions<T>) {
    this.#options = options
  }

  /** Resolves after the first list; until the store answers it is asked again and again. */
  async start(): Promise<void> {
    const started = new Promise<void>((resolve) => {
      this.#started = resolve
    })
    this.#follow()
    await started
  }

  stop(): void {
    this.#stopped = true
    this.#watch?.stop()
    this.#watch = null
    this.#retry?.cancel()
    this.#started?.()
  }

  /** All keys as they are now. Rejects when the store does not answer. Several at once share one request. */
  list(): Promise<void> {
    this.#listed ??= this.#list().finally(() => {
      this.#listed = null
    })
    return this.#listed
  }

  /** One key as it is now. Rejects when the store does not answer. */
  async read(key: string): Promise<void> {
    const entry = await this.#options.coordinator.get(key)
    if (this.#stopped) return
    const name = this.#nameOf(key)
    if (entry) this.#put(entry)
    else if (this.values.has(name)) this.#remove(name, this.#seen.get(name)!)
  }

  /** What changed since it was asked last. */
  takeChanged(): ReadonlySet<string> {
    const changed = this.#changedKeys
    this.#changedKeys = new Set()
    return changed
  }

  #follow(): void {
    const { logger, clock, prefix } = this.#options
    this.#list().then(
      () => {
        this.#isAway = false
        this.#started?.()
      },
      (error: unknown) => {
        if (this.#stopped) return
        if (!this.#isAway) logger.warn({ err: error, prefix }, 'the coordinator store does not answer: asking again')
        this.#isAway = true
        this.#retry = clock.after(RETRY_MS, () => this.#follow())
      },
    )
  }

  async #list(): Promise<void> {
    const { coordinator, prefix } = this.#options
    const { entries, revision } = await coordinator.list(prefix)
    if (this.#stopped) return
    const there = new Set<string>()
    for (const entry of entries) {
      there.add(this.#nameOf(entry.key))
      this.#put(entry)
    }
    for (const [name, seen] of this.#seen) {
      if (there.has(name) || seen > revision) continue
      if (this.values.has(name)) this.#remove(name, revision)
      this.#seen.delete(name)
    }
    this.#listedAt = Math.max(this.#listedAt, revision)
    if (this.#watch) return
    this.#watch = coordinator.watch(prefix, revision, {
      changes: (changes) => this.#apply(changes),
      lost: () => {
        this.#watch = null
        if (!this.#stopped) this.#follow()
      },
    })
  }

  #apply(changes: Change[]): void {
    if (this.#stopped) return
    for (const change of changes) {
      if ('put' in change) this.#put(change.put)
      else this.#remove(this.#nameOf(change.deleted), change.revision)
    }
  }

  #put(entry: Entry): void {
    const name = this.#nameOf(entry.key)
    if ((this.#seen.get(name) ?? this.#listedAt) >= entry.modRevision) return
    this.#seen.set(name, entry.modRevision)
    try {
      this.values.set(name, this.#options.decode(entry))
    } catch (error) {
      this.values.delete(name)
      this.#options.logger.error({ err: error, key: entry.key }, 'an entry of the coordinator store cannot be used')
    }
    this.#note(name)
  }

  #remove(name: string, revision: number): void {
    if ((this.#seen.get(name) ?? 0) > revision) return
    this.#seen.set(name, revision)
    if (this.values.delete(name)) this.#note(name)
  }

  #note(name: string): void {
    this.#changedKeys.add(name)
    this.#options.changed()
  }

  #nameOf(key: string): string {
    return key.slice(this.#options.prefix.length)
  }
}
