/**
 * One consumer's connection: between a subscription and a socket, with no socket library, on any of the
 * stream's protocols (json-dialect.ts, binary-dialect.ts say how each one puts things). What the subscription hands
 * over waits here and goes to the socket only while that holds less than its share, so a consumer that does not
 * read costs its share of the socket's memory plus references to batches that others read too. One that takes
 * nothing for too long is ended, as is one that is silent. Frames of a turn of the event loop leave in one write.
 */
import { CLOSE, ERRORS, LIMITS, type RequestTag, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { TopicEnd } from '../partition/topic.ts'
import type {
  Attachment,
  Confirmed,
  ConsumerPort,
  Delivery,
  Gap,
  MessageSpan,
  Subscription,
} from '../subscription/subscription.ts'
import type { Dialect, Outlet, Request } from './dialect.ts'
import { BACKED_UP_BYTES, SocketWatch } from './socket-watch.ts'

/** The socket as a session needs it. */
export interface Socket {
  /** Queues one frame: a text, or bytes. */
  send(frame: string | Uint8Array): void
  /** Queues one frame of bytes: the head, and a body that is not copied and stays as it is. */
  sendParts(head: Uint8Array, body: Uint8Array): void
  ping(): void
  /** Bytes queued and not yet taken by the operating system. */
  bufferedBytes(): number
  /** Frames between the two leave in one write. */
  cork(): void
  uncork(): void
  /** Starts the closing handshake. Calls to a closing socket do nothing. */
  close(code: number, reason: string): void
  /** Ends the connection at once. */
  terminate(): void
}

export interface SessionOptions {
  consumer: string
  prefetch: number
  weight: number
  /** Longest time in which a socket with something to send takes nothing of it. */
  writeTimeoutMs: number
}

/** Confirmations that wait for the socket; a client that asks for so many and reads nothing is too slow. */
const BEHIND_MAX = 10_000
/** Confirmations that wait for the disk: while that stalls, a client that goes on asking would pile them up. */
const UNCONFIRMED_MAX = 65_536
/** How a consumer is told that what it reads has ended here. */
const ENDS: Readonly<Record<TopicEnd, { code: number; reason: string }>> = {
  deleted: { code: CLOSE.deleted, reason: 'the subscription was deleted' },
  closing: { code: CLOSE.restarting, reason: 'the broker is restarting' },
  moved: { code: ERRORS.no_leader.close, reason: 'another broker leads the topic now: connect again' },
}

/** `open` until something ends it; `draining` sends no messages but still confirms acknowledgements. */
type State = 'open' | 'draining' | 'ended'

export class Session implements ConsumerPort, Outlet {
  readonly name: string
  readonly prefetch: number
  readonly weight: number
  readonly #dialect: Dialect
  readonly #socket: Socket
  readonly #logger: Logger
  readonly #watch: SocketWatch
  #attachment: Attachment | undefined
  #state: State = 'open'
  /** Handed over and not yet sent, first in first out; `#next` is the offset to send of the first. */
  #waiting: Delivery[] = []
  #next = 0
  /** Confirmations that came while something waited: they must not pass what was handed over before them. */
  #behind: (() => void)[] = []
  #isCorked = false
  /** The acknowledgements whose answer is still due. */
  #unconfirmed = 0

  constructor(dialect: Dialect, socket: Socket, clock: Clock, logger: Logger, options: SessionOptions) {
    this.#dialect = dialect
    this.#socket = socket
    this.#logger = logger
    this.name = options.consumer
    this.prefetch = options.prefetch
    this.weight = options.weight
    this.#watch = new SocketWatch({
      socket,
      clock,
      writeTimeoutMs: options.writeTimeoutMs,
      dead: () => {
        this.#leave()
        socket.terminate()
      },
      slow: () => {
        logger.warn({ consumer: this.name }, 'consumer does not read: closing its connection')
        this.#end(CLOSE.slow, 'the consumer reads too slowly')
      },
    })
  }

  /** Joins the subscription, or closes the connection with what stands in the way (4409 when it is taken). */
  join(subscription: Subscription): void {
    try {
      const attachment = subscription.attach(this)
      // The subscription may have ended this consumer within attach already.
      if (this.#state === 'ended') attachment.detach()
      else {
        this.#attachment = attachment
        this.#dialect.welcome(this, subscription, this.prefetch)
      }
    } catch (thrown) {
      const error = TidingsError.from(thrown)
      this.#logInternal(error)
      this.#end(error.closeCode, error.message)
    }
  }

  // --- from the subscription ---

  deliver(delivery: Delivery): void {
    // While draining it only waits for the end, to be given back.
    if (this.#state === 'ended') return
    if (this.#waiting.length === 0) this.#next = delivery.from
    this.#waiting.push(delivery)
    this.#pump()
  }

  gap(gap: Gap): void {
    if (this.#state === 'open') this.#answer(() => this.#dialect.gap(this, gap))
  }

  ready(): boolean {
    return this.#state === 'open' && this.#waiting.length === 0 && this.#socket.bufferedBytes() < BACKED_UP_BYTES
  }

  ended(why: TopicEnd): void {
    this.#attachment = undefined
    const { code, reason } = ENDS[why]
    this.#end(code, reason)
  }

  // --- from the socket ---

  /** A frame came: a text, or bytes. */
  received(data: string | Uint8Array): void {
    this.heard()
    if (this.#state === 'ended') return
    let request: Request | null
    try {
      request = this.#dialect.read(this, data)
    } catch (thrown) {
      this.#sendError(TidingsError.from(thrown), this.#dialect.requestOf(thrown, data))
      return
    }
    try {
      // Before the join and after the end nothing is outstanding here.
      if (request && this.#attachment) this.#act(request, this.#attachment)
    } catch (thrown) {
      this.#sendError(TidingsError.from(thrown), request?.request)
    }
  }

  /** Any sign of life. */
  heard(): void {
    this.#watch.heard()
  }

  /** The socket's queue ran empty. */
  drained(): void {
    this.#watch.drained()
    this.#pump()
    if (this.ready()) this.#attachment?.wake()
  }

  /** The connection is gone. */
  closed(): void {
    this.#leave()
  }

  // --- from the dialect ---

  send(frame: string | Uint8Array): void {
    this.#cork()
    this.#socket.send(frame)
  }

  sendParts(head: Uint8Array, body: Uint8Array): void {
    this.#cork()
    this.#socket.sendParts(head, body)
  }

  renew(why: string): void {
    this.#end(CLOSE.restarting, why)
  }

  // --- from the server ---

  /** Stops deliveries; closes when the acknowledgements that are under way are answered. */
  drain(): void {
    if (this.#state !== 'open') return
    this.#state = 'draining'
    this.#releaseUnsent()
    this.#answerBehind()
    this.#closeWhenDrained()
  }

  // --- within ---

  #act(frame: Request, attachment: Attachment): void {
    switch (frame.type) {
      case 'ack':
        if ('upTo' in frame) {
          const { upTo } = frame
          this.#confirm(frame.request, upTo, (done) => attachment.ackUpTo(upTo, done))
        } else {
          const { ids } = frame
          this.#confirm(frame.request, null, (done) => attachment.ack(ids, done))
        }
        return
      case 'nack':
        attachment.nack(frame.ids, frame.delayMs, frame.reason)
        return
      case 'extend':
        attachment.extend(frame.ids, frame.ms)
        return
      case 'release':
        attachment.release(frame.ids)
        return
      case 'reject':
        this.#confirm(frame.request, null, (done) => attachment.reject(frame.ids, frame.reason, done))
        return
      case 'pause':
        attachment.pause()
        return
      case 'resume':
        attachment.resume()
        return
      case 'auth':
        // Access control is off, so there is no token to check.
        return
    }
  }

  /** Acknowledges; where an answer was asked for, it is sent when the acknowledgement is durable. */
  #confirm(request: RequestTag | undefined, upTo: MessageSpan | null, acknowledge: (done?: Confirmed) => void): void {
    if (request === undefined) return acknowledge()
    if (this.#unconfirmed >= UNCONFIRMED_MAX) {
      const detail = `${UNCONFIRMED_MAX} requests of this connection are not answered: wait for them, and ask again`
      throw new TidingsError('overloaded', detail)
    }
    this.#unconfirmed++
    let isSettled = false
    const settle = (): boolean => {
      if (isSettled) return false
      isSettled = true
      this.#unconfirmed--
      return true
    }
    try {
      acknowledge((error, acked) => {
        if (!settle() || this.#state === 'ended') return
        if (error) this.#sendError(TidingsError.from(error), request)
        else this.#answerInOrder(() => this.#dialect.acked(this, request, acked, upTo))
        if (this.#state === 'draining') this.#closeWhenDrained()
      })
    } catch (error) {
      settle()
      throw error
    }
  }

  #closeWhenDrained(): void {
    if (this.#unconfirmed === 0) this.#end(CLOSE.restarting, 'the broker is restarting')
  }

  /** Sends what waits, as long as the socket has room. */
  #pump(): void {
    if (this.#state !== 'open') return
    while (this.#waiting.length > 0 && this.#socket.bufferedBytes() < BACKED_UP_BYTES) {
      const delivery = this.#waiting[0]!
      this.#next = this.#dialect.messages(this, delivery, this.#next)
      if (this.#next < delivery.to) continue
      this.#waiting.shift()
      this.#next = this.#waiting[0]?.from ?? 0
    }
    if (this.#waiting.length === 0) this.#answerBehind()
    this.#watch.sent()
  }

  #sendError(error: TidingsError, request: RequestTag | undefined): void {
    this.#logInternal(error)
    this.#answer(() => this.#dialect.error(this, error, request))
  }

  #logInternal(error: TidingsError): void {
    if (error.code === 'internal') this.#logger.error({ err: error.cause ?? error }, 'consumer frame failed')
  }

  /** Answers are small, but a client that asks and never reads would pile them up all the same. */
  #answer(say: () => void): void {
    if (this.#socket.bufferedBytes() > BACKED_UP_BYTES + LIMITS.frameBytes) {
      this.#end(CLOSE.slow, 'the consumer reads too slowly')
      return
    }
    say()
    this.#watch.sent()
  }

  /** A client takes the answer for a mark in the stream: what comes after it was not on its way before it asked. */
  #answerInOrder(say: () => void): void {
    if (this.#waiting.length === 0 || this.#state === 'draining') this.#answer(say)
    else if (this.#behind.length < BEHIND_MAX) this.#behind.push(say)
    else this.#end(CLOSE.slow, 'the consumer reads too slowly')
  }

  #answerBehind(): void {
    for (const say of this.#behind.splice(0)) if (this.#state !== 'ended') this.#answer(say)
  }

  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#socket.cork()
    queueMicrotask(() => {
      this.#isCorked = false
      this.#socket.uncork()
    })
  }

  #end(code: number, reason: string): void {
    if (this.#state === 'ended') return
    this.#leave()
    this.#socket.close(code, reason)
  }

  /** What never went to the socket is given back as if it had not been delivered. */
  #releaseUnsent(): void {
    const unsent: MessageSpan[] = []
    for (const { topic, partition, from, to } of this.#waiting.splice(0)) {
      unsent.push({ topic, partition, offset: Math.max(from, this.#next), to })
      this.#next = 0
    }
    if (unsent.length > 0) this.#attachment?.release(unsent)
  }

  /** What is outstanding goes back at once; nothing is sent any more. */
  #leave(): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#behind = []
    this.#releaseUnsent()
    this.#watch.stop()
    this.#attachment?.detach()
    this.#attachment = undefined
  }
}
