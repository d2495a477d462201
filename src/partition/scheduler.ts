/**
 * The scheduled messages of one topic at work: takes them in, lists and cancels them, and publishes each
 * into its partition when it is due. One loop does everything that happens by itself (firing in bounded
 * slices, the `done` records, compaction), one step at a time, with one timer for the earliest.
 *
 * Must stay true: a message enters the log of its partition exactly once or is cancelled, never both. What
 * was fired carries a key of the broker's (broker-key.ts), by which a start after a crash knows it
 * again although its `done` was lost. Due is by wall time, which may jump: the timer looks
 * again every few seconds.
 */
import { LIMITS, TidingsError } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import type { Metrics } from '../base/telemetry.ts'
import type { RecordBatch } from '../log/record-batch.ts'
import { scheduledIdOf } from './broker-key.ts'
import type { LogPartition } from './partition.ts'
import { type Mark, Schedule, type Scheduled } from './schedule.ts'
import { ScheduleCompaction } from './schedule-compaction.ts'
import { type FiringParts, type FiringTarget, fire } from './schedule-firing.ts'
import { type FirstSchedule, ScheduleKeys } from './schedule-keys.ts'
import { decodeScheduleRecord, encodeDone } from './schedule-record.ts'

/** The topic, as far as its scheduled messages need it. */
export interface ScheduleTarget extends FiringTarget {
  readonly partitions: readonly LogPartition[]
  readonly settings: { readonly deduplicationWindowMs: number }
}

export interface SchedulerOptions extends FiringParts {
  target: ScheduleTarget
  random: Random
  metrics: Metrics
  /** Dead bytes of the log that are not worth compacting. */
  growthBytes: number
}

/** A message to schedule, encoded by schedule-record.ts. */
export interface LaterMessage {
  bytes: Uint8Array
  deliverAt: number
  scheduledAt: number
  idempotencyKey: Uint8Array | null
}

export type LaterDone = (error: TidingsError | null, firsts?: FirstSchedule[]) => void

/** What is fired in one step, so that a million due at once neither stall the loop nor fill the memory. */
const SLICE_COUNT = 1024
const SLICE_BYTES = 1_048_576
const DONE_COUNT = 4096
/** How late a jump of the wall clock is noticed. */
const LOOK_AGAIN_MS = 5000
const RETRY_MIN_MS = 100
const RETRY_MAX_MS = 5000
/** A stored message's time may be this much before it was due: the clock may have been set back in between. */
const SET_BACK_MS = 60_000

export class Scheduler {
  readonly #options: SchedulerOptions
  readonly #schedule = new Schedule()
  readonly #keys: ScheduleKeys
  readonly #compaction: ScheduleCompaction
  /** Fired messages whose `done` is still to be written. */
  #unwritten: number[] = []
  /** Messages whose record cannot be read; only a cancellation helps. */
  readonly #unreadable: Set<number> = new Set()
  /** On their way into the log. */
  #arriving = 0
  /** Wakes the loop early: when something is due sooner, and always when it closes. */
  #wake: { at: number; run: () => void } | null = null
  /** Who waits until something that was taken is decided. */
  #undecided: (() => void)[] = []
  #running: Promise<void> = Promise.resolve()
  #isClosing = false

