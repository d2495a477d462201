/**
 * A WebSocket in memory, both ends of it: the client's, which its connections hold, and the one on which the broker
 * opens the session that the upgrade asks for, with the refusals of a real upgrade. Frames, text or bytes, arrive a
 * turn later in the order in which they were sent; bytes are copied, as a wire would.
 */
import type { Socket as ClientSocket, SocketEnd, SocketEvents } from '@tidings/sdk/platform'
import { ERRORS, LIMITS } from '@tidings/sdk/protocol'
import type { Admitted, OpenSession } from '../server/admission.ts'
import type { Server } from '../server/app.ts'
import { answerOf, errorOf } from '../server/problem.ts'
import type { Socket } from '../server/session.ts'

interface Wires {
  readonly server: Server | null
  later(run: () => void): void
}

export interface Upgrade {
  url: string
  protocol: string
  token: string | undefined
}

/** A message of the largest size, and what stands around it. */
const PUBLISH_BYTES_MAX = LIMITS.messageBytesCeiling + 65_536

/** `closing`: one end has begun the closing handshake; frames of the other still come. */
type State = 'opening' | 'open' | 'closing' | 'over'

export class MemorySocket implements ClientSocket {
  /** Whether this is a connection for publishing, by its path. */
  readonly isPublishing: boolean
  readonly #wires: Wires
  readonly #events: SocketEvents
  readonly #over: () => void
  #state: State = 'opening'
  #session: OpenSession | undefined
  /** On their way to the client. */
  #bufferedBytes = 0

  constructor(wires: Wires, { url, protocol, token }: Upgrade, events: SocketEvents, over: () => void) {
    this.#wires = wires
    this.#events = events
    this.#over = over
    const { pathname, search } = new URL(url)
    this.isPublishing = !pathname.endsWith('/stream')
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const headers = { upgrade: 'websocket', 'sec-websocket-protocol': protocol, ...authorization }
    wires.later(() => this.#connect({ method: 'GET', url: pathname + search, headers }))
  }

  // --- the client's end ---

  send(data: string | Uint8Array): void {
    if (this.#state !== 'open') return
    const frame = copied(data)
    const bytes = typeof frame === 'string' ? Buffer.byteLength(frame) : frame.length
    this.#wires.later(() => {
      if (this.#state !== 'open' && this.#state !== 'closing') return
      if (bytes > (this.isPublishing ? PUBLISH_BYTES_MAX : LIMITS.frameBytes)) return this.#tooLarge()
      if (typeof frame === 'string') this.#session?.received(frame)
      else this.#session?.receivedBinary(frame)
    })
  }

  close(code: number, reason: string): void {
    if (this.#state !== 'open' && this.#state !== 'opening') return
    this.#state = 'closing'
    this.#wires.later(() => {
      // Behind what the session has sent before it hears of this.
      this.#wires.later(() => this.#end({ kind: 'closed', code, reason }))
    })
  }

  terminate(): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#over()
    this.#wires.later(() => this.#session?.closed())
  }

  // --- the network ---

  /** The connection is lost; each end hears of it. */
  cut(): void {
    this.#wires.later(() => this.#end({ kind: 'lost', cause: new Error('the connection was lost') }))
  }

  // --- within ---

  #connect(request: { method: string; url: string; headers: Record<string, string> }): void {
    const { server } = this.#wires
    if (!server) return this.#end({ kind: 'lost', cause: new Error('no broker is running') })
    server.admit(request).then(
      (admitted) => this.#wires.later(() => this.#open(admitted)),
      (thrown: unknown) => {
        const { status, headers, body } = answerOf(errorOf(thrown))
        const retryAfter = headers['retry-after'] ?? null
        this.#wires.later(() => this.#end({ kind: 'refused', status, retryAfter, body }))
      },
    )
  }

  #open(admitted: Admitted): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    this.#events.opened()
    this.#session = admitted.open(this.#serverEnd())
  }

  #serverEnd(): Socket {
    return {
      send: (data) => this.#toClient(data),
      sendParts: (head, body) => this.#toClient(Buffer.concat([head, body])),
      ping: () => {
        this.#wires.later(() => {
          if (this.#state !== 'open') return
          this.#events.alive()
          this.#wires.later(() => this.#session?.heard())
        })
      },
      bufferedBytes: () => this.#bufferedBytes,
      cork: () => undefined,
      uncork: () => undefined,
      close: (code, reason) => {
        if (this.#state !== 'open') return
        this.#state = 'closing'
        this.#wires.later(() => this.#end({ kind: 'closed', code, reason }))
      },
      terminate: () => this.cut(),
    }
  }

  #toClient(data: string | Uint8Array): void {
    if (this.#state !== 'open' && this.#state !== 'closing') return
    const frame = copied(data)
    this.#bufferedBytes += frame.length
    this.#wires.later(() => {
      this.#bufferedBytes -= frame.length
      if (this.#state === 'over') return
      if (typeof frame === 'string') this.#events.text(frame)
      else this.#events.bytes(frame)
      if (this.#bufferedBytes === 0) this.#session?.drained()
    })
  }

  #tooLarge(): void {
    this.#session?.failed()
    this.#end({ kind: 'closed', code: ERRORS.message_too_large.close, reason: 'the frame is too large' })
  }

  #end(end: SocketEnd): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#over()
    this.#session?.closed()
    this.#events.ended(end)
  }
}

function copied(data: string | Uint8Array): string | Uint8Array {
  return typeof data === 'string' ? data : Uint8Array.from(data)
}
