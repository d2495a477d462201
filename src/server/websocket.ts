/**
 * The WebSocket edge: hands an upgrade to admission.ts, refuses it as a plain HTTP problem or turns its socket into a
 * session's Socket. Knows the `ws` package so that admission.ts and the sessions need not.
 */
import type { IncomingMessage } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { BINARY_SUBPROTOCOL, CLOSE, ERRORS, LIMITS, TidingsError } from '@tidings/sdk/protocol'
import type * as Ws from 'ws'
import type { RawData, ServerOptions } from 'ws'
import type { Clock } from '../base/clock.ts'
import { required } from '../base/on-demand.ts'
import type { Logger } from '../base/telemetry.ts'
import { type Admission, type Admitted, chosenSubprotocol } from './admission.ts'
import { answerOf, errorOf, logInternal, rawAnswer } from './problem.ts'
import type { Socket } from './session.ts'
import { Turns } from './turns.ts'

const { WebSocket, WebSocketServer } = required<typeof Ws>('ws')
type WebSocket = Ws.WebSocket
type WebSocketServer = Ws.WebSocketServer

/** A peer that does not answer our close frame is cut off after this. */
const CLOSE_TIMEOUT_MS = 3000
/** A frame may come in so many fragments, and its bytes in so many reads: more is an attack on memory. */
const FRAGMENTS_MAX = 256
const CHUNKS_MAX = 4096
/** A publisher's frame may be one message of the largest size, in packets. */
const PUBLISHER_CHUNKS_MAX = 131_072
/** What stands around the value of a message in a frame, and more. */
const AROUND_BYTES = 65_536
/** RFC 6455 leaves 123 bytes for the reason. */
const CLOSE_REASON_BYTES = 120

/** ws ends an oversized frame with 1009; the code that we promise is 4413. */
class ConsumerSocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    super.close(code === 1009 ? ERRORS.message_too_large.close : code, reason)
  }
}

export class WebSocketEdge {
  readonly #admission: Admission
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #servers: Readonly<Record<Admitted['kind'], WebSocketServer>>
  readonly #incoming: Incoming

  constructor(
    admission: Admission,
    { clock, logger }: { clock: Clock; logger: Logger },
    { maxMessageBytes, maxReceivingBytes }: { maxMessageBytes: number; maxReceivingBytes: number },
  ) {
    this.#admission = admission
    this.#clock = clock
    this.#logger = logger
    this.#incoming = new Incoming(maxReceivingBytes)
    this.#servers = {
      consumer: this.#server(chosenSubprotocol, LIMITS.frameBytes, CHUNKS_MAX),
      publisher: this.#server(
        (offered) => offered.find((name) => name === BINARY_SUBPROTOCOL),
        Math.max(LIMITS.publishFrameBytes, maxMessageBytes + AROUND_BYTES),
        PUBLISHER_CHUNKS_MAX,
      ),
    }
  }

  /** The HTTP server's `upgrade` event. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const onError = (): void => void socket.destroy()
    socket.on('error', onError)
    this.#admission.admit(request).then(
      (admitted) => {
        if (socket.destroyed) return
        socket.off('error', onError)
        this.#servers[admitted.kind].handleUpgrade(request, socket, head, (webSocket) => {
          // A consumer's frames are small.
          if (admitted.kind === 'publisher') this.#incoming.watch(webSocket, socket)
          open(webSocket, socket, admitted, this.#clock)
        })
      },
      (thrown: unknown) => {
        const error = errorOf(thrown)
        logInternal(error, this.#logger)
        this.#refuse(socket, error)
      },
    )
  }

  #server(
    choose: (offered: readonly string[]) => string | undefined,
    maxPayload: number,
    maxBufferedChunks: number,
  ): WebSocketServer {
    // closeTimeout is newer than the published types.
    const options: ServerOptions<typeof ConsumerSocket> & { closeTimeout: number } = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload,
      maxFragments: FRAGMENTS_MAX,
      maxBufferedChunks,
      closeTimeout: CLOSE_TIMEOUT_MS,
      WebSocket: ConsumerSocket,
      handleProtocols: (offered) => choose([...offered]) ?? false,
    }
    const server = new WebSocketServer(options)
    server.on('wsClientError', (error, socket) => {
      this.#refuse(
        socket,
        new TidingsError('invalid_argument', 'the WebSocket handshake is malformed', { cause: error }),
      )
    })
    return server
  }

  #refuse(socket: Duplex, error: TidingsError): void {
    const answer = answerOf(error)
    socket.end(rawAnswer(answer, STATUS_CODES[answer.status] ?? 'Error'), () => socket.destroy())
  }
}

/** What publishers' frames that are still coming in may hold together, as the bodies of requests may. */
class Incoming {
  readonly #maxBytes: number
  #heldBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  watch(webSocket: WebSocket, raw: Duplex): void {
    let bytes = 0
    const hold = (held: number): void => {
      this.#heldBytes += held - bytes
      bytes = held
    }
    // Before ws, which reads whole frames out of the chunk.
    raw.prependListener('data', (chunk: Buffer) => {
      hold(bytes + chunk.length)
      if (this.#heldBytes > this.#maxBytes && bytes > AROUND_BYTES) {
        webSocket.close(CLOSE.slow, 'the broker receives too much at once: try again later')
      }
    })
    webSocket.on('message', () => hold(0))
    webSocket.on('close', () => hold(0))
  }
}

function open(webSocket: WebSocket, raw: Duplex, admitted: Admitted, clock: Clock): void {
  const session = admitted.open(socketOf(webSocket, raw))
  const turns = new Turns({ clock, pause: () => webSocket.pause(), resume: () => webSocket.resume() })
  webSocket.on('message', (data: RawData, isBinary) => {
    turns.take(() => {
      if (isBinary) session.receivedBinary(data as Buffer)
      else session.received((data as Buffer).toString('utf8'))
    })
  })
  webSocket.on('pong', () => session.heard())
  webSocket.on('ping', () => session.heard())
  // ws has begun to close by then; without a listener the error would be uncaught.
  webSocket.on('error', () => turns.take(() => session.failed()))
  webSocket.on('close', () => turns.take(() => session.closed()))
  raw.on('drain', () => session.drained())
}

function socketOf(webSocket: WebSocket, raw: Duplex): Socket {
  return {
    send: (frame) => webSocket.send(frame),
    sendParts: (head, body) => {
      if (webSocket.readyState !== WebSocket.OPEN) return
      raw.write(frameHead(head, body.length))
      raw.write(body)
    },
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

/**
 * The head of a WebSocket message in one binary frame, as a server sends it (RFC 6455, 5.2: not masked), with the
 * first part of its payload. `ws` itself would need the payload in one piece, and so a copy of every batch.
 */
function frameHead(first: Uint8Array, restBytes: number): Buffer {
  const bytes = first.length + restBytes
  const headBytes = bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10
  const head = Buffer.allocUnsafe(headBytes + first.length)
  head[0] = 0x82
  if (headBytes === 2) head[1] = bytes
  else if (headBytes === 4) {
    head[1] = 126
    head.writeUInt16BE(bytes, 2)
  } else {
    head[1] = 127
    head.writeUInt32BE(0, 2)
    head.writeUInt32BE(bytes, 6)
  }
  head.set(first, headBytes)
  return head
}
