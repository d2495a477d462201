/**
 * Where the answers to a client's requests arrive: a topic and a subscription of its own, made for the first request and
 * deleted when the client is closed; when it is not, the broker deletes both by and by. Owns the requests that
 * wait. The first answer to a request is taken; later ones, and those to requests that have ended, are dropped.
 *
 * The topic begins with a message of ours: an answer that is stored as its first has brought a deleted inbox back
 * to life, and whoever sent it removes it again (answer-post.ts).
 */
import type { Connector } from './connector.ts'
import type { Message } from './message.ts'
import { clientClosed } from './option-checks.ts'
import { TidingsError } from './protocol/errors.ts'
import { REPLY_HEADER, REPLY_TOPIC_PREFIX } from './protocol/http.ts'
import type { PublishReceipt } from './publish-answer.ts'
import type { PublishOptions } from './publish-entry.ts'
import type { Ask } from './questions.ts'
import { errorOf } from './reply-error.ts'
import { checkWait } from './signals.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import type { Handler, Subscription } from './subscription.ts'
import { takenBack } from './waiting-room.ts'

/** Options of a publish, besides what a request decides itself. `ttlMs` is `timeoutMs` unless it is given. */
export interface RequestOptions extends Omit<PublishOptions, 'delayMs' | 'deliverAt' | 'idempotencyKey'> {
  /** Longest wait for the answer. Default: 30 s. */
  timeoutMs?: number
}

export interface InboxParts {
  connector: Connector
  ask: Ask
  publish: (topic: string, value: unknown) => Promise<unknown>
  subscribe: (
    topic: string,
    name: string,
    options: SubscribeOptions,
    handler: Handler<unknown>,
  ) => Subscription<unknown>
}

const TIMEOUT_MS = 30_000
/** The publish ends a little later than the request, which says better what happened. */
const GRACE_MS = 100
const PENDING_MAX = 100_000
const OPEN_MS = 15_000
const CLOSE_MS = 2000
const SUBSCRIPTION = 'inbox'
/** How long the broker keeps it for a client that is not connected. */
const EXPIRE_MS = 600_000
const SETTINGS = {
  partitions: 1,
  // Lost with the power of the broker's machine, an answer is as one that never came.
  durability: 'buffered',
  retention: { untilAcked: true, maxAgeMs: EXPIRE_MS },
  segmentBytes: 1_048_576,
  expireWithSubscriptions: true,
}

interface Pending {
  settle(error: TidingsError | null, answer?: unknown): void
}

export class Inbox {
  readonly #name: string
  readonly #parts: InboxParts
  readonly #pending = new Map<string, Pending>()
  #count = 0
  #opening: Promise<void> | null = null
  #subscription: Subscription<unknown> | null = null
  #isClosed = false

  constructor(parts: InboxParts) {
    this.#parts = parts
    this.#name = REPLY_TOPIC_PREFIX + parts.connector.random.id()
  }

  request(
    send: (options: PublishOptions) => Promise<PublishReceipt>,
    timeoutMs: number = TIMEOUT_MS,
    signal?: AbortSignal,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw clientClosed()
      checkWait({ timeoutMs, ...(signal && { signal }) })
      if (signal?.aborted) throw takenBack(signal)
      if (this.#pending.size >= PENDING_MAX) {
        throw new TidingsError('overloaded', `${PENDING_MAX} requests wait for their answers: await some of them first`)
      }
      const { clock, signals } = this.#parts.connector
      const deadline = clock.monotonic() + timeoutMs
      const correlation = String(++this.#count)
      const timer = clock.after(timeoutMs, () => pending.settle(late(timeoutMs)))
      const unlisten = signal && signals.listen(signal, () => pending.settle(takenBack(signal)))
      const pending: Pending = {
        settle: (error, answer) => {
          if (!this.#pending.delete(correlation)) return
          timer.cancel()
          unlisten?.()
          if (error) reject(error)
          else resolve(answer)
        },
      }
      this.#pending.set(correlation, pending)
      const headers = { [REPLY_HEADER.to]: this.#name, [REPLY_HEADER.correlation]: correlation }
      this.#open()
        .then(async () => {
          const leftMs = Math.max(1, Math.ceil(deadline - clock.monotonic()))
          if (this.#pending.has(correlation)) await send({ headers, ttlMs: leftMs, timeoutMs: leftMs + GRACE_MS })
        })
        .catch((error: unknown) => pending.settle(TidingsError.from(error)))
    })
  }

  /** Who still waits for an answer is told that there will be none. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const pending of this.#pending.values()) pending.settle(clientClosed())
    // One that is being made is there in a moment, or never.
    await this.#opening?.catch(() => undefined)
    if (!this.#subscription) return
    await this.#subscription.drain({ timeoutMs: 0 })
    const path = `/v1/topics/${this.#name}`
    await this.#parts.ask({ method: 'DELETE', path, timeoutMs: CLOSE_MS }).catch(() => undefined)
  }

  /** Resolves when answers would be kept. */
  #open(): Promise<void> {
    this.#opening ??= this.#make().then(
      () => this.#listen(),
      (error: unknown) => {
        this.#opening = null
        throw error
      },
    )
    return this.#opening
  }

  async #make(): Promise<void> {
    const { ask, publish } = this.#parts
    const path = `/v1/topics/${this.#name}`
    const put = (to: string, body: unknown): Promise<unknown> =>
      ask({ method: 'PUT', path: to, body, timeoutMs: OPEN_MS })
    await put(path, SETTINGS)
    await put(`${path}/subscriptions/${SUBSCRIPTION}`, { start: 'earliest', expireAfterMs: EXPIRE_MS })
    await publish(this.#name, null)
  }

  #listen(): void {
    if (this.#subscription) return
    let isFirst = true
    const onConnect = (): void => {
      // Away for long, it was deleted, and the new connection has made one without these settings.
      if (!isFirst) this.#make().catch(() => undefined)
      isFirst = false
    }
    const options = { start: 'earliest', onConnect } as const
    this.#subscription = this.#parts.subscribe(this.#name, SUBSCRIPTION, options, (message) => this.#arrived(message))
    this.#subscription.closed.catch(() => {
      // It was deleted. It is made again at once for those who wait, else for the next request.
      this.#subscription = null
      this.#opening = null
      if (this.#pending.size > 0 && !this.#isClosed) this.#open().catch(() => undefined)
    })
  }

  #arrived({ headers, value }: Message<unknown>): void {
    const pending = this.#pending.get(headers[REPLY_HEADER.correlation] ?? '')
    if (headers[REPLY_HEADER.error] === undefined) pending?.settle(null, value)
    else pending?.settle(errorOf(value))
  }
}

function late(timeoutMs: number): TidingsError {
  return new TidingsError(
    'reply_timeout',
    `no answer came within ${timeoutMs} ms; the request may have been carried out all the same`,
  )
}
