/**
 * What of a topic is committed, and who is in sync: the leader's decision about both (R5 to R8). Pure: events in, marks
 * and proposals out; `leader-feed.ts` feeds it, and the transaction is sent by whoever holds the leadership.
 *
 * Must stay true: a mark moves only over what the leader and every replica that *may* count as in sync have (R-HW):
 * those of the store, and those of a proposal from before it is sent until its outcome is known (R-SUPERSET). Nobody is
 * proposed who has not, in this epoch and on stable storage, all that is committed and all that the leader found
 * when the epoch began, under the registration that is valid now (R-EXPAND). The leader is never out. One proposal at a time.
 *
 * A replica that has nearly everything is waited for a moment before it is proposed (`holding`): under load the others would
 * else always be a little ahead. A message costs O(replicas); only what comes seldom looks at every log.
 */
import { assert } from '../base/invariant.ts'
import { CopyProgress } from './copy-progress.ts'

/** A replica that counts as in sync, under one registration. */
export interface InSyncReplica {
  node: string
  brokerEpoch: number
}

export interface InSyncOptions {
  me: InSyncReplica
  minInSync: number
  /** Who has not had everything for so long is out. */
  replicaLagMs: number
  /** Who may copy and come in. */
  replicas: readonly string[]
  /** As the store has them, the leader included. */
  inSync: readonly InSyncReplica[]
  now: number
}

/** Who had everything so lately is worth waiting for. */
const NEARLY_MS = 1000
/** And for so long at most; if that was in vain, not again for as long as `replicaLagMs`. */
const HOLD_MS = 1000

/** A replica that the marks wait for, though the store does not have it yet. */
interface Holding {
  since: number
  /** Logs in which it does not have what it needs yet: never grows but by new logs, since the marks wait. */
  short: number
}

interface Position {
  written: number
  durable: number
}

export class InSync {
  readonly #me: InSyncReplica
  #minInSync: number
  readonly #replicaLagMs: number
  readonly #followers = new Map<string, CopyProgress>()
  readonly #registrations = new Map<string, number | null>()
  readonly #local: Position[] = []
  readonly #marks: Position[] = []
  /** Where each log ended when the epoch, or the log, began. */
  readonly #epochStarts: number[] = []
  readonly #holding = new Map<string, Holding>()
  readonly #holdAgainAt = new Map<string, number>()
  #replicas: readonly string[]
  #inSync: readonly InSyncReplica[]
  #proposed: readonly InSyncReplica[] | null = null
  /** Followers without whom no mark moves. */
  #counted: readonly CopyProgress[] = []
  #moved = new Set<number>()
  /** Logs of which not all is committed yet that was there when the epoch began. */
  #uncommitted = 0

  constructor({ me, minInSync, replicaLagMs, replicas, inSync, now }: InSyncOptions) {
    this.#me = me
    this.#minInSync = minInSync
    this.#replicaLagMs = replicaLagMs
    this.#replicas = replicas
    this.#inSync = inSync
    for (const { node } of inSync) if (node !== me.node) this.#followers.set(node, new CopyProgress(node, 0, now))
    this.#recount()
  }

  /** As the store has them, as far as is known. */
  get inSync(): readonly InSyncReplica[] {
    return this.#inSync
  }

  /** So many must be in sync from now on. */
  setMinInSync(minInSync: number): void {
    this.#minInSync = minInSync
    this.#recount()
  }

  /** Enough are in sync to accept anything. */
  get isEnough(): boolean {
    return this.#inSync.length >= this.#minInSync
  }

  /** All that count have told where they are in every log, so that none of them misses one. */
  get isCopied(): boolean {
    return this.#counted.every(({ isConnected, isKnown }) => isConnected && isKnown)
  }

  /** Everything that was found when the epoch began is committed in it. */
  get isOpen(): boolean {
    return this.#uncommitted === 0
  }

  get followers(): ReadonlyMap<string, CopyProgress> {
    return this.#followers
  }

