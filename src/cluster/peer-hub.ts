/**
 * The links that other brokers dial: takes their frames to the feed of the topic that they follow. A runner over the
 * network; peer-links.ts is its counterpart for the links that this broker dials.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Logger } from '../base/telemetry.ts'
import type { CopyFrame, Follow } from './copy-frames.ts'
import type { CopySession, FeedLink } from './copy-session.ts'
import type { LeaderFeed } from './leader-feed.ts'
import type { LinkEvents, Listening, PeerLink, PeerNetwork } from './peer-network.ts'
import { decodePeerFrame, encodePeerFrame } from './peer-protocol.ts'

export interface PeerHubOptions {
  network: PeerNetwork
  logger: Logger
  /** What is followed of a topic; null: it is not led here. */
  readonly feedOf: (topicId: string) => LeaderFeed | null
}

/** Streams on one link: one for each topic that is copied over it, and those that have just ended. */
const STREAMS_MAX = 100_000

interface Stream {
  feed: LeaderFeed
  session: CopySession
}

export class PeerHub {
  readonly #options: PeerHubOptions
  #listening: Listening | null = null

  constructor(options: PeerHubOptions) {
    this.#options = options
  }

  /** Where others reach this broker. */
  async listen(): Promise<string> {
    this.#listening = await this.#options.network.listen((link) => this.#take(link))
    return this.#listening.address
  }

  async close(): Promise<void> {
    await this.#listening?.close()
  }

  #take(link: PeerLink): LinkEvents {
    const { logger, feedOf } = this.#options
    const streams = new Map<number, Stream>()
    let drained: (() => void)[] = []
    const feedLink: FeedLink = {
      send: (frame, ...batches) => {
        if (frame.type === 'end') streams.delete(frame.stream)
        link.send(encodePeerFrame(frame), ...batches)
      },
      get buffered() {
        return link.buffered
      },
      whenDrained: (run) => void drained.push(run),
    }
    const follow = (frame: Follow): void => {
      const feed = feedOf(frame.topicId)
      if (!feed) {
        const detail = 'the topic is not led here'
        return feedLink.send({ type: 'fenced', stream: frame.stream, epoch: 0, detail })
      }
      if (streams.has(frame.stream)) return link.close(`stream ${frame.stream} is in use`)
      if (streams.size >= STREAMS_MAX) return link.close('too many streams')
      const session = feed.follow(link.peer.nodeId, frame, feedLink)
      if (session) streams.set(frame.stream, { feed, session })
    }
    const heard = (frame: CopyFrame): void => {
      if (frame.type === 'follow') return follow(frame)
      const stream = streams.get(frame.stream)
      if (frame.type === 'progress') return stream?.session.heard(frame)
      if (frame.type !== 'end') return link.close(`a follower says no ${frame.type}`)
      if (!stream) return
      streams.delete(frame.stream)
      stream.feed.left(stream.session)
    }
    return {
      frame: (bytes) => {
        try {
          const frame = decodePeerFrame(bytes)
          if (frame && 'stream' in frame) heard(frame)
        } catch (error) {
          link.close(TidingsError.from(error).message)
        }
      },
      drained: () => {
        const waiting = drained
        drained = []
        for (const run of waiting) run()
      },
      closed: (why) => {
        logger.debug({ peer: link.peer.nodeId, why }, 'a broker that followed is gone')
        for (const { feed, session } of streams.values()) feed.left(session)
        streams.clear()
        drained = []
      },
    }
  }
}
