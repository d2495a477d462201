/**
 * What every part of a client shares: the platform, the endpoints and the token. Also the source of names: ids of
 * producers, and idempotency keys, which are a name for this client and a count.
 */
import { Credentials, type Token } from './credentials.ts'
import { Endpoints } from './endpoints.ts'
import type { Clock, Platform, Random, Socket, SocketEnd, SocketEvents } from './platform.ts'
import { Signals } from './signals.ts'
import { type EndVerdict, verdictOfEnd } from './socket-end.ts'

/** Where the platform shows refused upgrades. */
export type Refused = (end: SocketEnd & { kind: 'refused' }, now: number) => EndVerdict

/** All of a platform but HTTP, which is for asking.ts. */
export type Surroundings = Omit<Platform, 'http'>

export class Connector {
  readonly clock: Clock
  readonly random: Random
  readonly endpoints: Endpoints
  readonly credentials: Credentials
  readonly signals = new Signals()
  isClosed = false
  readonly #platform: Surroundings
  readonly #refused: Refused | undefined
  readonly #producer: string
  #sequence = 0

  constructor(platform: Surroundings, url: string | readonly string[], token: Token | undefined, refused?: Refused) {
    this.#platform = platform
    this.#refused = refused
    this.clock = platform.clock
    this.random = platform.random
    this.endpoints = new Endpoints(url)
    this.credentials = new Credentials(platform.clock, token)
    this.#producer = platform.random.id()
  }

  nextKey(): string {
    return `${this.#producer}-${this.#sequence++}`
  }

  /** A number that nobody else has: from 1 to 2^53 - 1. */
  number(): number {
    return (this.random.uint32() & 0x1f_ffff) * 0x1_0000_0000 + this.random.uint32() || 1
  }

  connect(url: string, protocol: string, token: string | undefined, events: SocketEvents): Socket {
    return this.#platform.connect(url, protocol, token, events)
  }

  verdictOf(end: SocketEnd): EndVerdict {
    if (end.kind !== 'refused') return verdictOfEnd(end)
    return this.#refused ? this.#refused(end, this.clock.now()) : verdictOfEnd({ kind: 'lost', cause: end })
  }

  close(): void {
    this.isClosed = true
    this.credentials.close()
  }
}
