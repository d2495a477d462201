/** A consumer's WebSocket for tests: frames in a queue that can be awaited, and how the connection ended. */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { TestBroker } from './test-broker.ts'

export type Frame = Record<string, unknown>

export class StreamClient {
  readonly socket: WebSocket
  readonly #frames: Frame[] = []
  #waiting: ((frame: Frame) => void)[] = []
  /** Close code and reason, once it is closed. */
  readonly closed: Promise<{ code: number; reason: string }>

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as Frame
      const next = this.#waiting.shift()
      if (next) next(frame)
      else this.#frames.push(frame)
    })
    socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
    })
  }

  static async open(broker: TestBroker, topic: string, name: string, query = '', headers = {}): Promise<StreamClient> {
    const url = `${broker.url.replace('http', 'ws')}/v1/topics/${topic}/subscriptions/${name}/stream${query}`
    const socket = new WebSocket(url, { headers })
    const client = new StreamClient(socket)
    await once(socket, 'open')
    return client
  }

  /** The status and problem of an upgrade that is refused. */
  static refusal(
    broker: TestBroker,
    path: string,
    headers = {},
    protocols: string[] = [],
  ): Promise<{ status: number; problem: Frame }> {
    const socket = new WebSocket(`${broker.url.replace('http', 'ws')}${path}`, protocols, { headers })
    return new Promise((resolve, reject) => {
      socket.on('open', () => reject(new Error('the upgrade was accepted')))
      socket.on('error', reject)
      socket.on('unexpected-response', (_request, response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, problem: JSON.parse(text) as Frame }))
      })
    })
  }

  send(frame: Frame | string): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  next(): Promise<Frame> {
    const frame = this.#frames.shift()
    return frame ? Promise.resolve(frame) : new Promise((resolve) => this.#waiting.push(resolve))
  }

  async take(count: number): Promise<Frame[]> {
    const frames: Frame[] = []
    while (frames.length < count) frames.push(await this.next())
    return frames
  }

  /** Frames that came and nobody took. */
  get left(): number {
    return this.#frames.length
  }

  /** Sends an ack that asks for its answer: everything that was sent before has been handled when it comes. */
  async barrier(): Promise<void> {
    this.send({ type: 'ack', ids: [], request: 'barrier' })
    while ((await this.next())['request'] !== 'barrier');
  }

  async end(): Promise<void> {
    this.socket.close()
    await this.closed
  }
}
