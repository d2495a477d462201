/**
 * Every byte of a partition directory that is not a record batch: file names, the segment header, the
 * footer of a sealed segment, the checkpoint. FORMAT.md is the same in words, with a worked example.
 * Integers are big-endian. Zero is never a valid magic, so unwritten space is recognisable.
 */
import { crc32 } from 'node:zlib'
import { getU64, putU64 } from '@tidings/sdk/protocol'
import type { Random } from '../base/clock.ts'
import type { IndexEntry } from './segment-index.ts'

/** Raised when bytes that older code would misread are written; older code then refuses with a sentence. */
export const FORMAT_VERSION = 2

export const SEGMENT_HEADER_BYTES = 64
const SEGMENT_MAGIC = 0x54445347 // "TDSG"
const FOOTER_MAGIC = 0x54444654 // "TDFT"
const FOOTER_END = 0x54444645 // "TDFE"
const CHECKPOINT_MAGIC = 0x54444350 // "TDCP"

const SEGMENT_NAME = /^(\d{20})\.log$/
export const CHECKPOINT_FILE = 'checkpoint'
/** A segment that compaction writes anew, not finished yet. */
export const COMPACTING_FILE = 'compacting'

export function segmentName(baseOffset: number): string {
  return `${String(baseOffset).padStart(20, '0')}.log`
}

/** The base offset in a segment's file name, or null for any other file. */
export function segmentBase(name: string): number | null {
  const digits = SEGMENT_NAME.exec(name)?.[1]
  const base = Number(digits)
  return digits !== undefined && Number.isSafeInteger(base) ? base : null
}

/** Marks every batch and segment with whose they are, so that a misplaced file is found out. */
export function partitionTag(topicId: string, partition: number, kind: string): number {
  return crc32(`${topicId}-${partition}-${kind}`)
}

/**
 * A secret of one segment, drawn when it is created. Its footer repeats it and its batches carry its first half,
 * the *mark*, so that nobody who only publishes can put bytes into a message that would be taken for either.
 * Whoever reads a sealed segment sees it, which is too late: nothing is added to that one any more.
 */
export const NONCE_BYTES = 16
export const MARK_BYTES = 8

export function drawNonce(random: Random): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES)
  for (let at = 0; at < NONCE_BYTES; at += 4) nonce.writeUInt32BE(random.uint32(), at)
  return nonce
}

export function markOf(nonce: Buffer): Buffer {
  return nonce.subarray(0, MARK_BYTES)
}

export interface SegmentHeader {
  baseOffset: number
  /** Milliseconds since the epoch. */
  createdAt: number
  tag: number
  nonce: Buffer
}

const NONCE_AT = 28

/**
 *    0  u32  magic "TDSG"      8  u64  base offset
 *    4  u16  format version   16  u64  created at, milliseconds since the epoch
 *    6  u16  0                24  u32  partition tag
 *   28  16 bytes nonce        44  16 bytes 0
 *   60  u32  CRC-32 of bytes 0 to 60
 */
export function encodeSegmentHeader({ baseOffset, createdAt, tag, nonce }: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
  bytes.writeUInt32BE(SEGMENT_MAGIC, 0)
  bytes.writeUInt16BE(FORMAT_VERSION, 4)
  putU64(bytes, 8, baseOffset)
  putU64(bytes, 16, Math.floor(createdAt))
  bytes.writeUInt32BE(tag, 24)
  nonce.copy(bytes, NONCE_AT, 0, NONCE_BYTES)
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 60)), 60)
  return bytes
}

/** `older`, `newer`: written by another version, not to be touched. */
export type HeaderCheck = 'ok' | 'bad' | 'older' | 'newer'

export function checkSegmentHeader(bytes: Buffer, baseOffset: number, tag: number): HeaderCheck {
  if (bytes.length < SEGMENT_HEADER_BYTES || bytes.readUInt32BE(0) !== SEGMENT_MAGIC) return 'bad'
  if (crc32(bytes.subarray(0, 60)) !== bytes.readUInt32BE(60)) return 'bad'
  const version = checkVersion(bytes)
  if (version !== 'ok') return version
  return getU64(bytes, 8) === baseOffset && bytes.readUInt32BE(24) === tag ? 'ok' : 'bad'
}

