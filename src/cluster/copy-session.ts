/**
 * What a leader sends one follower of a topic: the batches of every log, from where the follower is, and marks. A runner
 * over the logs and one stream; made by leader-feed.ts for each `follow`, never used again after `end`.
 *
 * What was appended lately comes from memory, in turns of the logs that have something, at once; what is older is read from
 * the disk, one read at a time, and only while the link and the follower have half their room left: what lags never starves
 * what is live. No more is under way than `WINDOW_BYTES`, or one batch that is larger.
 * A follower is believed no more than it can have: it never has more than was sent to it, nor more than agrees.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../log/log.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import type { LogName } from '../partition/quorum.ts'
import type { CopyFrame, Follow, LedLog, Progress } from './copy-frames.ts'
import { agreementOf, NO_LOG } from './copy-plan.ts'
import { LINK_FULL_BYTES, LINK_LOW_BYTES } from './peer-network.ts'

/** What a leader needs of a log to have it copied. */
export type SourceLog = Pick<Log, 'startOffset' | 'nextOffset' | 'read'> & {
  readonly cache: Pick<Log['cache'], 'find'>
  readonly epochs: { readonly entries: LedLog['epochs'] }
}

/** A log of the topic as its leader has it. */
export interface FedLog {
  readonly name: LogName
  /** The log without which nothing of this one may go at the follower: what is remembered of it. */
  readonly keeper: number | null
  log: SourceLog
  readonly mark: number
}

/** Where the frames of one stream go. */
export interface FeedLink {
  send(frame: CopyFrame, ...batches: readonly Uint8Array[]): void
  readonly buffered: number
  /** Calls back once when there is room again. */
  whenDrained(run: () => void): void
}

export interface CopySessionOptions {
  node: string
  epoch: number
  follow: Follow
  logs: readonly FedLog[]
  link: FeedLink
  clock: Clock
  /** The follower has so much of a log. */
  progress(log: number, written: number, durable: number): void
  /** The stream is over, by this side's will. */
  ended(why: string): void
  damaged(log: LogName, error: unknown): void
}

/** Bytes that were sent and that the follower has not written yet. */
const WINDOW_BYTES = 8 * 1_048_576
const FRAME_BYTES = 512 * 1024

interface Copy {
  /** Up to where it was sent; null: the follower has not told yet where it stands. */
  sent: number | null
  written: number
  durable: number
  /** Where its log agrees with this one, at most. */
  readonly most: number
  readonly underWay: { nextOffset: number; bytes: number }[]
  /** It waits for its turn, or is being read. */
  isQueued: boolean
  toldMark: number
  toldStart: number
  /** A start to be told once the follower has so much of the keeper. */
  dueStart: { start: number; keeperEnd: number } | null
}

export class CopySession {
  readonly node: string
  readonly stream: number
  readonly #options: CopySessionOptions
  readonly #copies: Copy[] = []
  /** Logs with something in memory to send, and those that must be read from the disk. */
  #ready: number[] = []
  #lagging: number[] = []
  #isReading = false
  #isPumping = false
  #isWaiting = false
  #underWayBytes = 0
  #isOver = false
  readonly #marksDue = new Set<number>()

  constructor(options: CopySessionOptions) {
    this.#options = options
    this.node = options.node
    this.stream = options.follow.stream
    const held = new Map(options.follow.logs.map((log) => [log.name, log]))
    const { link, epoch } = options
    const led = options.logs.map(({ name, log, mark }, number) => {
      const shape = { start: log.startOffset, end: log.nextOffset, epochs: log.epochs.entries }
      const mine = held.get(name)
      this.#copies.push(newCopy(mine ? agreementOf(mine, shape) : shape.start, mark, log.startOffset))
      return { name, log: number, mark, ...shape }
    })
    link.send({ type: 'following', stream: this.stream, epoch, logs: led })
  }