  private constructor(options: SchedulerOptions) {
    this.#options = options
    const { log, logger, growthBytes, random } = options
    const isKeyAlive = (scheduledAt: number): boolean =>
      options.clock.now() - scheduledAt < options.target.settings.deduplicationWindowMs
    this.#keys = new ScheduleKeys(
      LIMITS.scheduledCount,
      random,
      ({ id, scheduledAt }) => this.#schedule.has(id) || isKeyAlive(scheduledAt),
    )
    this.#compaction = new ScheduleCompaction({ log, schedule: this.#schedule, logger, isKeyAlive, growthBytes })
  }

  /** Reads the log and looks for what a crash left without its `done`. Nothing is fired before `start`. */
  static async open(options: SchedulerOptions): Promise<Scheduler> {
    const scheduler = new Scheduler(options)
    for await (const batch of options.log.all()) scheduler.#replay(batch)
    await scheduler.#findFired()
    return scheduler
  }

  /** Messages that are still to come. */
  get size(): number {
    return this.#schedule.size
  }

  start(): void {
    this.#running = this.#run()
  }

  /** What a repetition of the key is answered with, or null when it is none. */
  known(idempotencyKey: Uint8Array): FirstSchedule | null {
    return this.#keys.find(idempotencyKey)
  }

  /** Throws `overloaded` or `storage_full` when so much cannot be scheduled now. */
  admit(count: number, keys: number, bytes: number): void {
    const pending = this.#schedule.size + this.#arriving
    if (pending + count > LIMITS.scheduledCount) {
      throw new TidingsError(
        'overloaded',
        `${pending} messages of this topic are scheduled, at most ${LIMITS.scheduledCount} can be: try again later`,
      )
    }
    if (keys > 0) this.#keys.admit(keys)
    this.#options.log.admit(bytes)
  }

  /** Stores the messages and calls `done` once, when that is durable. Throws like `admit` where nothing was queued. */
  add(messages: readonly LaterMessage[], done: LaterDone): void {
    const bytes = messages.length === 1 ? messages[0]!.bytes : Buffer.concat(messages.map((message) => message.bytes))
    this.#options.log.append(
      { bytes, count: messages.length, attributes: 0 },
      {
        committed: (baseOffset) => {
          this.#arriving -= messages.length
          done(null, this.#arrived(messages, baseOffset))
        },
        failed: (error) => {
          this.#arriving -= messages.length
          done(error)
        },
      },
    )
    this.#arriving += messages.length
  }

  /** The pending messages after the mark, in order of due time. */
  list(after: Mark | null, limit: number): Scheduled[] {
    return this.#schedule.page(after, limit)
  }

  /** Resolves when the message is cancelled for good; false when there is none: fired, cancelled, or never there. */
  async cancel(id: number): Promise<boolean> {
    while (this.#schedule.has(id)) {
      if (this.#schedule.take(id) || this.#unreadable.delete(id)) {
        await this.#writeCancelled(id)
        return true
      }
      // It is being fired, or cancelled by somebody else: how that ends is the answer.
      await new Promise<void>((resolve) => this.#undecided.push(resolve))
    }
    return false
  }

  maintain(): Promise<void> {
    return this.#options.log.maintain()
  }

  /** Ends what is under way, then closes the files. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#wake?.run()
    await this.#running
    // A `done` that finds no room is missed by nobody: the next start finds the message in its partition.
    while (this.#unwritten.length > 0) {
      const before = this.#unwritten.length
      await this.#writeDone().catch(() => undefined)
      if (this.#unwritten.length === before) break
    }
    await this.#options.log.close()
  }

  #replay(batch: RecordBatch): void {
    for (let offset = batch.baseOffset; offset < batch.nextOffset; offset++) {
      const at = batch.positionOf(offset)
      const record = decodeScheduleRecord(batch.bytes, at)
      if (!record) {
        this.#options.logger.error({ offset }, 'a record of the schedule log says nothing that this release knows')
        continue
      }
      if (record.kind === 'done') {
        this.#schedule.remove(record.id)
        continue
      }
      const id = record.id ?? offset
      const { deliverAt, scheduledAt } = record
      const key = record.kind === 'key' ? record.idempotencyKey : record.message.idempotencyKey
      // Compaction may have written an earlier message of the key anew, which a longer window has revived since.
      if (key && (this.#keys.find(key)?.id ?? id) <= id) this.#keys.remember(key, { id, deliverAt, scheduledAt })
      if (record.kind === 'scheduled' && !this.#schedule.move(id, offset)) {
        const bytes = batch.bytes.readUInt32BE(at) + 4
        this.#schedule.add({ id, dueAt: deliverAt, position: offset, bytes })
      }
    }
  }

  /** What is in a partition already was fired by the process before. Most logs end before anything is due. */
  async #findFired(): Promise<void> {
    if (this.#schedule.size === 0) return
    const since = this.#schedule.nextDue - SET_BACK_MS
    for (const partition of this.#options.target.partitions) {
      await partition.recall(since, {
        key: (key) => {
          const id = scheduledIdOf(key)
          if (id !== null && this.#schedule.remove(id)) this.#unwritten.push(id)
        },
      })
    }
  }

  #arrived(messages: readonly LaterMessage[], baseOffset: number): FirstSchedule[] {
    const firsts = messages.map(({ bytes, deliverAt, scheduledAt, idempotencyKey }, i) => {
      const id = baseOffset + i
      this.#schedule.add({ id, dueAt: deliverAt, position: id, bytes: bytes.length })
      const first = { id, deliverAt, scheduledAt }
      if (idempotencyKey) this.#keys.remember(idempotencyKey, first)
      return first
    })
    this.#poke(this.#schedule.nextDue)
    return firsts
  }

  // --- the loop ---

  async #run(): Promise<void> {
    let retryMs = 0
    while (!this.#isClosing) {
      try {
        const idleUntil = await this.#step()
        retryMs = 0
        await this.#rest(idleUntil - this.#options.clock.now(), idleUntil)
      } catch (error) {
        // A full disk, a full queue: what was to be done is still to be done.
        retryMs = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, retryMs * 2))
        if (!TidingsError.is(error) || !error.retryable) {
          this.#options.logger.error({ err: error }, 'scheduled messages could not be published: trying again')
        }
        await this.#rest(retryMs, Number.NEGATIVE_INFINITY)
      }
    }
  }

  /** Does one thing. Answers until when (wall time) there is nothing to do. */
  async #step(): Promise<number> {
    if (this.#unwritten.length > 0) {
      await this.#writeDone()
      return 0
    }
    const slice = this.#schedule.takeDue(this.#options.clock.now(), SLICE_COUNT, SLICE_BYTES)
    if (slice.length > 0) {
      await this.#fire(slice)
      return 0
    }
    if (this.#compaction.isDue()) {
      await this.#compaction.step()
      return 0
    }
    return this.#schedule.nextDue
  }

  /** @param wakeFor what is due before this (wall time) ends the rest */
  #rest(ms: number, wakeFor: number): Promise<void> {
    const { clock } = this.#options
    return new Promise((resolve) => {
      if (this.#isClosing) return resolve()
      if (ms <= 0) return clock.soon(resolve)
      const run = (): void => {
        this.#wake = null
        timer?.cancel()
        resolve()
      }
      // Nothing pending, nothing to look for.
      const timer = ms === Number.POSITIVE_INFINITY ? null : clock.after(Math.min(ms, LOOK_AGAIN_MS), run)
      this.#wake = { at: wakeFor, run }
    })
  }

  /** Something is to be done at this wall time: ends a rest that would last longer. */
  #poke(at: number): void {
    if (this.#wake && at < this.#wake.at) this.#wake.run()
  }

  async #fire(slice: readonly Scheduled[]): Promise<void> {
    const outcome = await fire(this.#options, slice)
    for (const id of outcome.fired) {
      this.#schedule.remove(id)
      this.#unwritten.push(id)
    }
    for (const id of outcome.unreadable) this.#unreadable.add(id)
    for (const id of outcome.failed) this.#schedule.giveBack(id)
    this.#decided()
    if (outcome.fired.length > 0) this.#options.metrics.fired(outcome.fired.length)
    if (outcome.error) throw outcome.error
  }

  async #writeDone(): Promise<void> {
    const ids = this.#unwritten.slice(0, DONE_COUNT)
    await this.#write(ids.map((id) => encodeDone(id, 'fired')))
    this.#unwritten = this.#unwritten.slice(ids.length)
  }

  async #writeCancelled(id: number): Promise<void> {
    try {
      await this.#write([encodeDone(id, 'cancelled')])
      this.#schedule.remove(id)
      if (this.#compaction.isDue()) this.#poke(0)
    } catch (error) {
      this.#schedule.giveBack(id)
      this.#poke(this.#schedule.nextDue)
      throw error
    } finally {
      this.#decided()
    }
  }

  #write(records: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const bytes = Buffer.concat(records)
      this.#options.log.append(
        { bytes, count: records.length, attributes: 0 },
        { committed: () => resolve(), failed: reject },
      )
    })
  }

  #decided(): void {
    for (const resolve of this.#undecided.splice(0)) resolve()
  }
}
