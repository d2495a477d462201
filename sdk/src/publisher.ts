/**
 * Publishing to one topic: encodes, waits for room, sends what has gathered while the batch before it was under
 * way, repeats until the deadline, settles every promise. Order, batches and outcomes are the outbox's; this owns
 * the network and the timers. One request at a time, because two would have no order between them.
 */
import { Backoff } from './backoff.ts'
import type { Connector } from './connector.ts'
import { Outbox, type OutboxLimits, type Pending } from './outbox.ts'
import type { Timer } from './platform.ts'
import { type ErrorCode, TidingsError } from './protocol/errors.ts'
import { LIMITS } from './protocol/limits.ts'
import { type BatchVerdict, type PublishReceipt, verdictOf } from './publish-answer.ts'
import { encodeEntry, type PublishOptions, utf8Bytes } from './publish-entry.ts'
import { takenBack, WaitingRoom } from './waiting-room.ts'

export interface PublisherOptions extends OutboxLimits {
  /** Publishes that wait for room; past that they are refused, however patient. */
  waitingCount: number
  timeoutMs: number
  requestTimeoutMs: number
}

const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 2000

/** Refusals that every entry of the topic would meet. */
const FOR_ALL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unauthenticated',
  'permission_denied',
  'topic_not_found',
  'not_found',
  'method_not_allowed',
  'unsupported_media_type',
  'internal',
])

export class Publisher {
  readonly #topic: string
  readonly #connector: Connector
  readonly #options: PublisherOptions
  readonly #outbox: Outbox
  readonly #backoff: Backoff
  readonly #waiting: WaitingRoom
  #sender: 'idle' | 'due' | 'sending' | 'resting' | 'closed' = 'idle'
  #restTimer: Timer | undefined
  #dueTimer: Timer | undefined
  #dueAt = Number.POSITIVE_INFINITY
  /** The token was renewed since the broker last took one. */
  #hasRenewed = false
  #onIdle: (() => void)[] = []

