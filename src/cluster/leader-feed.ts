/**
 * One topic's copying as its leader sees it, from the begin of its leader epoch to the end: takes followers on, sends them
 * what is appended, keeps the account of who has what (in-sync.ts), and tells partitions what of their logs is committed
 * (the `Term` and `Quorum` of src/partition). A runner; whoever holds the leadership makes it, sends its proposals to
 * the store, and opens the topic to clients when `ready` has resolved.
 *
 * Must stay true: another epoch than its own is refused, in both directions (R1); after `end`, and while the lease is not
 * held, nothing is admitted and `holds` is false.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Log } from '../log/log.ts'
import type { LogName, Quorum, Term } from '../partition/quorum.ts'
import type { Follow } from './copy-frames.ts'
import { CopySession, type FedLog, type FeedLink, type SourceLog } from './copy-session.ts'
import { InSync, type InSyncReplica } from './in-sync.ts'

export interface LeaderFeedOptions {
  topicId: string
  epoch: number
  me: InSyncReplica
  /** As the store has them now. */
  inSync: readonly InSyncReplica[]
  /** Who may copy: the replicas, and those that are to become some. */
  replicas: readonly string[]
  minInSync: number
  replicaLagMs: number
  clock: Clock
  logger: Logger
  /** Whether this broker's lease is held at this moment. */
  holds(): boolean
  /** The store should have these in sync: a transaction, and `settled` when its outcome is known for good. */
  propose(inSync: readonly InSyncReplica[]): void
  /** A broker knows a newer epoch: read the store again. */
  newerEpoch(epoch: number): void
  /** A log of this broker cannot be read: it must not lead the topic. */
  damaged(log: LogName, error: unknown): void
}

export type SourceOfTerm = SourceLog & Pick<Log, 'durableOffset'>

/** How often it looks who lags and what has been let go of, and how soon a mark is told that no batch takes along. */
const TICK_MS = 500
const MARKS_MS = 50

class TopicLog implements FedLog, Quorum {
  readonly name: LogName
  readonly number: number
  log: SourceLog
  readonly #feed: LeaderFeed
  readonly #inSync: InSync
  readonly #listeners = new Set<() => void>()
  /** Somebody was answered less than there is here, since the listeners were called last. */
  #isAwaited = false

  constructor(feed: LeaderFeed, inSync: InSync, name: LogName, log: SourceOfTerm) {
    this.#feed = feed
    this.#inSync = inSync
    this.name = name
    this.log = log
    const { startOffset: start, nextOffset: written, durableOffset: durable } = log
    this.number = inSync.addLog({ start, written, durable })
  }

  get mark(): number {
    return this.#inSync.mark(this.number).durable
  }

  get keeper(): number | null {
    return this.#feed.keeperOf(this.name)
  }

  admit(): void {
    this.#feed.admit()
  }

  written(local: number): number {
    this.#feed.local(this.number, local, 0)
    return this.#answer(local, this.#inSync.mark(this.number).written)
  }

  durable(local: number): number {
    this.#feed.local(this.number, local, local)
    return this.#answer(local, this.#inSync.mark(this.number).durable)
  }

