import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameAssembler } from '../../../src/cluster/frame-assembler.ts'

function framed(frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const head = Buffer.alloc(4)
      head.writeUInt32BE(frame.length)
      return [head, frame]
    }),
  )
}

describe('the frames of a byte stream', () => {
  it('come out as they went in, however the stream is cut to pieces', () => {
    const frames = fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 20 })
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (sent, cuts) => {
        const bytes = framed(sent)
        const assembler = new FrameAssembler(30)
        const got: Buffer[] = []
        for (let at = 0, cut = 0; at < bytes.length; cut++) {
          const length = cuts[cut % cuts.length]!
          assembler.push(bytes.subarray(at, at + length))
          at += length
          for (let frame = assembler.next(); frame; frame = assembler.next()) got.push(frame)
        }
        // Those without a byte only say that somebody is there.
        expect(got.map(String)).toEqual(sent.filter((one) => one.length > 0).map((one) => String(Buffer.from(one))))
      }),
    )
  })

  it('are refused by their length, before any of it has come', () => {
    const assembler = new FrameAssembler(100)
    assembler.push(Buffer.from('00000065', 'hex'))
    expect(() => assembler.next()).toThrow(/101 bytes, and 100 are allowed/)
  })

  it('have bytes of their own', () => {
    const assembler = new FrameAssembler(100)
    const piece = framed([Buffer.from('abc')])
    assembler.push(piece)
    const frame = assembler.next()!
    piece.fill(0)
    expect(String(frame)).toBe('abc')
  })
})
