/**
 * The frames of `/v1/publish` that the broker sends: what became of the frames of publish-frames.ts. A codec, total
 * in the same way; docs/PROTOCOL.md is the page for people.
 */
import { FrameReader, FrameWriter, malformed } from './frame-bytes.ts'
import * as LIMITS from './limits.ts'
import { PUBLISH_FRAME_TYPES, readMessageCount, readPartitionCount } from './publish-frames.ts'
import { getU16 } from './record.ts'

const OPENED = 0x20
const STORED = 0x21
const RECEIPTS = 0x22
const REFUSED = 0x23
const ERROR = 0x24
const ALIVE = 0x25

export interface StoredPart {
  partition: number
  baseOffset: number
  count: number
  /** Milliseconds since the epoch, of all of its records. */
  timestamp: number
}

export type KeyedReceipt =
  | { partition: number; offset: number; timestamp: number; duplicate: boolean }
  | { scheduled: string; deliverAt: number; duplicate: boolean }

export interface RefusedFrame {
  type: 'refused'
  /** What is refused: the type of the frame. */
  frame: 'open' | 'publish' | 'keyed'
  handle: number
  /** 0 for an open. */
  sequence: number
  code: string
  detail: string
  /** The one entry that is to blame, counted from 0. */
  entry: number | null
  /** Some of it may be stored all the same. */
  mayBeStored: boolean
  /** Do not come again before. */
  retryAfterMs: number
}

export interface ReceiptsAnswer {
  type: 'receipts'
  handle: number
  sequence: number
  partitionCount: number
  receipts: KeyedReceipt[]
}

export type PublishAnswer =
  | { type: 'opened'; handle: number; partitionCount: number; maxMessageBytes: number }
  | {
      type: 'stored'
      handle: number
      sequence: number
      partitionCount: number
      duplicate: boolean
      parts: StoredPart[]
      /** The part of each record; null where there is one part. */
      partOf: Uint8Array | Uint16Array | null
    }
  | ReceiptsAnswer
  | RefusedFrame
  | { type: 'error'; code: string; detail: string }
  | { type: 'alive' }

const NONE = 0xffff_ffff
const REFUSED_NAMES = new Map<number, RefusedFrame['frame']>(
  (['open', 'publish', 'keyed'] as const).map((name) => [PUBLISH_FRAME_TYPES[name], name]),
)
const CODE_BYTES = 64
const DETAIL_BYTES = 4096
const ID_BYTES = 64
const DUPLICATE = 1
const SCHEDULED = 2

export function encodePublishAnswer(answer: PublishAnswer): Uint8Array {
  switch (answer.type) {
    case 'opened': {
      const { handle, partitionCount: partitions, maxMessageBytes } = answer
      return new FrameWriter().u8(OPENED).u32(handle).u32(partitions).u32(maxMessageBytes).take()
    }
    case 'stored':
      return encodeStored(answer)
    case 'receipts':
      return encodeReceipts(answer)
    case 'refused': {
      const writer = new FrameWriter()
        .u8(REFUSED)
        .u8(PUBLISH_FRAME_TYPES[answer.frame])
        .u32(answer.handle)
        .u64(answer.sequence)
      writer
        .u32(answer.entry ?? NONE)
        .u8(answer.mayBeStored ? 1 : 0)
        .u32(answer.retryAfterMs)
      return writer.text(answer.code, CODE_BYTES).text(answer.detail, DETAIL_BYTES).take()
    }
    case 'error':
      return new FrameWriter().u8(ERROR).text(answer.code, CODE_BYTES).text(answer.detail, DETAIL_BYTES).take()
    case 'alive':
      return Uint8Array.of(ALIVE)
  }
}

function encodeStored(answer: PublishAnswer & { type: 'stored' }): Uint8Array {
  const { handle, sequence, parts, partOf } = answer
  const writer = new FrameWriter(64 + 24 * parts.length + 2 * (partOf?.length ?? 0))
  writer.u8(STORED).u32(handle).u64(sequence).u32(answer.partitionCount)
  writer.u8(answer.duplicate ? DUPLICATE : 0).u32(parts.length)
  for (const part of parts) writer.u32(part.partition).u64(part.baseOffset).u32(part.count).u64(part.timestamp)
  const isWide = parts.length > 256
  for (const part of partOf ?? []) {
    if (isWide) writer.u16(part)
    else writer.u8(part)
  }
  return writer.take()
}

