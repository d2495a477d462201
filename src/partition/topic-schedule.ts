/**
 * A topic's scheduled messages as the topic sees them: nothing at all until the first message is scheduled,
 * then the scheduler over a log of its own. Opens it, makes it, closes it; used by topic.ts alone.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random } from '../base/clock.ts'
import type { PartitionEnvironment } from './partition.ts'
import type { PublishInput } from './publish-input.ts'
import type { Mark, Scheduled } from './schedule.ts'
import type { FirstSchedule } from './schedule-keys.ts'
import { ScheduleLog } from './schedule-log.ts'
import { encodeScheduled } from './schedule-record.ts'
import { type LaterDone, type LaterMessage, Scheduler, type ScheduleTarget } from './scheduler.ts'

export interface TopicPorts {
  clock: Clock
  random: Random
  environment: PartitionEnvironment
}

/** Dead bytes of a schedule log that are not worth compacting. */
const GROWTH_BYTES = 4 * 1_048_576

export class TopicSchedule {
  readonly #topic: ScheduleTarget & { readonly id: string }
  readonly #ports: TopicPorts
  #scheduler: Scheduler | null = null
  #opening: Promise<void> | null = null
  #log: ScheduleLog | null = null
  #abandoned: TidingsError | null = null
  #isClosed = false

  constructor(topic: ScheduleTarget & { readonly id: string }, ports: TopicPorts) {
    this.#topic = topic
    this.#ports = ports
  }

  /** Opens the log if there is one, which must be before others follow: they cut what their leader does not name. */
  async open(): Promise<void> {
    this.#log ??= await ScheduleLog.open(this.#ports.environment, this.#topic.id)
  }

  /** Reads what is there, all of it committed; nothing is fired before `start`. Throws CorruptionError. */
  async recover(): Promise<void> {
    await this.open()
    if (this.#log) this.#scheduler = await this.#schedulerOver(this.#log)
  }

  start(): void {
    this.#scheduler?.start()
  }

  get isReady(): boolean {
    return this.#scheduler !== null
  }

  /** Makes the log of scheduled messages, then goes on; or says why not. */
  ready(refuse: (error: TidingsError) => void, goOn: () => void): void {
    this.#opening ??= this.#create().finally(() => {
      this.#opening = null
    })
    this.#opening.then(goOn, (error: unknown) => refuse(TidingsError.from(error)))
  }

  get size(): number {
    return this.#scheduler?.size ?? 0
  }

  known(idempotencyKey: Uint8Array): FirstSchedule | null {
    return this.#scheduler?.known(idempotencyKey) ?? null
  }

  list(after: Mark | null, limit: number): Scheduled[] {
    return this.#scheduler?.list(after, limit) ?? []
  }

  async cancel(id: number): Promise<boolean> {
    return (await this.#scheduler?.cancel(id)) ?? false
  }

  /** A message whose `deliverAt` lies ahead, as it is stored until then. */
  encode(input: PublishInput): LaterMessage {
    const { idempotencyKey, partition, ttlMs } = input
    const deliverAt = input.deliverAt ?? 0
    const scheduledAt = Math.floor(this.#ports.clock.now())
    const bytes = encodeScheduled({ id: null, deliverAt, scheduledAt, partition, ttlMs, message: input })
    return { bytes, deliverAt, scheduledAt, idempotencyKey }
  }

  /** As Scheduler.admit, once it is ready. */
  admit(count: number, keys: number, bytes: number): void {
    this.#ready().admit(count, keys, bytes)
  }

  /** As Scheduler.add, once it is ready. */
  add(messages: readonly LaterMessage[], done: LaterDone): void {
    this.#ready().add(messages, done)
  }

  async maintain(): Promise<void> {
    await this.#scheduler?.maintain()
  }

  /** As LogPartition.abandon. */
  abandon(error: TidingsError): void {
    this.#abandoned = error
    this.#isClosed = true
    this.#log?.abandon(error)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    // Whoever waits for it has been told why it failed.
    await this.#opening?.catch(() => undefined)
    if (this.#scheduler) await this.#scheduler.close()
    else await this.#log?.close()
  }

  #ready(): Scheduler {
    if (this.#scheduler) return this.#scheduler
    throw new TidingsError('internal', 'the log of scheduled messages is not open')
  }

  async #create(): Promise<void> {
    if (this.#abandoned) throw this.#abandoned
    if (this.#isClosed) throw new TidingsError('overloaded', 'the topic is being closed: try again in a moment')
    const { environment } = this.#ports
    const { id } = this.#topic
    // A try before this one may have failed behind the making of it.
    const log = (await ScheduleLog.open(environment, id)) ?? (await ScheduleLog.create(environment, id))
    this.#scheduler = await this.#schedulerOver(log)
    this.#scheduler.start()
  }

  #schedulerOver(log: ScheduleLog): Promise<Scheduler> {
    this.#log = log
    if (this.#abandoned) log.abandon(this.#abandoned)
    const { clock, random, environment } = this.#ports
    const { logger, metrics, scheduleLog } = environment
    const growthBytes = scheduleLog?.growthBytes ?? GROWTH_BYTES
    return Scheduler.open({ log, target: this.#topic, clock, random, logger, metrics, growthBytes })
  }
}
