/**
 * The WebSocket edge: checks an upgrade, refuses it as a plain HTTP problem or turns the socket into a
 * session's Socket. Knows the `ws` package so that session.ts need not. Owns the set of sessions, which
 * drain ends.
 */
import type { IncomingMessage } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { ERRORS, JSON_SUBPROTOCOL, LIMITS, TidingsError } from '@tidings/sdk/protocol'
import { type RawData, type ServerOptions, WebSocket, WebSocketServer } from 'ws'
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/telemetry.ts'
import type { Host } from '../cluster/host.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { checkOrigin } from './origin.ts'
import { answerOf, errorOf, logInternal, rawAnswer } from './problem.ts'
import { Session, type Socket } from './session.ts'
import { parseStreamRequest, type StreamRequest } from './stream-request.ts'

export interface StreamParts {
  host: Host
  clock: Clock
  logger: Logger
  /** Origins of browser pages that may connect; clients that send no Origin always may. */
  allowedOrigins: readonly string[]
  consumerWriteTimeoutMs: number
  isDraining(): boolean
  joined(): void
  left(): void
}

/** A peer that does not answer our close frame is cut off after this. */
const CLOSE_TIMEOUT_MS = 3000
/** A frame may come in so many fragments, and its bytes in so many reads: more is an attack on memory. */
const FRAGMENTS_MAX = 256
const CHUNKS_MAX = 4096
/** RFC 6455 leaves 123 bytes for the reason. */
const CLOSE_REASON_BYTES = 120

/** ws ends an oversized frame with 1009; the code that we promise is 4413. */
class ConsumerSocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    super.close(code === 1009 ? ERRORS.message_too_large.close : code, reason)
  }
}

export class Streams {
  readonly #parts: StreamParts
  readonly #sessions = new Map<Session, Socket>()
  readonly #server: WebSocketServer
  #idle: (() => void) | undefined

  constructor(parts: StreamParts) {
    this.#parts = parts
    // closeTimeout is newer than the published types.
    const options: ServerOptions<typeof ConsumerSocket> & { closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: LIMITS.frameBytes,
      maxFragments: FRAGMENTS_MAX,
      maxBufferedChunks: CHUNKS_MAX,
      closeTimeout: CLOSE_TIMEOUT_MS,
      WebSocket: ConsumerSocket,
      handleProtocols: (offered) => (offered.has(JSON_SUBPROTOCOL) ? JSON_SUBPROTOCOL : false),
    }
    this.#server = new WebSocketServer(options)
    this.#server.on('wsClientError', (error, socket) => {
      this.#refuse(
        socket,
        new TidingsError('invalid_argument', 'the WebSocket handshake is malformed', { cause: error }),
      )
    })
  }

  get count(): number {
    return this.#sessions.size
  }

  /** The HTTP server's `upgrade` event. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const onError = (): void => void socket.destroy()
    socket.on('error', onError)
    let stream: StreamRequest
    try {
      stream = this.#checked(request)
    } catch (thrown) {
      this.#refuse(socket, errorOf(thrown))
      return
    }
    this.#parts.host.ensureSubscription(stream.topic, stream.subscription, stream.patch).then(
      (subscription) => {
        if (socket.destroyed) return
        if (this.#parts.isDraining()) return this.#refuse(socket, shuttingDown())
        socket.off('error', onError)
        this.#server.handleUpgrade(request, socket, head, (webSocket) =>
          this.#open(webSocket, socket, stream, subscription),
        )
      },
      (thrown: unknown) => {
        const error = errorOf(thrown)
        logInternal(error, this.#parts.logger)
        this.#refuse(socket, error)
      },
    )
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

  #checked(request: IncomingMessage): StreamRequest {
    const { headers } = request
    if (headers.upgrade?.toLowerCase() !== 'websocket' || request.method !== 'GET') {
      throw new TidingsError('invalid_argument', 'the only upgrade here is a GET to "websocket"')
    }
    checkOrigin(headers.origin, this.#parts.allowedOrigins)
    const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (offered && !offered.includes(JSON_SUBPROTOCOL)) {
      throw new TidingsError('invalid_argument', `the only subprotocol of this release is ${JSON_SUBPROTOCOL}`)
    }
    const stream = parseStreamRequest(request.url ?? '/')
    if (this.#parts.isDraining()) throw shuttingDown()
    return stream
  }

  #refuse(socket: Duplex, error: TidingsError): void {
    const answer = answerOf(error)
    socket.end(rawAnswer(answer, STATUS_CODES[answer.status] ?? 'Error'), () => socket.destroy())
  }

  #open(webSocket: WebSocket, raw: Duplex, stream: StreamRequest, subscription: Subscription): void {
    const { clock, logger, consumerWriteTimeoutMs } = this.#parts
    const socket = socketOf(webSocket, raw)
    const session = new Session(socket, clock, logger, {
      consumer: stream.consumer,
      prefetch: stream.prefetch,
      weight: stream.weight,
      writeTimeoutMs: consumerWriteTimeoutMs,
    })
    this.#sessions.set(session, socket)
    this.#parts.joined()
    webSocket.on('message', (data: RawData, isBinary) => {
      if (isBinary) session.receivedBinary()
      else session.received((data as Buffer).toString('utf8'))
    })
    webSocket.on('pong', () => session.heard())
    webSocket.on('ping', () => session.heard())
    // ws has begun to close by then; without a listener the error would be uncaught.
    webSocket.on('error', () => session.closed())
    webSocket.on('close', () => {
      session.closed()
      this.#sessions.delete(session)
      this.#parts.left()
      if (this.#sessions.size === 0) this.#idle?.()
    })
    raw.on('drain', () => session.drained())
    session.join(subscription)
  }
}

function shuttingDown(): TidingsError {
  return new TidingsError('overloaded', 'the broker is shutting down: try another or later')
}

function socketOf(webSocket: WebSocket, raw: Duplex): Socket {
  return {
    send: (text) => webSocket.send(text),
    ping: () => {
      if (webSocket.readyState === WebSocket.OPEN) webSocket.ping()
    },
    bufferedBytes: () => raw.writableLength,
    cork: () => raw.cork(),
    uncork: () => raw.uncork(),
    close: (code, reason) => {
      webSocket.close(code, Buffer.from(reason).subarray(0, CLOSE_REASON_BYTES).toString('utf8'))
    },
    terminate: () => webSocket.terminate(),
  }
}
