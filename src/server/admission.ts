/**
 * What a WebSocket may be opened for: checks an upgrade, and opens the session that it asks for on a socket. Knows no
 * WebSocket library: websocket.ts is the edge with one, and whoever has the broker in its own program brings
 * sockets of its own. Owns the set of sessions, which drain ends.
 */
import { BINARY_SUBPROTOCOL, JSON_SUBPROTOCOL, PUBLISH_PATH, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'
import type { Routing } from '../cluster/routing.ts'
import { BinaryDialect } from './binary-dialect.ts'
import { wasForwarded } from './forwarding.ts'
import type { HostNames } from './host-name.ts'
import { jsonDialect } from './json-dialect.ts'
import { checkOrigin } from './origin.ts'
import { PublishSession } from './publish-session.ts'
import { Session, type Socket } from './session.ts'
import { parseStreamRequest } from './stream-request.ts'

const SUBPROTOCOLS = [JSON_SUBPROTOCOL, BINARY_SUBPROTOCOL]

export interface StreamParts {
  host: Host
  /** Null: all topics are this broker's own. */
  routing: Routing | null
  clock: Clock
  logger: Logger
  hostNames: HostNames
  /** Origins of browser pages that may connect; clients that send no Origin always may. */
  allowedOrigins: readonly string[]
  consumerWriteTimeoutMs: number
  /** No message is larger, whatever its topic allows. */
  maxMessageBytes: number
  isDraining(): boolean
  /** Counts an answer to a publish: `ok` or the error's code. */
  published(code: string): void
  joined(): void
  left(): void
}

/** As node:http's IncomingMessage has it: names of headers in lower case. */
export interface UpgradeRequest {
  method?: string | undefined
  url?: string | undefined
  headers: Readonly<Record<string, string | string[] | undefined>>
}

/** What an edge tells a session. */
export interface OpenSession {
  /** A text frame came. */
  received(text: string): void
  /** A binary frame came; the bytes belong to the session from now on. */
  receivedBinary(bytes: Uint8Array): void
  /** Any sign of life. */
  heard(): void
  /** The socket's queue ran empty. */
  drained(): void
  /** The connection is of no use any more: what was delivered goes back at once. `closed` follows. */
  failed(): void
  /** The connection is gone. Told once, and nothing after it. */
  closed(): void
}

/** An upgrade that was found good. */
export interface Admitted {
  /** What speaks there: its subprotocol, or none where the client asked for none. */
  readonly kind: 'consumer' | 'publisher'
  open(socket: Socket): OpenSession
}

export class Admission {
  readonly #parts: StreamParts
  readonly #sessions = new Map<{ drain(): void }, Socket>()
  #idle: (() => void) | undefined

  constructor(parts: StreamParts) {
    this.#parts = parts
  }

  /** Rejects with what is to be answered in plain HTTP. */
  async admit(request: UpgradeRequest): Promise<Admitted> {
    const { headers } = request
    if (one(headers['upgrade'])?.toLowerCase() !== 'websocket' || request.method !== 'GET') {
      throw new TidingsError('invalid_argument', 'the only upgrade here is a GET to "websocket"')
    }
    this.#parts.hostNames.check(one(headers['host']))
    checkOrigin(one(headers['origin']), this.#parts.allowedOrigins)
    const offered = one(headers['sec-websocket-protocol'])
      ?.split(',')
      .map((name) => name.trim())
    const isForwarded = wasForwarded(headers)
    if (pathOf(request.url ?? '/') === PUBLISH_PATH) return this.#publisher(offered, isForwarded)
    const subprotocol = offered ? chosenSubprotocol(offered) : JSON_SUBPROTOCOL
    if (subprotocol === undefined) {
      throw new TidingsError('invalid_argument', `the subprotocols of this release are ${SUBPROTOCOLS.join(' and ')}`)
    }
    const { topic, subscription: name, patch, ...consumer } = parseStreamRequest(request.url ?? '/')
    this.#mustServe()
    const subscription = await this.#parts.host.ensureSubscription(topic, name, patch)
    this.#mustServe()
    return {
      kind: 'consumer',
      open: (socket) => {
        const { clock, logger, consumerWriteTimeoutMs } = this.#parts
        const dialect = subprotocol === BINARY_SUBPROTOCOL ? new BinaryDialect() : jsonDialect
        const options = { ...consumer, writeTimeoutMs: consumerWriteTimeoutMs }
        const session = new Session(dialect, socket, clock, logger, options)
        this.#sessions.set(session, socket)
        this.#parts.joined()
        session.join(subscription)
        return {
          received: (text) => session.received(text),
          receivedBinary: (bytes) => session.received(bytes),
          heard: () => session.heard(),
          drained: () => session.drained(),
          failed: () => session.closed(),
          closed: () => {
            session.closed()
            this.#parts.left()
            this.#leave(session)
          },
        }
      },
    }
  }

  /** Ends every session, after the answers that are under way; resolves when all are closed. */
  drain(): Promise<void> {
    for (const session of this.#sessions.keys()) session.drain()
    if (this.#sessions.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idle = resolve
    })
  }

  terminate(): void {
    for (const socket of this.#sessions.values()) socket.terminate()
  }

  #publisher(offered: readonly string[] | undefined, isForwarded: boolean): Admitted {
    if (!offered?.includes(BINARY_SUBPROTOCOL)) {
      throw new TidingsError(
        'invalid_argument',
        `this path speaks the subprotocol ${BINARY_SUBPROTOCOL} only: ask for it`,
      )
    }
    this.#mustServe()
    const { consumerWriteTimeoutMs: writeTimeoutMs, ...parts } = this.#parts
    // What one broker has passed on is not passed further.
    const routing = isForwarded ? null : parts.routing
    const answered = (code: string): void => parts.published(code)
    return {
      kind: 'publisher',
      open: (socket) => {
        const session = new PublishSession(socket, { ...parts, routing, writeTimeoutMs, answered })
        this.#sessions.set(session, socket)
        return {
          received: () => session.received(),
          receivedBinary: (bytes) => session.receivedBinary(bytes),
          heard: () => session.heard(),
          drained: () => session.drained(),
          failed: () => session.closed(),
          closed: () => {
            session.closed()
            this.#leave(session)
          },
        }
      },
    }
  }

  #leave(session: { drain(): void }): void {
    this.#sessions.delete(session)
    if (this.#sessions.size === 0) this.#idle?.()
  }

  #mustServe(): void {
    if (this.#parts.isDraining()) {
      throw new TidingsError('overloaded', 'the broker is shutting down: try another or later')
    }
  }
}

/** The first that is known of those that a client offers, in its order. */
export function chosenSubprotocol(offered: readonly string[]): string | undefined {
  return offered.find((name) => SUBPROTOCOLS.includes(name))
}

function pathOf(url: string): string {
  const question = url.indexOf('?')
  return question === -1 ? url : url.slice(0, question)
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
