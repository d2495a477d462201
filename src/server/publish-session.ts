/**
 * One publisher's connection (`/v1/publish`): between topics and a socket, with no socket library. Reads frames, checks
 * their records, hands them to their topics and answers each one when it is durable; answers that become due
 * together, as those of a group commit do, leave in one write. What waits for the disk is bounded by the
 * partitions' queues, and here by the number of frames that are not answered.
 */
import {
  CLOSE,
  checkName,
  decodePublisherFrame,
  ERRORS,
  encodePublishAnswer,
  type KeyedFrame,
  type KeyedReceipt,
  LIMITS,
  type PublishAnswer,
  type PublisherFrame,
  type PublishFrame,
  type RefusedFrame,
  readKeyedEntries,
  TidingsError,
} from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { Gate } from '../base/gate.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'
import type { Routing } from '../cluster/routing.ts'
import {
  isScheduled,
  type ProducedReceipt,
  type PublishInput,
  type PublishOutcome,
  type Topic,
} from '../partition/topic.ts'
import { errorOf, logInternal } from './problem.ts'
import { PublishRelay, tooManyHandles } from './publish-relay.ts'
import { checkRecords, readEntry } from './record-check.ts'
import type { Socket } from './session.ts'
import { BACKED_UP_BYTES, SocketWatch } from './socket-watch.ts'

export interface PublishSessionParts {
  host: Host
  /** Null: all topics are this broker's own. */
  routing: Routing | null
  clock: Clock
  logger: Logger
  /** The broker's own bound on a message, whatever its topic allows. */
  maxMessageBytes: number
  writeTimeoutMs: number
  /** Counts an answer: `ok` or the error's code. */
  answered(code: string): void
}

/** Frames of one connection that are not answered: eight for each of a thousand topics. */
const UNANSWERED_MAX = 8192
/** Topics that one connection has made at the same time: others may want some, too. */
const CREATING_AT_ONCE = 8
/** A refused publisher is asked to wait for so long, where waiting helps. */
const RETRY_AFTER_MS = 250

/** No topic has this name. */
const GONE = ''

type State = 'open' | 'draining' | 'ended'

/** What the answer to a frame of messages names. The frame itself is not held meanwhile. */
type Asked = Pick<PublishFrame | KeyedFrame, 'type' | 'handle' | 'sequence'>

export class PublishSession {
  readonly #socket: Socket
  readonly #parts: PublishSessionParts
  readonly #watch: SocketWatch
  readonly #now: () => number
  /** Names of the topics that were opened; a symbol of its own while one is still being made, GONE where one was deleted since. */
  readonly #handles = new Map<number, string | symbol>()
  readonly #creations = new Gate(CREATING_AT_ONCE)
  #state: State = 'open'
  #unanswered = 0
  #isCorked = false
  /** What passes on the frames of topics that other brokers lead. */
  readonly #relay: PublishRelay | null

