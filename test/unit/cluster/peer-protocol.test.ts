import { TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { APPEND_HEADER_BYTES, splitBatches } from '../../../src/cluster/copy-frames.ts'
import {
  commonVersion,
  decodeHello,
  decodePeerFrame,
  encodeHello,
  encodePeerFrame,
  HELLO_BYTES_MAX,
  PEER_PROTOCOL,
  type PeerFrame,
} from '../../../src/cluster/peer-protocol.ts'
import { batch } from '../../support/storage.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const u64 = fc.maxSafeNat()
const text = fc.string({ unit: 'grapheme', maxLength: 20 })
const name = fc.oneof(
  fc.constant('schedule'),
  fc
    .tuple(fc.integer({ min: 0, max: 1023 }), fc.constantFrom('data', 'cursors', 'remembered'))
    .map(([partition, kind]) => `${partition}/${kind}`),
)
const epochs = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 1000 })), { maxLength: 5 })
  .map((steps) => {
    let [epoch, startOffset] = [0, 0]
    return steps.map(([rise, length]) => ({ epoch: (epoch += rise), startOffset: (startOffset += length) }))
  })
const held = fc
  .record({ name, start: fc.nat(), span: fc.nat(), epochs })
  .map(({ span, ...log }) => ({ ...log, end: log.start + span }))
const heldLogs = fc.uniqueArray(held, { maxLength: 6, selector: (log) => log.name })
const bytes = fc.uint8Array({ maxLength: 40 })
const head = { stream: u32, epoch: u32 }

const frames: fc.Arbitrary<PeerFrame> = fc.oneof(
  fc.record({
    type: fc.constant('follow' as const),
    ...head,
    brokerEpoch: u64,
    topicId: fc.string({ maxLength: 21 }),
    logs: heldLogs,
  }),
  fc.record({
    type: fc.constant('following' as const),
    ...head,
    logs: heldLogs.map((logs) => logs.map((log, at) => ({ ...log, log: at, mark: log.start }))),
  }),
  fc.record({ type: fc.constant('fenced' as const), ...head, detail: text }),
  fc.record({ type: fc.constant('append' as const), ...head, log: u32, mark: u64, batches: bytes }),
  fc.record({
    type: fc.constant('progress' as const),
    ...head,
    logs: fc.array(fc.record({ log: u32, written: fc.constant(2 ** 53 - 1), durable: u64 }), { maxLength: 6 }),
  }),
  fc.record({
    type: fc.constant('marks' as const),
    ...head,
    logs: fc.array(fc.record({ log: u32, mark: u64, start: u64 }), { maxLength: 6 }),
  }),
  fc.record({ type: fc.constant('begin-log' as const), ...head, log: u32, name, start: u64 }),
  fc.record({ type: fc.constant('end' as const), stream: u32, detail: text }),
  fc.record({ type: fc.constant('request' as const), id: u64, kind: fc.nat({ max: 0xffff }), body: bytes }),
  fc.record({
    type: fc.constant('response' as const),
    id: u64,
    error: fc.option(fc.record({ code: fc.constantFrom('no_leader', 'overloaded'), detail: text })),
    body: bytes,
  }),
)

function whole(frame: PeerFrame): Buffer {
  return Buffer.concat([encodePeerFrame(frame), ...(frame.type === 'append' ? [frame.batches] : [])])
}

/** What any bytes may give: a frame, null, or the one error of the codec. */
function outcome(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    if (TidingsError.is(error) && error.code === 'invalid_argument') return error
    throw error
  }
}

