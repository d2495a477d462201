/**
 * The file `epochs` of a log that other brokers copy: the highest epoch that it was ever part of, and as a cache its
 * history of epochs up to an offset. A codec; docs/FORMAT.md says what its loss means.
 */
import { crc32 } from 'node:zlib'
import { getU64, putU64 } from '@tidings/sdk/protocol'
import type { EpochEntry } from './epoch-history.ts'

export const EPOCHS_FILE = 'epochs'

const MAGIC = 0x54444550 // "TDEP"
const VERSION = 1
const FIXED_BYTES = 24
const ENTRY_BYTES = 12

export interface EpochFile {
  /** The highest epoch that was ever accepted: nothing is taken in of a lower one. */
  seen: number
  /** The entries tell of everything below it; what is behind it is told by the batches. */
  coveredTo: number
  entries: readonly EpochEntry[]
}

/**
 *    0  u32  magic "TDEP"    8  u32  seen       16  u64  covered to
 *    4  u16  version        12  u32  entries    24  entries: u32 epoch, u64 start offset; then u32 CRC-32 of all before
 */
export function encodeEpochs({ seen, coveredTo, entries }: EpochFile): Buffer {
  const bytes = Buffer.alloc(FIXED_BYTES + entries.length * ENTRY_BYTES + 4)
  bytes.writeUInt32BE(MAGIC, 0)
  bytes.writeUInt16BE(VERSION, 4)
  bytes.writeUInt32BE(seen, 8)
  bytes.writeUInt32BE(entries.length, 12)
  putU64(bytes, 16, coveredTo)
  entries.forEach(({ epoch, startOffset }, i) => {
    bytes.writeUInt32BE(epoch, FIXED_BYTES + i * ENTRY_BYTES)
    putU64(bytes, FIXED_BYTES + i * ENTRY_BYTES + 4, startOffset)
  })
  bytes.writeUInt32BE(crc32(bytes.subarray(0, -4)), bytes.length - 4)
  return bytes
}

/** Null: it is none, or damaged. */
export function decodeEpochs(bytes: Buffer): EpochFile | null {
  if (bytes.length < FIXED_BYTES + 4 || bytes.readUInt32BE(0) !== MAGIC || bytes.readUInt16BE(4) !== VERSION)
    return null
  const count = bytes.readUInt32BE(12)
  if (bytes.length !== FIXED_BYTES + count * ENTRY_BYTES + 4) return null
  if (crc32(bytes.subarray(0, -4)) !== bytes.readUInt32BE(bytes.length - 4)) return null
  const entries = Array.from({ length: count }, (_, i) => {
    const at = FIXED_BYTES + i * ENTRY_BYTES
    return { epoch: bytes.readUInt32BE(at), startOffset: getU64(bytes, at + 4) }
  })
  return { seen: bytes.readUInt32BE(8), coveredTo: getU64(bytes, 16), entries }
}
