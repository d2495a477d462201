/**
 * A publisher of the client's over simulated surroundings: the test is the broker, which sees whole frames and answers
 * each as it likes. `Ledger` is what an honest broker remembers of frames.
 */
import {
  decodePublisherFrame,
  encodePublishAnswer,
  getU32,
  type KeyedFrame,
  type PublishAnswer,
  type PublisherFrame,
  type PublishFrame,
  readKeyedEntries,
  recordIdempotencyKey,
  recordValueAt,
} from '@tidings/sdk/protocol'
import { Connector } from '../../sdk/src/connector.ts'
import type { Token } from '../../sdk/src/credentials.ts'
import type { PublishOptions } from '../../sdk/src/publish-entry.ts'
import type { PublishError } from '../../sdk/src/publish-error.ts'
import { PublishLink } from '../../sdk/src/publish-link.ts'
import { Publisher, type PublisherOptions } from '../../sdk/src/publisher.ts'
import { verdictOfRefusal } from '../../sdk/src/upgrade-refusal.ts'
import { settle } from './settle.ts'
import { SimPlatform, type SimSocket } from './sim-platform.ts'

const OPTIONS: PublisherOptions = {
  timeoutMs: 10_000,
  requestTimeoutMs: 1000,
  bufferBytes: 10_000,
  waitingCount: 100,
  batchCount: 100,
  batchBytes: 100_000,
}

export type MessageFrame = PublishFrame | KeyedFrame

/** The records of a frame, as values and idempotency keys. */
export function recordsOf(frame: MessageFrame): { value: unknown; key: string | null }[] {
  const records: Uint8Array[] = []
  if (frame.type === 'keyed') records.push(...readKeyedEntries(frame).map(({ record }) => record))
  else {
    for (let at = 0; at < frame.records.length; ) {
      const end = at + 4 + getU32(frame.records, at)
      records.push(frame.records.subarray(at, end))
      at = end
    }
  }
  return records.map((record) => {
    const key = recordIdempotencyKey(record, 0)
    const value = JSON.parse(Buffer.from(record.subarray(recordValueAt(record, 0))).toString()) as unknown
    return { value, key: key && Buffer.from(key).toString() }
  })
}

export const valuesOf = (frame: MessageFrame): unknown[] => recordsOf(frame).map(({ value }) => value)

export class PublisherRig {
  readonly platform = new SimPlatform()
  readonly link: PublishLink
  readonly publisher: Publisher
  readonly outcomes: Record<string, unknown> = {}
  stored = 0

  constructor(options: Partial<PublisherOptions> = {}, token?: Token, url: string | string[] = 'http://a') {
    const all = { ...OPTIONS, ...options }
    const connector = new Connector(this.platform, url, token, verdictOfRefusal)
    this.link = new PublishLink(connector, all.requestTimeoutMs)
    this.publisher = new Publisher('t', connector, this.link, all)
  }

  publish(value: unknown, options: PublishOptions = {}, name = String(value)): void {
    this.#note(name, this.publisher.publish(value, options))
  }

  tryPublish(value: unknown): void {
    this.#note(String(value), this.publisher.tryPublish(value, {}))
  }

