/**
 * The one connection over which a client publishes, to all of its topics: made when something is to be sent, kept up
 * while something is, shared by the publishers as channels. Opens their topics, passes answers on, and gives a
 * connection up on which something was asked and nothing is answered in time.
 */
import { Connection, type ConnectionUser, type Dialect } from './connection.ts'
import type { Connector } from './connector.ts'
import type { Timer } from './platform.ts'
import { TidingsError } from './protocol/errors.ts'
import { decodePublishAnswer, type PublishAnswer, type RefusedFrame } from './protocol/publish-answers.ts'
import { encodeOpen, encodeProbe, encodePublisherAuth, encodeShut, PUBLISH_PATH } from './protocol/publish-frames.ts'
import { BINARY_SUBPROTOCOL } from './protocol/version.ts'

/** Answers to frames of messages. */
export type FrameAnswer = PublishAnswer & { type: 'stored' | 'receipts' | 'refused' }

export interface ChannelUser {
  /** Something waits to be sent, or to be answered. */
  readonly hasWork: boolean
  /** The topic is open: frames may go. */
  opened(partitionCount: number): void
  refusedToOpen(refusal: RefusedFrame): void
  /** Throws what makes the connection useless. */
  answered(answer: FrameAnswer): void
  /** The connection is gone, and the topic is not open any more. */
  left(error: TidingsError): void
  /** No connection came about, or one was lost; it is tried again. */
  troubled(error: TidingsError): void
  /** There will be none. */
  failed(error: TidingsError): void
}

/** One topic on the link; only the link changes its state. */
export interface Channel {
  readonly handle: number
  readonly topic: string
  readonly user: ChannelUser
  state: 'closed' | 'opening' | 'open'
}

const dialect: Dialect = {
  subprotocol: BINARY_SUBPROTOCOL,
  probe: encodeProbe,
  auth: encodePublisherAuth,
  pause: () => null,
}

export class PublishLink implements ConnectionUser {
  readonly dialect = dialect
  readonly #connector: Connector
  readonly #requestTimeoutMs: number
  readonly #channels = new Map<number, Channel>()
  #nextHandle = 0
  #connection: Connection | undefined
  #lastError = new TidingsError('unavailable', 'no connection to the broker')
  /** Frames that are not answered, and when the broker last answered one or owed none. */
  #unanswered = 0
  #progressAt = 0
  #answerTimer: Timer | undefined
  #isClosed = false

  constructor(connector: Connector, requestTimeoutMs: number) {
    this.#connector = connector
    this.#requestTimeoutMs = requestTimeoutMs
  }

  channel(topic: string, user: ChannelUser): Channel {
    const channel: Channel = { handle: this.#nextHandle++, topic, user, state: 'closed' }
    this.#channels.set(channel.handle, channel)
    return channel
  }

  /** Ends the connection; what is not answered stays so. */
  close(): void {
    this.#isClosed = true
    this.#connection?.stop()
    this.#answerTimer?.cancel()
  }

  // --- from the channels ---

  /** Asks for the topic, over a connection that is made where there is none. */
  open(channel: Channel): void {
    if (this.#isClosed || channel.state !== 'closed') return
    if (!this.#connection) {
      this.#connection = new Connection(this.#connector, PUBLISH_PATH, this)
      return this.#connection.start()
    }
    if (!this.#connection.isLive) return
    channel.state = 'opening'
    this.send(encodeOpen(channel.handle, channel.topic))
  }

  send(frame: Uint8Array): void {
    this.#connection?.send(frame)
    if (this.#unanswered++ > 0) return
    this.#progressAt = this.#connector.clock.monotonic()
    if (!this.#answerTimer) this.#watchAnswers(this.#requestTimeoutMs)
  }

  /** The topic has to be opened again. The broker may still hold the handle open, for another topic of the name. */
  shut(channel: Channel): void {
    channel.state = 'closed'
    this.#connection?.send(encodeShut(channel.handle))
  }

  /** Nobody publishes there any more. */
  end(channel: Channel): void {
    this.#channels.delete(channel.handle)
    if (channel.state !== 'closed') this.shut(channel)
    this.idle()
  }

  /** Another broker may do better, where there is one. */
  elsewhere(): void {
    if (this.#connector.endpoints.count > 1) this.#connection?.giveUp('the broker cannot take publishes now')
  }

  /** A connection that nobody needs is not made anew; not at once, since it may be in the midst of being lost. */
  idle(): void {
    if (!this.#connection || this.#connection.isLive) return
    queueMicrotask(() => {
      if (this.#connection && !this.#connection.isLive && !this.#hasWork) this.#connection.stop()
    })
  }

  // --- from the connection ---

  opened(): void {
    for (const channel of this.#channels.values()) if (channel.user.hasWork) this.open(channel)
  }

  received(data: string | Uint8Array): void {
    if (typeof data === 'string') throw new TidingsError('invalid_argument', 'the broker sent a frame that is no text')
    const answer = decodePublishAnswer(data)
    switch (answer?.type) {
      case 'opened':
      case 'stored':
      case 'receipts':
      case 'refused':
        return this.#answered(answer)
      case 'error':
        // Whatever it was about will not be answered otherwise.
        throw new TidingsError('internal', `the broker cannot read what it was sent: ${answer.detail}`)
      case 'alive':
      case undefined:
    }
  }

  left(): void {
    this.#unanswered = 0
    this.#answerTimer?.cancel()
    this.#answerTimer = undefined
    for (const channel of this.#channels.values()) {
      channel.state = 'closed'
      channel.user.left(this.#lastError)
    }
    this.idle()
  }

  trouble(error: TidingsError): void {
    this.#lastError = error
    for (const { user } of this.#channels.values()) if (user.hasWork) user.troubled(error)
  }

  finishedForGood(error: TidingsError | null): void {
    this.#connection = undefined
    this.#answerTimer?.cancel()
    this.#answerTimer = undefined
    if (error) for (const { user } of this.#channels.values()) if (user.hasWork) user.failed(error)
    // What came while the connection was being stopped needs another.
    for (const channel of this.#channels.values()) if (channel.user.hasWork) this.open(channel)
  }

  // --- within ---

  #answered(answer: FrameAnswer | (PublishAnswer & { type: 'opened' })): void {
    if (answer.handle >= this.#nextHandle || this.#unanswered === 0) {
      throw new TidingsError('internal', 'the broker answers what was not asked')
    }
    this.#unanswered--
    this.#progressAt = this.#connector.clock.monotonic()
    const channel = this.#channels.get(answer.handle)
    // Its publisher has been closed.
    if (!channel) return
    if (answer.type === 'opened') {
      channel.state = 'open'
      channel.user.opened(answer.partitionCount)
    } else if (answer.type === 'refused' && answer.frame === 'open') {
      channel.state = 'closed'
      channel.user.refusedToOpen(answer)
    } else channel.user.answered(answer)
  }

  get #hasWork(): boolean {
    for (const { user } of this.#channels.values()) if (user.hasWork) return true
    return false
  }

  /** One timer for all answers: the next one must come in time, whichever it is. */
  #watchAnswers(delayMs: number): void {
    const { clock } = this.#connector
    this.#answerTimer = clock.after(delayMs, () => {
      this.#answerTimer = undefined
      if (this.#unanswered === 0) return
      const leftMs = this.#progressAt + this.#requestTimeoutMs - clock.monotonic()
      if (leftMs > 0) this.#watchAnswers(leftMs)
      else this.#connection?.giveUp(`the broker did not answer within ${this.#requestTimeoutMs} ms`)
    })
  }
}