  constructor(socket: Socket, parts: PublishSessionParts) {
    this.#socket = socket
    this.#parts = parts
    this.#now = () => parts.clock.now()
    this.#relay =
      parts.routing &&
      new PublishRelay(parts.routing, {
        nameOf: (handle) => this.#handles.get(handle),
        open: (handle, name) => this.#open(handle, name),
        refuseOpen: (handle, error) => this.#refuse({ type: 'open', handle, sequence: 0 }, error, false),
        answered: (answer) => this.#sendBytes(answer),
        moved: () => this.#moved(),
      })
    this.#watch = new SocketWatch({
      socket,
      clock: parts.clock,
      writeTimeoutMs: parts.writeTimeoutMs,
      dead: () => {
        this.#leave()
        socket.terminate()
      },
      slow: () => this.#end(CLOSE.slow, 'the publisher reads its answers too slowly'),
    })
  }

  // --- from the socket ---

  received(): void {
    this.#watch.heard()
    this.#fail(new TidingsError('invalid_argument', 'this protocol has binary frames only'))
  }

  receivedBinary(bytes: Uint8Array): void {
    this.#watch.heard()
    if (this.#state === 'ended') return
    let frame: PublisherFrame
    try {
      frame = decodePublisherFrame(bytes)
    } catch (error) {
      return this.#fail(errorOf(error))
    }
    if (this.#state === 'open' && 'handle' in frame && this.#relay?.takes(frame, bytes)) return
    switch (frame.type) {
      case 'open':
        return this.#open(frame.handle, frame.topic)
      case 'publish':
      case 'keyed':
        return this.#take(frame)
      case 'shut':
        // What is still being opened under it is answered all the same.
        this.#handles.delete(frame.handle)
        return
      case 'auth':
        // Access control is off, so there is no token to check.
        return
      case 'probe':
        return this.#send({ type: 'alive' })
    }
  }

  heard(): void {
    this.#watch.heard()
  }

  drained(): void {
    this.#watch.drained()
  }

  closed(): void {
    this.#leave()
  }

  // --- from the server ---

  /** Refuses what is new; closes when what is under way is answered. */
  drain(): void {
    if (this.#state !== 'open') return
    this.#state = 'draining'
    this.#relay?.close()
    this.#closeWhenDrained()
  }

  // --- within ---

  #moved(): void {
    this.#end(ERRORS.no_leader.close, 'a topic of this connection is led by another broker now: connect again')
  }

  #open(handle: number, name: string): void {
    const before = this.#handles.get(handle)
    try {
      // The handle that is there stays.
      if (before !== undefined && before !== GONE) throw handleTaken(handle)
      this.#mustTakeWork()
      if (before === undefined && this.#handles.size >= LIMITS.handles) throw tooManyHandles()
      checkName('topic', name)
      const topic = this.#existing(name)
      if (topic) return this.#opened(handle, topic, true)
    } catch (error) {
      return this.#refuse({ type: 'open', handle, sequence: 0 }, errorOf(error), false)
    }
    this.#create(handle, name)
  }

  #opened(handle: number, { name, partitions, settings }: Topic, isWanted: boolean): void {
    // The topic's own text: a connection may have the same topic at many handles.
    if (isWanted) this.#handles.set(handle, name)
    const maxMessageBytes = Math.min(settings.maxMessageBytes, this.#parts.maxMessageBytes)
    this.#send({ type: 'opened', handle, partitionCount: partitions.length, maxMessageBytes })
  }

  #create(handle: number, name: string): void {
    const opening = Symbol('opening')
    this.#handles.set(handle, opening)
    this.#unanswered++
    // The handle may have been shut meanwhile, and opened again.
    const isWanted = (): boolean => this.#handles.get(handle) === opening
    const refused = (error: unknown): void => {
      if (isWanted()) this.#handles.delete(handle)
      this.#refuse({ type: 'open', handle, sequence: 0 }, errorOf(error), false)
    }
    const made = this.#creations.run(async () => {
      this.#mustTakeWork()
      return this.#parts.host.ensureTopic(name)
    })
    made.then(
      (topic) => this.#settle(() => this.#opened(handle, topic, isWanted())),
      (error: unknown) => this.#settle(() => refused(error)),
    )
  }

  #mustTakeWork(): void {
    if (this.#state === 'open') return
    throw new TidingsError('overloaded', 'the broker is shutting down: try another or later')
  }

  #existing(name: string): Topic | null {
    try {
      return this.#parts.host.topic(name)
    } catch (error) {
      if (TidingsError.is(error) && error.code === 'topic_not_found') return null
      throw error
    }
  }

  #take(frame: PublishFrame | KeyedFrame): void {
    const { type, handle, sequence } = frame
    const asked = { type, handle, sequence }
    let topic: Topic | null = null
    try {
      const name = this.#handles.get(handle)
      if (typeof name !== 'string') {
        throw new TidingsError('invalid_argument', `handle ${handle} is not open: publish when "opened" has come`)
      }
      topic = name === GONE ? null : this.#existing(name)
      if (!topic) {
        // Frames behind this one are on their way already, and are to hear the same.
        this.#handles.set(handle, GONE)
        throw new TidingsError('topic_not_found', 'the topic was deleted: open it again')
      }
      this.#mustTakeWork()
      if (this.#unanswered >= UNANSWERED_MAX) throw tooManyFrames()
      if (frame.type === 'publish') this.#produce(asked, frame, topic)
      else this.#publishAll(asked, frame, topic)
    } catch (error) {
      const mayBeStored = frame.type === 'publish' && topic?.turnAway(frame)
      this.#refuse(asked, errorOf(error), mayBeStored === true)
    }
  }

  #produce(asked: Asked, frame: PublishFrame, topic: Topic): void {
    checkRecords(frame.records, frame.count, this.#parts.maxMessageBytes, this.#now)
    this.#unanswered++
    topic.produce(frame, (error, receipt) => {
      this.#settle(() => {
        if (error) this.#refuse(asked, error, receipt !== undefined)
        else this.#stored(asked, topic, receipt!)
      })
    })
  }

  #stored({ handle, sequence }: Asked, topic: Topic, { parts, partOf, duplicate }: ProducedReceipt): void {
    this.#parts.answered('ok')
    const partitionCount = topic.partitions.length
    this.#send({ type: 'stored', handle, sequence, partitionCount, duplicate, parts, partOf })
  }

  #publishAll(asked: Asked, frame: KeyedFrame, topic: Topic): void {
    const { maxMessageBytes } = this.#parts
    const inputs: PublishInput[] = readKeyedEntries(frame).map((entry, i) =>
      readEntry(entry, i, maxMessageBytes, this.#now, topic),
    )
    const { length: count } = inputs
    this.#unanswered++
    topic.publishAll(inputs, (error, outcomes) => {
      this.#settle(() => {
        // Of several messages some may have been stored before one of their partitions failed.
        if (error) return this.#refuse(asked, error, count > 1 && error.status >= 500)
        this.#parts.answered('ok')
        const { handle, sequence } = asked
        const receipts = outcomes!.map(receiptOf)
        this.#send({ type: 'receipts', handle, sequence, partitionCount: topic.partitions.length, receipts })
      })
    })
  }

  /** The outcome of something that was under way. */
  #settle(answer: () => void): void {
    this.#unanswered--
    if (this.#state === 'ended') return
    answer()
    if (this.#state === 'draining') this.#closeWhenDrained()
  }

  #closeWhenDrained(): void {
    if (this.#unanswered === 0) this.#end(CLOSE.restarting, 'the broker is restarting')
  }

  #refuse(
    frame: { type: RefusedFrame['frame']; handle: number; sequence: number },
    error: TidingsError,
    mayBeStored: boolean,
  ): void {
    logInternal(error, this.#parts.logger)
    if (frame.type !== 'open') this.#parts.answered(error.code)
    const { handle, sequence } = frame
    const { code, message: detail, retryable } = error
    const entry = 'entry' in error && typeof error.entry === 'number' ? error.entry : null
    const retryAfterMs = retryable ? RETRY_AFTER_MS : 0
    this.#send({
      type: 'refused',
      frame: frame.type,
      handle,
      sequence,
      code,
      detail,
      entry,
      mayBeStored,
      retryAfterMs,
    })
  }

  /** A frame that could not be read. */
  #fail(error: TidingsError): void {
    logInternal(error, this.#parts.logger)
    if (this.#state !== 'ended') this.#send({ type: 'error', code: error.code, detail: error.message })
  }

  /** Answers are small, but a publisher that asks and never reads would pile them up all the same. */
  #send(answer: PublishAnswer): void {
    this.#sendBytes(encodePublishAnswer(answer))
  }

  #sendBytes(answer: Uint8Array): void {
    if (this.#state === 'ended') return
    if (this.#socket.bufferedBytes() > BACKED_UP_BYTES + LIMITS.frameBytes) {
      return this.#end(CLOSE.slow, 'the publisher reads its answers too slowly')
    }
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      queueMicrotask(() => {
        this.#isCorked = false
        this.#socket.uncork()
      })
    }
    this.#socket.send(answer)
    this.#watch.sent()
  }

  #end(code: number, reason: string): void {
    if (this.#state === 'ended') return
    this.#leave()
    this.#socket.close(code, reason)
  }

  #leave(): void {
    this.#state = 'ended'
    this.#watch.stop()
    this.#relay?.close()
    this.#handles.clear()
  }
}

function receiptOf(outcome: PublishOutcome): KeyedReceipt {
  const duplicate = outcome.duplicate === true
  if (isScheduled(outcome)) {
    const { id, deliverAt } = outcome.scheduled
    return { scheduled: id, deliverAt, duplicate }
  }
  const { partition, offset, timestamp } = outcome
  return { partition, offset, timestamp, duplicate }
}

function handleTaken(handle: number): TidingsError {
  return new TidingsError('invalid_argument', `handle ${handle} is open already`)
}

function tooManyFrames(): TidingsError {
  return new TidingsError('overloaded', `${UNANSWERED_MAX} frames of this connection are not answered: wait for them`)
}
