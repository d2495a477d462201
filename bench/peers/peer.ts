/**
 * What the peers' bench asks of a broker, ours like any other: a server that it starts, kills and looks at, and a
 * client that publishes and consumes with the best practical settings of its library. One file a peer fills it in; the
 * rows in rows.ts know nothing of any of them.
 *
 * What must stay true: a publish resolves when the broker has said that the message is stored, as durably as its
 * `durability` says; a message counts as acknowledged when its acknowledgement was sent, and where the protocol has
 * an answer to one, when that came.
 */

import type { ValueKind } from './payload.ts'

export interface Peer {
  readonly label: string
  /** What has happened to a message when its publish resolves, and the settings that make it so. */
  readonly durability: string
  /** Not fsynced: shown beside the others and left out of ratios. */
  readonly isUnsynced?: boolean
  /** The program's version. Throws a sentence where it cannot be had. */
  prepare(): Promise<string>
  start(directory: string): Promise<PeerServer>
  connect(address: string, options: ClientOptions): Promise<PeerClient>
}

export interface PeerServer {
  readonly address: string
  readonly pid: number
  readonly dataDir: string
  kill(): Promise<void>
  /** Starts it again on the same data. It need not be serving yet when this resolves. */
  restart(): Promise<void>
}

export interface ClientOptions {
  /** At most one publish is under way: nothing may wait for company. */
  isSerial: boolean
}

export interface Consumption {
  topics: readonly string[]
  subscription: string
  prefetch: number
  /** Acknowledge many at once where the broker can; one by one otherwise. */
  isBatchAcked: boolean
  /** What the messages were published as. */
  values: ValueKind
  onMessage: (value: unknown) => void
  onAcked: (count: number) => void
}

export interface PeerClient {
  /** Topics, and on each these durable subscriptions, from the first message on. Before anything is published. */
  create(topics: readonly string[], subscriptions: readonly string[]): Promise<void>
  /** A function that publishes to a topic and resolves when the message is stored. */
  publisher(topic: string): (value: Uint8Array | object) => Promise<unknown>
  /** Resolves when messages can come. */
  consume(consumption: Consumption): Promise<void>
  /** Messages stored in a topic. Rejects while the broker does not serve yet. */
  stored(topic: string): Promise<number>
  /** Messages of a subscription to these topics that are not acknowledged. */
  backlog(topics: readonly string[], subscription: string): Promise<number>
  /** Ends consuming when what was acknowledged has been sent, and disconnects. */
  close(): Promise<void>
}

/** A value as the bytes that a peer's client is given; its own kind of JSON costs the peer what ours costs us. */
export function bytesOf(value: Uint8Array | object): Buffer {
  if (!(value instanceof Uint8Array)) return Buffer.from(JSON.stringify(value))
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}
