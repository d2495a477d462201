/**
 * Takes the links that other brokers dial, and gives each topic's stream on them to the feed of the topic. A runner over
 * the network. Frames that break the protocol end their link, and with it all its streams; nothing else does.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Logger } from '../base/telemetry.ts'
import type { CopyFrame } from './copy-frames.ts'
import type { CopySession, FeedLink } from './copy-session.ts'
import type { LeaderFeed } from './leader-feed.ts'
import type { LinkEvents, Listening, PeerLink, PeerNetwork } from './peer-network.ts'
import { decodePeerFrame, encodePeerFrame, type PeerFrame } from './peer-protocol.ts'

export interface PeerServerOptions {
  network: PeerNetwork
  logger: Logger
  /** The feed of a topic that this broker leads, or null. */
  feedOf(topicId: string): LeaderFeed | null
  /** A broker wants to follow a topic, in this epoch, that is not led here: read the store again. */
  notLed(topicId: string, epoch: number): void
}

/** Streams that one link may have at once. */
const STREAMS_MAX = 1_000_000

export class PeerServer {
  readonly #options: PeerServerOptions
  #listening: Listening | null = null

  constructor(options: PeerServerOptions) {
    this.#options = options
  }

  /** Where other brokers reach this one from now on. */
  async start(): Promise<string> {
    this.#listening = await this.#options.network.listen((link) => new TakenLink(this.#options, link))
    return this.#listening.address
  }

  async close(): Promise<void> {
    await this.#listening?.close()
  }
}

class TakenLink implements LinkEvents {
  readonly #options: PeerServerOptions
  readonly #link: PeerLink
  readonly #streams = new Map<number, { session: CopySession; feed: LeaderFeed }>()
  readonly #waiting = new Set<() => void>()

  constructor(options: PeerServerOptions, link: PeerLink) {
    this.#options = options
    this.#link = link
  }

  frame(bytes: Buffer): void {
    try {
      const frame = decodePeerFrame(bytes)
      if (frame) this.#heard(frame)
    } catch (error) {
      const why = TidingsError.from(error).message
      this.#options.logger.warn({ peer: this.#link.peer.nodeId, why }, 'a broker does not keep to the protocol')
      this.#link.close(why)
    }
  }

  drained(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const run of waiting) run()
  }

  closed(): void {
    for (const { session, feed } of this.#streams.values()) feed.left(session)
    this.#streams.clear()
    this.#waiting.clear()
  }

  #heard(frame: PeerFrame): void {
    switch (frame.type) {
      case 'follow': {
        if (this.#streams.has(frame.stream) || this.#streams.size >= STREAMS_MAX) {
          throw new TidingsError('invalid_argument', `stream ${frame.stream} is in use, or one too many`)
        }
        const feed = this.#options.feedOf(frame.topicId)
        const session = feed?.follow(this.#link.peer.nodeId, frame, this.#feedLink())
        if (feed && session) this.#streams.set(frame.stream, { session, feed })
        else if (!feed) {
          this.#options.notLed(frame.topicId, frame.epoch)
          this.#send({ type: 'fenced', stream: frame.stream, epoch: 0, detail: 'the topic is not led here' })
        }
        return
      }
      case 'progress':
        this.#streams.get(frame.stream)?.session.heard(frame)
        return
      case 'end': {
        const stream = this.#streams.get(frame.stream)
        this.#streams.delete(frame.stream)
        stream?.feed.left(stream.session)
        return
      }
      case 'request':
        // Nothing can be asked for yet: a later version does.
        this.#send({
          type: 'response',
          id: frame.id,
          error: { code: 'invalid_argument', detail: `a request of kind ${frame.kind} is not known here` },
          body: new Uint8Array(0),
        })
        return
      default:
        throw new TidingsError('invalid_argument', `a follower says no ${frame.type}`)
    }
  }

  #send(frame: PeerFrame): void {
    this.#link.send(encodePeerFrame(frame))
  }

  #feedLink(): FeedLink {
    const link = this.#link
    return {
      send: (frame: CopyFrame, ...batches) => {
        if (frame.type === 'end') this.#streams.delete(frame.stream)
        link.send(encodePeerFrame(frame), ...batches)
      },
      get buffered() {
        return link.buffered
      },
      whenDrained: (run) => void this.#waiting.add(run),
    }
  }
}
