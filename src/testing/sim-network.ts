/**
 * The network between the brokers of a simulation: links with latency under a seed, in order within a direction and in any
 * order between them; cuts, also of one direction alone; links that break; brokers that stand still. What is
 * sent over a cut waits, as TCP sends again; a link that is silent for `deadMs` breaks, at the end that hears
 * nothing first. Frames that had not arrived are lost with the link, always a last part of what was sent.
 */
import { TidingsError } from '@tidings/sdk/protocol'
import type { Clock, Timer } from '../base/clock.ts'
import {
  LINK_LOW_BYTES,
  type LinkEvents,
  type LinkTaker,
  type Listening,
  type PeerLink,
  type PeerNetwork,
} from '../cluster/peer-network.ts'
import { commonVersion, decodeHello, encodeHello, type Hello } from '../cluster/peer-protocol.ts'
import type { SimRandom } from './sim-random.ts'

export interface SimNetworkOptions {
  clock: Clock
  random: SimRandom
  /** Of a frame in one direction, from and to. */
  latencyMs?: readonly [number, number]
  /** A link on which nothing is heard for so long is over. */
  deadMs?: number
  dialTimeoutMs?: number
}

/** One life of a broker on the network. */
export interface SimBroker extends PeerNetwork {
  /** The process is gone: it hears nothing more. `silent`: the others notice only by the silence. */
  leave(how: 'closed' | 'silent'): void
}

export class SimNetwork {
  readonly clock: Clock
  readonly deadMs: number
  readonly dialTimeoutMs: number
  readonly #random: SimRandom
  readonly #latencyMs: readonly [number, number]
  readonly #listeners = new Map<string, { broker: Broker; take: LinkTaker }>()
  readonly #links = new Set<Link>()
  readonly #cuts = new Map<string, number>()
  readonly #paused = new Set<string>()

  constructor({ clock, random, latencyMs = [0, 2], deadMs = 3000, dialTimeoutMs = 1000 }: SimNetworkOptions) {
    this.clock = clock
    this.deadMs = deadMs
    this.dialTimeoutMs = dialTimeoutMs
    this.#random = random
    this.#latencyMs = latencyMs
  }

  /** A broker starts. Its address is made of its id, and the same in its next life. */
  join(hello: () => Hello): SimBroker {
    return new Broker(this, hello)
  }

  /** Nothing gets from one to the other until the returned function is called; the other way it still does. */
  cut(from: string, to: string): () => void {
    const way = wayOf(from, to)
    this.#cuts.set(way, (this.#cuts.get(way) ?? 0) + 1)
    this.#changed()
    let isHealed = false
    return () => {
      if (isHealed) return
      isHealed = true
      this.#cuts.set(way, this.#cuts.get(way)! - 1)
      this.#changed()
    }
  }

  /** The broker stands still, as by SIGSTOP: nothing reaches it and nothing leaves it until the returned function is called. */
  pause(node: string): () => void {
    this.#paused.add(node)
    this.#changed()
    return () => {
      this.#paused.delete(node)
      this.#changed()
    }
  }

