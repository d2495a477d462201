/**
 * The Coordinator port: the small, strongly consistent store of who and what (topics,
 * subscriptions, nodes, keys), never of messages. The shape is etcd's: one revision counter for the
 * whole store, compare-and-set transactions guarded by the revisions of keys, leases for liveness,
 * watches as hints. On one node SQLite implements it; in a cluster etcd does.
 */

export interface Entry {
  key: string
  value: string
  /** Revision of the store at which the key was created (after its last deletion). */
  createRevision: number
  /** Revision of its last change: what compare-and-set guards. */
  modRevision: number
  /** The lease it hangs on, or null. */
  lease: string | null
}

/** 0 means: the key does not exist. */
export type Guard = { key: string; modRevision: number } | { key: string; createRevision: number }

export type Write =
  | { put: string; value: string; lease?: string }
  | { delete: string }

export type Change = { put: Entry } | { deleted: string; revision: number }

export interface Coordinator {
  get(key: string): Promise<Entry | null>
  /** All entries whose key starts with the prefix, by key; and the revision at which that was so. */
  list(prefix: string): Promise<{ entries: Entry[]; revision: number }>
  /**
   * All writes or none: they happen when every guard holds. A rejected promise means that the outcome
   * is unknown: read back. Durable when it resolves.
   */
  transact(guards: readonly Guard[], writes: readonly Write[]): Promise<{ ok: boolean; revision: number }>
  /**
   * Calls back with every change under the prefix after the revision, in order. A hint: it may come
   * late. `lost` says that changes were missed (compaction): list again and watch from there.
   */
  watch(prefix: string, afterRevision: number, on: { changes(changes: Change[]): void; lost(): void }): { stop(): void }
  /** A lease that ends `ttlMs` after its last keep-alive, with all the keys that hang on it. */
  grant(ttlMs: number): Promise<string>
  /** False: the lease is gone and must not be relied on. */
  keepAlive(lease: string): Promise<boolean>
  revoke(lease: string): Promise<void>
  close(): Promise<void>
}
