/**
 * One watch over etcd: a stream of its own, opened again at another endpoint from where it had come when it ends, when
 * its endpoint answers nothing else, or when it has been silent for long (a stream that died without a word looks just
 * like one with nothing to say). Owns the stream and its timers; etcd-watch-position.ts decides what is told.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Change } from './coordinator.ts'
import type { EtcdClient } from './etcd-client.ts'
import { type EtcdCodec, parseAnswer } from './etcd-codec.ts'
import { WatchPosition } from './etcd-watch-position.ts'

export interface EtcdWatchOptions {
  client: EtcdClient
  codec: EtcdCodec
  clock: Clock
  logger: Logger
  prefix: string
  afterRevision: number
  /** After so long without a word another stream is opened. */
  silenceMs: number
  on: { changes(changes: Change[]): void; lost(): void }
}

const PAUSE_MS = 100
const PAUSE_MAX_MS = 5000
/** A new stream says that it is there. */
const OPEN_MS = 3000
const FAILURES_TOLD = 4

export class EtcdWatch {
  readonly #options: EtcdWatchOptions
  readonly #position: WatchPosition
  #stream: { close(): void } | null = null
  #timer: Timer | null = null
  /** Streams that ended before they said anything. */
  #failures = 0
  #stopped = false

  constructor(options: EtcdWatchOptions) {
    this.#options = options
    this.#position = new WatchPosition(options.afterRevision)
    void this.#open()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#stream?.close()
    this.#stream = null
  }

  async #open(): Promise<void> {
    const { client, codec, prefix } = this.#options
    this.#position.restart()
    let hasEnded = false
    const end = (reason: string): void => {
      if (hasEnded || this.#stopped) return
      hasEnded = true
      this.#again(reason)
    }
    try {
      const stream = await client.stream('/v3/watch', codec.watchRequest(prefix, this.#position.revision), {
        line: (line) => {
          if (!hasEnded && !this.#stopped) this.#line(line, end)
        },
        ended: (cause) => end(cause?.message ?? 'etcd ended it'),
      })
      if (hasEnded || this.#stopped) {
        stream.close()
        return
      }
      this.#stream = stream
      this.#watchSilence(OPEN_MS, end)
    } catch (error) {
      end(error instanceof Error ? error.message : String(error))
    }
  }

  #line(line: string, end: (reason: string) => void): void {
    this.#watchSilence(this.#options.silenceMs, end)
    try {
      const message = this.#options.codec.decodeWatch(parseAnswer(line))
      if (message.kind === 'created') this.#failures = 0
      const step = this.#position.take(message)
      if (step.kind === 'tell') this.#options.on.changes(step.changes)
      if (step.kind === 'again') end(step.reason)
      if (step.kind === 'lost') {
        this.stop()
        this.#options.on.lost()
      }
    } catch (error) {
      end(error instanceof Error ? error.message : String(error))
    }
  }

  #watchSilence(ms: number, end: (reason: string) => void): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(ms, () => end('it is silent'))
  }

  #again(reason: string): void {
    const { clock, logger, prefix } = this.#options
    this.#stream?.close()
    this.#stream = null
    this.#timer?.cancel()
    const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** this.#failures)
    if (this.#failures === FAILURES_TOLD)
      logger.warn({ prefix, reason }, `a watch of etcd does not come about: ${reason}`)
    this.#failures++
    this.#timer = clock.after(pauseMs, () => void this.#open())
  }
}