  constructor(topic: string, connector: Connector, options: PublisherOptions) {
    this.#topic = topic
    this.#connector = connector
    this.#options = options
    this.#outbox = new Outbox(options)
    this.#waiting = new WaitingRoom(options.waitingCount)
    this.#backoff = new Backoff(connector.random, RETRY_MIN_MS, RETRY_MAX_MS)
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
      if (!this.#waiting.isEmpty) throw full(this.#outbox.heldBytes)
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
    this.#waiting.close(closed())
    this.#settled()
  }

  /** Within a promise's executor: what it throws rejects the promise. */
  #start(
    value: unknown,
    options: PublishOptions,
    resolve: (receipt: PublishReceipt) => void,
    reject: (error: TidingsError) => void,
    isTry = false,
  ): void {
    if (this.#sender === 'closed') throw closed()
    const { signal, timeoutMs = this.#options.timeoutMs } = options
    if (signal?.aborted) throw takenBack(signal)
    const idempotencyKey = options.idempotencyKey ?? this.#connector.nextKey()
    const text = encodeEntry(value, options, idempotencyKey)
    const bytes = utf8Bytes(text)
    if (bytes + ENVELOPE_BYTES > LIMITS.batchBytes) throw tooLarge(bytes)
    if (isTry && !this.#outbox.hasRoom(bytes)) throw full(this.#outbox.heldBytes)
    const onAbort = (): void => {
      this.#outbox.abort(entry, signal?.reason)
      this.#settled()
    }
    const entry: Pending = {
      text,
      bytes,
      idempotencyKey,
      deadline: this.#connector.clock.monotonic() + timeoutMs,
      isSettled: false,
      isFlying: false,
      isInDoubt: false,
      lastError: null,
      settle(error, receipt) {
        signal?.removeEventListener('abort', onAbort)
        if (receipt) resolve(receipt)
        else reject(error!)
      },
    }
    signal?.addEventListener('abort', onAbort)
    this.#outbox.add(entry)
    this.#watch(entry.deadline)
    if (this.#sender === 'idle') {
      // What the caller publishes in the same breath goes into the same batch.
      this.#sender = 'due'
      queueMicrotask(() => this.#send())
    }
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

  #send(): void {
    if (this.#sender === 'closed' || this.#sender === 'sending') return
    const { credentials } = this.#connector
    const token = credentials.peek()
    if (!token) {
      this.#sender = 'sending'
      credentials.ask().then(
        () => this.#sendAgain(),
        (error: unknown) => this.#failed(TidingsError.from(error)),
      )
      return
    }
    const batch = this.#outbox.take()
    if (batch.length === 0) {
      this.#sender = 'idle'
      return
    }
    this.#sender = 'sending'
    const url = this.#connector.endpoints.current
    const path = `/v1/topics/${encodeURIComponent(this.#topic)}/messages/batch?timestamps=true`
    const body = `{"messages":[${batch.map(({ text }) => text).join(',')}]}`
    const { requestTimeoutMs: timeoutMs } = this.#options
    this.#connector.post(url + path, body, token.token, timeoutMs, (outcome) => {
      const verdict = verdictOf(outcome, this.#topic, batch.length, this.#connector.clock.now())
      this.#answered(verdict, url, token.token)
    })
  }

  #answered(verdict: BatchVerdict, url: string, token: string | undefined): void {
    if (this.#sender === 'closed') return
    if (verdict.kind === 'stored') {
      this.#outbox.stored(verdict.receipts)
      this.#backoff.reset()
      this.#hasRenewed = false
      return this.#sendAgain()
    }
    const { error } = verdict
    if (verdict.kind === 'again') {
      this.#connector.endpoints.failed(url)
      this.#outbox.again(error, verdict.isInDoubt)
      return this.#rest(verdict.afterMs)
    }
    const { credentials } = this.#connector
    if (error.code === 'unauthenticated') credentials.refused(token)
    // A token that has just been asked for is believed to be the best there is.
    this.#hasRenewed = error.code === 'unauthenticated' && credentials.isRenewable && !this.#hasRenewed
    if (this.#hasRenewed) this.#outbox.again(error, false)
    else this.#outbox.refused(error, FOR_ALL.has(error.code))
    this.#sendAgain()
  }

  /** No token, so no request: for a while, or for good. */
  #failed(error: TidingsError): void {
    if (this.#sender === 'closed') return
    this.#outbox.take()
    if (error.retryable) {
      this.#outbox.again(error, false)
      return this.#rest(0)
    }
    this.#outbox.refused(error, true)
    this.#sendAgain()
  }

  #sendAgain(): void {
    if (this.#sender === 'closed') return
    this.#sender = 'due'
    this.#settled()
    this.#send()
  }

  #rest(askedMs: number): void {
    this.#sender = 'resting'
    this.#restTimer = this.#connector.clock.after(this.#backoff.next(askedMs), () => this.#sendAgain())
  }

  /** Something was settled: lets in who waits for room, and tells who waits for the end. */
  #settled(): void {
    this.#waiting.admit(() => this.#outbox.hasRoom(0))
    if (!this.#isIdle) return
    this.#dueTimer?.cancel()
    this.#dueAt = Number.POSITIVE_INFINITY
    if (this.#sender === 'resting') {
      this.#restTimer?.cancel()
      this.#sender = 'idle'
    }
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

/** What stands around the entries of a batch. */
const ENVELOPE_BYTES = 16

function full(heldBytes: number): TidingsError {
  return new TidingsError('overloaded', `${heldBytes} bytes wait to be published, and the buffer is full: try later`)
}

function tooLarge(bytes: number): TidingsError {
  return new TidingsError('message_too_large', `the message has ${bytes} bytes on the wire, more than a batch may have`)
}

function closed(): TidingsError {
  return new TidingsError('aborted', 'the client is closed')
}
