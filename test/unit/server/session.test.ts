import type { MessageId } from '@tidings/sdk/protocol'
import { TidingsError } from '@tidings/sdk/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { nullLogger } from '../../../src/base/telemetry.ts'
import { jsonDialect } from '../../../src/server/json-dialect.ts'
import { Session, type Socket } from '../../../src/server/session.ts'
import { BACKED_UP_BYTES } from '../../../src/server/socket-watch.ts'
import type { Attachment, Confirmed, Delivery, Subscription } from '../../../src/subscription/subscription.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { batchOf } from '../../support/batch-of.ts'
import { settle } from '../../support/settle.ts'

/** A socket whose reader the test plays: what is sent stays queued until `read`. */
class FakeSocket implements Socket {
  sent: string[] = []
  writes = 0
  pings = 0
  closed: [number, string] | undefined
  isTerminated = false
  #buffered = 0
  #corks = 0
  send(frame: string | Uint8Array): void {
    if (this.#corks === 0) this.writes++
    this.sent.push(frame as string)
    this.#buffered += frame.length
  }
  sendParts(): void {
    throw new Error('this protocol has text frames only')
  }
  ping(): void {
    this.pings++
  }
  bufferedBytes(): number {
    return this.#buffered
  }
  cork(): void {
    this.#corks++
  }
  uncork(): void {
    if (--this.#corks === 0) this.writes++
  }
  close(code: number, reason: string): void {
    this.closed ??= [code, reason]
  }
  terminate(): void {
    this.isTerminated = true
  }
  read(): void {
    this.#buffered = 0
  }
  get frames(): Record<string, unknown>[] {
    return this.sent.map((text) => JSON.parse(text) as Record<string, unknown>)
  }
}

/** An attachment that writes down what it is told. */
class FakeAttachment implements Attachment {
  calls: unknown[][] = []
  confirm: Confirmed | undefined
  error: TidingsError | undefined
  #note(...call: unknown[]): number {
    this.calls.push(call)
    if (this.error) throw this.error
    return 1
  }
  ack(ids: readonly MessageId[], confirmed?: Confirmed): number {
    this.confirm = confirmed
    return this.#note('ack', ids)
  }
  ackUpTo(id: MessageId, confirmed?: Confirmed): number {
    this.confirm = confirmed
    return this.#note('ackUpTo', id)
  }
  nack = (ids: readonly MessageId[], delayMs?: number, reason?: string): number =>
    this.#note('nack', ids, delayMs, reason)
  extend = (ids: readonly MessageId[], ms: number): number => this.#note('extend', ids, ms)
  release = (ids: readonly MessageId[]): number => this.#note('release', ids)
  reject(ids: readonly MessageId[], reason?: string, confirmed?: Confirmed): number {
    this.confirm = confirmed
    return this.#note('reject', ids, reason)
  }
  pause = (): void => void this.#note('pause')
  resume = (): void => void this.#note('resume')
  wake = (): void => void this.#note('wake')
  detach = (): void => void this.calls.push(['detach'])
  get names(): unknown[] {
    return this.calls.map(([name]) => name)
  }
}

const WRITE_TIMEOUT_MS = 10_000
let clock: SimClock
let socket: FakeSocket
let attachment: FakeAttachment
let session: Session

function joined(attach: () => Attachment = () => attachment): Session {
  const options = { consumer: 'c', prefetch: 10, weight: 1, writeTimeoutMs: WRITE_TIMEOUT_MS }
  const made = new Session(jsonDialect, socket, clock, nullLogger, options)
  made.join({ attach } as unknown as Subscription)
  return made
}

function delivery(offset: number, bytes = 10): Delivery {
  const batch = batchOf({ value: Buffer.from(JSON.stringify('x'.repeat(bytes))) }, offset)
  return { topic: 't', partition: 0, idPrefix: '', batch, from: offset, to: offset + 1, attempt: 1 }
}

beforeEach(() => {
  clock = new SimClock()
  socket = new FakeSocket()
  attachment = new FakeAttachment()
  session = joined()
})

describe('a session', () => {
  it('sends what it is handed, the frames of one turn in one write', async () => {
    for (let offset = 0; offset < 5; offset++) session.deliver(delivery(offset))
    await settle()
    expect(socket.frames.map(({ id, attempt }) => [id, attempt])).toEqual([0, 1, 2, 3, 4].map((n) => [`0:${n}`, 1]))
    expect(socket.writes).toBe(1)
    expect(session.ready()).toBe(true)
  })

  it('passes client frames on', () => {
    session.received('{"type":"ack","ids":["0:1","0:2"]}')
    session.received('{"type":"ack","upTo":"0:9"}')
    session.received('{"type":"nack","ids":["0:1"],"delayMs":0,"reason":"r"}')
    session.received('{"type":"extend","ids":["0:1"],"ms":5}')
    session.received('{"type":"release","ids":[]}')
    session.received('{"type":"reject","ids":["0:3"],"reason":"bad"}')
    session.received('{"type":"pause"}')
    session.received('{"type":"resume"}')
    session.received('{"type":"auth","token":"x"}')
    const id = (offset: number): MessageId => ({ partition: 0, offset })
    expect(attachment.calls).toEqual([
      ['ack', [id(1), id(2)]],
      ['ackUpTo', id(9)],
      ['nack', [id(1)], 0, 'r'],
      ['extend', [id(1)], 5],
      ['release', []],
      ['reject', [id(3)], 'bad'],
      ['pause'],
      ['resume'],
    ])
    expect(socket.sent).toEqual([])
  })

  it('answers an ack that asked, once it is durable', () => {
    session.received('{"type":"ack","ids":["0:1","0:2"],"request":7}')
    expect(socket.sent).toEqual([])
    attachment.confirm!(null, [{ partition: 0, offset: 2 }])
    session.received('{"type":"ack","upTo":"0:9","request":"r"}')
    attachment.confirm!(null, [{ partition: 0, offset: 9 }])
    expect(socket.frames).toEqual([
      { type: 'acked', request: 7, ids: ['0:2'] },
      { type: 'acked', request: 'r', ids: ['0:9'], upTo: '0:9' },
    ])
  })

  it('answers what it cannot read or do with an error, and stays', () => {
    session.received('nonsense')
    session.received('{"type":"dance","request":1}')
    session.received('{"type":"ack","ids":["zero"],"request":2}')
    session.received(Buffer.from('{}'))
    attachment.error = new TidingsError('invalid_argument', 'not on shared')
    session.received('{"type":"ack","upTo":"0:1","request":3}')
    attachment.error = undefined
    session.received('{"type":"ack","ids":["0:1"],"request":4}')
    attachment.confirm!(new TidingsError('storage_full', 'no room'), [])
    expect(socket.frames.map(({ type, code, request }) => [type, code, request])).toEqual([
      ['error', 'invalid_argument', undefined],
      ['error', 'invalid_argument', 1],
      ['error', 'invalid_argument', 2],
      ['error', 'invalid_argument', undefined],
      ['error', 'invalid_argument', 3],
      ['error', 'storage_full', 4],
    ])
    expect(socket.closed).toBeUndefined()
  })

  it('tells of gaps', () => {
    session.gap({ topic: 't', partition: 0, from: 3, to: 8 })
    expect(socket.frames).toEqual([{ type: 'gap', topic: 't', partition: 0, from: 3, to: 8 }])
  })

  it.each([
    [new TidingsError('subscription_busy', 'taken'), 4409],
    [new TidingsError('subscription_not_found', 'gone'), 4404],
  ])('closes when it cannot join: %s', (error, code) => {
    socket = new FakeSocket()
    joined(() => {
      throw error
    })
    expect(socket.closed?.[0]).toBe(code)
  })

  it.each([
    ['deleted', 4410],
    ['closing', 1012],
  ] as const)('closes when the subscription is %s', (why, code) => {
    session.ended(why)
    expect(socket.closed?.[0]).toBe(code)
    session.deliver(delivery(0))
    session.received('{"type":"pause"}')
    expect(socket.sent).toEqual([])
    expect(attachment.names).not.toContain('detach')
  })

  it('hands everything back when the connection is gone, once', () => {
    session.closed()
    session.closed()
    expect(attachment.names).toEqual(['detach'])
    expect(session.ready()).toBe(false)
    expect(clock.pending).toBe(0)
  })
})

describe('a consumer that reads slowly', () => {
  it('holds one share of socket memory and one frame, whatever it is handed', () => {
    const bytes = 50_000
    for (let offset = 0; offset < 100; offset++) session.deliver(delivery(offset, bytes))
    expect(socket.bufferedBytes()).toBeGreaterThanOrEqual(BACKED_UP_BYTES)
    expect(socket.bufferedBytes()).toBeLessThan(BACKED_UP_BYTES + bytes + 1000)
    expect(session.ready()).toBe(false)
  })

  it('gets the rest in order as it reads, and is woken at the end', () => {
    for (let offset = 0; offset < 20; offset++) session.deliver(delivery(offset, 50_000))
    let rounds = 0
    while (!attachment.names.includes('wake')) {
      socket.read()
      session.drained()
      expect(++rounds).toBeLessThan(20)
    }
    expect(socket.frames.map(({ offset }) => offset)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(session.ready()).toBe(true)
  })

  it('stays while it makes progress', () => {
    for (let offset = 0; offset < 30; offset++) session.deliver(delivery(offset, 100_000))
    for (let i = 0; i < 5; i++) {
      clock.advance(WRITE_TIMEOUT_MS - 1)
      session.heard()
      socket.read()
      session.drained()
    }
    expect(socket.closed).toBeUndefined()
  })

  it('is closed with 1013 when it takes nothing for too long, though it answers pings', () => {
    for (let offset = 0; offset < 10; offset++) session.deliver(delivery(offset, 100_000))
    clock.advance(WRITE_TIMEOUT_MS - 1)
    session.heard()
    expect(socket.closed).toBeUndefined()
    clock.advance(1)
    expect(socket.closed?.[0]).toBe(1013)
    expect(attachment.names).toEqual(['release', 'detach'])
  })

  it('hears of an acknowledgement after what was handed over before it', () => {
    for (let offset = 0; offset < 20; offset++) session.deliver(delivery(offset, 50_000))
    session.received('{"type":"ack","ids":[],"request":1}')
    attachment.confirm!(null, [])
    expect(socket.frames.map(({ type }) => type)).not.toContain('acked')
    for (let round = 0; round < 20; round++) {
      socket.read()
      session.drained()
    }
    expect(socket.frames.map(({ type }) => type)).toEqual([...Array.from({ length: 20 }, () => 'message'), 'acked'])
  })

  it('cannot pile up requests that wait for the disk', () => {
    for (let i = 0; i <= 65_536; i++) session.received(`{"type":"ack","ids":["0:1"],"request":${i}}`)
    expect(attachment.names).toHaveLength(65_536)
    expect(socket.frames).toEqual([expect.objectContaining({ type: 'error', code: 'overloaded', request: 65_536 })])
  })

  it('cannot pile up answers that wait behind messages either', () => {
    for (let offset = 0; offset < 20; offset++) session.deliver(delivery(offset, 50_000))
    for (let i = 0; i < 100_000 && !socket.closed; i++) {
      session.received(`{"type":"ack","ids":[],"request":${i}}`)
      attachment.confirm!(null, [])
    }
    expect(socket.closed?.[0]).toBe(1013)
  })

  it('cannot pile up answers by asking without reading', () => {
    for (let i = 0; i < 100_000 && !socket.closed; i++) session.received(`{"type":"${'x'.repeat(50)}"}`)
    expect(socket.closed?.[0]).toBe(1013)
    expect(socket.bufferedBytes()).toBeLessThan(2_000_000)
  })
})

describe('a silent consumer', () => {
  it('is pinged every 15 s and dead after 30', () => {
    clock.advance(15_000)
    expect(socket.pings).toBe(1)
    expect(socket.isTerminated).toBe(false)
    clock.advance(15_000)
    expect(socket.isTerminated).toBe(true)
    expect(attachment.names).toEqual(['detach'])
    expect(clock.pending).toBe(0)
  })

  it('lives while it answers', () => {
    for (let i = 0; i < 10; i++) {
      clock.advance(15_000)
      session.heard()
    }
    expect(socket.pings).toBe(10)
    expect(socket.isTerminated).toBe(false)
  })
})

describe('a draining session', () => {
  it('closes at once when nothing is under way', () => {
    session.drain()
    expect(socket.closed?.[0]).toBe(1012)
    expect(attachment.names).toEqual(['detach'])
  })

  it('answers the acknowledgements that are under way first, and takes no messages', () => {
    session.received('{"type":"ack","ids":["0:1"],"request":1}')
    session.drain()
    expect(session.ready()).toBe(false)
    session.deliver(delivery(2))
    expect(socket.closed).toBeUndefined()
    attachment.confirm!(null, [{ partition: 0, offset: 1 }])
    expect(socket.frames).toEqual([{ type: 'acked', request: 1, ids: ['0:1'] }])
    expect(socket.closed?.[0]).toBe(1012)
  })

  it('gives back uncounted what it never sent, also what is handed over while it drains', () => {
    session.received('{"type":"ack","ids":["0:1"],"request":1}')
    for (let offset = 0; offset < 10; offset++) session.deliver(delivery(offset, 100_000))
    const sent = socket.frames.length
    session.drain()
    session.deliver(delivery(10))
    attachment.confirm!(null, [])
    const released = attachment.calls.flatMap(([name, ids]) => (name === 'release' ? (ids as MessageId[]) : []))
    expect(sent).toBeGreaterThan(0)
    expect(released.map(({ offset }) => offset)).toEqual(Array.from({ length: 11 - sent }, (_, i) => sent + i))
    expect(attachment.names.at(-1)).toBe('detach')
  })

  it('does not wait for an acknowledgement that was refused', () => {
    attachment.error = new TidingsError('invalid_argument', 'not on shared')
    session.received('{"type":"ack","upTo":"0:1","request":1}')
    session.drain()
    expect(socket.closed?.[0]).toBe(1012)
  })
})
