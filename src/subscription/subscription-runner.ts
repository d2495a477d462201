/**
 * One subscription at work: its consumers, its pulls, its lanes (one per partition of its topic, or of
 * all topics that match its pattern), and the passes in which messages go from the one to the other. A
 * runner without arithmetic: what may go out is the ledger's decision, to whom is the dispatch's.
 *
 * Every event (an acknowledgement, a commit, a consumer that is ready) only wakes it; all that happened
 * in a turn of the event loop is answered by one synchronous pass. There is one timer, for the earliest
 * deadline of any lane. The host opens it, the server calls it.
 */
import { type MessageId, type Position, type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger, Metrics } from '../base/telemetry.ts'
import type { TopicEnd } from '../partition/topic.ts'
import { Attendance } from './attendance.ts'
import { Consumer, type Receiver } from './consumer.ts'
import { DeliveryMemory } from './delivery-memory.ts'
import { Dispatch, isOrdered } from './dispatch.ts'
import { explain } from './explain.ts'
import { explainMessage } from './explain-message.ts'
import type { MessageExplanation, SubscriptionExplanation } from './explanation.ts'
import { KeySlots } from './key-slots.ts'
import { Lane, type LaneHost, type ServedPartition } from './lane.ts'
import { Lanes } from './lanes.ts'
import type { LeaseHolder } from './ledger.ts'
import { Parking } from './parking.ts'
import { checkPosition, offsetOf, refuseOffsets, settledOffset } from './positions.ts'
import { type PullHost, Pulls } from './pulls.ts'
import { Redrive, type RedriveHost } from './redrive.ts'
import { Screen } from './screen.ts'
import { Settlement, type SettlementHost } from './settlement.ts'
import type {
  Attachment,
  ConsumerPort,
  Delivery,
  RedriveAnswer,
  RedriveRequest,
  Subscription,
  SubscriptionState,
} from './subscription.ts'
import { type Shown, stateOf, sum } from './subscription-state.ts'
import type { OpenTopic, TopicDirectory } from './topic-directory.ts'

export interface SubscriptionOptions {
  /** Names its records in the subscription logs; never used again after a deletion. */
  id: string
  name: string
  /** Its topic, or the pattern that it follows. */
  topic: string
  isPattern?: boolean
  settings: SubscriptionSettings
  partitions: readonly ServedPartition[]
  directory: TopicDirectory
  clock: Clock
  metrics: Metrics
  logger: Logger
}

export class SubscriptionRunner implements Subscription, LaneHost, SettlementHost, PullHost, RedriveHost {
  readonly id: string
  readonly name: string
  readonly topic: string
  readonly isPattern: boolean
  readonly clock: Clock
  readonly metrics: Metrics
  readonly logger: Logger
  readonly directory: TopicDirectory
  readonly dispatch = new Dispatch()
  readonly slots = new KeySlots<Receiver>()
  readonly memory = new DeliveryMemory()
  readonly screen: Screen
  readonly parking: Parking
  readonly pulled: Attachment
  settings: SubscriptionSettings
  receivers: readonly Receiver[] = []
  isOpen = true
  readonly #lanes = new Lanes()
  /** In order of arrival. */
  #consumers: Consumer[] = []
  readonly #pulls: Pulls
  readonly #redrive: Redrive
  readonly #attendance: Attendance
  #isAwake = false
  #timer: Timer | null = null
  #timerAt = Number.POSITIVE_INFINITY

