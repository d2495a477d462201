/**
 * What a partition needs done from time to time: retention, compaction, and a checkpoint once it has been idle. A
 * runner. An error that leaves files in doubt trips the latch; a lack of room or of handles only puts it off.
 *
 * Compaction may take long, so it runs beside the rest, one partition at a time in the whole broker, and
 * gives way between slices.
 */
import { isFull, isOutOfHandles } from '../base/disk.ts'
import type { CompactionPolicy } from '../log/compaction.ts'
import type { Log } from '../log/log.ts'
import { CorruptionError } from '../log/log-recovery.ts'
import type { GroupCommit } from './commit-queue.ts'
import type { PartitionEnvironment, PartitionSettings } from './partition-environment.ts'
import { rememberedMs } from './producer-window.ts'
import type { RememberedLog } from './remembered-log.ts'

export interface MaintenanceOptions {
  environment: PartitionEnvironment
  data: Log
  cursors: Log
  remembered: RememberedLog
  dataQueue: GroupCommit
  settings: () => PartitionSettings
  startMoved: () => void
}

/** A partition without appends for this long records how far it is durable. */
const IDLE_MS = 5000
/** Keys that one round of compaction holds in memory: 36 MB at most. */
const COMPACTION_KEYS_MAX = 500_000
/**
 * A message with an Idempotency-Key stays so long at least: the broker's own keys (of scheduled messages, of dead
 * letters) are looked for after a crash, however short the topic's window is.
 */
const KEYED_MS = 60_000
/** How long a log that cannot be read is left alone. */
const DAMAGED_RETRY_MS = 600_000

export class Maintenance {
  readonly #options: MaintenanceOptions
  #closed = false
  #abandoned = false
  #running: Promise<void> = Promise.resolve()
  /** A round is under way, or waits for its turn. */
  #isCompacting = false
  #compaction: Promise<void> = Promise.resolve()
  /** Not before: monotonic. */
  #compactAt = 0
  #idleSince: { nextOffset: number; cursorOffset: number; at: number } | null = null

  constructor(options: MaintenanceOptions) {
    this.#options = options
  }

  /** @param ackedThrough below it all that read this partition have durably acknowledged everything */
  run(ackedThrough: () => number): Promise<void> {
    if (!this.#closed) this.#running = this.#running.then(() => this.#run(ackedThrough))
    return this.#running
  }

  /** Nothing of the log is to change any more. */
  abandon(): void {
    this.#closed = true
    this.#abandoned = true
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
    await this.#compaction
  }

  async #run(ackedThrough: () => number): Promise<void> {
    const { environment, data, cursors, remembered, dataQueue, settings } = this.#options
    const { clock } = environment
    const { retention, deduplicationWindowMs } = settings()
    // One by one: what finds no room on the disk must not keep another from making some.
    await this.#careful(() => remembered.trim(rememberedMs(deduplicationWindowMs)))
    await this.#careful(() => dataQueue.exclusively(() => data.rollAged(retention, clock.now())))
    await this.#careful(() => this.#retain(ackedThrough))
    this.#startCompaction()
    if (!this.#hasBeenIdle()) return
    await this.#careful(async () => {
      await data.checkpoint()
      await cursors.checkpoint()
    })
  }

  async #retain(ackedThrough: () => number): Promise<void> {
    const { environment, data, dataQueue, settings, startMoved } = this.#options
    const { clock } = environment
    const retain = (): Promise<boolean> =>
      data.retain(settings().retention, ackedThrough, clock.now(), (to) => this.#remember(to))
    const isMoved = await retain().catch(async (error: unknown) => {
      if (!isFull(error)) throw error
      // A little must be written before anything goes: where there is no room at all, this is where some can be had.
      await dataQueue.exclusively(() => data.giveBackRunway())
      return retain()
    })
    if (isMoved) startMoved()
  }

  /** Keys and frames of what is about to go, as long as they may be repeated. */
  async #remember(to: number): Promise<boolean> {
    const { environment, data, remembered, settings } = this.#options
    const { clock, logger } = environment
    const keepMs = rememberedMs(settings().deduplicationWindowMs)
    const range = { since: clock.now() - keepMs, from: remembered.through, to }
    const known = data.known(range, (error) => {
      logger.error({ err: error }, 'a segment that retention removes is damaged: repetitions may be stored again')
    })
    return (await remembered.save(known, to)) && !this.#abandoned
  }

  async #careful(task: () => Promise<void>): Promise<void> {
    const { environment, data } = this.#options
    const { latch, logger } = environment
    if (latch.tripped || this.#abandoned) return
    try {
      await task()
    } catch (error) {
      if (!isFull(error) && !isOutOfHandles(error)) return latch.trip(error)
      logger.warn(
        { directory: data.directory },
        'no room on the disk, or no handle, for maintenance: trying again later',
      )
    }
  }

  #startCompaction(): void {
    if (this.#isCompacting || !this.#isCompactionDue()) return
    this.#isCompacting = true
    const { background } = this.#options.environment
    const turn = background.run('', () => {
      // The files are not closed before it has ended; while it waits nobody need wait for it.
      this.#compaction = this.#closed ? Promise.resolve() : this.#compact()
      return this.#compaction
    })
    turn.then(
      () => (this.#isCompacting = false),
      (error: unknown) => this.#options.environment.latch.trip(error),
    )
  }

  #isCompactionDue(): boolean {
    const { environment, data } = this.#options
    const { clock } = environment
    if (!this.#mayCompact() || clock.monotonic() < this.#compactAt) return false
    return data.compaction.isDue(this.#policy(), clock.now(), clock.monotonic())
  }

  #mayCompact(): boolean {
    const { environment, settings } = this.#options
    return settings().compact && !this.#closed && !environment.space.full && !environment.latch.tripped
  }

  #policy(): CompactionPolicy {
    const { tombstoneMs, deduplicationWindowMs } = this.#options.settings()
    const windowMs = Math.max(deduplicationWindowMs, KEYED_MS)
    return { tombstoneMs, windowMs, framesMs: rememberedMs(deduplicationWindowMs) }
  }

  async #compact(): Promise<void> {
    const { environment, data } = this.#options
    const { clock, random, logger } = environment
    const { directory } = data
    await this.#careful(async () => {
      try {
        const options = {
          policy: this.#policy(),
          now: clock.now(),
          random,
          keysMax: COMPACTION_KEYS_MAX,
          pause: () => new Promise<void>((resolve) => clock.soon(resolve)),
          mayGoOn: () => this.#mayCompact(),
        }
        const report = await data.compaction.run(options, clock.monotonic())
        if (report && report.removedRecords > 0) {
          const { removedRecords, removedBytes, state } = report
          logger.info({ directory, removedRecords, removedBytes, through: state.through }, 'compacted')
        }
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error
        this.#compactAt = clock.monotonic() + DAMAGED_RETRY_MS
        logger.error({ err: error, directory }, 'a segment cannot be read, so the partition is not compacted')
      }
    })
  }

  #hasBeenIdle(): boolean {
    const { environment, data, cursors } = this.#options
    const { nextOffset } = data
    const cursorOffset = cursors.nextOffset
    const at = environment.clock.monotonic()
    const idle = this.#idleSince
    if (idle?.nextOffset === nextOffset && idle.cursorOffset === cursorOffset) return at - idle.at >= IDLE_MS
    this.#idleSince = { nextOffset, cursorOffset, at }
    return false
  }
}
