/**
 * What brokers say to each other, one frame a message: who they are, and the copying of topics. A codec: any bytes give
 * a frame or an `invalid_argument`, in time and memory that grow with their number; nothing is copied, what a
 * decoded frame holds are views into the bytes that came.
 *
 * u8 type, then its fields (copy-frames.ts has those of copying). Integers are big-endian, a text is u16 length and UTF-8.
 * A type from 0x80 on may be ignored by whoever does not know it; any other unknown one ends the link. Versions:
 *   1  first
 */
import { FrameReader, FrameWriter, malformed } from '@tidings/sdk/protocol'
import { type CopyFrame, decodeCopyFrame, encodeCopyFrame } from './copy-frames.ts'

export const PEER_PROTOCOL = { oldest: 1, newest: 1 } as const

/** "TPR1": whoever does not begin with it is no broker. */
const MAGIC = 0x54505231
const HELLO = 0x01
const REQUEST = 0x20
const RESPONSE = 0x21
const OPTIONAL = 0x80

const NODE_BYTES = 255
const DETAIL_BYTES = 1024
/** A hello is small: nobody is believed more before he has said who he is. */
export const HELLO_BYTES_MAX = 1024

/** The first frame in either direction. What stands behind its fields is for later versions. */
export interface Hello {
  nodeId: string
  /** Create revision of the broker's registration, 0 before there is one. */
  brokerEpoch: number
  /** Versions of this protocol that it speaks, both inclusive. */
  oldest: number
  newest: number
}

/** One broker asks another: `kind` says what, and how the body reads. */
export interface PeerRequest {
  type: 'request'
  id: number
  kind: number
  body: Uint8Array
}

export interface PeerResponse {
  type: 'response'
  id: number
  /** Null: it went well, and the body is the answer; else a code of the one table of errors. */
  error: { code: string; detail: string } | null
  body: Uint8Array
}

export type PeerFrame = CopyFrame | PeerRequest | PeerResponse

export function encodeHello({ nodeId, brokerEpoch, oldest, newest }: Hello): Uint8Array {
  return new FrameWriter().u8(HELLO).u32(MAGIC).u16(oldest).u16(newest).u64(brokerEpoch).text(nodeId, NODE_BYTES).take()
}

/** Throws `invalid_argument` for what no broker says. */
export function decodeHello(bytes: Uint8Array): Hello {
  const reader = new FrameReader(bytes)
  if (reader.u8() !== HELLO || reader.u32() !== MAGIC) throw malformed('it is not the hello of a broker')
  const oldest = reader.u16()
  const newest = reader.u16()
  if (oldest === 0 || oldest > newest) throw malformed(`its versions are ${oldest} to ${newest}`)
  const brokerEpoch = reader.u64()
  const nodeId = reader.text(NODE_BYTES)
  if (nodeId === '') throw malformed('its broker has no name')
  return { nodeId, brokerEpoch, oldest, newest }
}

/** The newest version that both speak, or null. */
export function commonVersion(mine: Pick<Hello, 'oldest' | 'newest'>, theirs: typeof mine): number | null {
  const version = Math.min(mine.newest, theirs.newest)
  return version >= Math.max(mine.oldest, theirs.oldest) ? version : null
}

/** The whole frame; of an `append` the batches are to be sent behind it. */
export function encodePeerFrame(frame: PeerFrame): Uint8Array {
  switch (frame.type) {
    case 'request':
      return withBody(new FrameWriter().u8(REQUEST).u64(frame.id).u16(frame.kind).take(), frame.body)
    case 'response': {
      const { code, detail } = frame.error ?? { code: '', detail: '' }
      const head = new FrameWriter().u8(RESPONSE).u64(frame.id).text(code, NODE_BYTES).text(detail, DETAIL_BYTES)
      return withBody(head.take(), frame.body)
    }
    default:
      return encodeCopyFrame(frame)
  }
}

/** Null: a frame of a later version that may be ignored. Throws `invalid_argument` for what is none. */
export function decodePeerFrame(bytes: Uint8Array): PeerFrame | null {
  const reader = new FrameReader(bytes)
  const type = reader.u8()
  if (type >= OPTIONAL) return null
  switch (type) {
    case REQUEST:
      return { type: 'request', id: reader.u64(), kind: reader.u16(), body: reader.rest() }
    case RESPONSE: {
      const id = reader.u64()
      const code = reader.text(NODE_BYTES)
      const detail = reader.text(DETAIL_BYTES)
      return { type: 'response', id, error: code === '' ? null : { code, detail }, body: reader.rest() }
    }
    default:
      return decodeCopyFrame(type, reader)
  }
}

function withBody(head: Uint8Array, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + body.length)
  bytes.set(head)
  bytes.set(body, head.length)
  return bytes
}
