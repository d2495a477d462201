/**
 * The consuming half of `tidings.binary.v1`: the frames on a subscription's stream, one WebSocket message each.
 * PROTOCOL.md has the picture. Both sides read with the same care: a frame is checked whole, its ranges and its
 * records too, before anybody acts on it, so that what is read from it later needs no second look.
 *
 * A request (client → broker) is a type, its number (0: none) and its fields; an event (broker → client) a type and
 * its fields. Topics are numbered by the broker for each connection, each told in a `topic` event before its first use.
 */
import { FrameReader, FrameWriter, malformed } from './frame-bytes.ts'
import * as LIMITS from './limits.ts'
import { getU32, putU32, putU64, recordEnd } from './record.ts'
import { SUBSCRIPTION_TYPES, type SubscriptionType } from './subscription.ts'

const ACK = 0x50
const NACK = 0x51
const RELEASE = 0x52
const REJECT = 0x53
const EXTEND = 0x54
const ACK_UP_TO = 0x55
const PAUSE = 0x56
const RESUME = 0x57
const AUTH = 0x58
const NAME = 0x59

const WELCOME = 0x40
const TOPIC = 0x41
const MESSAGES = 0x42
const ACKED = 0x43
const GAP = 0x44
const ERROR = 0x45

/** A nack that names no delay: the subscription's backoff. */
const BACKOFF = 0xffffffff
const RANGE_BYTES = 24
const NAME_BYTES = 200
const CODE_BYTES = 64
const DETAIL_BYTES = 4096
const TOKEN_BYTES = 0xffff
const FOLLOWS_PATTERN = 1
/** The last millisecond that a Date can hold. */
const TIME_MAX = 8_640_000_000_000_000

/** Offsets [from, to) of a partition of the topic with that number. */
export interface FrameRange {
  topic: number
  partition: number
  from: number
  to: number
}

export type ConsumeRequest =
  | { type: 'ack' | 'release'; request: number; ranges: readonly FrameRange[] }
  /** Without `delayMs`: the subscription's backoff. */
  | {
      type: 'nack'
      request: number
      delayMs: number | undefined
      reason: string | undefined
      ranges: readonly FrameRange[]
    }
  | { type: 'reject'; request: number; reason: string | undefined; ranges: readonly FrameRange[] }
  | { type: 'extend'; request: number; ms: number; ranges: readonly FrameRange[] }
  | { type: 'ack_up_to'; request: number; topic: number; partition: number; offset: number }
  | { type: 'pause' | 'resume'; request: number }
  | { type: 'auth'; request: number; token: string }
  /** Asks for the number of a topic: for messages of a connection before. */
  | { type: 'name'; request: number; name: string }

/** What the subscription is, told first on every connection. */
export interface WelcomeEvent {
  type: 'welcome'
  subscriptionType: SubscriptionType
  /** It follows a pattern: messages of several topics come. */
  isPattern: boolean
  ackDeadlineMs: number
  prefetch: number
  maxUnacked: number
  /** Attempts after which a message is given up on; null: never. */
  maxDeliveries: number | null
}

/** MessagesEvent of consecutive offsets from `baseOffset` on, of one attempt and one time. */
export interface MessagesEvent {
  type: 'messages'
  topic: number
  partition: number
  baseOffset: number
  timestamp: number
  attempt: number
  /** The frame, and where in it each record begins (and the last one ends): well-formed records (record.ts). */
  bytes: Uint8Array
  positions: Int32Array
}

export type ConsumeEvent =
  | WelcomeEvent
  | { type: 'topic'; topic: number; name: string }
  | MessagesEvent
  | { type: 'acked'; request: number; ranges: readonly FrameRange[] }
  | { type: 'gap'; topic: number; partition: number; from: number; to: number }
  | { type: 'error'; request: number; code: string; detail: string }

// --- client → broker ---

const REQUEST_TYPES: Readonly<Record<ConsumeRequest['type'], number>> = {
  ack: ACK,
  nack: NACK,
  release: RELEASE,
  reject: REJECT,
  extend: EXTEND,
  ack_up_to: ACK_UP_TO,
  pause: PAUSE,
  resume: RESUME,
  auth: AUTH,
  name: NAME,
}

