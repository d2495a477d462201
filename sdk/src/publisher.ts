/**
 * Publishing to one topic: waits for room, sends frames while the broker answers those before them, repeats until the
 * deadline, settles every promise. What arrives while the window is full forms the next frame, so nothing waits for
 * a timer. Order, numbers and outcomes are the outbox's; the connection is the link's; this owns the timers.
 */
import { Backoff } from './backoff.ts'
import type { Connector } from './connector.ts'
import { clientClosed } from './option-checks.ts'
import { Outbox, type OutboxLimits } from './outbox.ts'
import type { Timer } from './platform.ts'
import { type ErrorCode, TidingsError } from './protocol/errors.ts'
import type { RefusedFrame } from './protocol/publish-answers.ts'
import { putKeyedHeader, putPublishHeader } from './protocol/publish-frames.ts'
import { keyedReceipts, type PublishReceipt, refusalError, storedReceipts } from './publish-answer.ts'
import { draftOf, type PublishOptions } from './publish-entry.ts'
import type { Channel, ChannelUser, FrameAnswer, PublishLink } from './publish-link.ts'
import type { Pending, Shipment } from './shipment.ts'
import { takenBack, WaitingRoom } from './waiting-room.ts'

export interface PublisherOptions extends OutboxLimits {
  /** Publishes that wait for room; past that they are refused, however patient. */
  waitingCount: number
  timeoutMs: number
  requestTimeoutMs: number
}

const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 2000

/** Refusals after which the topic is opened again: it is another one by now. */
const REOPEN: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['topic_not_found', 'partition_not_found'])

export class Publisher implements ChannelUser {
  readonly #topic: string
  readonly #connector: Connector
  readonly #options: PublisherOptions
  readonly #outbox: Outbox
  readonly #backoff: Backoff
  readonly #waiting: WaitingRoom
  readonly #link: PublishLink
  readonly #channel: Channel
  #partitionCount = 1
  #sender: 'idle' | 'due' | 'resting' | 'closed' = 'idle'
  #restTimer: Timer | undefined
  #dueTimer: Timer | undefined
  #dueAt = Number.POSITIVE_INFINITY
  /** The topic was opened again since the broker last took something. */
  #hasReopened = false
  #onIdle: (() => void)[] = []