describe('the protocol of brokers', () => {
  it('reads every frame as it was written', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        const read = decodePeerFrame(new Uint8Array(whole(frame)))
        expect(JSON.parse(JSON.stringify(read))).toEqual(JSON.parse(JSON.stringify(frame)))
      }),
    )
  })

  it('keeps to the bytes of version 1', () => {
    const logs = [{ name: '0/data', start: 1, end: 5, epochs: [{ epoch: 2, startOffset: 3 }] }]
    const golden: [PeerFrame, string][] = [
      [
        { type: 'follow', stream: 7, epoch: 3, brokerEpoch: 9, topicId: 'Tid', logs },
        `1000000007000000030000000000000009${'0003546964'}00000001${'0006302f64617461'}00000000000000010000000000000005` +
          '00000001000000020000000000000003',
      ],
      [
        { type: 'following', stream: 7, epoch: 3, logs: [{ log: 0, mark: 4, ...logs[0]! }] },
        `11000000070000000300000001${'00000000'}0000000000000004${'0006302f64617461'}00000000000000010000000000000005` +
          '00000001000000020000000000000003',
      ],
      [{ type: 'fenced', stream: 7, epoch: 4, detail: 'no' }, `120000000700000004${'00026e6f'}`],
      [
        { type: 'append', stream: 7, epoch: 3, log: 1, mark: 4, batches: Uint8Array.of(0xab) },
        '1300000007000000030000000100000000000000' + '04' + 'ab',
      ],
      [
        { type: 'progress', stream: 7, epoch: 3, logs: [{ log: 1, written: 6, durable: 5 }] },
        '140000000700000003000000010000000100000000000000060000000000000005',
      ],
      [
        { type: 'marks', stream: 7, epoch: 3, logs: [{ log: 1, mark: 5, start: 2 }] },
        '150000000700000003000000010000000100000000000000050000000000000002',
      ],
      [
        { type: 'begin-log', stream: 7, epoch: 3, log: 2, name: 'schedule', start: 0 },
        '16000000070000000300000002000000000000000000087363686564756c65',
      ],
      [{ type: 'end', stream: 7, detail: '' }, '17000000070000'],
      [{ type: 'request', id: 1, kind: 2, body: Uint8Array.of(3) }, '200000000000000001000203'],
      [
        { type: 'response', id: 1, error: { code: 'x', detail: 'y' }, body: new Uint8Array(0) },
        '2100000000000000010001780001' + '79',
      ],
    ]
    for (const [frame, written] of golden) expect(hex(whole(frame)), frame.type).toBe(written)
    const hello = encodeHello({ nodeId: 'b1', brokerEpoch: 5, ...PEER_PROTOCOL })
    expect(hex(hello)).toBe('015450523100010001000000000000000500026231')
    expect(encodePeerFrame(golden[3]![0])).toHaveLength(APPEND_HEADER_BYTES)
  })

  it('gives a frame or one error for any bytes, whatever lengths they claim', () => {
    const types = fc.constantFrom(1, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x20, 0x21, 0x90)
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 120 }), (type, rest) => {
        outcome(() => decodePeerFrame(Uint8Array.of(type, ...rest)))
        outcome(() => decodeHello(Uint8Array.of(type, ...rest)))
        outcome(() => splitBatches(Buffer.from(rest)))
      }),
      { numRuns: 3000 },
    )
  })

  it('gives a frame or one error for a frame with bytes changed or cut', () => {
    fc.assert(
      fc.property(frames, fc.nat(), fc.nat({ max: 255 }), fc.nat(), (frame, at, byte, cut) => {
        const changed = whole(frame)
        changed[at % changed.length] = byte
        outcome(() => decodePeerFrame(changed))
        outcome(() => decodePeerFrame(changed.subarray(0, cut % changed.length)))
      }),
      { numRuns: 3000 },
    )
  })

  it('believes no count that the bytes cannot hold', () => {
    const progress = Buffer.from('1400000007000000030fffffff00000001000000000000000600000000', 'hex')
    expect(() => decodePeerFrame(progress)).toThrow(/more than fit/)
  })

  it('refuses the names of logs that are none: they become paths', () => {
    for (const bad of [
      '../x',
      '0/../data',
      '01/data',
      '1024/data',
      '9999/data',
      '0/data/',
      '',
      'Schedule',
      '0/data\0',
    ]) {
      const frame: PeerFrame = { type: 'begin-log', stream: 1, epoch: 1, log: 0, name: bad, start: 0 }
      expect(() => decodePeerFrame(encodePeerFrame(frame)), bad).toThrow(/the name of no log/)
    }
  })

  it('refuses what contradicts itself', () => {
    const log = { name: '0/data', start: 0, end: 9, epochs: [] }
    const refused: PeerFrame[] = [
      { type: 'progress', stream: 1, epoch: 1, logs: [{ log: 0, written: 1, durable: 2 }] },
      { type: 'follow', stream: 1, epoch: 1, brokerEpoch: 1, topicId: 't', logs: [log, log] },
      { type: 'follow', stream: 1, epoch: 1, brokerEpoch: 1, topicId: 't', logs: [{ ...log, start: 10 }] },
      { type: 'following', stream: 1, epoch: 1, logs: [{ ...log, log: 1, mark: 0 }] },
      {
        type: 'following',
        stream: 1,
        epoch: 1,
        logs: [{ ...log, log: 0, mark: 0, epochs: [2, 2].map((epoch, at) => ({ epoch, startOffset: at })) }],
      },
    ]
    for (const frame of refused) expect(() => decodePeerFrame(encodePeerFrame(frame))).toThrow(/malformed/)
  })

  it('ignores what a later version calls optional, and refuses other types that it does not know', () => {
    expect(decodePeerFrame(Uint8Array.of(0x80, 1, 2))).toBeNull()
    expect(() => decodePeerFrame(Uint8Array.of(0x7f, 0, 0, 0, 1))).toThrow(/unknown type 127/)
    expect(() => decodePeerFrame(new Uint8Array(0))).toThrow(/middle of a field/)
  })

  it('reads a hello with more behind it, of a later version', () => {
    const hello = { nodeId: 'broker-1', brokerEpoch: 77, oldest: 1, newest: 9 }
    expect(decodeHello(Buffer.concat([encodeHello(hello), Buffer.from('more')]))).toEqual(hello)
    const longest = encodeHello({ ...hello, nodeId: 'x'.repeat(255) })
    expect(longest.length).toBeLessThan(HELLO_BYTES_MAX)
  })

  it('refuses the hello of somebody else', () => {
    expect(() => decodeHello(Buffer.from('GET / HTTP/1.1\r\n'))).toThrow(/not the hello of a broker/)
    expect(() => decodeHello(encodeHello({ nodeId: '', brokerEpoch: 1, oldest: 1, newest: 1 }))).toThrow(/no name/)
    expect(() => decodeHello(encodeHello({ nodeId: 'a', brokerEpoch: 1, oldest: 2, newest: 1 }))).toThrow(/versions/)
  })

  it('speaks the newest version that both know', () => {
    expect(commonVersion({ oldest: 1, newest: 3 }, { oldest: 2, newest: 5 })).toBe(3)
    expect(commonVersion({ oldest: 1, newest: 1 }, { oldest: 1, newest: 1 })).toBe(1)
    expect(commonVersion({ oldest: 1, newest: 1 }, { oldest: 2, newest: 3 })).toBeNull()
  })

  it('splits batches by their lengths, and nothing else', () => {
    const batches = [batch(0, ['a', 'b']), batch(2, ['c'])]
    const all = Buffer.concat(batches.map((one) => one.bytes))
    expect(splitBatches(all).map((one) => one.length)).toEqual(batches.map((one) => one.bytes.length))
    expect(splitBatches(Buffer.alloc(0))).toEqual([])
    expect(() => splitBatches(all.subarray(0, all.length - 1))).toThrow(/do not end where/)
    expect(() => splitBatches(Buffer.alloc(200))).toThrow(/do not end where/)
  })
})
