/**
 * What a delivery costs the client without a network, on one core:
 * `npm run build && npx tsc -p bench && node dist-bench/bench/micro/consuming.js`.
 *
 * The public SDK over a platform whose sockets are told frames, and whose acknowledgements are counted; frames are made
 * before the clock runs. Prints processor time a message, the best of five rounds: handlers that end at once and
 * handlers that await, short frames and long ones, values of different kinds.
 */

import { createClientOn, type Platform, type SocketEvents } from '@tidings/sdk/platform'
import {
  encodeConsumeEvent,
  encodeRecord,
  getU32,
  getU64,
  MESSAGES_HEADER_BYTES,
  putMessagesHeader,
} from '@tidings/sdk/protocol'
import { systemClock } from '../../src/base/clock.ts'

const ROUNDS = 5
/** The first byte of an acknowledgement. */
const ACK = 0x50
const MESSAGES = 400_000
const PREFETCH = 10_000

interface Work {
  /** Records of a frame. */
  each: number
  kind: 'bytes' | 'json'
  isAsync: boolean
  look: (message: { value: unknown; bytes?: Uint8Array }) => unknown
}

function frameOf(from: number, { each, kind }: Work): Buffer {
  const value =
    kind === 'bytes' ? Buffer.alloc(256, 'tidings ') : Buffer.from(JSON.stringify({ text: 'tidings '.repeat(30) }))
  const contentType = kind === 'bytes' ? 'application/octet-stream' : 'application/json'
  const record = encodeRecord({
    key: null,
    value,
    contentType,
    headers: [],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: true,
  })
  const head = Buffer.alloc(MESSAGES_HEADER_BYTES)
  putMessagesHeader(head, 0, { topic: 0, partition: 0, baseOffset: from, timestamp: 1, attempt: 1 }, each)
  return Buffer.concat([head, ...Array.from({ length: each }, () => record)])
}

async function round(work: Work): Promise<number> {
  let events: SocketEvents | undefined
  let acked = 0
  const platform: Platform = {
    clock: systemClock,
    random: { uint32: () => 1, id: () => 'bench' },
    http: () => ({ send: () => undefined, close: () => undefined }),
    connect(_url, _protocol, _token, told) {
      events = told
      return {
        // An acknowledgement of ranges; the client's only frames here.
        send: (data) => {
          const bytes = data as Uint8Array
          if (bytes[0] !== ACK) return
          const request = getU32(bytes, 1)
          if (request > 0) return told.bytes(encodeConsumeEvent({ type: 'acked', request, ranges: [] }))
          for (let at = 9; at + 24 <= bytes.length; at += 24) acked += getU64(bytes, at + 16) - getU64(bytes, at + 8)
        },
        close: () => told.ended({ kind: 'closed', code: 1000, reason: '' }),
        terminate: () => undefined,
      }
    },
  }
  const client = createClientOn(platform, { url: 'http://bench' })
  let seen = 0
  const options = { prefetch: PREFETCH, concurrency: PREFETCH }
  const topic = client.topic('bench')
  if (work.isAsync)
    topic.subscribe('bench', options, async (message) => {
      if (work.look(message) !== null) seen++
    })
  else
    topic.subscribe('bench', options, (message) => {
      if (work.look(message) !== null) seen++
    })
  while (!events) await new Promise((resolve) => setImmediate(resolve))
  events.opened()
  const settings = { ackDeadlineMs: 30_000, prefetch: PREFETCH, maxUnacked: PREFETCH, maxDeliveries: null }
  events.bytes(encodeConsumeEvent({ type: 'welcome', subscriptionType: 'shared', isPattern: false, ...settings }))
  events.bytes(encodeConsumeEvent({ type: 'topic', topic: 0, name: 'bench' }))
  const frames: Buffer[] = []
  for (let from = 0; from < MESSAGES; from += work.each) frames.push(frameOf(from, work))
  const before = process.cpuUsage()
  for (let at = 0; at < frames.length; ) {
    // As much as one read of a socket brings.
    for (let bytes = 0; bytes < 65_536 && at < frames.length; at++) {
      events.bytes(frames[at]!)
      bytes += frames[at]!.length
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  while (acked < MESSAGES) await new Promise((resolve) => setImmediate(resolve))
  const { user, system } = process.cpuUsage(before)
  if (seen !== MESSAGES) throw new Error(`${seen} of ${MESSAGES} messages came`)
  await client.close()
  return (user + system) / MESSAGES
}

async function best(what: string, work: Work): Promise<void> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < ROUNDS; i++) least = Math.min(least, await round(work))
  console.log(`${what.padEnd(56)} ${least.toFixed(3).padStart(8)} µs a message`)
}

const bytes = { each: 500, kind: 'bytes', isAsync: false, look: ({ value }) => value } as const satisfies Work
await best('bytes, 500 a frame, a handler that ends at once', bytes)
await best('the same, async', { ...bytes, isAsync: true })
await best('the same, whose value nobody looks at', { ...bytes, look: () => 0 })
await best('the same, its bytes', { ...bytes, look: ({ bytes: view }) => view })
await best('bytes, 40 a frame', { ...bytes, each: 40 })
await best('bytes, one a frame', { ...bytes, each: 1 })
await best('JSON, 500 a frame', { ...bytes, kind: 'json' })
