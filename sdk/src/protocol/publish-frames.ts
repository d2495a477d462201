/**
 * The frames of `/v1/publish`, subprotocol `tidings.binary.v1`: what a publisher says to the broker, one WebSocket
 * message a frame; publish-answers.ts is what it hears. docs/PROTOCOL.md is the page for people. A codec used by
 * both ends: any bytes give a frame or an `invalid_argument`, in time that grows with their number. Nothing is
 * copied: what a decoded frame holds are views into the bytes that came.
 *
 * u8 type, then its fields. Integers are big-endian; a text is u16 length and UTF-8.
 */
import { FrameReader, FrameWriter, malformed } from './frame-bytes.ts'
import * as LIMITS from './limits.ts'
import { getU32, getU64, putU32, putU64, recordEnd } from './record.ts'

const OPEN = 0x10
const PUBLISH = 0x11
const KEYED = 0x12
const AUTH = 0x13
const PROBE = 0x14
const SHUT = 0x15

/** Types of the frames that can be refused by themselves. */
export const PUBLISH_FRAME_TYPES = { open: OPEN, publish: PUBLISH, keyed: KEYED } as const

const NONE = 0xffff_ffff

export const PUBLISH_PATH = '/v1/publish'
/** What stands before the first record of a publish frame, and before the first entry of a keyed one. */
export const PUBLISH_HEADER_BYTES = 29
export const KEYED_HEADER_BYTES = 17
/** What stands before the record of a keyed entry. */
export const KEYED_ENTRY_BYTES = 13

/** Frames of a numbered producer: `records` lie back to back and are not walked yet. */
export interface PublishFrame {
  type: 'publish'
  handle: number
  producerId: number
  sequence: number
  partitionCount: number
  count: number
  records: Uint8Array
}

export interface KeyedFrame {
  type: 'keyed'
  handle: number
  sequence: number
  count: number
  /** For `readKeyedEntries`. */
  entries: Uint8Array
}

export type PublisherFrame =
  | { type: 'open'; handle: number; topic: string }
  | { type: 'shut'; handle: number }
  | PublishFrame
  | KeyedFrame
  | { type: 'auth'; token: string }
  | { type: 'probe' }

export interface KeyedEntry {
  partition: number | null
  /** `delay`: milliseconds from now; `at`: milliseconds since the epoch. */
  due: { kind: 'delay' | 'at'; ms: number } | null
  record: Uint8Array
}

const NAME_BYTES = 200
const TOKEN_BYTES = 0xffff

export function encodeOpen(handle: number, topic: string): Uint8Array {
  return new FrameWriter().u8(OPEN).u32(handle).text(topic).take()
}

/** Writes the header of a publish frame whose records stand behind it. */
export function putPublishHeader(bytes: Uint8Array, frame: Omit<PublishFrame, 'type' | 'records'>): void {
  bytes[0] = PUBLISH
  putU32(bytes, 1, frame.handle)
  putU64(bytes, 5, frame.producerId)
  putU64(bytes, 13, frame.sequence)
  putU32(bytes, 21, frame.partitionCount)
  putU32(bytes, 25, frame.count)
}

/** Writes the header of a keyed frame whose entries stand behind it. */
export function putKeyedHeader(bytes: Uint8Array, frame: Omit<KeyedFrame, 'type' | 'entries'>): void {
  bytes[0] = KEYED
  putU32(bytes, 1, frame.handle)
  putU64(bytes, 5, frame.sequence)
  putU32(bytes, 13, frame.count)
}

/** Writes what stands before an entry's record. */
export function putKeyedEntry(bytes: Uint8Array, at: number, { partition, due }: Omit<KeyedEntry, 'record'>): void {
  putU32(bytes, at, partition ?? NONE)
  bytes[at + 4] = due === null ? 0 : due.kind === 'delay' ? 1 : 2
  putU64(bytes, at + 5, due?.ms ?? 0)
}

export function encodePublisherAuth(token: string): Uint8Array {
  return new FrameWriter().u8(AUTH).text(token).take()
}

export function encodeShut(handle: number): Uint8Array {
  return new FrameWriter().u8(SHUT).u32(handle).take()
}

export function encodeProbe(): Uint8Array {
  return Uint8Array.of(PROBE)
}

/** A publisher's frame. Throws `invalid_argument`. */
export function decodePublisherFrame(bytes: Uint8Array): PublisherFrame {
  const reader = new FrameReader(bytes)
  const type = reader.u8()
  switch (type) {
    case OPEN:
      return reader.whole({ type: 'open', handle: reader.u32(), topic: reader.text(NAME_BYTES) })
    case PUBLISH:
      return {
        type: 'publish',
        handle: reader.u32(),
        producerId: reader.u64(),
        sequence: reader.u64(),
        partitionCount: readPartitionCount(reader),
        count: readMessageCount(reader),
        records: reader.rest(),
      }
    case KEYED:
      return {
        type: 'keyed',
        handle: reader.u32(),
        sequence: reader.u64(),
        count: readMessageCount(reader),
        entries: reader.rest(),
      }
    case SHUT:
      return reader.whole({ type: 'shut', handle: reader.u32() })
    case AUTH:
      return reader.whole({ type: 'auth', token: reader.text(TOKEN_BYTES) })
    case PROBE:
      return reader.whole({ type: 'probe' })
    default:
      throw malformed(`it has the unknown type ${type}`)
  }
}

/** The entries of a keyed frame; their records are whole, and not looked into. Throws `invalid_argument`. */
export function readKeyedEntries({ entries: bytes, count }: KeyedFrame): KeyedEntry[] {
  const entries: KeyedEntry[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const recordAt = at + KEYED_ENTRY_BYTES
    const end = recordAt > bytes.length ? -1 : recordEnd(bytes, recordAt, bytes.length)
    if (end === -1) throw malformed(`it ends within entry ${i} of ${count}`)
    const partition = getU32(bytes, at)
    const ms = getU64(bytes, at + 5)
    const when = bytes[at + 4]!
    if (when > 2 || ms > Number.MAX_SAFE_INTEGER) throw malformed(`entry ${i} is due at no time there is`)
    entries.push({
      partition: partition === NONE ? null : partition,
      due: when === 0 ? null : { kind: when === 1 ? 'delay' : 'at', ms },
      record: bytes.subarray(recordAt, end),
    })
    at = end
  }
  if (at !== bytes.length) throw malformed(`${bytes.length - at} bytes stand behind its last entry`)
  return entries
}

export function readPartitionCount(reader: FrameReader): number {
  const partitions = reader.u32()
  if (partitions >= 1 && partitions <= LIMITS.partitions) return partitions
  throw malformed(`its topic has ${partitions} partitions`)
}

export function readMessageCount(reader: FrameReader): number {
  const messages = reader.u32()
  if (messages >= 1 && messages <= LIMITS.frameCount) return messages
  throw malformed(`it has ${messages} messages, and 1 to ${LIMITS.frameCount} are allowed`)
}