  /** Batches were added to the log. */
  appended(log: number): void {
    const copy = this.#copies[log]!
    if (copy.sent === null || copy.isQueued || this.#isOver) return
    copy.isQueued = true
    this.#ready.push(log)
    this.#pump()
  }

  /** A log came into being, the last of them. */
  logAdded(): void {
    const number = this.#copies.length
    const { name, log } = this.#options.logs[number]!
    this.#copies.push(newCopy(NO_LOG.end, log.startOffset, log.startOffset))
    const { epoch, link } = this.#options
    link.send({ type: 'begin-log', stream: this.stream, epoch, log: number, name, start: log.startOffset })
  }

  /** The mark of the log has moved: told with the next batches, or by `tellMarks`. */
  marked(log: number): void {
    if (!this.#isOver) this.#marksDue.add(log)
  }

  /** Looks which logs have let go of something, and tells of that and of marks that no batch took along. */
  tellMarks(): void {
    if (this.#isOver) return
    const { logs, epoch, link } = this.#options
    logs.forEach((log, number) => this.#lookAtStart(log, number))
    const told = [...this.#marksDue].filter((number) => this.#copies[number]!.sent !== null)
    if (told.length === 0) return
    const marks = told.map((log) => {
      const copy = this.#copies[log]!
      copy.toldMark = logs[log]!.mark
      this.#marksDue.delete(log)
      return { log, mark: copy.toldMark, start: copy.toldStart }
    })
    link.send({ type: 'marks', stream: this.stream, epoch, logs: marks })
  }

  heard(frame: Progress): void {
    if (this.#isOver) return
    for (const { log, written, durable } of frame.logs) {
      const copy = this.#copies[log]
      const problem = copy ? this.#problemOf(copy, log, written) : `it tells of log ${log}, which has not begun`
      if (!copy || problem) return this.end(problem ?? '')
      this.#advance(copy, log, written, durable)
      this.#options.progress(log, written, durable)
      if (this.#isOver) return
    }
    this.#pump()
  }

  /** Says why, and ends it. */
  end(why: string): void {
    if (this.#isOver) return
    this.#options.link.send({ type: 'end', stream: this.stream, detail: why })
    this.closed()
    this.#options.ended(why)
  }

  /** The stream is over: nothing is sent any more. */
  closed(): void {
    this.#isOver = true
    this.#ready = []
    this.#lagging = []
  }

  #problemOf(copy: Copy, log: number, written: number): string | null {
    const { name, log: source } = this.#options.logs[log]!
    if (copy.sent !== null) return written > copy.sent ? `${name} has more than was sent` : null
    if (written < source.startOffset) return `${name} ends before the leader's begins by now`
    return written > Math.max(copy.most, source.startOffset) ? `${name} was not cut to where it agrees` : null
  }

  #advance(copy: Copy, log: number, written: number, durable: number): void {
    const isFirst = copy.sent === null
    copy.sent ??= written
    copy.written = written
    copy.durable = durable
    while (copy.underWay.length > 0 && copy.underWay[0]!.nextOffset <= written) {
      this.#underWayBytes -= copy.underWay.shift()!.bytes
    }
    if (isFirst) this.appended(log)
  }

  #lookAtStart({ log: source, keeper }: FedLog, number: number): void {
    const { logs } = this.#options
    const copy = this.#copies[number]!
    const start = source.startOffset
    if (start > copy.toldStart && start > (copy.dueStart?.start ?? 0)) {
      const keeperEnd = keeper === null ? 0 : logs[keeper]!.log.nextOffset
      copy.dueStart = { start, keeperEnd }
    }
    if (!copy.dueStart || (keeper !== null && this.#copies[keeper]!.durable < copy.dueStart.keeperEnd)) return
    copy.toldStart = copy.dueStart.start
    copy.dueStart = null
    this.#marksDue.add(number)
  }

  /** Sends at the end of the turn, so that what comes in one turn goes in few frames. */
  #pump(): void {
    if (this.#isPumping || this.#isWaiting) return
    this.#isPumping = true
    this.#options.clock.soon(() => {
      this.#isPumping = false
      this.#sendReady()
      void this.#readLagging()
    })
  }

  #sendReady(): void {
    while (this.#ready.length > 0 && this.#underWayBytes < WINDOW_BYTES) {
      if (!this.#hasRoom(LINK_FULL_BYTES)) return
      const number = this.#ready.shift()!
      const copy = this.#copies[number]!
      const { log } = this.#options.logs[number]!
      const batches = cached(log, copy.sent!)
      if (batches.length > 0) {
        copy.isQueued = false
        this.#send(number, batches)
        this.appended(number)
      } else if (copy.sent! < log.nextOffset) {
        this.#lagging.push(number)
      } else {
        copy.isQueued = false
      }
    }
  }

  async #readLagging(): Promise<void> {
    if (this.#isReading) return
    this.#isReading = true
    while (this.#lagging.length > 0 && this.#underWayBytes < WINDOW_BYTES / 2) {
      if (!this.#hasRoom(LINK_LOW_BYTES)) break
      const number = this.#lagging.shift()!
      const copy = this.#copies[number]!
      const { log, name } = this.#options.logs[number]!
      try {
        const batches = await log.read(copy.sent!)
        if (this.#isOver) return
        copy.isQueued = false
        this.#send(number, batches)
        this.appended(number)
      } catch (error) {
        if (this.#isOver) return
        // What the leader let go of meanwhile the follower passes over when it follows again.
        if (!TidingsError.is(error) || error.code !== 'offset_out_of_range') this.#options.damaged(name, error)
        return this.end(`${name} cannot be read at ${copy.sent} any more`)
      }
    }
    this.#isReading = false
  }

  #hasRoom(mostBytes: number): boolean {
    const { link } = this.#options
    if (link.buffered <= mostBytes) return true
    if (!this.#isWaiting) {
      this.#isWaiting = true
      link.whenDrained(() => {
        this.#isWaiting = false
        if (!this.#isOver) this.#pump()
      })
    }
    return false
  }

  #send(number: number, batches: readonly RecordBatch[]): void {
    const { logs, epoch, link } = this.#options
    const copy = this.#copies[number]!
    const { mark } = logs[number]!
    for (const group of groups(batches)) {
      const parts = group.map(({ bytes }) => bytes)
      link.send({ type: 'append', stream: this.stream, epoch, log: number, mark, batches: NOTHING }, ...parts)
      const bytes = parts.reduce((sum, part) => sum + part.length, 0)
      copy.sent = group.at(-1)!.nextOffset
      copy.underWay.push({ nextOffset: copy.sent, bytes })
      this.#underWayBytes += bytes
    }
    copy.toldMark = mark
    this.#marksDue.delete(number)
  }
}

const NOTHING = new Uint8Array(0)

function newCopy(most: number, mark: number, start: number): Copy {
  const base = { sent: null, written: 0, durable: 0, most, underWay: [], isQueued: false }
  return { ...base, toldMark: mark, toldStart: start, dueStart: null }
}

/** What of the log is in memory from an offset on, a frame at most. */
function cached({ cache, nextOffset }: SourceLog, from: number): RecordBatch[] {
  const batches: RecordBatch[] = []
  let bytes = 0
  for (let offset = from; offset < nextOffset && bytes < FRAME_BYTES; ) {
    const batch = cache.find(offset)
    if (!batch) break
    batches.push(batch)
    bytes += batch.bytes.length
    offset = batch.nextOffset
  }
  return batches
}

/** Consecutive batches of about a frame. */
function* groups(batches: readonly RecordBatch[]): Generator<RecordBatch[]> {
  let group: RecordBatch[] = []
  let bytes = 0
  for (const batch of batches) {
    if (group.length > 0 && bytes + batch.bytes.length > FRAME_BYTES) {
      yield group
      group = []
      bytes = 0
    }
    group.push(batch)
    bytes += batch.bytes.length
  }
  if (group.length > 0) yield group
}
