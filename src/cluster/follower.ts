/**
 * Copies one topic from the broker that leads it, in one leader epoch: follows, cuts what does not agree, writes what comes,
 * tells how far it is. A runner over the topic's files and the links to others; made anew for each epoch and leader.
 *
 * Must stay true: the epoch is remembered durably before anything is said in it, and one below the highest ever
 * remembered is not followed (R1, R-EPOCH); nothing is told durable that no sync covers; files are cut only to where they
 * agree with this epoch's leader, and not below what is known to be committed (R-TRUNC): else they are left alone and the
 * replica leaves service. After `stop` the files are at rest.
 *
 * Its life: connecting → reconciling (from the link's opening to the first progress) → copying → … and back to
 * connecting when the link or the stream ends; quarantined or stopped at last.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Latch } from '../base/latch.ts'
import type { Logger } from '../base/telemetry.ts'
import { CorruptionError } from '../log/log-recovery.ts'
import { RecordBatch } from '../log/record-batch.ts'
import type { LogName } from '../partition/quorum.ts'
import { type Append, type BeginLog, type CopyFrame, type Following, type Marks, splitBatches } from './copy-frames.ts'
import { type Cut, cutOf, type LogShape, NO_LOG } from './copy-plan.ts'
import { LogCopier } from './log-copier.ts'
import type { DialedLink, Peer, PeerLinks, PeerStream } from './peer-links.ts'
import type { Replica, ReplicaLog } from './replica.ts'

export type FollowerState = 'connecting' | 'reconciling' | 'copying' | 'quarantined' | 'stopped'

export interface FollowerOptions {
  topicId: string
  epoch: number
  leader: Peer
  replica: Replica
  links: PeerLinks
  clock: Clock
  random: Random
  latch: Latch
  logger: Logger
  /** Under which this broker is registered now, null: under none, and it does not follow. */
  brokerEpoch(): number | null
  /** The leadership came about by losing records on purpose: what counts as committed may be cut. */
  isUnclean?: boolean
  /** Somebody is in another epoch than the store said: read it again. It goes on trying meanwhile. */
  fenced(epoch: number): void
  /** The files are damaged or contradict what was promised: they are left alone, and this replica must leave service. */
  quarantined(log: LogName | null, reason: string): void
}

const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 2000
/** A stream that held for so long was a good one: the next pause is short again. */
const GOOD_MS = 5000
/** A leader that sends more than was asked for does not keep to the protocol. */
const QUEUED_BYTES_MAX = 64 * 1_048_576

/** From the opening of a stream to its end. */
interface Attempt {
  stream: PeerStream
  link: DialedLink
  isOver: boolean
  copiers: LogCopier[]
  /** What of each log, by number, is to be told. */
  untold: Set<number>
  isTelling: boolean
}

export class Follower {
  readonly #options: FollowerOptions
  readonly #committed = new Map<LogName, number>()
  #state: FollowerState = 'connecting'
  #stopUsing: (() => void) | null = null
  #link: DialedLink | null = null
  #attempt: Attempt | null = null
  /** Work on the files, one after the other: attempts do not overlap. */
  #work: Promise<void> = Promise.resolve()
  #retry: Timer | null = null
  #failures = 0
  #copyingSince = Number.POSITIVE_INFINITY

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  get state(): FollowerState {
    return this.#state
  }

  /** What is known to be committed of a log, since this follower began. */
  committed(log: LogName): number {
    return this.#committed.get(log) ?? 0
  }