  /** A log of the topic; the answer is its number. `start`: what is below is committed, or nobody's any more. */
  addLog({ start, written, durable }: { start: number; written: number; durable: number }): number {
    const log = this.#local.push({ written, durable }) - 1
    this.#marks.push({ written: start, durable: start })
    this.#epochStarts.push(written)
    if (start < written) this.#uncommitted += 1
    for (const follower of this.#followers.values()) follower.addLog()
    for (const holding of this.#holding.values()) holding.short += 1
    this.#move(log)
    return log
  }

  /** Up to where the log is written, or on stable storage, wherever it has to be. */
  mark(log: number): Readonly<Position> {
    return this.#marks[log]!
  }

  /** The leader's own log has come so far; answers whether that moved a mark. */
  local(log: number, written: number, durable: number): boolean {
    const local = this.#local[log]!
    if (written <= local.written && durable <= local.durable) return false
    local.written = Math.max(local.written, written)
    local.durable = Math.max(local.durable, durable)
    return this.#move(log)
  }

  /** Logs whose marks have moved since this was asked last. */
  takeMoved(): ReadonlySet<number> {
    const moved = this.#moved
    if (moved.size > 0) this.#moved = new Set()
    return moved
  }

  isReplica(node: string): boolean {
    return node !== this.#me.node && this.#replicas.includes(node)
  }

  followed(node: string, brokerEpoch: number, now: number): void {
    assert(this.isReplica(node), `${node} is a replica`)
    let follower = this.#followers.get(node)
    if (!follower) {
      follower = new CopyProgress(node, this.#local.length, Number.NEGATIVE_INFINITY)
      this.#followers.set(node, follower)
    }
    follower.followed(brokerEpoch, this.#ends(), now)
    this.#release(node)
  }

  /** The follower has come so far with a log, and never goes back from it in this epoch. */
  progress(node: string, log: number, written: number, durable: number, now: number): void {
    const follower = this.#followers.get(node)
    const mark = this.#marks[log]
    if (!follower?.isConnected || !mark) return
    const holding = this.#holding.get(node)
    const wasShort = holding !== undefined && this.isShort(follower, log)
    const wasKnown = follower.isKnown
    follower.told(log, written, durable)
    if (durable < mark.durable && this.#mayCount(node, follower.brokerEpoch)) follower.hasLost = true
    if (wasShort && !this.isShort(follower, log)) holding.short -= 1
    if (this.#counted.includes(follower)) this.#move(log)
    if (!wasKnown && follower.isKnown) this.#considerHolding(follower, now)
  }

  /** Nothing comes from there any more until it follows again. */
  gone(node: string): void {
    this.#followers.get(node)?.gone()
    this.#release(node)
  }

  /** The broker epoch under which a broker is registered now; null: under none. */
  registered(node: string, brokerEpoch: number | null): void {
    this.#registrations.set(node, brokerEpoch)
    const follower = this.#followers.get(node)
    if (follower && follower.brokerEpoch !== brokerEpoch) this.#release(node)
  }

  /** Who may copy from now on; who is none of them any more is proposed out. */
  setReplicas(replicas: readonly string[]): void {
    this.#replicas = replicas
    for (const node of this.#holding.keys()) if (!this.isReplica(node)) this.#release(node)
  }

  tick(now: number): void {
    const ends = this.#ends()
    for (const [node, { since }] of this.#holding) {
      if (now - since < HOLD_MS) continue
      this.#holdAgainAt.set(node, now + this.#replicaLagMs)
      this.#release(node)
    }
    for (const follower of this.#followers.values()) {
      follower.look(ends, now)
      this.#considerHolding(follower, now)
    }
  }

  /**
   * The in-sync replicas that the store should have, when it should have others and no proposal is under way; they count
   * from now on, and until `settled`. An outcome that is unknown is settled by sending the same again under the same guards:
   * a reading of the old version proves nothing, since the first may still arrive.
   */
  propose(now: number): readonly InSyncReplica[] | null {
    if (this.#proposed) return null
    const staying = this.#inSync.filter((replica) => this.#stays(replica, now))
    const coming = [...this.#holding].filter(([, { short }]) => short === 0).map(([node]) => this.#replicaOf(node))
    const names = new Set(coming.map(({ node }) => node))
    const next = [...staying.filter(({ node }) => !names.has(node)), ...coming]
    if (isSame(next, this.#inSync)) return null
    this.#proposed = next
    for (const { node } of coming) {
      this.#holding.delete(node)
      this.#followers.get(node)!.hasLost = false
    }
    this.#recount()
    return next
  }

  /** What the store has, with no proposal of ours left that could still come. */
  settled(inSync: readonly InSyncReplica[]): void {
    this.#proposed = null
    this.#inSync = inSync
    this.#recount()
  }

  #replicaOf(node: string): InSyncReplica {
    return { node, brokerEpoch: this.#followers.get(node)!.brokerEpoch }
  }

  #stays({ node, brokerEpoch }: InSyncReplica, now: number): boolean {
    if (node === this.#me.node) return true
    const registered = this.#registrations.get(node)
    if (!this.isReplica(node) || (registered !== undefined && registered !== brokerEpoch)) return false
    const follower = this.#followers.get(node)
    return follower !== undefined && !follower.hasLost && now - follower.caughtUpAt <= this.#replicaLagMs
  }

  /** Whether the store may have it in sync under this registration. */
  #mayCount(node: string, brokerEpoch: number): boolean {
    const may = [...this.#inSync, ...(this.#proposed ?? [])]
    return may.some((replica) => replica.node === node && replica.brokerEpoch === brokerEpoch)
  }

  /** Lets the marks wait for a replica that is about to come in. */
  #considerHolding(follower: CopyProgress, now: number): void {
    const { node, brokerEpoch } = follower
    if (this.#holding.has(node) || !follower.isKnown || !this.isReplica(node)) return
    if (this.#registrations.get(node) !== brokerEpoch || this.#mayCount(node, brokerEpoch)) return
    const short = this.#local.reduce((sum, _, log) => sum + (this.isShort(follower, log) ? 1 : 0), 0)
    const isNear = now - follower.caughtUpAt <= NEARLY_MS && now >= (this.#holdAgainAt.get(node) ?? now)
    if (short > 0 && !isNear) return
    this.#holding.set(node, { since: now, short })
    this.#recount()
  }

  #release(node: string): void {
    if (this.#holding.delete(node)) this.#recount()
  }

  /** It lacks something of the log that an in-sync replica has. */
  isShort(follower: CopyProgress, log: number): boolean {
    const mark = this.#marks[log]!
    const least = Math.max(mark.durable, this.#epochStarts[log]!)
    return follower.durable(log) < least || follower.written(log) < mark.written
  }

  #ends(): number[] {
    return this.#local.map(({ written }) => written)
  }

  /** Without whom no mark moves: who may be in sync by the store, and who is about to come in. */
  counting(): Set<string> {
    const may = [...this.#inSync, ...(this.#proposed ?? [])].map(({ node }) => node)
    return new Set([...may, ...this.#holding.keys()])
  }

  /** Others count than before: finds out who, and what their positions allow. */
  #recount(): void {
    const nodes = this.counting()
    nodes.delete(this.#me.node)
    this.#counted = [...nodes].map((node) => this.#followers.get(node) ?? this.#stranger(node))
    for (let log = 0; log < this.#local.length; log++) this.#move(log)
  }

  /** In sync by the store and never heard of: nothing moves without it. */
  #stranger(node: string): CopyProgress {
    const follower = new CopyProgress(node, this.#local.length, Number.NEGATIVE_INFINITY)
    this.#followers.set(node, follower)
    return follower
  }

  /** Moves the marks of a log as far as they may go. */
  #move(log: number): boolean {
    if (!this.isEnough) return false
    let { written, durable } = this.#local[log]!
    for (const follower of this.#counted) {
      written = Math.min(written, follower.written(log))
      durable = Math.min(durable, follower.durable(log))
    }
    const mark = this.#marks[log]!
    if (written <= mark.written && durable <= mark.durable) return false
    const epochStart = this.#epochStarts[log]!
    if (mark.durable < epochStart && durable >= epochStart) this.#uncommitted -= 1
    mark.written = Math.max(mark.written, written)
    mark.durable = Math.max(mark.durable, durable)
    this.#moved.add(log)
    return true
  }
}

function isSame(a: readonly InSyncReplica[], b: readonly InSyncReplica[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ node, brokerEpoch }) => b.some((other) => other.node === node && other.brokerEpoch === brokerEpoch))
  )
}
