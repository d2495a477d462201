/**
 * The Coordinator port: the small, strongly consistent store of who and what (topics,
 * subscriptions, nodes, keys), never of messages. The shape is etcd's: one revision counter for the
 * whole store, compare-and-set transactions guarded by the revisions of keys, leases for liveness,
 * watches as hints. On one node SQLite implements it; in a cluster etcd does. The memory one defines
 * its meaning, and the suite in test/contract/coordinator.ts holds all of them to it.
 */

export interface Entry {
  readonly key: string
  readonly value: string
  /** Revision of the store at which the key was created (after its last deletion). */
  readonly createRevision: number
  /** Revision of its last change: what compare-and-set guards. */
  readonly modRevision: number
  /** The lease it hangs on, or null. */
  readonly lease: string | null
}

/** 0 means: the key does not exist. */
export type Guard = { key: string; modRevision: number } | { key: string; createRevision: number }

/**
 * A put without a lease takes the key off the lease that it hung on; deleting a missing key does nothing.
 * `deleteUnder` deletes every key that starts with the prefix, however many there are at that moment.
 */
export type Write = { put: string; value: string; lease?: string } | { delete: string } | { deleteUnder: string }

export type Change = { put: Entry } | { deleted: string; revision: number }

/** What was asked is rejected with `no_leader` when the store could not be asked, or did not answer a read in time. */
export interface Coordinator {
  get(key: string): Promise<Entry | null>
  /**
   * All entries whose key starts with the prefix, ordered by the UTF-8 bytes of the key; and the
   * revision at which that was so.
   */
  list(prefix: string): Promise<{ entries: Entry[]; revision: number }>
  /**
   * All writes or none: they happen when every guard holds; `revision` is then the modRevision of what
   * was put. At most one write a key, and not more than `transaction-rules.ts` lets pass
   * (`invalid_argument`). Durable when it resolves.
   * Rejected with a TidingsError: nothing was written (`storage_full`, `no_leader`, `conflict` for a lease
   * that is gone). Rejected with anything else: the outcome is unknown, and it may
   * even happen later; read back.
   */
  transact(guards: readonly Guard[], writes: readonly Write[]): Promise<{ ok: boolean; revision: number }>
  /**
   * Calls back with every change under the prefix after the revision, in order, never from within
   * another call. A hint: it may come late. `lost` says that changes were missed (compaction) and ends
   * the watch: list again and watch from there. The callbacks must not throw.
   */
  watch(prefix: string, afterRevision: number, on: { changes(changes: Change[]): void; lost(): void }): { stop(): void }
  /**
   * A lease that ends with all the keys that hang on it, `ttlMs` after its last keep-alive or some time later,
   * never earlier.
   */
  grant(ttlMs: number): Promise<string>
  /**
   * True: it lives on for its whole time, counted from the moment of the call (not of the answer, which may have
   * been long on its way). False: the lease is gone and must not be relied on. Rejected: nobody knows.
   */
  keepAlive(lease: string): Promise<boolean>
  /** Ends the lease now, with its keys; one that is gone already is no error. */
  revoke(lease: string): Promise<void>
  /** Stops watches and leases' timers; what is asked afterwards is rejected with `no_leader`. */
  close(): Promise<void>
}