  #note(name: string, promise: Promise<{ id: string }>): void {
    promise.then(
      ({ id }) => {
        this.outcomes[name] = id
      },
      (error: PublishError) => {
        this.outcomes[name] = error.outcome ? `${error.code} ${error.outcome}` : error.code
      },
    )
  }

  get socket(): SimSocket {
    return this.platform.socket
  }

  /** What came over the present socket since the last look. */
  taken(): PublisherFrame[] {
    return this.socket.sentBytes.splice(0).map((bytes) => decodePublisherFrame(bytes))
  }

  say(answer: PublishAnswer): void {
    this.socket.sayBytes(encodePublishAnswer(answer))
  }

  /** The socket opens, and the topic on it. */
  async open(partitionCount = 1): Promise<void> {
    await settle()
    this.socket.open()
    await settle()
    for (const frame of this.taken()) {
      if (frame.type !== 'open') throw new Error(`a frame of type ${frame.type} came before the topic was open`)
      this.say({ type: 'opened', handle: frame.handle, partitionCount, maxMessageBytes: 1_048_576 })
    }
    await settle()
  }

  /** Waits for the next socket, and opens it. */
  async reopened(): Promise<void> {
    const before = this.platform.sockets.length
    while (this.platform.sockets.length === before) await this.next()
    await this.open()
  }

  /** The frames of messages that came. */
  async frames(): Promise<MessageFrame[]> {
    await settle()
    return this.taken().filter((frame): frame is MessageFrame => frame.type === 'publish' || frame.type === 'keyed')
  }

  async frame(): Promise<MessageFrame> {
    const [frame, ...others] = await this.frames()
    if (!frame || others.length > 0) throw new Error(`${others.length + (frame ? 1 : 0)} frames came`)
    return frame
  }

  /** Stores what is new of the frame at the end of the one partition, and says so. */
  store(frame: MessageFrame, from: number = this.stored): void {
    const { handle, sequence, count } = frame
    this.stored = Math.max(this.stored, from + count)
    const common = { handle, sequence, partitionCount: 1 }
    if (frame.type === 'publish') {
      const part = { partition: 0, baseOffset: from, count, timestamp: 0 }
      return this.say({ type: 'stored', ...common, duplicate: false, parts: [part], partOf: null })
    }
    const receipts = Array.from({ length: count }, (_, i) => ({
      partition: 0,
      offset: from + i,
      timestamp: 0,
      duplicate: false,
    }))
    this.say({ type: 'receipts', ...common, receipts })
  }

  refuse(
    { type, handle, sequence }: MessageFrame,
    code: string,
    more: Partial<PublishAnswer & { type: 'refused' }> = {},
  ): void {
    const nothing = { entry: null, mayBeStored: false, retryAfterMs: 0 }
    this.say({ type: 'refused', frame: type, handle, sequence, code, detail: 'no', ...nothing, ...more })
  }

  lose(): void {
    this.socket.end({ kind: 'lost', cause: new Error('lost') })
  }

  /** Time goes on to the next timer, and what follows from it happens. */
  async next(): Promise<void> {
    this.platform.clock.runNext()
    await settle()
  }
}

/** A publisher whose topic is open, and of which one message is stored. */
export async function connected(...args: ConstructorParameters<typeof PublisherRig>): Promise<PublisherRig> {
  const rig = new PublisherRig(...args)
  rig.publish('first')
  await rig.open()
  rig.store(await rig.frame())
  await settle()
  delete rig.outcomes['first']
  return rig
}

/** An honest broker's memory: which frames are there, and where; a refused number must come before later ones. */
export class Ledger {
  readonly log: unknown[] = []
  readonly #frames = new Map<string, number>()
  readonly #keys = new Map<string, number>()
  readonly #awaited = new Map<number, number>()

  /** The offset of the frame's first record, or null: it is not its turn. */
  store(frame: MessageFrame): number | null {
    const records = recordsOf(frame)
    if (frame.type === 'keyed') {
      const offsets = records.map(({ key, value }) => {
        const offset = this.#keys.get(key!) ?? this.log.push(value) - 1
        this.#keys.set(key!, offset)
        return offset
      })
      return offsets[0]!
    }
    const name = `${frame.producerId}/${frame.sequence}`
    const known = this.#frames.get(name)
    if (known !== undefined) return known
    if (!this.isTurn(frame)) return null
    const from = this.log.length
    this.log.push(...records.map(({ value }) => value))
    this.#frames.set(name, from)
    this.#awaited.set(frame.producerId, frame.sequence + 1)
    return from
  }

  isTurn({ producerId, sequence }: PublishFrame): boolean {
    return sequence === (this.#awaited.get(producerId) ?? 0)
  }
}