/** Fields in the order in which they stand; ranges are the last. */
export function encodeConsumeRequest(frame: ConsumeRequest): Uint8Array {
  const ranges = 'ranges' in frame ? frame.ranges : null
  const out = new FrameWriter(64 + RANGE_BYTES * (ranges?.length ?? 0))
  out.u8(REQUEST_TYPES[frame.type]).u32(frame.request)
  if ('delayMs' in frame) out.u32(frame.delayMs ?? BACKOFF)
  if ('ms' in frame) out.u32(frame.ms)
  if ('reason' in frame) out.text(frame.reason ?? '', LIMITS.reasonBytes)
  if ('offset' in frame) out.u32(frame.topic).u32(frame.partition).u64(frame.offset)
  if ('token' in frame) out.text(frame.token)
  if ('name' in frame) out.text(frame.name)
  return (ranges ? putRanges(out, ranges) : out).take()
}

/** A client's frame, checked whole. Throws `invalid_argument`; `consumeRequestNumber` tells which request it was. */
export function readConsumeRequest(bytes: Uint8Array): ConsumeRequest {
  const from = new FrameReader(bytes)
  const type = from.u8()
  const request = from.u32()
  const frame = requestOfType(type, request, from)
  from.end()
  return frame
}

/** The number of a request that may be malformed; 0: it has none. */
export function consumeRequestNumber(bytes: Uint8Array): number {
  return bytes.length < 5 ? 0 : getU32(bytes, 1)
}

function requestOfType(type: number, request: number, from: FrameReader): ConsumeRequest {
  switch (type) {
    case ACK:
      return { type: 'ack', request, ranges: requestRanges(from) }
    case RELEASE:
      return { type: 'release', request, ranges: requestRanges(from) }
    case NACK: {
      const delay = from.u32()
      const delayMs = delay === BACKOFF ? undefined : checkMs(delay)
      return { type: 'nack', request, delayMs, reason: reasonIn(from), ranges: requestRanges(from) }
    }
    case REJECT:
      return { type: 'reject', request, reason: reasonIn(from), ranges: requestRanges(from) }
    case EXTEND:
      return { type: 'extend', request, ms: checkMs(from.u32()), ranges: requestRanges(from) }
    case ACK_UP_TO:
      return { type: 'ack_up_to', request, topic: from.u32(), partition: from.u32(), offset: from.u64() }
    case PAUSE:
      return { type: 'pause', request }
    case RESUME:
      return { type: 'resume', request }
    case AUTH:
      return { type: 'auth', request, token: from.text(TOKEN_BYTES) }
    case NAME:
      return { type: 'name', request, name: from.text(NAME_BYTES) }
    default:
      throw malformed(`there is no request of type ${type}`)
  }
}

function checkMs(ms: number): number {
  if (ms > LIMITS.delayMs) throw malformed(`${ms} ms are more than ${LIMITS.delayMs}`)
  return ms
}

function reasonIn(from: FrameReader): string | undefined {
  const reason = from.text(LIMITS.reasonBytes)
  return reason === '' ? undefined : reason
}

/** What one frame may name is bounded in ranges, and in offsets: each may cost a look. */
function requestRanges(from: FrameReader): FrameRange[] {
  const ranges = rangesIn(from)
  let offsets = 0
  for (const range of ranges) offsets += range.to - range.from
  if (offsets > LIMITS.offsetsPerFrame) {
    throw malformed(`its ranges name ${offsets} messages, more than ${LIMITS.offsetsPerFrame}`)
  }
  return ranges
}

// --- broker → client ---

export function encodeConsumeEvent(frame: Exclude<ConsumeEvent, MessagesEvent>): Uint8Array {
  switch (frame.type) {
    case 'welcome': {
      const out = new FrameWriter().u8(WELCOME).u8(SUBSCRIPTION_TYPES.indexOf(frame.subscriptionType))
      out.u8(frame.isPattern ? FOLLOWS_PATTERN : 0).u32(frame.ackDeadlineMs)
      return out
        .u32(frame.prefetch)
        .u32(frame.maxUnacked)
        .u32(frame.maxDeliveries ?? 0)
        .take()
    }
    case 'topic':
      return new FrameWriter().u8(TOPIC).u32(frame.topic).text(frame.name).take()
    case 'acked': {
      const out = new FrameWriter(16 + RANGE_BYTES * frame.ranges.length).u8(ACKED).u32(frame.request)
      return putRanges(out, frame.ranges).take()
    }
    case 'gap':
      return putRange(new FrameWriter().u8(GAP), frame).take()
    case 'error': {
      const out = new FrameWriter().u8(ERROR).u32(frame.request).text(frame.code)
      return out.text(frame.detail, DETAIL_BYTES).take()
    }
  }
}

export const MESSAGES_HEADER_BYTES = 33

