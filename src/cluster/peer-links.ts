/**
 * The links that this broker dials: one to each broker that leads something it copies, shared by all the topics, kept up
 * for as long as somebody needs it. A runner over the network. A link that cannot be had or ends is dialed again after
 * a pause with full jitter, so that brokers that lost each other together do not come back together.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Random, Timer } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { CopyFrame } from './copy-frames.ts'
import type { PeerLink, PeerNetwork } from './peer-network.ts'
import { decodePeerFrame, encodePeerFrame } from './peer-protocol.ts'

/** Where a broker is. */
export interface Peer {
  nodeId: string
  address: string
}

/** One topic's frames on a link, in one attempt to follow. */
export interface PeerStream {
  readonly number: number
  send(frame: CopyFrame): void
  /** Nothing more is heard. */
  close(): void
}

export interface DialedLink {
  /** A stream of a number that this link never had. */
  openStream(heard: (frame: CopyFrame) => void): PeerStream
  /** The other end does not keep to the protocol: ends the link for all. */
  break(why: string): void
}

/** Somebody who needs the link to a broker. */
export interface LinkUser {
  /** It is up, for the first time or again. */
  opened(link: DialedLink): void
  /** It is down; its streams are over. */
  closed(why: string): void
}

export interface PeerLinksOptions {
  network: PeerNetwork
  clock: Clock
  random: Random
  logger: Logger
}

const PAUSE_MIN_MS = 50
const PAUSE_MAX_MS = 2000
/** A link that held for so long was a good one: the next pause is short again. */
const GOOD_MS = 5000

export class PeerLinks {
  readonly #options: PeerLinksOptions
  readonly #dialers = new Map<string, Dialer>()

  constructor(options: PeerLinksOptions) {
    this.#options = options
  }

  /** Keeps a link up for this user; the answer ends that, and the user hears nothing more. */
  use(peer: Peer, user: LinkUser): () => void {
    const key = JSON.stringify([peer.nodeId, peer.address])
    let dialer = this.#dialers.get(key)
    if (!dialer) {
      dialer = new Dialer(this.#options, peer, () => this.#dialers.delete(key))
      this.#dialers.set(key, dialer)
    }
    return dialer.add(user)
  }

  close(): void {
    for (const dialer of this.#dialers.values()) dialer.stop()
    this.#dialers.clear()
  }
}

class Dialer {
  readonly #options: PeerLinksOptions
  readonly #peer: Peer
  readonly #unused: () => void
  readonly #users = new Set<LinkUser>()
  #link: OpenLink | null = null
  #isDialing = false
  #isStopped = false
  #pause: Timer | null = null
  #failures = 0

  constructor(options: PeerLinksOptions, peer: Peer, unused: () => void) {
    this.#options = options
    this.#peer = peer
    this.#unused = unused
  }

  add(user: LinkUser): () => void {
    this.#users.add(user)
    const link = this.#link
    if (link) {
      this.#options.clock.soon(() => {
        if (this.#link === link && this.#users.has(user)) user.opened(link)
      })
    } else if (!this.#isDialing && !this.#pause) {
      this.#dial()
    }
    return () => {
      if (!this.#users.delete(user) || this.#users.size > 0) return
      this.stop()
      this.#unused()
    }
  }

  stop(): void {
    this.#isStopped = true
    this.#pause?.cancel()
    this.#link?.break('nobody needs it any more')
    this.#link = null
  }

  #dial(): void {
    const { network, clock } = this.#options
    this.#isDialing = true
    const openedAt = clock.monotonic()
    const dialed = network.dial(this.#peer, (link) => {
      const open = new OpenLink(link)
      this.#isDialing = false
      if (this.#isStopped) link.close('nobody needs it any more')
      else this.#opened(open)
      return {
        frame: (bytes) => open.heard(bytes),
        drained: () => undefined,
        closed: (why) => {
          if (clock.monotonic() - openedAt >= GOOD_MS) this.#failures = 0
          if (this.#link === open) this.#closed(why)
        },
      }
    })
    dialed.catch((error: unknown) => {
      this.#isDialing = false
      if (!this.#isStopped) this.#again(TidingsError.from(error).message)
    })
  }

  #opened(link: OpenLink): void {
    this.#link = link
    const users = [...this.#users]
    this.#options.clock.soon(() => {
      for (const user of users) if (this.#link === link && this.#users.has(user)) user.opened(link)
    })
  }

  #closed(why: string): void {
    this.#link = null
    for (const user of this.#users) user.closed(why)
    this.#again(why)
  }

  #again(why: string): void {
    const { clock, random, logger } = this.#options
    const ceilingMs = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(this.#failures, 16))
    this.#failures += 1
    logger.debug({ peer: this.#peer.nodeId, why }, 'the link to a broker is down')
    this.#pause = clock.after((random.uint32() / 2 ** 32) * ceilingMs, () => {
      this.#pause = null
      if (!this.#isStopped) this.#dial()
    })
  }
}

class OpenLink implements DialedLink {
  readonly #link: PeerLink
  readonly #streams = new Map<number, (frame: CopyFrame) => void>()
  #next = 1

  constructor(link: PeerLink) {
    this.#link = link
  }

  openStream(heard: (frame: CopyFrame) => void): PeerStream {
    const number = this.#next++
    this.#streams.set(number, heard)
    return {
      number,
      send: (frame) => this.#link.send(encodePeerFrame(frame)),
      close: () => void this.#streams.delete(number),
    }
  }

  break(why: string): void {
    this.#link.close(why)
  }

  heard(bytes: Buffer): void {
    try {
      const frame = decodePeerFrame(bytes)
      if (frame && 'stream' in frame) this.#streams.get(frame.stream)?.(frame)
    } catch (error) {
      this.break(TidingsError.from(error).message)
    }
  }
}