/** What a segment's header says of itself, or null where it is none of this version. Whose it should be is not asked. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | null {
  if (bytes.length < SEGMENT_HEADER_BYTES) return null
  const header = { baseOffset: getU64(bytes, 8), createdAt: getU64(bytes, 16), tag: bytes.readUInt32BE(24) }
  const check = checkSegmentHeader(bytes, header.baseOffset, header.tag)
  return check === 'ok' ? { ...header, nonce: nonceOf(bytes) } : null
}

/** The nonce in a segment header that was found `ok`. */
export function nonceOf(header: Buffer): Buffer {
  return Buffer.from(header.subarray(NONCE_AT, NONCE_AT + NONCE_BYTES))
}

function checkVersion(bytes: Buffer): 'ok' | 'older' | 'newer' {
  const version = bytes.readUInt16BE(4)
  return version === FORMAT_VERSION ? 'ok' : version < FORMAT_VERSION ? 'older' : 'newer'
}

/** What a sealed segment says about itself, behind its last batch. */
export interface Footer {
  /** The segment's, as in its header. */
  nonce: Buffer
  /** Where the batches end and the footer begins. */
  dataEnd: number
  nextOffset: number
  maxTimestamp: number
  records: number
  batches: number
  /** Chained CRC-32 over the first 16 bytes (both CRCs included) of every batch. */
  digest: number
  /** Some batch carries idempotency keys. */
  hasIdempotencyKeys: boolean
  /** Some batch is a producer's frame. */
  hasFrames: boolean
  /** Epoch of the last batch. */
  leaderEpoch: number
  index: IndexEntry[]
}

/** Attributes of a footer. */
const HAS_KEYS = 1
const HAS_FRAMES = 2

const FOOTER_FIXED_BYTES = 80
const FOOTER_TAIL_BYTES = 12
const INDEX_ENTRY_BYTES = 24

/**
 *    0  u32  magic "TDFT"      4  u32  index entries
 *    8  u64  data end         16  u64  next offset       24  u64  max timestamp
 *   32  u64  records          40  u32  batches           44  u32  digest
 *   48  u32  attributes       52  u32  leader epoch      56  u64  0
 *   64  16 bytes: the nonce of the header
 *   80  index entries: u64 offset, u64 timestamp, u64 position
 *       then u32 CRC-32 of all before, u32 footer length, u32 "TDFE": the end of the file
 */
export function encodeFooter(footer: Footer): Buffer {
  const indexEnd = FOOTER_FIXED_BYTES + footer.index.length * INDEX_ENTRY_BYTES
  const bytes = Buffer.alloc(indexEnd + FOOTER_TAIL_BYTES)
  bytes.writeUInt32BE(FOOTER_MAGIC, 0)
  bytes.writeUInt32BE(footer.index.length, 4)
  putU64(bytes, 8, footer.dataEnd)
  putU64(bytes, 16, footer.nextOffset)
  putU64(bytes, 24, footer.maxTimestamp)
  putU64(bytes, 32, footer.records)
  bytes.writeUInt32BE(footer.batches, 40)
  bytes.writeUInt32BE(footer.digest, 44)
  bytes.writeUInt32BE((footer.hasIdempotencyKeys ? HAS_KEYS : 0) | (footer.hasFrames ? HAS_FRAMES : 0), 48)
  bytes.writeUInt32BE(footer.leaderEpoch, 52)
  footer.nonce.copy(bytes, 64, 0, NONCE_BYTES)
  footer.index.forEach((entry, i) => {
    const at = FOOTER_FIXED_BYTES + i * INDEX_ENTRY_BYTES
    putU64(bytes, at, entry.offset)
    putU64(bytes, at + 8, entry.timestamp)
    putU64(bytes, at + 16, entry.position)
  })
  bytes.writeUInt32BE(crc32(bytes.subarray(0, indexEnd)), indexEnd)
  bytes.writeUInt32BE(bytes.length, indexEnd + 4)
  bytes.writeUInt32BE(FOOTER_END, indexEnd + 8)
  return bytes
}

/** Bytes of the footer that ends a file, read off the file's last 12 bytes, or null where there is none. */
export function footerLength(tail: Buffer, fileBytes: number): number | null {
  if (tail.length < FOOTER_TAIL_BYTES || tail.readUInt32BE(tail.length - 4) !== FOOTER_END) return null
  const length = tail.readUInt32BE(tail.length - 8)
  const fits = length >= FOOTER_FIXED_BYTES + FOOTER_TAIL_BYTES && length <= fileBytes - SEGMENT_HEADER_BYTES
  return fits ? length : null
}

