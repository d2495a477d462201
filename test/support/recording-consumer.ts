/**
 * A consumer over WebSocket that writes down all it sees and does. It acknowledges what it gets, in groups,
 * and asks for each group to be confirmed; it connects again when its connection ends, until it is stopped.
 * A delivery is recorded before its acknowledgement leaves.
 */
import WebSocket from 'ws'
import type { At, History } from './history.ts'

export interface DeliveredFrame {
  type: 'message'
  id: string
  partition: number
  offset: number
  key: string | null
  value?: unknown
  headers: Record<string, string>
  attempt: number
}

export interface ConsumerOptions {
  /** ws://host:port */
  url: string
  topic: string
  subscription: string
  name: string
  history: History
  /** What identifies a message in the history, and the hash of its bytes. */
  identify: (message: DeliveredFrame) => { value: string; hash: string }
  query?: Readonly<Record<string, string>>
  /**
   * What to do with a message; `ack` when not given. `keep` leaves it unacknowledged; `kept` says how many are
   * on this connection.
   */
  decide?: (message: DeliveredFrame, kept: number) => 'ack' | 'nack' | 'keep'
}

type Frame =
  | DeliveredFrame
  | { type: 'acked'; request: number; ids: string[] }
  | { type: 'error'; code: string; detail: string }
  | { type: 'gap'; partition: number; from: number; to: number }

const ACK_GROUP = 100

export class RecordingConsumer {
  /** Close codes seen, in order. */
  readonly closeCodes: number[] = []
  /** Error and gap frames: a test looks at these. */
  readonly complaints: Frame[] = []
  received = 0
  confirmed = 0
  readonly #options: ConsumerOptions
  #socket: WebSocket | undefined
  #session = 0
  #kept = 0
  #stopped = false
  #toAck: string[] = []
  #flushing = false
  readonly #unconfirmed = new Map<number, At[]>()
  #retry: NodeJS.Timeout | undefined

  constructor(options: ConsumerOptions) {
    this.#options = options
    this.#connect()
  }

  /** Acknowledgements that left and were not answered. */
  get unconfirmed(): number {
    return this.#unconfirmed.size
  }

  get connected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN
  }

  /** Ends the connection without a word, as a killed process does, and does not come back. */
  kill(): void {
    this.#stopped = true
    clearTimeout(this.#retry)
    this.#socket?.terminate()
  }

  /** Says goodbye and does not come back. */
  stop(): void {
    this.#stopped = true
    clearTimeout(this.#retry)
    if (this.connected) this.#socket?.close(1000)
    else this.#socket?.terminate()
  }

  #connect(): void {
    const { url, topic, subscription, name, query = {} } = this.#options
    const search = new URLSearchParams({ consumer: name, ...query }).toString()
    const socket = new WebSocket(`${url}/v1/topics/${topic}/subscriptions/${subscription}/stream?${search}`, {
      handshakeTimeout: 5000,
      perMessageDeflate: false,
    })
    this.#socket = socket
    socket.on('open', () => this.#opened())
    socket.on('message', (data) => this.#frame(JSON.parse((data as Buffer).toString()) as Frame))
    socket.on('error', () => undefined)
    socket.on('close', (code) => this.#closed(code))
  }

  #opened(): void {
    const { history, subscription: sub, name: consumer } = this.#options
    this.#session = history.nextId()
    history.record({ op: 'open', sub, session: this.#session, consumer })
  }

  #closed(code: number): void {
    const { history, subscription: sub, name: consumer } = this.#options
    if (this.#session !== 0) {
      this.closeCodes.push(code)
      for (const [id, at] of this.#unconfirmed)
        history.record({ op: 'ack', ph: 'info', id, sub, session: this.#session, at })
      history.record({ op: 'close', sub, session: this.#session, consumer })
    }
    this.#unconfirmed.clear()
    this.#toAck = []
    this.#kept = 0
    this.#session = 0
    if (!this.#stopped) this.#retry = setTimeout(() => this.#connect(), 50)
  }

  #frame(frame: Frame): void {
    if (frame.type === 'message') this.#message(frame)
    else if (frame.type === 'acked') this.#acked(frame.request, frame.ids)
    else this.complaints.push(frame)
  }

  #message(frame: DeliveredFrame): void {
    const { history, subscription: sub, identify, decide } = this.#options
    const { partition, offset, attempt } = frame
    this.received++
    history.record({ op: 'dlv', sub, session: this.#session, partition, offset, attempt, ...identify(frame) })
    const decision = decide?.(frame, this.#kept) ?? 'ack'
    if (decision === 'keep') this.#kept++
    else if (decision === 'ack') {
      this.#toAck.push(frame.id)
      if (this.#toAck.length >= ACK_GROUP) this.#flush()
      else if (!this.#flushing) {
        this.#flushing = true
        setImmediate(() => this.#flush())
      }
    } else {
      history.record({ op: 'nack', sub, session: this.#session, at: [{ partition, offset }] })
      this.#socket?.send(JSON.stringify({ type: 'nack', ids: [frame.id], delayMs: 0 }))
    }
  }

  #flush(): void {
    this.#flushing = false
    const ids = this.#toAck
    if (ids.length === 0 || !this.connected) return
    this.#toAck = []
    const { history, subscription: sub } = this.#options
    const id = history.nextId()
    const at = ids.map(positionOf)
    history.record({ op: 'ack', ph: 'inv', id, sub, session: this.#session, at })
    this.#unconfirmed.set(id, at)
    this.#socket?.send(JSON.stringify({ type: 'ack', ids, request: id }))
  }

  #acked(request: number, ids: readonly string[]): void {
    const { history, subscription: sub } = this.#options
    if (!this.#unconfirmed.delete(request)) return
    const at = ids.map(positionOf)
    this.confirmed += at.length
    history.record({ op: 'ack', ph: 'ok', id: request, sub, session: this.#session, at })
  }
}

function positionOf(id: string): At {
  const [partition, offset] = id.split(':').map(Number) as [number, number]
  return { partition, offset }
}
