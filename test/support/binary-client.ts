/** A consumer's WebSocket on `tidings.binary.v1` for tests: events in a queue that can be awaited. */
import { once } from 'node:events'
import {
  BINARY_SUBPROTOCOL,
  type ConsumeEvent,
  type ConsumeRequest,
  encodeConsumeRequest,
  type FrameRange,
  type MessagesEvent,
  readConsumeEvent,
  recordValueAt,
  type WelcomeEvent,
} from '@tidings/sdk/protocol'
import { WebSocket } from 'ws'
import type { TestBroker } from './test-broker.ts'

export class BinaryClient {
  readonly socket: WebSocket
  readonly #events: ConsumeEvent[] = []
  #waiting: ((event: ConsumeEvent) => void)[] = []
  readonly closed: Promise<{ code: number; reason: string }>

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer) => {
      const event = readConsumeEvent(data)
      if (event === null) throw new Error('an event of a type that nobody knows')
      const next = this.#waiting.shift()
      if (next) next(event)
      else this.#events.push(event)
    })
    socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
    })
  }

  /** Connected and welcomed; of one topic, its number is 0. */
  static async open(
    broker: TestBroker,
    topic: string,
    name: string,
    query = '',
  ): Promise<{ client: BinaryClient; welcome: WelcomeEvent }> {
    const path = `/v1/topics/${encodeURIComponent(topic)}/subscriptions/${name}/stream${query}`
    const socket = new WebSocket(`${broker.url.replace('http', 'ws')}${path}`, BINARY_SUBPROTOCOL)
    const client = new BinaryClient(socket)
    await once(socket, 'open')
    const welcome = await client.next('welcome')
    if (!welcome.isPattern) await client.next('topic')
    return { client, welcome }
  }

  send(request: ConsumeRequest): void {
    this.socket.send(encodeConsumeRequest(request))
  }

  /** The next event, which must be of that type. */
  async next<T extends ConsumeEvent['type']>(type: T): Promise<Extract<ConsumeEvent, { type: T }>> {
    const event = this.#events.shift() ?? (await new Promise<ConsumeEvent>((resolve) => this.#waiting.push(resolve)))
    if (event.type !== type) throw new Error(`expected ${type}, got ${JSON.stringify(event)}`)
    return event as Extract<ConsumeEvent, { type: T }>
  }

  /** Messages until there are so many, as `offset attempt value`. */
  async take(count: number): Promise<string[]> {
    const shown: string[] = []
    while (shown.length < count) shown.push(...shownOf(await this.next('messages')))
    return shown
  }

  /** All that was sent before has been handled when it resolves. */
  async barrier(request = 999): Promise<void> {
    this.send({ type: 'ack', request, ranges: [] })
    await this.next('acked')
  }

  async end(): Promise<void> {
    this.socket.close()
    await this.closed
  }
}

export function shownOf({ baseOffset, attempt, bytes, positions }: MessagesEvent): string[] {
  return Array.from({ length: positions.length - 1 }, (_, i) => {
    const value = bytes.subarray(recordValueAt(bytes, positions[i]!), positions[i + 1])
    return `${baseOffset + i} ${attempt} ${Buffer.from(value).toString()}`
  })
}

export function rangeOf(from: number, to: number, topic = 0, partition = 0): FrameRange {
  return { topic, partition, from, to }
}
