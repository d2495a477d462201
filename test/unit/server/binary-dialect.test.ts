/** How a delivery is parted into frames. */
import { encodeRecord, getU32, getU64, MESSAGES_HEADER_BYTES, readConsumeEvent } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BATCH_HEADER_BYTES, RecordBatch, stampBatch } from '../../../src/log/record-batch.ts'
import { BinaryDialect } from '../../../src/server/binary-dialect.ts'

const FRAME_BYTES = 32_768
const BASE = 2 ** 33

function batchOf(sizes: readonly number[]): RecordBatch {
  const records = sizes.map((size) =>
    encodeRecord({
      key: null,
      value: new Uint8Array(size),
      contentType: 'application/octet-stream',
      headers: [],
      idempotencyKey: null,
      expiresAt: null,
      valueChecked: true,
    }),
  )
  const bytes = Buffer.concat([Buffer.alloc(BATCH_HEADER_BYTES), ...records])
  const stamp = { timestamp: 1, durablePosition: 0, partitionTag: 0, mark: Buffer.alloc(8), leaderEpoch: 1 }
  stampBatch(bytes, { ...stamp, baseOffset: BASE, count: sizes.length, attributes: 0 })
  return new RecordBatch(bytes)
}

describe('a delivery over the binary protocol', () => {
  it('becomes frames of whole records, as few as their size admits, with every record in one of them', () => {
    const sizes = fc.array(fc.oneof(fc.nat(300), fc.nat(20_000), fc.constant(40_000)), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), (all, cut, rest) => {
        const batch = batchOf(all)
        const first = cut % all.length
        const last = first + 1 + (rest % (all.length - first))
        const frames: { from: number; sizes: number[] }[] = []
        const out = {
          send: () => undefined,
          renew: () => undefined,
          sendParts(head: Uint8Array, body: Uint8Array) {
            const event = readConsumeEvent(Buffer.concat([head, body]))
            if (event?.type !== 'messages') throw new Error('no messages')
            const { positions } = event
            const lengths = Array.from({ length: getU32(head, 29) }, (_, i) => positions[i + 1]! - positions[i]!)
            expect(positions[0]).toBe(MESSAGES_HEADER_BYTES)
            expect(lengths.length === 1 || body.length <= FRAME_BYTES).toBe(true)
            frames.push({ from: getU64(head, 9) - BASE, sizes: lengths })
          },
        }
        const delivery = {
          topic: 't',
          partition: 0,
          idPrefix: '',
          batch,
          from: BASE + first,
          to: BASE + last,
          attempt: 1,
        }
        const dialect = new BinaryDialect()
        for (let next = delivery.from; next < delivery.to; ) next = dialect.messages(out, delivery, next)
        expect(frames.flatMap((frame) => frame.sizes.map((size) => size - 12))).toEqual(all.slice(first, last))
        frames.reduce((from, frame) => {
          expect(frame.from).toBe(from)
          return from + frame.sizes.length
        }, first)
        // Nothing of the next one would have fitted.
        frames.slice(1).forEach(({ sizes: [after] }, i) => {
          expect(frames[i]!.sizes.reduce((sum, size) => sum + size, after!)).toBeGreaterThan(FRAME_BYTES)
        })
      }),
    )
  })
})
