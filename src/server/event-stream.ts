/**
 * One reader of a topic's server-sent events: where it stands, and its response while that takes what is
 * sent. A reader that is behind waits in the log, not in memory: nothing is added to a response that holds
 * more than its share, and one that takes nothing for too long is cut off. Driven by topic-events.ts.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Render, Slice, Standing } from './event-slice.ts'

/** The response as a stream of events needs it. */
export interface EventSink {
  write(bytes: Buffer | string): void
  /** Bytes written and not yet taken by the operating system. */
  bufferedBytes(): number
  /** Ends the response in good order, after what was written. */
  end(): void
  /** Ends the connection at once. */
  destroy(): void
}

export interface EventStreamOptions {
  render: Render
  standing: Standing
  /** Longest time in which a full response takes nothing. */
  writeTimeoutMs: number
}

/** Above it nothing is added to the response. */
export const SINK_BYTES_MAX = 65_536

export class EventStream {
  readonly render: Render
  standing: Standing
  readonly #sink: EventSink
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #writeTimeoutMs: number
  #isOpen = true
  /** Something was sent since the last beat, so that the connection needs no sign of life. */
  #isFresh = true
  #writeTimer: Timer | undefined

  constructor(sink: EventSink, clock: Clock, logger: Logger, options: EventStreamOptions) {
    this.#sink = sink
    this.#clock = clock
    this.#logger = logger
    this.render = options.render
    this.standing = options.standing
    this.#writeTimeoutMs = options.writeTimeoutMs
  }

  /** Whether it may be given more now; when not, its socket will drain, or it is gone. */
  get hasRoom(): boolean {
    return this.#isOpen && this.#sink.bufferedBytes() < SINK_BYTES_MAX
  }

  take(slice: Slice): void {
    this.standing = slice.standing
    if (slice.bytes.length > 0) this.#write(slice.bytes)
  }

  /** A sign of life, where nothing else was sent lately. */
  beat(): void {
    if (!this.#isFresh && this.hasRoom) this.#write(':\n\n')
    this.#isFresh = false
  }

  /** The response has taken everything. */
  drained(): void {
    this.#writeTimer?.cancel()
    this.#writeTimer = undefined
  }

  /** No more events: a last one may say why. */
  end(last?: string): void {
    if (!this.#isOpen) return
    this.closed()
    if (last !== undefined) this.#sink.write(last)
    this.#sink.end()
  }

  /** Ends the connection at once: what comes next cannot be sent. */
  cut(): void {
    this.closed()
    this.#sink.destroy()
  }

  /** The connection is gone. */
  closed(): void {
    this.#isOpen = false
    this.drained()
  }

  #write(bytes: Buffer | string): void {
    this.#isFresh = true
    this.#sink.write(bytes)
    if (this.#writeTimer || this.hasRoom) return
    this.#writeTimer = this.#clock.after(this.#writeTimeoutMs, () => {
      this.#logger.warn({}, 'a reader of events does not read: closing its connection')
      this.cut()
    })
  }
}