  constructor(topic: string, connector: Connector, link: PublishLink, options: PublisherOptions) {
    this.#topic = topic
    this.#connector = connector
    this.#options = options
    this.#outbox = new Outbox(options, {
      producerId: () => connector.number(),
      idempotencyKey: () => connector.nextKey(),
    })
    this.#waiting = new WaitingRoom(options.waitingCount, connector.signals)
    this.#backoff = new Backoff(connector.random, RETRY_MIN_MS, RETRY_MAX_MS)
    this.#link = link
    this.#channel = link.channel(topic, this)
  }

  publish(value: unknown, options: PublishOptions): Promise<PublishReceipt> {
    return new Promise((resolve, reject) => {
      const isRoomy = this.#waiting.isEmpty && this.#outbox.hasRoom(0)
      if (isRoomy) this.#start(value, options, resolve, reject)
      else this.#wait(value, options, resolve, reject)
    })
  }

  /** As `publish`, but rejects with `overloaded` where that would wait for room. */
  tryPublish(value: unknown, options: PublishOptions): Promise<PublishReceipt> {
    return new Promise((resolve, reject) => {
      if (!this.#waiting.isEmpty) throw new TidingsError('overloaded', 'others wait for room already: try later')
      this.#start(value, options, resolve, reject, true)
    })
  }

  /** Resolves when everything that was published until now is settled. */
  flush(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
    return new Promise((resolve) => void this.#onIdle.push(resolve))
  }

  /** Fails what is not settled. */
  close(): void {
    this.#sender = 'closed'
    this.#restTimer?.cancel()
    this.#outbox.abandon()
    this.#waiting.close(clientClosed())
    this.#settled()
    this.#link.end(this.#channel)
  }

  // --- from the link ---

  get hasWork(): boolean {
    return !this.#outbox.isEmpty
  }

  opened(partitionCount: number): void {
    this.#partitionCount = partitionCount
    this.#send()
  }

  refusedToOpen(refusal: RefusedFrame): void {
    const error = refusalError(refusal)
    if (error.retryable) {
      this.#outbox.troubled(error)
      return this.#rest(refusal.retryAfterMs)
    }
    this.#outbox.failAll(error)
    this.#settled()
  }

  answered(answer: FrameAnswer): void {
    const isKeyed = answer.type === 'receipts' || (answer.type === 'refused' && answer.frame === 'keyed')
    const shipment = this.#outbox.find(isKeyed, answer.sequence)
    if (!shipment) throw new TidingsError('internal', 'the broker answers a frame that was not sent')
    if (answer.type === 'refused') this.#refused(shipment, answer)
    else {
      const { length } = shipment.entries
      const receipts =
        answer.type === 'stored'
          ? storedReceipts(answer, this.#topic, length)
          : keyedReceipts(answer.receipts, this.#topic, length)
      if (!receipts) throw new TidingsError('internal', 'the broker answers another frame than it was sent')
      this.#partitionCount = answer.partitionCount
      this.#hasReopened = false
      this.#backoff.reset()
      this.#outbox.stored(shipment, receipts)
    }
    this.#settled()
    // What those who waited for this publish next goes into one frame.
    this.#sendSoon()
  }

  left(error: TidingsError): void {
    this.#outbox.left(error)
    this.#settled()
  }

  troubled(error: TidingsError): void {
    this.#outbox.troubled(error)
  }

  failed(error: TidingsError): void {
    this.#outbox.failAll(error)
    this.#settled()
  }

  // --- within ---

  /** Within a promise's executor: what it throws rejects the promise. */
  #start(
    value: unknown,
    options: PublishOptions,
    resolve: (receipt: PublishReceipt) => void,
    reject: (error: TidingsError) => void,
    isTry = false,
  ): void {
    if (this.#sender === 'closed') throw clientClosed()
    const { signal, timeoutMs = this.#options.timeoutMs } = options
    if (signal?.aborted) throw takenBack(signal)
    const draft = draftOf(value, options)
    const deadline = this.#connector.clock.monotonic() + timeoutMs
    const { idempotencyKey = '' } = options
    const state = { bytes: 0, unlisten: null, isSettled: false, shipment: null }
    const entry: Pending = { resolve, reject, deadline, idempotencyKey, ...state }
    this.#outbox.add(draft, entry, isTry)
    if (signal) this.#listen(entry, signal)
    if (deadline < this.#dueAt) this.#watch(deadline)
    this.#sendSoon()
  }

  #listen(entry: Pending, signal: AbortSignal): void {
    entry.unlisten = this.#connector.signals.listen(signal, () => {
      this.#outbox.abort(entry, signal.reason)
      this.#settled()
    })
  }

  #wait(
    value: unknown,
    options: PublishOptions,
    resolve: (receipt: PublishReceipt) => void,
    reject: (error: TidingsError) => void,
  ): void {
    const { signal, idempotencyKey, timeoutMs = this.#options.timeoutMs } = options
    if (signal?.aborted) throw takenBack(signal)
    const { clock } = this.#connector
    const deadline = clock.monotonic() + timeoutMs
    const enter = (): void => {
      try {
        this.#start(value, { ...options, timeoutMs: deadline - clock.monotonic() }, resolve, reject)
      } catch (error) {
        reject(TidingsError.from(error))
      }
    }
    this.#waiting.add({ deadline, signal, idempotencyKey, enter, refuse: reject }, () => this.#settled())
    this.#watch(deadline)
  }

  /** What the caller publishes in the same breath goes into the same frame. */
  #sendSoon(): void {
    if (this.#sender !== 'idle') return
    this.#sender = 'due'
    queueMicrotask(() => {
      if (this.#sender !== 'due') return
      this.#sender = 'idle'
      this.#send()
    })
  }

  #send(): void {
    if (this.#sender === 'closed' || this.#sender === 'resting') return
    if (this.#channel.state !== 'open') {
      if (this.hasWork) this.#link.open(this.#channel)
      return
    }
    for (;;) {
      const shipment = this.#outbox.next(this.#partitionCount)
      if (!shipment) return
      this.#link.send(this.#frameOf(shipment))
    }
  }

  #frameOf(shipment: Shipment): Uint8Array {
    const { bytes, sequence, partitionCount, isKeyed } = shipment
    const { handle } = this.#channel
    const { length: count } = shipment.entries
    if (isKeyed) putKeyedHeader(bytes, { handle, sequence, count })
    else putPublishHeader(bytes, { handle, producerId: this.#outbox.producerId, sequence, partitionCount, count })
    return bytes
  }

  #refused(shipment: Shipment, refusal: RefusedFrame): void {
    const error = refusalError(refusal)
    const { code, retryable } = error
    const isFirst = this.#outbox.isFirstRefused
    if (code === 'conflict') return this.#outbox.lost(shipment, error)
    if (refusal.entry !== null && refusal.entry < shipment.entries.length) {
      return this.#outbox.returned(shipment, error, refusal)
    }
    if (REOPEN.has(code) && !(isFirst && this.#hasReopened) && !refusal.mayBeStored) {
      if (isFirst) {
        this.#hasReopened = true
        this.#link.shut(this.#channel)
      }
      return this.#outbox.returned(shipment, error, refusal)
    }
    if (!retryable) return this.#outbox.refused(shipment, error, refusal.mayBeStored)
    this.#outbox.returned(shipment, error, refusal)
    // Those behind a refused frame are refused because of it.
    if (!isFirst) return
    this.#rest(refusal.retryAfterMs)
    this.#link.elsewhere()
  }

  #rest(askedMs: number): void {
    this.#restTimer?.cancel()
    this.#sender = 'resting'
    this.#restTimer = this.#connector.clock.after(this.#backoff.next(askedMs), () => {
      this.#sender = 'idle'
      this.#send()
    })
  }

  /** Something was settled: lets in who waits for room, and tells who waits for the end. */
  #settled(): void {
    if (!this.#waiting.isEmpty) this.#waiting.admit(() => this.#outbox.hasRoom(0))
    if (!this.#isIdle) return
    this.#dueTimer?.cancel()
    this.#dueAt = Number.POSITIVE_INFINITY
    if (this.#sender === 'resting') {
      this.#restTimer?.cancel()
      this.#sender = 'idle'
    }
    this.#link.idle()
    for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  get #isIdle(): boolean {
    return this.#outbox.isEmpty && this.#waiting.isEmpty
  }

  /** One timer for all deadlines, set to the earliest that was seen. */
  #watch(deadline: number): void {
    if (deadline >= this.#dueAt) return
    this.#dueTimer?.cancel()
    this.#dueAt = deadline
    this.#dueTimer = this.#connector.clock.after(deadline - this.#connector.clock.monotonic(), () => this.#expire())
  }

  #expire(): void {
    const now = this.#connector.clock.monotonic()
    this.#dueAt = Number.POSITIVE_INFINITY
    this.#outbox.expire(now)
    const waitingUntil = this.#waiting.expire(now)
    this.#settled()
    if (!this.#isIdle) this.#watch(Math.min(waitingUntil, this.#outbox.dueAt))
  }
}