export const FOOTER_PROBE_BYTES = FOOTER_TAIL_BYTES

/** The footer in these bytes (all of them), or null when anything about it is wrong. */
export function decodeFooter(bytes: Buffer, fileBytes: number): Footer | null {
  const indexEnd = bytes.length - FOOTER_TAIL_BYTES
  if (indexEnd < FOOTER_FIXED_BYTES || bytes.readUInt32BE(0) !== FOOTER_MAGIC) return null
  if (crc32(bytes.subarray(0, indexEnd)) !== bytes.readUInt32BE(indexEnd)) return null
  const entries = bytes.readUInt32BE(4)
  if (FOOTER_FIXED_BYTES + entries * INDEX_ENTRY_BYTES !== indexEnd) return null
  const dataEnd = getU64(bytes, 8)
  if (dataEnd !== fileBytes - bytes.length) return null
  const index: IndexEntry[] = []
  for (let at = FOOTER_FIXED_BYTES; at < indexEnd; at += INDEX_ENTRY_BYTES) {
    index.push({ offset: getU64(bytes, at), timestamp: getU64(bytes, at + 8), position: getU64(bytes, at + 16) })
  }
  return {
    nonce: Buffer.from(bytes.subarray(64, 64 + NONCE_BYTES)),
    dataEnd,
    nextOffset: getU64(bytes, 16),
    maxTimestamp: getU64(bytes, 24),
    records: getU64(bytes, 32),
    batches: bytes.readUInt32BE(40),
    digest: bytes.readUInt32BE(44),
    hasIdempotencyKeys: (bytes.readUInt32BE(48) & HAS_KEYS) !== 0,
    hasFrames: (bytes.readUInt32BE(48) & HAS_FRAMES) !== 0,
    leaderEpoch: bytes.readUInt32BE(52),
    index,
  }
}

/** What is proven about a log from outside its segments; replaced whole, always synced. */
export interface Checkpoint {
  /** Retention may have removed everything below it, and nothing else may be missing. */
  startOffset: number
  /** The active segment, and how many of its bytes are known to be on stable storage. */
  segmentBase: number
  durablePosition: number
  /** Where the last round of compaction ended: see CompactionState. */
  compactedThrough: number
  oldestTombstone: number
  /** No segment counts: the log is to begin at the start, empty, once all are gone (log-restart.ts). */
  beginsAnew: boolean
}

const CHECKPOINT_BYTES = 52
const BEGINS_ANEW = 1

/**
 *    0  u32  magic "TDCP"    8  u64  start offset        24  u64  durable position     40  u64  oldest tombstone
 *    4  u16  version        16  u64  active segment      32  u64  compacted through    48  u32  CRC-32 of 0 to 48
 *    6  u16  bit 0: begins anew
 */
export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const bytes = Buffer.alloc(CHECKPOINT_BYTES)
  bytes.writeUInt32BE(CHECKPOINT_MAGIC, 0)
  bytes.writeUInt16BE(FORMAT_VERSION, 4)
  bytes.writeUInt16BE(checkpoint.beginsAnew ? BEGINS_ANEW : 0, 6)
  putU64(bytes, 8, checkpoint.startOffset)
  putU64(bytes, 16, checkpoint.segmentBase)
  putU64(bytes, 24, checkpoint.durablePosition)
  putU64(bytes, 32, checkpoint.compactedThrough)
  putU64(bytes, 40, checkpoint.oldestTombstone)
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 48)), 48)
  return bytes
}

export function decodeCheckpoint(bytes: Buffer): Checkpoint | Exclude<HeaderCheck, 'ok'> {
  if (bytes.length < 8 || bytes.readUInt32BE(0) !== CHECKPOINT_MAGIC) return 'bad'
  const crcAt = bytes.length - 4
  if (crc32(bytes.subarray(0, crcAt)) !== bytes.readUInt32BE(crcAt)) return 'bad'
  const version = checkVersion(bytes)
  if (version !== 'ok') return version
  if (bytes.length !== CHECKPOINT_BYTES) return 'bad'
  return {
    startOffset: getU64(bytes, 8),
    segmentBase: getU64(bytes, 16),
    durablePosition: getU64(bytes, 24),
    compactedThrough: getU64(bytes, 32),
    oldestTombstone: getU64(bytes, 40),
    beginsAnew: (bytes.readUInt16BE(6) & BEGINS_ANEW) !== 0,
  }
}