  constructor(options: SubscriptionOptions) {
    this.id = options.id
    this.name = options.name
    this.topic = options.topic
    this.isPattern = options.isPattern ?? false
    this.settings = options.settings
    this.directory = options.directory
    this.clock = options.clock
    this.metrics = options.metrics
    this.logger = options.logger
    this.#attendance = new Attendance(this.clock.monotonic())
    this.#pulls = new Pulls(this)
    this.screen = new Screen(this)
    this.screen.configure(this.settings.filter)
    this.#redrive = new Redrive(this)
    this.pulled = this.#pulledAttachment()
    this.parking = new Parking({ host: this, lanes: () => this.#lanes.awake })
    for (const served of options.partitions) this.addPartition(served)
  }

  /** The topic has grown, or another one is followed. Where the cursor has no record it begins at offset 0. */
  addPartition(served: ServedPartition): void {
    this.#lanes.add(new Lane(this, served))
    this.wake()
  }

  /** The names of the topics that it reads. */
  get topics(): string[] {
    return this.#lanes.topics()
  }

  /** The topic is gone, or no longer followed: what is outstanding of it is forgotten. */
  removeTopic(topic: string): void {
    for (const lane of this.#lanes.remove(topic)) {
      for (const holder of [...this.#consumers, ...this.#pulls.waiting, this.#pulls.holder]) lane.ledger.detach(holder)
      lane.close('deleted')
    }
    for (const pull of this.#pulls.waiting) pull.forget(topic)
    this.settled()
  }

  attach(port: ConsumerPort): Attachment {
    this.#checkOpen()
    if (this.settings.type === 'exclusive' && this.#consumers.length > 0) throw this.#busy()
    const consumer = new Consumer(port)
    this.#consumers.push(consumer)
    // A connected consumer goes before pulls that still wait.
    if (isOrdered(this.settings.type)) this.#pulls.endAll(this.#busy())
    this.receiversChanged()
    const isActive = (): boolean => !isOrdered(this.settings.type) || this.#consumers[0] === consumer
    return new Settlement(this, {
      holder: consumer,
      get isLive() {
        return consumer.isAttached
      },
      get isActive() {
        return isActive()
      },
      pause: (isPaused) => {
        consumer.isPaused = isPaused
        this.#assignSlots()
      },
      detach: () => this.#detach(consumer),
    })
  }

  pull(max: number, waitMs: number, signal?: AbortSignal): Promise<Delivery[]> {
    return new Promise((resolve, reject) => {
      this.#checkOpen()
      if (isOrdered(this.settings.type) && this.#consumers.length > 0) throw this.#busy()
      this.#pulls.add(max, waitMs, signal, resolve, reject)
    })
  }

  async seek(to: Position): Promise<void> {
    this.#checkOpen()
    const lanes = this.#lanes.all
    if (this.isPattern) refuseOffsets(to)
    else checkPosition(to, lanes.length)
    const offsets = await Promise.all(lanes.map((lane) => offsetOf(to, lane.partition)))
    this.#checkOpen()
    this.memory.clear()
    const moved = lanes.filter((_, index) => offsets[index] !== null)
    lanes.forEach((lane, index) => {
      const offset = offsets[index]
      if (typeof offset === 'number') lane.seek(settledOffset(to, offset, lane.partition))
    })
    this.wake()
    try {
      await Promise.all(moved.map((lane) => lane.cursor.durable()))
    } catch (error) {
      const { code, message } = TidingsError.from(error)
      throw new TidingsError(code, `the subscription has moved, but a restart may undo it: ${message}`, {
        cause: error,
      })
    }
  }

  /** Nobody has attended to it for as long as its settings say. */
  get isExpired(): boolean {
    return this.isOpen && this.#attendance.isOver(this.settings.expireAfterMs, this.clock.monotonic())
  }

  state(): SubscriptionState {
    return stateOf(this.#shown(), this.clock.now())
  }

  explain(): SubscriptionExplanation {
    const { name, topic, clock } = this
    return explain({ ...this.#shown(), name, topic, clock, pulls: this.#pulls.waiting })
  }

  explainMessage(id: MessageId): Promise<MessageExplanation> {
    return explainMessage(this, id)
  }

  async redrive(request: RedriveRequest): Promise<RedriveAnswer> {
    this.#checkOpen()
    return this.#redrive.run(request)
  }

  update(settings: SubscriptionSettings): void {
    this.settings = settings
    this.screen.configure(settings.filter)
    this.#attendance.seen(this.clock.monotonic())
    for (const lane of this.#lanes.all) lane.configure(settings)
    this.wake()
  }

  async close(why: TopicEnd): Promise<void> {
    if (!this.isOpen) return
    this.isOpen = false
    this.#timer?.cancel()
    for (const consumer of this.#consumers.splice(0)) {
      consumer.isAttached = false
      consumer.port.ended(why)
    }
    const gone = new TidingsError('subscription_not_found', `subscription ${this.name} was deleted`)
    this.#pulls.endAll(why === 'deleted' ? gone : [])
    const lanes = this.#lanes.all
    for (const lane of lanes) {
      // What was never handed over must not count as an attempt after the restart.
      lane.ledger.unstage()
      lane.cursor.touch('lazy')
      lane.close(why)
    }
    // What was acknowledged without a wish for an answer should not come again only because we stop in good order.
    const flushed = await Promise.allSettled(lanes.map((lane) => lane.cursor.durable()))
    for (const { topic, partition } of lanes.filter((_, index) => flushed[index]?.status === 'rejected')) {
      this.logger.warn(
        { subscription: this.name, topic, partition: partition.number },
        'acknowledgements could not be written',
      )
    }
  }

  // --- for the lanes and the settlements ---

  laneOf({ topic = this.topic, partition }: Pick<MessageId, 'topic' | 'partition'>): Lane | undefined {
    return this.#lanes.find(topic, partition)
  }

  isRedriven(place: OpenTopic, partition: number, offset: number): boolean {
    return this.#redrive.isMoved(place, partition, offset)
  }

  broke(receiver: Receiver, error: unknown): void {
    this.logger.error({ err: error, subscription: this.name }, 'a consumer failed to take messages: it is detached')
    if (receiver instanceof Consumer) this.#detach(receiver)
  }

  settled(): void {
    this.#pulls.answer()
    this.wake()
  }

  touched(lane: Lane): void {
    this.#lanes.wake(lane)
  }

  wake(lane?: Lane): void {
    if (lane) this.#lanes.wake(lane)
    if (this.#isAwake || !this.isOpen) return
    this.#isAwake = true
    this.clock.soon(() => {
      this.#isAwake = false
      if (this.isOpen) this.#pass()
    })
  }

  /** Why nothing can be written now. */
  get stalled(): TidingsError | null {
    return this.#lanes.awake.find((lane) => lane.cursor.stalled)?.cursor.stalled ?? null
  }

  /** Something may still come without anybody doing anything. */
  get isBusy(): boolean {
    return this.#isAwake || this.#lanes.awake.some((lane) => lane.isLoading)
  }

  /** Whoever may get messages is not the same as before. */
  receiversChanged(): void {
    if (!isOrdered(this.settings.type)) this.receivers = [...this.#consumers, ...this.#pulls.waiting]
    else this.receivers = this.#consumers.length > 0 ? this.#consumers : this.#pulls.waiting
    this.#attendance.changed(this.receivers.length > 0, this.clock.monotonic())
    this.#assignSlots()
    this.wake()
  }

  /** Whatever lies with it may go to others: handed over as an attempt, staged as if nothing had been. */
  takeBack(holder: LeaseHolder): void {
    let returned = 0
    for (const lane of this.#lanes.awake) {
      if (holder.outstanding === 0) break
      returned += lane.ledger.detach(holder)
      lane.cursor.touch('lazy')
    }
    if (returned > 0) this.metrics.returned('disconnected', returned)
  }

  // --- within ---

  #pass(): void {
    const now = this.clock.monotonic()
    let room = this.settings.maxUnacked - sum(this.#lanes.awake, (lane) => lane.ledger.unsettled)
    const { screen } = this
    screen.open()
    this.#lanes.round((lane) => {
      const before = lane.ledger.unsettled
      const wasExhausted = screen.isExhausted
      const isServed = lane.serve(now, Math.max(0, room))
      room -= lane.ledger.unsettled - before
      // A lane that used up what a pass may look at has had its turn too.
      return isServed || (screen.isExhausted && !wasExhausted)
    })
    if (screen.close()) this.wake()
    this.parking.settle()
    this.#pulls.answer()
    this.#arm(now)
  }

  #arm(now: number): void {
    let at = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes.awake) at = Math.min(at, lane.wakeAt)
    // A timer that fires too early only looks again, so it is not moved for a deadline that is later.
    if (at >= this.#timerAt) return
    this.#timer?.cancel()
    this.#timerAt = at
    this.#timer = this.clock.after(Math.max(0, at - now), () => {
      this.#timerAt = Number.POSITIVE_INFINITY
      this.wake()
    })
  }

  /** Keys belong to whoever can take messages: those of a paused consumer go to others. */
  #assignSlots(): void {
    if (this.settings.type !== 'key_shared') return
    const before = this.slots.generation
    this.slots.assign(this.receivers.filter((receiver) => !(receiver instanceof Consumer && receiver.isPaused)))
    if (this.slots.generation !== before) this.wake()
  }

  #detach(consumer: Consumer): void {
    if (!consumer.isAttached) return
    consumer.isAttached = false
    this.#consumers = this.#consumers.filter((other) => other !== consumer)
    this.takeBack(consumer)
    this.receiversChanged()
  }

  #pulledAttachment(): Attachment {
    const isOpen = (): boolean => this.isOpen
    const isActive = (): boolean => this.#consumers.length === 0
    return new Settlement(this, {
      holder: this.#pulls.holder,
      get isLive() {
        return isOpen()
      },
      get isActive() {
        return isActive()
      },
      pause: () => undefined,
      detach: () => undefined,
    })
  }

  #shown(): Shown {
    const { settings, isPattern } = this
    return { settings, isPattern, lanes: this.#lanes.all, consumers: this.#consumers }
  }

  #checkOpen(): void {
    if (this.isOpen) return
    throw new TidingsError('subscription_not_found', `subscription ${this.name} is closed: look it up again`)
  }

  #busy(): TidingsError {
    const who = this.#consumers[0]?.port.name ?? 'another'
    const what = `subscription ${this.name} is ${this.settings.type}`
    return new TidingsError('subscription_busy', `${what} and consumer ${JSON.stringify(who)} is connected`)
  }
}
