/**
 * The frames by which one broker copies a topic from its leader. A codec, part of peer-protocol.ts. All speak of a
 * *stream*: one topic in one leader epoch on one link, numbered by the follower, never used again on that link. Logs
 * have numbers within a stream, given by the leader.
 *
 *   follower: follow        → leader: following, or fenced
 *   leader:   append, marks, begin-log
 *   follower: progress
 *   either:   end
 *
 * Offsets are exclusive ends: `written` 5 means that 0 to 4 are written.
 */
import { type FrameReader, FrameWriter, LIMITS, malformed } from '@tidings/sdk/protocol'
import type { EpochEntry } from '../log/epoch-history.ts'
import { BATCH_HEADER_BYTES } from '../log/record-batch.ts'

const FOLLOW = 0x10
const FOLLOWING = 0x11
const FENCED = 0x12
const APPEND = 0x13
const PROGRESS = 0x14
const MARKS = 0x15
const BEGIN_LOG = 0x16
const END = 0x17

const TOPIC_BYTES = 64
const NAME_BYTES = 64
const DETAIL_BYTES = 1024
/** What stands before the batches of an `append`. */
export const APPEND_HEADER_BYTES = 21

/** What a log of the follower holds, on stable storage. */
export interface HeldLog {
  name: string
  start: number
  end: number
  epochs: readonly EpochEntry[]
}

export interface LedLog extends HeldLog {
  /** The number by which the other frames call it. */
  log: number
  mark: number
}

/** "Let me copy this topic in this leader epoch; this is what I have." */
export interface Follow {
  type: 'follow'
  stream: number
  epoch: number
  /** Of the follower's registration. */
  brokerEpoch: number
  topicId: string
  logs: readonly HeldLog[]
}

/** "You do; cut yours to where they agree with mine." */
export interface Following {
  type: 'following'
  stream: number
  epoch: number
  logs: readonly LedLog[]
}

/** "Not in that epoch." `epoch` is the one that the leader is in, 0 where it leads nothing by that id. */
export interface Fenced {
  type: 'fenced'
  stream: number
  epoch: number
  detail: string
}

/** Whole batches, back to back, beginning where the follower's log ends. */
export interface Append {
  type: 'append'
  stream: number
  epoch: number
  log: number
  /** What is committed of the log. */
  mark: number
  batches: Uint8Array
}

/** How far the follower has come, of the logs in which it has moved. */
export interface Progress {
  type: 'progress'
  stream: number
  epoch: number
  logs: readonly { log: number; written: number; durable: number }[]
}

/** What is committed, and what may go. */
export interface Marks {
  type: 'marks'
  stream: number
  epoch: number
  logs: readonly { log: number; mark: number; start: number }[]
}

/** A log came into being. */
export interface BeginLog {
  type: 'begin-log'
  stream: number
  epoch: number
  log: number
  name: string
  start: number
}

/** The stream is over. */
export interface End {
  type: 'end'
  stream: number
  detail: string
}

export type CopyFrame = Follow | Following | Fenced | Append | Progress | Marks | BeginLog | End

/** The whole frame; of an `append` what stands before its batches. */
export function encodeCopyFrame(frame: CopyFrame): Uint8Array {
  const writer = new FrameWriter()
  switch (frame.type) {
    case 'follow':
      writer.u8(FOLLOW).u32(frame.stream).u32(frame.epoch).u64(frame.brokerEpoch).text(frame.topicId, TOPIC_BYTES)
      writer.u32(frame.logs.length)
      for (const log of frame.logs) putHeld(writer, log)
      break
    case 'following':
      writer.u8(FOLLOWING).u32(frame.stream).u32(frame.epoch).u32(frame.logs.length)
      for (const log of frame.logs) putHeld(writer.u32(log.log).u64(log.mark), log)
      break
    case 'fenced':
      writer.u8(FENCED).u32(frame.stream).u32(frame.epoch).text(frame.detail, DETAIL_BYTES)
      break
    case 'append':
      writer.u8(APPEND).u32(frame.stream).u32(frame.epoch).u32(frame.log).u64(frame.mark)
      break
    case 'progress':
      writer.u8(PROGRESS).u32(frame.stream).u32(frame.epoch).u32(frame.logs.length)
      for (const { log, written, durable } of frame.logs) writer.u32(log).u64(written).u64(durable)
      break
    case 'marks':
      writer.u8(MARKS).u32(frame.stream).u32(frame.epoch).u32(frame.logs.length)
      for (const { log, mark, start } of frame.logs) writer.u32(log).u64(mark).u64(start)
      break
    case 'begin-log':
      writer.u8(BEGIN_LOG).u32(frame.stream).u32(frame.epoch).u32(frame.log).u64(frame.start).text(frame.name)
      break
    case 'end':
      writer.u8(END).u32(frame.stream).text(frame.detail, DETAIL_BYTES)
  }
  return writer.take()
}

