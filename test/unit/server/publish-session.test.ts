import {
  decodePublishAnswer,
  encodeOpen,
  encodeProbe,
  encodePublisherAuth,
  encodeShut,
  type PublishAnswer,
  TidingsError,
} from '@tidings/sdk/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { nullLogger } from '../../../src/base/telemetry.ts'
import type { Host } from '../../../src/cluster/host.ts'
import type { ProduceDone, Topic } from '../../../src/partition/topic.ts'
import { PublishSession } from '../../../src/server/publish-session.ts'
import type { Socket } from '../../../src/server/session.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { publishFrame, recordOf } from '../../support/publish-client.ts'
import { settle } from '../../support/settle.ts'

/** A socket whose reader the test plays: what is sent stays queued until `read`. */
class FakeSocket implements Socket {
  readonly answers: PublishAnswer[] = []
  writes = 0
  pings = 0
  closed: number | undefined
  isTerminated = false
  buffered = 0
  #corks = 0
  send(frame: string | Uint8Array): void {
    if (this.#corks === 0) this.writes++
    this.answers.push(decodePublishAnswer(frame as Uint8Array)!)
    this.buffered += frame.length
  }
  sendParts(): void {
    throw new Error('answers to publishers have one part')
  }
  ping(): void {
    this.pings++
  }
  bufferedBytes(): number {
    return this.buffered
  }
  cork(): void {
    this.#corks++
  }
  uncork(): void {
    if (--this.#corks === 0) this.writes++
  }
  close(code: number): void {
    this.closed ??= code
  }
  terminate(): void {
    this.isTerminated = true
  }
}

let clock: SimClock
let socket: FakeSocket
let session: PublishSession
/** Frames that the topic has not answered. */
let underWay: ProduceDone[]
/** Topics that are asked for and not made yet. */
let asked: { name: string; make(error?: TidingsError): void }[]

const part = { partition: 0, baseOffset: 0, timestamp: 0, count: 1 }

function answer(error: TidingsError | null = null): void {
  if (error) underWay.shift()!(error)
  else underWay.shift()!(null, { parts: [part], partOf: null, duplicate: false })
}

function publish(sequence: number): void {
  session.receivedBinary(publishFrame([recordOf(sequence)], { sequence }))
}

beforeEach(() => {
  clock = new SimClock()
  socket = new FakeSocket()
  underWay = []
  const topic = {
    name: 't',
    partitions: [null],
    settings: { maxMessageBytes: 1000 },
    produce: (_frame: unknown, done: ProduceDone) => void underWay.push(done),
    turnAway: () => false,
  } as unknown as Topic
  asked = []
  const host = {
    topic: (name: string) => {
      if (name === 't') return topic
      throw new TidingsError('topic_not_found', name)
    },
    ensureTopic: (name: string) =>
      new Promise((resolve, reject) => {
        asked.push({ name, make: (error) => (error ? reject(error) : resolve({ ...topic, name })) })
      }),
  } as unknown as Host
  session = new PublishSession(socket, {
    host,
    routing: null,
    clock,
    logger: nullLogger,
    maxMessageBytes: 500,
    writeTimeoutMs: 10_000,
    answered: () => undefined,
  })
  session.receivedBinary(encodeOpen(1, 't'))
})

describe('a publisher’s session', () => {
  it('sends the answers that become due together in one write', async () => {
    await settle()
    const before = socket.writes
    for (let sequence = 0; sequence < 4; sequence++) publish(sequence)
    while (underWay.length > 0) answer()
    await settle()
    expect(socket.writes - before).toBe(1)
    expect(socket.answers.map(({ type }) => type)).toEqual(['opened', 'stored', 'stored', 'stored', 'stored'])
  })

  it('tells the lesser bound of topic and broker, and holds to the broker’s', () => {
    expect(socket.answers[0]).toMatchObject({ maxMessageBytes: 500 })
    session.receivedBinary(publishFrame([recordOf('x'.repeat(600))]))
    expect(socket.answers[1]).toMatchObject({ code: 'message_too_large', entry: 0, mayBeStored: false })
    expect(underWay).toEqual([])
  })

  it('says whether some of a refused frame may be stored', () => {
    publish(0)
    underWay.shift()!(new TidingsError('storage_full', 'full'), { parts: [part], partOf: null, duplicate: false })
    publish(0)
    answer(new TidingsError('storage_full', 'full'))
    expect(socket.answers.slice(1)).toMatchObject([
      { type: 'refused', mayBeStored: true },
      { type: 'refused', mayBeStored: false },
    ])
  })

  it('has a topic at a handle until it is shut, and refuses a handle that is taken', () => {
    session.receivedBinary(encodeOpen(1, 'u'))
    expect(socket.answers.at(-1)).toMatchObject({ type: 'refused', frame: 'open', code: 'invalid_argument' })
    publish(0)
    expect(underWay).toHaveLength(1)
    session.receivedBinary(encodeShut(1))
    publish(1)
    expect(socket.answers.at(-1)).toMatchObject({ type: 'refused', frame: 'publish', sequence: 1 })
    session.receivedBinary(encodeOpen(1, 't'))
    expect(socket.answers.at(-1)).toMatchObject({ type: 'opened' })
  })

  it('frees a handle that is shut while its topic is being made', async () => {
    session.receivedBinary(encodeOpen(2, 'slow'))
    session.receivedBinary(encodeShut(2))
    session.receivedBinary(encodeOpen(2, 't'))
    expect(socket.answers.at(-1)).toMatchObject({ type: 'opened', handle: 2 })
    asked[0]!.make()
    await settle()
    // Every opening is answered, and the handle is the later one's.
    expect(socket.answers.filter(({ type }) => type === 'opened')).toHaveLength(3)
    session.receivedBinary(publishFrame([recordOf('x')], { handle: 2 }))
    expect(underWay).toHaveLength(1)
    session.receivedBinary(encodeOpen(3, 'slow'))
    session.receivedBinary(encodeShut(3))
    asked[1]!.make()
    await settle()
    session.receivedBinary(publishFrame([recordOf('x')], { handle: 3 }))
    expect(socket.answers.at(-1)).toMatchObject({ type: 'refused', frame: 'publish', code: 'invalid_argument' })
  })

  it('has a few topics made at a time, and none for a client that is gone', async () => {
    for (let handle = 10; handle < 40; handle++) session.receivedBinary(encodeOpen(handle, `new-${handle}`))
    await settle()
    expect(asked).toHaveLength(8)
    asked[0]!.make(new TidingsError('conflict', 'there are as many as may be'))
    await settle()
    expect(asked).toHaveLength(9)
    expect(socket.answers.at(-1)).toMatchObject({ type: 'refused', frame: 'open', handle: 10, code: 'conflict' })
    session.closed()
    for (let i = 1; i < 9; i++) asked[i]!.make()
    await settle()
    expect(asked).toHaveLength(9)
  })

  it('takes a token without a word, and gives a sign of life when asked', () => {
    session.receivedBinary(encodePublisherAuth('token'))
    session.receivedBinary(encodeProbe())
    expect(socket.answers.slice(1)).toEqual([{ type: 'alive' }])
  })

  it('refuses what is new while it drains, and closes when the rest is answered', () => {
    publish(0)
    session.drain()
    publish(1)
    expect(socket.answers.at(-1)).toMatchObject({ code: 'overloaded', sequence: 1, mayBeStored: false })
    expect(socket.closed).toBeUndefined()
    answer()
    expect([socket.answers.at(-1)?.type, socket.closed]).toEqual(['stored', 1012])
    expect(clock.pending).toBe(0)
  })

  it('pings, and ends a connection that is silent for thirty seconds', () => {
    clock.advance(15_000)
    session.heard()
    clock.advance(15_000)
    expect([socket.pings, socket.isTerminated]).toEqual([2, false])
    clock.advance(30_000)
    expect(socket.isTerminated).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('ends a connection that does not read its answers', () => {
    socket.buffered = 300_000
    session.receivedBinary(encodeProbe())
    clock.advance(9999)
    session.drained()
    clock.advance(1)
    expect(socket.closed).toBeUndefined()
    session.receivedBinary(encodeProbe())
    clock.advance(10_000)
    expect(socket.closed).toBe(1013)
  })

  it('cannot be made to pile up answers that nobody reads', () => {
    socket.buffered = 2_000_000
    session.receivedBinary(encodeProbe())
    expect([socket.closed, socket.answers.length]).toEqual([1013, 1])
  })

  it('bounds the frames that are under way', () => {
    for (let sequence = 0; sequence < 8192; sequence++) publish(sequence)
    publish(8192)
    expect(underWay).toHaveLength(8192)
    expect(socket.answers.at(-1)).toMatchObject({ type: 'refused', code: 'overloaded', sequence: 8192 })
  })

  it('hears the outcome of what was under way when it is gone, and says nothing', () => {
    publish(0)
    session.closed()
    answer()
    publish(1)
    expect(socket.answers.map(({ type }) => type)).toEqual(['opened'])
    expect(clock.pending).toBe(0)
  })
})