  /** Breaks the links between two brokers; they may dial again at once. */
  breakLinks(one: string, other: string): void {
    for (const link of this.#links) if (link.joins(one, other)) link.break('the connection was reset')
  }

  /** @internal What the parts of this file need. */
  isCut(from: string, to: string): boolean {
    return this.#paused.has(from) || this.#paused.has(to) || (this.#cuts.get(wayOf(from, to)) ?? 0) > 0
  }

  latency(): number {
    const [least, most] = this.#latencyMs
    return least + (this.#random.uint32() / 2 ** 32) * (most - least)
  }

  listen(broker: Broker, take: LinkTaker): void {
    this.#listeners.set(broker.nodeId, { broker, take })
  }

  unlisten(broker: Broker): void {
    if (this.#listeners.get(broker.nodeId)?.broker === broker) this.#listeners.delete(broker.nodeId)
  }

  listener(nodeId: string): { broker: Broker; take: LinkTaker } | undefined {
    return this.#listeners.get(nodeId)
  }

  link(dialer: Broker, listener: Broker, version: number): Link {
    const link = new Link(this, dialer, listener, version)
    this.#links.add(link)
    return link
  }

  forget(link: Link): void {
    this.#links.delete(link)
  }

  linksOf(broker: Broker): Link[] {
    return [...this.#links].filter((link) => link.a.broker === broker || link.b.broker === broker)
  }

  #changed(): void {
    for (const link of this.#links) link.roadChanged()
  }
}

const ADDRESS = 'sim:'

function wayOf(one: string, other: string): string {
  return `${one} → ${other}`
}

class Broker implements SimBroker {
  readonly nodeId: string
  isGone = false
  readonly #network: SimNetwork
  readonly #hello: () => Hello

  constructor(network: SimNetwork, hello: () => Hello) {
    this.#network = network
    this.#hello = hello
    this.nodeId = hello().nodeId
  }

  /** As it arrives at the other end. */
  hello(): Hello {
    return decodeHello(encodeHello(this.#hello()))
  }

  dial(peer: { nodeId: string; address: string }, take: LinkTaker): Promise<void> {
    const network = this.#network
    const to = peer.address.slice(ADDRESS.length)
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => reject(new TidingsError('unavailable', `${peer.nodeId}: ${why}`))
      const deadline = network.clock.after(network.dialTimeoutMs, () => fail('no answer in time'))
      const refuse = (why: string): void => {
        deadline.cancel()
        fail(why)
      }
      network.clock.after(network.latency(), () => {
        if (this.isGone || network.isCut(this.nodeId, to)) return
        const listener = network.listener(to)
        if (!listener) {
          network.clock.after(network.latency(), () => refuse('nobody listens there'))
          return
        }
        const theirs = listener.broker.hello()
        const version = commonVersion(this.hello(), theirs)
        if (theirs.nodeId !== peer.nodeId || version === null) {
          network.clock.after(network.latency(), () => refuse(`${theirs.nodeId} is there, or speaks another version`))
          return
        }
        const link = network.link(this, listener.broker, version)
        link.b.open(listener.take)
        network.clock.after(network.latency(), () => {
          if (this.isGone) return
          // A link whose other half was never heard of is closed by whoever dialed it.
          if (network.isCut(to, this.nodeId) || link.a.isClosed) return link.a.close('nobody waits for it')
          deadline.cancel()
          link.a.open(take)
          resolve()
        })
      })
    })
  }

  listen(take: LinkTaker): Promise<Listening> {
    this.#network.listen(this, take)
    return Promise.resolve({
      address: ADDRESS + this.nodeId,
      close: () => {
        this.#network.unlisten(this)
        for (const link of this.#network.linksOf(this)) if (link.b.broker === this) link.b.close('it stopped')
        return Promise.resolve()
      },
    })
  }

  leave(how: 'closed' | 'silent'): void {
    this.isGone = true
    this.#network.unlisten(this)
    for (const link of this.#network.linksOf(this)) link.left(this, how)
  }
}

/** Two ends, and a way from each to the other. */
class Link {
  readonly a: LinkEnd
  readonly b: LinkEnd
  readonly network: SimNetwork

  constructor(network: SimNetwork, dialer: Broker, listener: Broker, version: number) {
    this.network = network
    this.a = new LinkEnd(this, dialer, listener.hello(), version)
    this.b = new LinkEnd(this, listener, dialer.hello(), version)
    this.a.other = this.b
    this.b.other = this.a
    this.roadChanged()
  }

  joins(one: string, other: string): boolean {
    const [a, b] = [this.a.broker.nodeId, this.b.broker.nodeId]
    return (a === one && b === other) || (a === other && b === one)
  }

  break(why: string): void {
    for (const end of [this.a, this.b]) this.network.clock.after(this.network.latency(), () => end.over(why))
  }

  left(broker: Broker, how: 'closed' | 'silent'): void {
    const end = this.a.broker === broker ? this.a : this.b
    if (how === 'closed') end.close('the other end is gone')
    else {
      end.mute()
      this.network.clock.after(this.network.deadMs, () => end.other.over('nothing was heard for too long'))
    }
  }

  roadChanged(): void {
    this.a.roadChanged()
    this.b.roadChanged()
  }

  ended(): void {
    if (this.a.isClosed && this.b.isClosed) this.network.forget(this)
  }
}

class LinkEnd implements PeerLink {
  readonly broker: Broker
  readonly peer: Hello
  readonly version: number
  other!: LinkEnd
  isClosed = false
  buffered = 0
  #events: LinkEvents | null = null
  readonly #link: Link
  /** What was sent from here and has not arrived, with the time at which it would. */
  readonly #sent: { bytes: Buffer; dueMs: number }[] = []
  #delivery: Timer | null = null
  #lastDueMs = 0
  #isFull = false
  /** Runs while nothing can be heard here. */
  #silence: Timer | null = null
  /** Why this end is over, while the other cannot have heard of it. */
  #farewell: string | null = null

  constructor(link: Link, broker: Broker, peer: Hello, version: number) {
    this.#link = link
    this.broker = broker
    this.peer = peer
    this.version = version
  }

  open(take: LinkTaker): void {
    if (this.isClosed) return
    this.#events = take(this)
    this.other.#arrange()
  }

  send(...parts: readonly Uint8Array[]): void {
    if (this.isClosed) return
    const { clock } = this.#link.network
    const bytes = Buffer.concat(parts)
    this.#lastDueMs = Math.max(this.#lastDueMs, clock.monotonic() + this.#link.network.latency())
    this.#sent.push({ bytes, dueMs: this.#lastDueMs })
    this.buffered += bytes.length
    if (this.buffered > LINK_LOW_BYTES) this.#isFull = true
    this.#arrange()
  }

  close(why: string): void {
    if (this.isClosed) return
    const events = this.#events
    this.#end(why)
    this.#link.network.clock.after(0, () => {
      if (!this.broker.isGone) events?.closed(why)
    })
  }

  /** The link is over at this end. */
  over(why: string): void {
    if (this.isClosed) return
    const events = this.#events
    this.#end(why)
    events?.closed(why)
  }

  #end(why: string): void {
    this.mute()
    this.#farewell = why
    this.#part()
  }

  /** Nothing is heard or said here any more. */
  mute(): void {
    this.isClosed = true
    this.#delivery?.cancel()
    this.#silence?.cancel()
    this.#sent.length = 0
    this.buffered = 0
    this.#link.ended()
  }

  roadChanged(): void {
    this.#part()
    this.#arrange()
    const isDeaf = this.#link.network.isCut(this.other.broker.nodeId, this.broker.nodeId)
    if (this.isClosed || !isDeaf) {
      this.#silence?.cancel()
      this.#silence = null
    } else {
      const { clock, deadMs } = this.#link.network
      this.#silence ??= clock.after(deadMs, () => this.over('nothing was heard for too long'))
    }
  }

  /** Tells the other end that this one is over, once the road is open. */
  #part(): void {
    const { network } = this.#link
    const why = this.#farewell
    if (why === null || network.isCut(this.broker.nodeId, this.other.broker.nodeId)) return
    this.#farewell = null
    network.clock.after(network.latency(), () => this.other.over(why))
  }

  /** Sets the timer of the next frame that may arrive. */
  #arrange(): void {
    this.#delivery?.cancel()
    this.#delivery = null
    const next = this.#sent[0]
    const { network } = this.#link
    if (!next || this.isClosed || !this.other.#events) return
    if (network.isCut(this.broker.nodeId, this.other.broker.nodeId)) return
    this.#delivery = network.clock.after(next.dueMs - network.clock.monotonic(), () => this.#deliver())
  }

  #deliver(): void {
    this.#delivery = null
    const { bytes } = this.#sent.shift()!
    this.buffered -= bytes.length
    if (!this.other.isClosed) this.other.#events?.frame(bytes)
    if (this.#isFull && this.buffered <= LINK_LOW_BYTES) {
      this.#isFull = false
      if (!this.isClosed) this.#events?.drained()
    }
    this.#arrange()
  }
}