  start(): void {
    this.#stopUsing = this.#options.links.use(this.#options.leader, {
      opened: (link) => {
        this.#link = link
        this.#begin()
      },
      closed: () => {
        this.#link = null
        this.#end()
      },
    })
  }

  /** This broker is registered anew: follows again under that registration. */
  reregistered(): void {
    this.#end()
    this.#begin()
  }

  /** Resolves when the files are at rest: nothing is written, synced or cut any more, and nothing said. */
  async stop(): Promise<void> {
    if (this.#state !== 'quarantined') this.#state = 'stopped'
    this.#leave()
    await this.#work
  }

  #leave(): void {
    this.#stopUsing?.()
    this.#stopUsing = null
    this.#link = null
    this.#retry?.cancel()
    this.#end('it follows no longer')
  }

  get #isOver(): boolean {
    return this.#state === 'stopped' || this.#state === 'quarantined' || this.#options.latch.tripped
  }

  /** Begins to follow on the link that is up, once what went before has ended. */
  #begin(): void {
    this.#retry?.cancel()
    this.#retry = null
    const link = this.#link
    if (!link || this.#attempt || this.#isOver) return
    const attempt: Attempt = {
      stream: link.openStream((frame) => this.#heard(attempt, frame)),
      link,
      isOver: false,
      copiers: [],
      untold: new Set(),
      isTelling: false,
    }
    this.#attempt = attempt
    this.#state = 'reconciling'
    this.#do(attempt, () => this.#follow(attempt))
  }

  /** The stream is over: what is not written yet is forgotten. */
  #end(farewell?: string): void {
    const attempt = this.#attempt
    if (!attempt) return
    this.#attempt = null
    attempt.isOver = true
    if (farewell !== undefined) attempt.stream.send({ type: 'end', stream: attempt.stream.number, detail: farewell })
    attempt.stream.close()
    this.#work = this.#work.then(async () => {
      await Promise.all(attempt.copiers.map((copier) => copier.drop()))
    })
    if (!this.#isOver) this.#state = 'connecting'
  }

  /** Runs work on the files after what went before, if the attempt still stands. */
  #do(attempt: Attempt, work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (attempt.isOver) return
      try {
        await work()
      } catch (error) {
        this.#failed(attempt, null, error)
      }
    })
  }

  async #follow(attempt: Attempt): Promise<void> {
    const { replica, epoch, topicId } = this.#options
    const brokerEpoch = this.#options.brokerEpoch()
    if (!this.mayFollow(epoch)) {
      this.#options.fenced(replica.seenEpoch)
      return this.#tryLater(attempt, 'its epoch is older than one that was seen')
    }
    if (brokerEpoch === null) return this.#tryLater(attempt, 'this broker is not registered')
    await replica.beginEpoch(epoch)
    await Promise.all([...replica.logs.values()].map(settled))
    if (attempt.isOver || this.#isOver) return
    const logs = [...replica.logs].map(([name, log]) => ({ name, ...shapeOf(log) }))
    attempt.stream.send({ type: 'follow', stream: attempt.stream.number, epoch, brokerEpoch, topicId, logs })
  }

  /** R-EPOCH: whether an epoch is not below what was ever seen. */
  mayFollow(epoch: number): boolean {
    return epoch >= this.#options.replica.seenEpoch
  }

  /** R1: what is said in another epoch is not for this follower. */
  isOfEpoch(epoch: number): boolean {
    return epoch === this.#options.epoch
  }

  /** No leader has batches of an epoch after its own. */
  isToCome(epoch: number): boolean {
    return epoch > this.#options.epoch
  }

  #heard(attempt: Attempt, frame: CopyFrame): void {
    if (attempt.isOver || this.#isOver) return
    if ('epoch' in frame && frame.type !== 'fenced' && !this.isOfEpoch(frame.epoch)) {
      return attempt.link.break(`a ${frame.type} of epoch ${frame.epoch} in epoch ${this.#options.epoch}`)
    }
    switch (frame.type) {
      case 'following':
        return this.#do(attempt, () => this.#reconcile(attempt, frame))
      case 'append':
        return this.#append(attempt, frame)
      case 'marks':
        return this.#marks(attempt, frame)
      case 'begin-log':
        return this.#do(attempt, () => this.#beginLog(attempt, frame))
      case 'fenced':
        this.#options.fenced(frame.epoch)
        return this.#tryLater(attempt, frame.detail)
      case 'end':
        return this.#tryLater(attempt, frame.detail)
      case 'follow':
      case 'progress':
        return attempt.link.break(`a leader says no ${frame.type}`)
    }
  }

  /** Cuts every log to where it agrees with the leader's, and tells what is left. */
  async #reconcile(attempt: Attempt, { logs }: Following): Promise<void> {
    const { replica, isUnclean } = this.#options
    const led = new Map(logs.map((log) => [log.name, log]))
    const plan: [LogName, Cut][] = []
    for (const [name, log] of replica.logs) {
      const committed = isUnclean ? 0 : this.committed(name)
      plan.push([name, this.cutOf(shapeOf(log), led.get(name) ?? NO_LOG, committed)])
    }
    // All or nothing: a replica that contradicts its leader in one log is not to be touched in any.
    for (const [name, cut] of plan) if (cut.kind === 'refuse') return this.#quarantine(name, cut.why)
    for (const [name, cut] of plan) {
      const log = replica.logs.get(name)!
      if (cut.kind === 'truncate') await log.truncate(cut.to)
      else if (cut.kind === 'restart') await log.restart(cut.at)
      if (attempt.isOver) return
    }
    for (const { name, start, mark } of logs) {
      const log = replica.logs.get(name) ?? (await replica.createLog(name, start))
      if (attempt.isOver) return
      this.#learn(name, mark)
      this.#copy(attempt, name, log)
    }
    this.#state = 'copying'
    this.#copyingSince = this.#options.clock.monotonic()
  }

  /** What is to be cut from a log; apart so that one place says it. */
  cutOf(mine: LogShape, theirs: LogShape, committed: number): Cut {
    return cutOf(mine, theirs, committed)
  }

  async #beginLog(attempt: Attempt, { log: number, name, start }: BeginLog): Promise<void> {
    if (number !== attempt.copiers.length) return attempt.link.break(`log ${number} begins out of order`)
    const { replica } = this.#options
    const known = replica.logs.get(name)
    if (known && known.nextOffset !== start) await known.restart(start)
    const log = known ?? (await replica.createLog(name, start))
    if (!attempt.isOver) this.#copy(attempt, name, log)
  }

  #copy(attempt: Attempt, name: LogName, log: ReplicaLog): void {
    const number = attempt.copiers.length
    attempt.copiers.push(
      new LogCopier(name, log, {
        moved: () => this.#tell(attempt, number),
        failed: (error) => this.#failed(attempt, name, error),
      }),
    )
    this.#tell(attempt, number)
  }

  #append(attempt: Attempt, { log: number, mark, batches }: Append): void {
    const copier = attempt.copiers[number]
    if (!copier) return attempt.link.break(`an append to log ${number}, which has not begun`)
    if (copier.queuedBytes > QUEUED_BYTES_MAX) return attempt.link.break('more was sent than was asked for')
    const bytes = Buffer.from(batches.buffer, batches.byteOffset, batches.byteLength)
    const list = splitBatches(bytes).map((one) => new RecordBatch(one))
    for (const batch of list) {
      if (this.isToCome(batch.leaderEpoch)) return attempt.link.break('a batch of an epoch that is to come')
    }
    this.#learn(copier.name, mark)
    copier.push(list)
  }

  #marks(attempt: Attempt, { logs }: Marks): void {
    for (const { log: number, mark, start } of logs) {
      const copier = attempt.copiers[number]
      if (!copier) return attempt.link.break(`a mark of log ${number}, which has not begun`)
      this.#learn(copier.name, mark)
      copier.removeBelow(start)
    }
  }

  #learn(name: LogName, mark: number): void {
    if (mark > this.committed(name)) this.#committed.set(name, mark)
  }

  /** Tells, at the end of the turn and for all logs that have moved, how far they are. */
  #tell(attempt: Attempt, number: number): void {
    attempt.untold.add(number)
    if (attempt.isTelling) return
    attempt.isTelling = true
    this.#options.clock.soon(() => {
      attempt.isTelling = false
      if (attempt.isOver || this.#isOver) return
      const logs = [...attempt.untold].map((log) => {
        const copier = attempt.copiers[log]!
        return { log, written: copier.written, durable: this.durableOf(copier) }
      })
      attempt.untold.clear()
      attempt.stream.send({ type: 'progress', stream: attempt.stream.number, epoch: this.#options.epoch, logs })
    })
  }

  /** What is told as on stable storage. */
  durableOf(copier: LogCopier): number {
    return copier.durable
  }

  #failed(attempt: Attempt, name: LogName | null, error: unknown): void {
    if (attempt.isOver || this.#isOver) return
    if (error instanceof CorruptionError) return this.#quarantine(name, error.message)
    const { logger, topicId } = this.#options
    logger.warn({ topicId, log: name, error }, 'copying a topic failed: it is tried again')
    this.#tryLater(attempt, TidingsError.from(error).message)
  }

  #quarantine(name: LogName | null, reason: string): void {
    this.#state = 'quarantined'
    this.#leave()
    this.#options.quarantined(name, reason)
  }

  /** Ends the stream, and follows anew after a pause. */
  #tryLater(attempt: Attempt, why: string): void {
    if (attempt.isOver) return
    const { clock, random, logger, topicId } = this.#options
    logger.debug({ topicId, why }, 'a topic is not copied at the moment')
    if (clock.monotonic() - this.#copyingSince >= GOOD_MS) this.#failures = 0
    this.#end(why)
    const ceilingMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(this.#failures++, 16))
    this.#retry = clock.after((random.uint32() / 2 ** 32) * ceilingMs, () => this.#begin())
  }
}

/** On stable storage to its end. */
async function settled(log: ReplicaLog): Promise<void> {
  if (log.durableOffset < log.nextOffset) await log.sync()
}

function shapeOf({ startOffset, nextOffset, epochs }: ReplicaLog): LogShape {
  return { start: startOffset, end: nextOffset, epochs: epochs.entries }
}