function encodeReceipts({ handle, sequence, partitionCount: partitions, receipts }: ReceiptsAnswer): Uint8Array {
  const writer = new FrameWriter(64 + 24 * receipts.length)
  writer.u8(RECEIPTS).u32(handle).u64(sequence).u32(partitions).u32(receipts.length)
  for (const receipt of receipts) {
    const isLater = 'scheduled' in receipt
    writer.u8((receipt.duplicate ? DUPLICATE : 0) | (isLater ? SCHEDULED : 0))
    if (isLater) writer.text(receipt.scheduled, ID_BYTES).u64(receipt.deliverAt)
    else writer.u32(receipt.partition).u64(receipt.offset).u64(receipt.timestamp)
  }
  return writer.take()
}

/** An answer of the broker's, or null for one of a type from a later version. Throws `invalid_argument`. */
export function decodePublishAnswer(bytes: Uint8Array): PublishAnswer | null {
  const reader = new FrameReader(bytes)
  switch (reader.u8()) {
    case OPENED: {
      const handle = reader.u32()
      return reader.whole({
        type: 'opened',
        handle,
        partitionCount: readPartitionCount(reader),
        maxMessageBytes: reader.u32(),
      })
    }
    case STORED:
      return decodeStored(reader)
    case RECEIPTS:
      return decodeReceipts(reader)
    case REFUSED:
      return decodeRefused(reader)
    case ERROR:
      return reader.whole({ type: 'error', code: reader.text(CODE_BYTES), detail: reader.text(DETAIL_BYTES) })
    case ALIVE:
      return reader.whole({ type: 'alive' })
    default:
      return null
  }
}

function decodeStored(reader: FrameReader): PublishAnswer {
  const handle = reader.u32()
  const sequence = reader.u64()
  const partitions = readPartitionCount(reader)
  const duplicate = (reader.u8() & DUPLICATE) !== 0
  const partCount = reader.u32()
  if (partCount === 0 || partCount > LIMITS.partitions) throw malformed(`it has ${partCount} parts`)
  const parts: StoredPart[] = []
  let total = 0
  for (let i = 0; i < partCount; i++) {
    const partition = reader.u32()
    const baseOffset = reader.u64()
    const part = { partition, baseOffset, count: reader.u32(), timestamp: reader.u64() }
    total += part.count
    parts.push(part)
  }
  const partOf = partCount === 1 ? null : partIndexes(reader, total, partCount)
  return reader.whole({ type: 'stored', handle, sequence, partitionCount: partitions, duplicate, parts, partOf })
}

/** The part of each of `total` records: a byte each, two where there are more than 256 parts. */
function partIndexes(reader: FrameReader, total: number, partCount: number): Uint8Array | Uint16Array {
  const width = partCount > 256 ? 2 : 1
  if (reader.left !== total * width) throw malformed(`it has ${reader.left} bytes for the parts of ${total} records`)
  const bytes = reader.rest()
  const indexes = width === 1 ? bytes : Uint16Array.from({ length: total }, (_, i) => getU16(bytes, 2 * i))
  for (const index of indexes) {
    if (index >= partCount) throw malformed(`a record is in part ${index} of ${partCount}`)
  }
  return indexes
}

function decodeReceipts(reader: FrameReader): PublishAnswer {
  const handle = reader.u32()
  const sequence = reader.u64()
  const partitions = readPartitionCount(reader)
  const receipts: KeyedReceipt[] = []
  for (let left = readMessageCount(reader); left > 0; left--) {
    const flags = reader.u8()
    const duplicate = (flags & DUPLICATE) !== 0
    if (flags & SCHEDULED) {
      receipts.push({ scheduled: reader.text(ID_BYTES), deliverAt: reader.u64(), duplicate })
    } else {
      receipts.push({ partition: reader.u32(), offset: reader.u64(), timestamp: reader.u64(), duplicate })
    }
  }
  return reader.whole({ type: 'receipts', handle, sequence, partitionCount: partitions, receipts })
}

function decodeRefused(reader: FrameReader): PublishAnswer {
  const frame = REFUSED_NAMES.get(reader.u8())
  if (frame === undefined) throw malformed('it refuses a frame that no publisher sends')
  const handle = reader.u32()
  const sequence = reader.u64()
  const entry = reader.u32()
  const mayBeStored = reader.u8() !== 0
  const retryAfterMs = reader.u32()
  return reader.whole({
    type: 'refused',
    frame,
    handle,
    sequence,
    entry: entry === NONE ? null : entry,
    mayBeStored,
    retryAfterMs,
    code: reader.text(CODE_BYTES),
    detail: reader.text(DETAIL_BYTES),
  })
}