function putHeld(writer: FrameWriter, { name, start, end, epochs }: HeldLog): void {
  writer.text(name).u64(start).u64(end).u32(epochs.length)
  for (const { epoch, startOffset } of epochs) writer.u32(epoch).u64(startOffset)
}

/** The frame of this type whose fields the reader stands before. Throws `invalid_argument`. */
export function decodeCopyFrame(type: number, reader: FrameReader): CopyFrame {
  const stream = reader.u32()
  switch (type) {
    case FOLLOW: {
      const epoch = reader.u32()
      const brokerEpoch = reader.u64()
      const topicId = reader.text(TOPIC_BYTES)
      return reader.whole({ type: 'follow', stream, epoch, brokerEpoch, topicId, logs: readHeldLogs(reader) })
    }
    case FOLLOWING:
      return reader.whole({ type: 'following', stream, epoch: reader.u32(), logs: readLedLogs(reader) })
    case FENCED:
      return reader.whole({ type: 'fenced', stream, epoch: reader.u32(), detail: reader.text(DETAIL_BYTES) })
    case APPEND: {
      const head = { epoch: reader.u32(), log: reader.u32(), mark: reader.u64() }
      return { type: 'append', stream, ...head, batches: reader.rest() }
    }
    case PROGRESS: {
      const epoch = reader.u32()
      const logs = readList(reader, 20, () => ({ log: reader.u32(), written: reader.u64(), durable: reader.u64() }))
      for (const { written, durable } of logs) if (durable > written) throw malformed('more is durable than written')
      return reader.whole({ type: 'progress', stream, epoch, logs })
    }
    case MARKS: {
      const epoch = reader.u32()
      const logs = readList(reader, 20, () => ({ log: reader.u32(), mark: reader.u64(), start: reader.u64() }))
      return reader.whole({ type: 'marks', stream, epoch, logs })
    }
    case BEGIN_LOG: {
      const head = { epoch: reader.u32(), log: reader.u32(), start: reader.u64() }
      return reader.whole({ type: 'begin-log', stream, ...head, name: readName(reader) })
    }
    case END:
      return reader.whole({ type: 'end', stream, detail: reader.text(DETAIL_BYTES) })
    default:
      throw malformed(`it has the unknown type ${type}`)
  }
}

function readHeldLogs(reader: FrameReader): HeldLog[] {
  const logs = readList(reader, 23, () => readHeld(reader))
  checkNames(logs)
  return logs
}

function readLedLogs(reader: FrameReader): LedLog[] {
  const logs = readList(reader, 35, () => ({ log: reader.u32(), mark: reader.u64(), ...readHeld(reader) }))
  checkNames(logs)
  logs.forEach(({ log }, at) => {
    if (log !== at) throw malformed('its logs are not numbered in order')
  })
  return logs
}

function readHeld(reader: FrameReader): HeldLog {
  const name = readName(reader)
  const start = reader.u64()
  const end = reader.u64()
  if (start > end) throw malformed(`log ${name} begins behind its end`)
  const epochs = readList(reader, 12, () => ({ epoch: reader.u32(), startOffset: reader.u64() }))
  for (let i = 1; i < epochs.length; i++) {
    const [before, after] = [epochs[i - 1]!, epochs[i]!]
    if (after.epoch <= before.epoch || after.startOffset <= before.startOffset) {
      throw malformed(`the epochs of log ${name} do not rise`)
    }
  }
  return { name, start, end, epochs }
}

function checkNames(logs: readonly HeldLog[]): void {
  if (new Set(logs.map(({ name }) => name)).size < logs.length) throw malformed('it names a log twice')
}

/** `<partition>/data`, `<partition>/cursors`, `<partition>/remembered`, `schedule`: they become paths. */
function readName(reader: FrameReader): string {
  const name = reader.text(NAME_BYTES)
  const partition = /^(0|[1-9]\d{0,3})\/(?:data|cursors|remembered)$/.exec(name)?.[1]
  if (name !== 'schedule' && !(partition !== undefined && Number(partition) < LIMITS.partitions)) {
    throw malformed(`${JSON.stringify(name)} is the name of no log`)
  }
  return name
}

/** A u32 count and so many items, each of at least `leastBytes`: no count is believed that the bytes cannot hold. */
function readList<T>(reader: FrameReader, leastBytes: number, read: () => T): T[] {
  const count = reader.u32()
  if (count * leastBytes > reader.left) throw malformed(`it says ${count} items, more than fit into it`)
  return Array.from({ length: count }, read)
}

/**
 * Where the batches of an `append` lie in its bytes, by the lengths in their headers; what is in them is for the log
 * to check. Throws `invalid_argument` where they do not fill the bytes.
 */
export function splitBatches(bytes: Buffer): Buffer[] {
  const batches: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = at + BATCH_HEADER_BYTES <= bytes.length ? bytes.readUInt32BE(at + 4) : 0
    if (length < BATCH_HEADER_BYTES || at + length > bytes.length)
      throw malformed('its batches do not end where it ends')
    batches.push(bytes.subarray(at, at + length))
    at += length
  }
  return batches
}
