/** A publisher that speaks the binary protocol by hand: whole frames out, answers in. */
import { once } from 'node:events'
import {
  BINARY_SUBPROTOCOL,
  decodePublishAnswer,
  encodeOpen,
  encodeRecord,
  KEYED_ENTRY_BYTES,
  KEYED_HEADER_BYTES,
  type KeyedEntry,
  PUBLISH_HEADER_BYTES,
  PUBLISH_PATH,
  type PublishAnswer,
  putKeyedEntry,
  putKeyedHeader,
  putPublishHeader,
  type RecordInput,
} from '@tidings/sdk/protocol'
import { WebSocket } from 'ws'

const PLAIN: RecordInput = {
  key: null,
  value: Buffer.from('{}'),
  contentType: 'application/json',
  headers: [],
  idempotencyKey: null,
  expiresAt: null,
  valueChecked: false,
}

export function recordOf(value: unknown, more: Partial<RecordInput> = {}): Uint8Array {
  return encodeRecord({ ...PLAIN, value: Buffer.from(JSON.stringify(value)), ...more })
}

export interface FrameNumbers {
  handle?: number
  producerId?: number
  sequence?: number
  partitionCount?: number
  count?: number
}

export function publishFrame(records: readonly Uint8Array[], numbers: FrameNumbers = {}): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(PUBLISH_HEADER_BYTES), ...records])
  const fixed = { handle: 1, producerId: 7, sequence: 0, partitionCount: 1, count: records.length }
  putPublishHeader(bytes, { ...fixed, ...numbers })
  return bytes
}

export function keyedFrame(entries: readonly (Partial<KeyedEntry> & { record: Uint8Array })[], sequence = 0): Buffer {
  const heads = entries.flatMap(({ partition = null, due = null, record }) => {
    const head = Buffer.alloc(KEYED_ENTRY_BYTES)
    putKeyedEntry(head, 0, { partition, due })
    return [head, record]
  })
  const bytes = Buffer.concat([Buffer.alloc(KEYED_HEADER_BYTES), ...heads])
  putKeyedHeader(bytes, { handle: 1, sequence, count: entries.length })
  return bytes
}

export class PublishClient {
  readonly socket: WebSocket
  readonly #answers: PublishAnswer[] = []
  readonly #waiting: ((answer: PublishAnswer) => void)[] = []

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('message', (data: Buffer) => {
      const answer = decodePublishAnswer(data)!
      const waiting = this.#waiting.shift()
      if (waiting) waiting(answer)
      else this.#answers.push(answer)
    })
  }

  static async connect(url: string): Promise<PublishClient> {
    const client = new PublishClient(new WebSocket(url.replace('http', 'ws') + PUBLISH_PATH, BINARY_SUBPROTOCOL))
    await once(client.socket, 'open')
    return client
  }

  /** The next answer. */
  next(): Promise<PublishAnswer> {
    const answer = this.#answers.shift()
    return answer ? Promise.resolve(answer) : new Promise((resolve) => this.#waiting.push(resolve))
  }

  ask(frame: Uint8Array | string): Promise<PublishAnswer> {
    this.socket.send(frame)
    return this.next()
  }

  open(topic: string, handle = 1): Promise<PublishAnswer> {
    return this.ask(encodeOpen(handle, topic))
  }

  async closed(): Promise<number> {
    const [code] = (await once(this.socket, 'close')) as [number]
    return code
  }
}
