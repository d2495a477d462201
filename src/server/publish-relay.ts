/**
 * A publisher's frames for topics that other brokers lead: passed on over one connection to each of them, and their
 * answers back, byte for byte. Owned by one publish session. Handles keep their numbers, and frames their order, since
 * all frames of a topic take the same way.
 *
 * Must stay true: a frame is passed on once. When a broker's connection ends, the publisher's does too: it connects
 * again, to where its topics are now, and repeats what was not answered, which is stored once.
 */
import {
  BINARY_SUBPROTOCOL,
  checkName,
  LIMITS,
  PUBLISH_PATH,
  type PublisherFrame,
  TidingsError,
} from '@tidings/sdk/protocol'
import type * as Ws from 'ws'
import { required } from '../base/on-demand.ts'
import type { Route, Routing } from '../cluster/routing.ts'
import { viaOf } from './forwarding.ts'

/** Bytes that may wait for one broker's connection; past it the publisher is ended like one that does not read. */
const WAITING_BYTES_MAX = 64 * 1_048_576
const HANDSHAKE_MS = 3000

/** What the publisher's session is to it. */
export interface RelayHost {
  /** The topic that a handle was opened for here; a symbol: it is being opened; undefined: there is none. */
  nameOf(handle: number): string | symbol | undefined
  /** This broker leads the topic: the session answers. */
  open(handle: number, name: string): void
  refuseOpen(handle: number, error: TidingsError): void
  /** An answer for the publisher. */
  answered(bytes: Uint8Array): void
  /** A topic is led elsewhere now, or its broker is not reached: the publisher must connect again. */
  moved(): void
}

type Frame = Extract<PublisherFrame, { handle: number }>

interface Handle {
  name: string
  /** Null while it is looked up whose it is. */
  url: string | null
  /** Ends the look-out for another leader. */
  unwatch: () => void
}

export class PublishRelay {
  readonly #routing: Routing
  readonly #host: RelayHost
  /** Handles whose frames are passed on. */
  readonly #handles = new Map<number, Handle>()
  readonly #links = new Map<string, Link>()
  #isOver = false

  constructor(routing: Routing, host: RelayHost) {
    this.#routing = routing
    this.#host = host
  }

  /** Takes the frame if it is not this broker's own to answer. */
  takes(frame: Frame, bytes: Uint8Array): boolean {
    const { handle } = frame
    if (frame.type === 'open') return this.#takesOpen(handle, frame.topic, bytes)
    const passed = this.#handles.get(handle)
    const name = passed?.name ?? this.#host.nameOf(handle)
    if (typeof name !== 'string' || name === '' || passed?.url === null) return false
    const route = this.#routing.known(name)
    const url = route && !route.isHere ? route.url : null
    // What was sent before on this handle may never be answered where the topic is now.
    if (passed ? url !== passed.url : url !== null) this.#lost()
    else if (passed) this.#pass(passed.url, bytes)
    else return false
    if (frame.type === 'shut') {
      passed?.unwatch()
      this.#handles.delete(handle)
    }
    return true
  }

  close(): void {
    this.#isOver = true
    for (const link of this.#links.values()) link.close()
    this.#links.clear()
    for (const { unwatch } of this.#handles.values()) unwatch()
    this.#handles.clear()
  }

  #takesOpen(handle: number, name: string, bytes: Uint8Array): boolean {
    if (this.#handles.has(handle)) {
      this.#host.refuseOpen(handle, new TidingsError('invalid_argument', `handle ${handle} is open already`))
      return true
    }
    // The session says what is wrong with it.
    if (this.#host.nameOf(handle) !== undefined || !isName(name)) return false
    const known = this.#routing.known(name)
    if (known?.isHere) return false
    if (this.#handles.size >= LIMITS.handles) {
      this.#host.refuseOpen(handle, tooManyHandles())
      return true
    }
    const opened: Handle = { name, url: null, unwatch: () => undefined }
    this.#handles.set(handle, opened)
    const go = (route: Route): void => {
      if (this.#isOver) return
      if (route.isHere) {
        this.#handles.delete(handle)
        return this.#host.open(handle, name)
      }
      opened.url = route.url
      // Who waits for an answer sends nothing by which it would be seen that the topic has moved.
      opened.unwatch = this.#routing.watch(name, route, () => this.#lost())
      this.#pass(route.url, bytes)
    }
    if (known) {
      go(known)
      return true
    }
    this.#routing.find(name).then(go, (error: unknown) => {
      if (this.#isOver) return
      this.#handles.delete(handle)
      this.#host.refuseOpen(handle, TidingsError.from(error))
    })
    return true
  }

  #pass(url: string, frame: Uint8Array): void {
    if (this.#isOver) return
    let link = this.#links.get(url)
    if (!link) {
      const answered = (bytes: Uint8Array): void => this.#host.answered(bytes)
      link = new Link(url, this.#routing.nodeId, answered, () => this.#lost())
      this.#links.set(url, link)
    }
    if (!link.send(frame)) this.#lost()
  }

  #lost(): void {
    if (this.#isOver) return
    this.close()
    this.#host.moved()
  }
}

/** One connection to a broker; frames wait until it is open. */
class Link {
  readonly #socket: Ws.WebSocket
  #waiting: Uint8Array[] = []
  #waitingBytes = 0

  constructor(url: string, nodeId: string, answered: (bytes: Uint8Array) => void, lost: () => void) {
    // A broker that is alone passes nothing on, and a broker inside a program has no sockets.
    const { WebSocket } = required<typeof Ws>('ws')
    this.#socket = new WebSocket(url.replace(/^http/, 'ws') + PUBLISH_PATH, BINARY_SUBPROTOCOL, {
      headers: { via: viaOf({}, nodeId) },
      perMessageDeflate: false,
      handshakeTimeout: HANDSHAKE_MS,
    })
    this.#socket.on('open', () => {
      for (const frame of this.#waiting.splice(0)) this.#socket.send(frame)
      this.#waitingBytes = 0
    })
    this.#socket.on('message', (data) => answered(data as Buffer))
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', lost)
  }

  /** False: too much waits already. */
  send(frame: Uint8Array): boolean {
    if (this.#socket.readyState === this.#socket.OPEN) {
      this.#socket.send(frame)
      return this.#socket.bufferedAmount <= WAITING_BYTES_MAX
    }
    this.#waiting.push(frame)
    this.#waitingBytes += frame.length
    return this.#waitingBytes <= WAITING_BYTES_MAX
  }

  close(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.on('close', () => undefined)
    this.#socket.terminate()
  }
}

function isName(name: string): boolean {
  try {
    checkName('topic', name)
    return true
  } catch {
    return false
  }
}

export function tooManyHandles(): TidingsError {
  return new TidingsError('invalid_argument', `one connection may open at most ${LIMITS.handles} topics`)
}
