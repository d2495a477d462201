import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  checkSegmentHeader,
  decodeCheckpoint,
  decodeFooter,
  encodeCheckpoint,
  encodeFooter,
  encodeSegmentHeader,
  FOOTER_PROBE_BYTES,
  FORMAT_VERSION,
  type Footer,
  footerLength,
  NONCE_BYTES,
  nonceOf,
  SEGMENT_HEADER_BYTES,
  segmentBase,
  segmentName,
} from '../../../src/log/format.ts'

const offset = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const u32 = fc.integer({ min: 0, max: 0xffffffff })

const nonces = fc.uint8Array({ minLength: NONCE_BYTES, maxLength: NONCE_BYTES }).map((bytes) => Buffer.from(bytes))

const footers: fc.Arbitrary<Footer> = fc.record({
  nonce: nonces,
  dataEnd: fc.integer({ min: SEGMENT_HEADER_BYTES, max: 2 ** 40 }),
  nextOffset: offset,
  maxTimestamp: offset,
  records: offset,
  batches: u32,
  digest: u32,
  hasIdempotencyKeys: fc.boolean(),
  hasFrames: fc.boolean(),
  leaderEpoch: u32,
  index: fc.array(fc.record({ offset, timestamp: offset, position: offset }), { maxLength: 20 }),
})

describe('segment names', () => {
  it('sort by offset and read back', () => {
    fc.assert(
      fc.property(offset, offset, (a, b) => {
        expect(segmentBase(segmentName(a))).toBe(a)
        expect(segmentName(a) < segmentName(b)).toBe(a < b)
      }),
    )
  })

  it('are nothing else', () => {
    for (const name of [
      'checkpoint',
      '1.log',
      '0000000000000000000a.log',
      '00000000000000000001.log.new',
      '99999999999999999999.log',
    ]) {
      expect(segmentBase(name)).toBeNull()
    }
  })
})

/** The same bytes as if another version had written them; the CRC stands at the end. */
function ofVersion(bytes: Buffer, version: number): Buffer {
  const changed = Buffer.from(bytes)
  changed.writeUInt16BE(version, 4)
  changed.writeUInt32BE(crc32(changed.subarray(0, -4)), changed.length - 4)
  return changed
}

describe('the segment header', () => {
  const header = { baseOffset: 7, createdAt: 1000, tag: 42, nonce: Buffer.from('0123456789abcdef') }

  it('says which version wrote it', () => {
    const bytes = encodeSegmentHeader(header)
    expect(checkSegmentHeader(ofVersion(bytes, FORMAT_VERSION - 1), 7, 42)).toBe('older')
    expect(checkSegmentHeader(ofVersion(bytes, FORMAT_VERSION + 1), 7, 42)).toBe('newer')
  })

  it('belongs to one segment of one partition', () => {
    const bytes = encodeSegmentHeader(header)
    expect(checkSegmentHeader(bytes, 7, 42)).toBe('ok')
    expect(nonceOf(bytes)).toEqual(header.nonce)
    expect(checkSegmentHeader(bytes, 8, 42)).toBe('bad')
    expect(checkSegmentHeader(bytes, 7, 43)).toBe('bad')
  })

  it('is found damaged whichever bit flips', () => {
    for (let bit = 0; bit < SEGMENT_HEADER_BYTES * 8; bit++) {
      const bytes = encodeSegmentHeader(header)
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(checkSegmentHeader(bytes, 7, 42)).toBe('bad')
    }
  })
})

describe('the footer', () => {
  it('reads back, found from the end of the file', () => {
    fc.assert(
      fc.property(footers, (footer) => {
        const bytes = encodeFooter(footer)
        const fileBytes = footer.dataEnd + bytes.length
        expect(footerLength(bytes.subarray(-FOOTER_PROBE_BYTES), fileBytes)).toBe(bytes.length)
        expect(decodeFooter(bytes, fileBytes)).toEqual(footer)
      }),
    )
  })

  it('is refused when a bit flipped or bytes are missing', () => {
    fc.assert(
      fc.property(footers, fc.nat(), (footer, chance) => {
        const bytes = encodeFooter(footer)
        const fileBytes = footer.dataEnd + bytes.length
        const flipped = Buffer.from(bytes)
        const at = chance % (bytes.length - FOOTER_PROBE_BYTES + 4)
        flipped[at]! ^= 1 << (chance % 8)
        expect(decodeFooter(flipped, fileBytes)).toBeNull()
        expect(decodeFooter(bytes.subarray(1), fileBytes)).toBeNull()
      }),
    )
  })
})

describe('the checkpoint', () => {
  it('reads back or is refused', () => {
    const checkpoint = {
      startOffset: 5,
      segmentBase: 9,
      durablePosition: 1234,
      compactedThrough: 7,
      oldestTombstone: 99,
      beginsAnew: true,
    }
    const bytes = encodeCheckpoint(checkpoint)
    expect(decodeCheckpoint(bytes)).toEqual(checkpoint)
    for (let bit = 0; bit < 52 * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      expect(decodeCheckpoint(flipped)).toBe('bad')
    }
    expect(decodeCheckpoint(ofVersion(bytes, FORMAT_VERSION - 1))).toBe('older')
    expect(decodeCheckpoint(ofVersion(bytes, FORMAT_VERSION + 1))).toBe('newer')
  })
})