/** What stands before the records of a `messages` event: written at `at`, so that the records need not be copied. */
export function putMessagesHeader(
  bytes: Uint8Array,
  at: number,
  frame: Pick<MessagesEvent, 'topic' | 'partition' | 'baseOffset' | 'timestamp' | 'attempt'>,
  count: number,
): void {
  bytes[at] = MESSAGES
  putU32(bytes, at + 1, frame.topic)
  putU32(bytes, at + 5, frame.partition)
  putU64(bytes, at + 9, frame.baseOffset)
  putU64(bytes, at + 17, frame.timestamp)
  putU32(bytes, at + 25, frame.attempt)
  putU32(bytes, at + 29, count)
}

/** A broker's frame, checked whole; null: of a type from a later version. Throws `invalid_argument`. */
export function readConsumeEvent(bytes: Uint8Array): ConsumeEvent | null {
  const from = new FrameReader(bytes)
  const type = from.u8()
  // A later version may put more behind the fields of a welcome.
  if (type === WELCOME) return welcomeIn(from)
  if (type === MESSAGES) return messagesIn(from)
  const frame = eventOfType(type, from)
  if (frame) from.end()
  return frame
}

function eventOfType(type: number, from: FrameReader): ConsumeEvent | null {
  switch (type) {
    case TOPIC:
      return { type: 'topic', topic: from.u32(), name: from.text(NAME_BYTES) }
    case ACKED:
      return { type: 'acked', request: from.u32(), ranges: rangesIn(from) }
    case GAP:
      return { type: 'gap', ...rangeIn(from) }
    case ERROR:
      return { type: 'error', request: from.u32(), code: from.text(CODE_BYTES), detail: from.text(DETAIL_BYTES) }
    default:
      return null
  }
}

function welcomeIn(from: FrameReader): WelcomeEvent {
  const subscriptionType = SUBSCRIPTION_TYPES[from.u8()]
  if (!subscriptionType) throw malformed('it is of no type of subscription')
  const isPattern = (from.u8() & FOLLOWS_PATTERN) !== 0
  const ackDeadlineMs = from.u32()
  if (ackDeadlineMs === 0 || ackDeadlineMs > LIMITS.delayMs) throw malformed('its deadline is none')
  const prefetch = from.u32()
  const maxUnacked = from.u32()
  const maxDeliveries = from.u32() || null
  return { type: 'welcome', subscriptionType, isPattern, ackDeadlineMs, prefetch, maxUnacked, maxDeliveries }
}

function messagesIn(from: FrameReader): MessagesEvent {
  const topic = from.u32()
  const partition = from.u32()
  const baseOffset = from.u64()
  const timestamp = from.u64()
  const attempt = from.u32()
  const count = from.u32()
  const { bytes, at, left } = from
  // A record has four bytes at the least, so the count is bounded by the frame before anything is made for it.
  const isPossible = attempt > 0 && count > 0 && count * 4 <= left && baseOffset + count <= Number.MAX_SAFE_INTEGER
  if (timestamp > TIME_MAX || !isPossible) throw malformed(`${left} bytes of ${count} records`)
  const positions = new Int32Array(count + 1)
  let position = at
  for (let i = 0; i < count; i++) {
    positions[i] = position
    position = recordEnd(bytes, position, bytes.length)
    if (position === -1) throw malformed(`record ${i} of ${count} is none`)
  }
  if (position !== bytes.length) throw malformed('bytes stand behind its records')
  positions[count] = position
  return { type: 'messages', topic, partition, baseOffset, timestamp, attempt, bytes, positions }
}

// --- ranges ---

function putRanges(out: FrameWriter, ranges: readonly FrameRange[]): FrameWriter {
  out.u32(ranges.length)
  for (const range of ranges) putRange(out, range)
  return out
}

function putRange(out: FrameWriter, { topic, partition, from, to }: FrameRange): FrameWriter {
  return out.u32(topic).u32(partition).u64(from).u64(to)
}

function rangesIn(from: FrameReader): FrameRange[] {
  const count = from.u32()
  if (count > LIMITS.rangesPerFrame) throw malformed(`${count} ranges are more than ${LIMITS.rangesPerFrame}`)
  if (count * RANGE_BYTES > from.left) throw malformed(`it is too short for ${count} ranges`)
  const ranges: FrameRange[] = []
  for (let i = 0; i < count; i++) ranges.push(rangeIn(from))
  return ranges
}

function rangeIn(from: FrameReader): FrameRange {
  const range = { topic: from.u32(), partition: from.u32(), from: from.u64(), to: from.u64() }
  if (range.from >= range.to) throw malformed('a range in it is empty')
  return range
}