  #answer(local: number, mark: number): number {
    if (mark < local) this.#isAwaited = true
    return this.#feed.counts(local, mark)
  }

  appended(): void {
    this.#feed.appended(this.number, this.log.nextOffset)
  }

  onMove(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  get holds(): boolean {
    return this.#feed.holds
  }

  moved(isSurely: boolean): void {
    if (!this.#isAwaited && !isSurely) return
    this.#isAwaited = false
    for (const listener of this.#listeners) listener()
  }
}

export class LeaderFeed implements Term {
  readonly isCopied = true
  readonly topicId: string
  readonly epoch: number
  readonly #options: LeaderFeedOptions
  readonly #inSync: InSync
  readonly #logs: TopicLog[] = []
  readonly #byName = new Map<LogName, TopicLog>()
  readonly #sessions = new Map<string, CopySession>()
  #waiting: { isSo: () => boolean; resolve: () => void; reject: (error: TidingsError) => void }[] = []
  #isTurning = false
  #isHeldAgain = false
  #isBegun = false
  #isOver = false
  #tick: Timer | null = null
  #marks: Timer | null = null

  constructor(options: LeaderFeedOptions) {
    const { topicId, epoch, me, inSync, replicas, minInSync, replicaLagMs, clock } = options
    this.#options = options
    this.topicId = topicId
    this.epoch = epoch
    this.#inSync = new InSync({ me, inSync, replicas, minInSync, replicaLagMs, now: clock.monotonic() })
  }

  /**
   * Resolves when everything is committed in this epoch that was found in the logs that were named until then; rejects
   * when the leadership ends first.
   */
  ready(): Promise<void> {
    return this.#until(() => this.#inSync.isOpen)
  }

  /** Resolves when all that count as in sync have all logs that were named until then, empty ones too; rejects as `ready`. */
  copied(): Promise<void> {
    return this.#until(() => this.#inSync.isCopied)
  }

  #until(isSo: () => boolean): Promise<void> {
    if (this.#isOver) return Promise.reject(overError())
    if (this.#isBegun && isSo()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiting.push({ isSo, resolve, reject })
      this.#changed()
    })
  }

  /** What the store has, and who is how far: to be shown. */
  get inSync(): InSync {
    return this.#inSync
  }

  /** After every log that the topic has here was named by `quorum`: from now on others may follow. */
  begin(): void {
    if (this.#isBegun || this.#isOver) return
    this.#isBegun = true
    this.#beat()
    this.#changed()
  }

  /**
   * The quorum of a log, which is added when it is new. Asked again when the log is opened anew: from then on that one
   * is read.
   */
  quorum(name: LogName, log: SourceOfTerm): Quorum {
    const known = this.#byName.get(name)
    if (known) {
      known.log = log
      return known
    }
    const added = new TopicLog(this, this.#inSync, name, log)
    this.#logs.push(added)
    this.#byName.set(name, added)
    for (const session of this.#sessions.values()) session.logAdded()
    this.#changed()
    return added
  }

  /** Lease held, term not over. */
  get holds(): boolean {
    return !this.#isOver && this.#options.holds()
  }

  admit(): void {
    if (!this.holds) {
      throw overError()
    }
    if (this.#inSync.isEnough) return
    const { inSync } = this.#inSync
    throw new TidingsError(
      'not_enough_replicas',
      `${inSync.length} replicas of the topic are in sync, fewer than it must have to take anything in: ` +
        `look after the brokers that hold the others (in sync: ${inSync.map(({ node }) => node).join(', ')})`,
    )
  }

  /** The lease is held again. */
  heldAgain(): void {
    this.#isHeldAgain = true
    this.#changed()
  }

  /** The log that keeps what is remembered of another when its segments go; it may come into being later. */
  keeperOf(name: LogName): number | null {
    if (!name.endsWith('/data')) return null
    return this.#byName.get(name.replace(/data$/, 'remembered'))?.number ?? null
  }

  /** What of a log counts: never more than is there, nor than is marked. */
  counts(local: number, mark: number): number {
    return Math.min(local, mark)
  }

  /** Only called by the logs' quorums. */
  local(log: number, written: number, durable: number): void {
    if (!this.#isOver && this.#inSync.local(log, written, durable)) this.#changed()
  }

  appended(log: number, end: number): void {
    this.#inSync.local(log, end, 0)
    for (const session of this.#sessions.values()) session.appended(log)
    this.#changed()
  }

  /** A broker asks to follow: the session that its frames go to, or null when it was told that it may not. */
  follow(node: string, follow: Follow, link: FeedLink): CopySession | null {
    const { topicId, clock } = this.#options
    const refuse = (detail: string): null => {
      link.send({ type: 'fenced', stream: follow.stream, epoch: this.epoch, detail })
      return null
    }
    if (this.#isOver || !this.#isBegun) return refuse('the topic is not led here at the moment')
    if (!this.isOfEpoch(follow.epoch)) {
      if (follow.epoch > this.epoch) this.#options.newerEpoch(follow.epoch)
      return refuse(`the topic is in leader epoch ${this.epoch} here, not ${follow.epoch}`)
    }
    if (!this.#inSync.isReplica(node)) return refuse(`${node} is no replica of topic ${topicId}`)
    this.#sessions.get(node)?.end('it follows anew')
    this.#inSync.followed(node, follow.brokerEpoch, clock.monotonic())
    const session: CopySession = new CopySession({
      node,
      epoch: this.epoch,
      follow,
      logs: this.#logs,
      link,
      clock,
      progress: (log, written, durable) => {
        this.#inSync.progress(node, log, written, durable, clock.monotonic())
        this.#changed()
      },
      ended: (why) => {
        this.#options.logger.info({ topicId, node, why }, 'a follower was told that its stream is over')
        this.left(session)
      },
      damaged: (log, error) => this.#options.damaged(log, error),
    })
    this.#sessions.set(node, session)
    this.#changed()
    return session
  }

  /** R1, in both directions. */
  isOfEpoch(epoch: number): boolean {
    return epoch === this.epoch
  }

  /** The stream of a session is over. */
  left(session: CopySession): void {
    session.closed()
    if (this.#sessions.get(session.node) !== session) return
    this.#sessions.delete(session.node)
    this.#inSync.gone(session.node)
    this.#changed()
  }

  /** Under which broker epoch a broker is registered; null: it is not. */
  registered(node: string, brokerEpoch: number | null): void {
    this.#inSync.registered(node, brokerEpoch)
    this.#changed()
  }

  /** What the store has in sync, with no proposal left that could still come: see in-sync.ts. */
  settled(inSync: readonly InSyncReplica[]): void {
    this.#inSync.settled(inSync)
    this.#changed()
  }

  configured({ minInSyncReplicas }: { readonly minInSyncReplicas: number }): void {
    this.#inSync.setMinInSync(minInSyncReplicas)
    this.#changed()
  }

  setReplicas(replicas: readonly string[]): void {
    this.#inSync.setReplicas(replicas)
    for (const [node, session] of this.#sessions) if (!this.#inSync.isReplica(node)) session.end('it is no replica')
    this.#changed()
  }

  /** The leadership is over: nothing is said for the topic any more, and followers go elsewhere. */
  end(why: string): void {
    this.#isOver = true
    for (const { reject } of this.#waiting.splice(0)) reject(overError())
    this.#tick?.cancel()
    this.#marks?.cancel()
    for (const session of this.#sessions.values()) session.end(why)
    this.#sessions.clear()
  }

  /** Something may have moved: looks at the end of the turn, once for all that happened in it. */
  #changed(): void {
    if (this.#isTurning || this.#isOver) return
    this.#isTurning = true
    this.#options.clock.soon(() => {
      this.#isTurning = false
      if (!this.#isOver) this.#turn()
    })
  }

  #turn(): void {
    const next = this.#isBegun ? this.#inSync.propose(this.#options.clock.monotonic()) : null
    if (next) this.#options.propose(next)
    const moved = this.#inSync.takeMoved()
    if (moved.size > 0) this.#tellMarksSoon(moved)
    if (this.#isBegun && this.#waiting.length > 0) this.#wake()
    const isHeldAgain = this.#isHeldAgain
    this.#isHeldAgain = false
    if (isHeldAgain) for (const log of this.#logs) log.moved(true)
    else for (const log of moved) this.#logs[log]!.moved(false)
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = waiting.filter(({ isSo }) => !isSo())
    for (const one of waiting) if (!this.#waiting.includes(one)) one.resolve()
  }

  #tellMarksSoon(moved: ReadonlySet<number>): void {
    for (const session of this.#sessions.values()) for (const log of moved) session.marked(log)
    this.#marks ??= this.#options.clock.after(MARKS_MS, () => {
      this.#marks = null
      for (const session of this.#sessions.values()) session.tellMarks()
    })
  }

  #beat(): void {
    const { clock } = this.#options
    this.#tick = clock.after(TICK_MS, () => {
      this.#inSync.tick(clock.monotonic())
      for (const session of this.#sessions.values()) session.tellMarks()
      this.#changed()
      this.#beat()
    })
  }
}

function overError(): TidingsError {
  return new TidingsError('no_leader', 'this broker does not lead the topic any more: another will in a moment')
}
