import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { nullLogger } from '../../../src/base/telemetry.ts'
import type { Topic, TopicChange } from '../../../src/partition/topic.ts'
import { parseEventId } from '../../../src/server/event-id.ts'
import { type EventSink, EventStream, SINK_BYTES_MAX } from '../../../src/server/event-stream.ts'
import { messageJson } from '../../../src/server/message-json.ts'
import { TopicEvents } from '../../../src/server/topic-events.ts'
import type { Gap } from '../../../src/subscription/subscription.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { EventParser, type ServerEvent } from '../../support/event-client.ts'
import { MemoryPartition } from '../../support/memory-partition.ts'
import { settle } from '../../support/settle.ts'

/** A response whose reader the test plays. */
class FakeSink implements EventSink {
  readonly parser = new EventParser()
  readonly events: ServerEvent[] = []
  text = ''
  writes: (Buffer | string)[] = []
  isEnded = false
  isDestroyed = false
  /** Takes nothing while set. */
  isStalled = false
  #buffered = 0
  write(bytes: Buffer | string): void {
    if (this.isEnded || this.isDestroyed) throw new Error('written to after the end')
    this.writes.push(bytes)
    this.text += bytes.toString()
    this.events.push(...this.parser.feed(bytes.toString()))
    if (this.isStalled) this.#buffered += bytes.length
  }
  bufferedBytes = (): number => this.#buffered
  end = (): void => void (this.isEnded = true)
  destroy = (): void => void (this.isDestroyed = true)
  read(): void {
    this.isStalled = false
    this.#buffered = 0
  }
}

class FakeTopic {
  readonly name = 't'
  readonly id = 'topic-id'
  readonly partitions: MemoryPartition[]
  change: (change: TopicChange) => void = () => undefined
  constructor(partitions: MemoryPartition[]) {
    this.partitions = partitions
  }
  watch(listener: (change: TopicChange) => void): () => void {
    this.change = listener
    return () => (this.change = () => undefined)
  }
}

const WRITE_TIMEOUT_MS = 10_000
let clock: SimClock
let topic: FakeTopic
let events: TopicEvents
let endings: string[]

function setUp(partitions: number): void {
  clock = new SimClock()
  topic = new FakeTopic(Array.from({ length: partitions }, (_, number) => new MemoryPartition(clock, number)))
  endings = []
  events = new TopicEvents(topic as unknown as Topic, clock, nullLogger, (why) => endings.push(why))
}

function join(lastId: string | null, sink = new FakeSink()): { stream: EventStream; sink: FakeSink } {
  const { partitions } = topic
  const offsets = lastId === null ? partitions.map(() => 0) : parseEventId(lastId, partitions.length)
  const options = { render: messageJson, standing: { offsets, turn: 0 }, writeTimeoutMs: WRITE_TIMEOUT_MS }
  const stream = new EventStream(sink, clock, nullLogger, options)
  events.add(stream)
  return { stream, sink }
}

/** Lets everything run that is due now. */
async function quiet(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await settle()
}

const idsOf = (sink: FakeSink): string[] =>
  sink.events.filter(({ event }) => event === 'message').map(({ data }) => (JSON.parse(data) as { id: string }).id)

describe('the readers of a topic', () => {
  beforeEach(() => setUp(2))

  it('are served once for all that a turn brings, with the same bytes', async () => {
    const sinks = Array.from({ length: 50 }, () => join(null).sink)
    await quiet()
    for (let i = 0; i < 20; i++) topic.partitions[i % 2]!.publish(3)
    await quiet()
    for (const sink of sinks) {
      expect(idsOf(sink)).toHaveLength(60)
      expect(sink.writes).toHaveLength(1)
      expect(sink.writes[0]).toBe(sinks[0]!.writes[0])
    }
  })

  it('read a stretch from the disk once, whoever waits for it', async () => {
    topic.partitions[0]!.isCold = true
    topic.partitions[0]!.publish(5)
    const sinks = Array.from({ length: 30 }, () => join(null).sink)
    await quiet()
    for (const sink of sinks) expect(idsOf(sink)).toHaveLength(5)
    expect(topic.partitions[0]!.loads).toEqual([0])
  })

  it('read few stretches at once, and all in the end', async () => {
    topic.partitions[0]!.isCold = true
    topic.partitions[0]!.publish(40, { each: 1 })
    const sinks = Array.from({ length: 40 }, (_, i) => join(`0:${39 - i}`).sink)
    for (let turn = 0; turn < 60; turn++) await quiet()
    sinks.forEach((sink, i) => expect(idsOf(sink)).toHaveLength(i))
  })

  it('go on with other partitions while one is read, and after a failed read', async () => {
    const [first, second] = topic.partitions as [MemoryPartition, MemoryPartition]
    first.isCold = true
    first.loadError = new Error('EIO')
    first.publish(1)
    second.publish(1)
    const { sink } = join(null)
    await quiet()
    expect(idsOf(sink)).toEqual(['1:0'])
    expect(first.loads).toHaveLength(1)
    first.loadError = null
    clock.advance(1000)
    await quiet()
    expect(idsOf(sink)).toEqual(['1:0', '0:0'])
  })

  it('take turns among partitions, so that a long one does not keep the others waiting', async () => {
    topic.partitions[0]!.publish(50, { each: 1, bytes: 10_000 })
    topic.partitions[1]!.publish(1)
    const { sink } = join(null)
    await quiet()
    expect(idsOf(sink).indexOf('1:0')).toBeLessThan(5)
    expect(idsOf(sink)).toHaveLength(51)
  })

  it('get nothing while their socket is full, and go on when it has drained', async () => {
    const { stream, sink } = join(null)
    sink.isStalled = true
    topic.partitions[0]!.publish(100, { each: 1, bytes: 10_000 })
    await quiet()
    const taken = idsOf(sink).length
    expect(taken).toBeLessThan(20)
    topic.partitions[0]!.publish(1)
    await quiet()
    expect(idsOf(sink)).toHaveLength(taken)
    sink.read()
    stream.drained()
    events.wake(stream)
    await quiet()
    expect(idsOf(sink)).toHaveLength(101)
    clock.advance(WRITE_TIMEOUT_MS)
    expect(sink.isDestroyed).toBe(false)
  })

  it('are cut off when they take nothing for too long', async () => {
    const { sink } = join(null)
    sink.isStalled = true
    topic.partitions[0]!.publish(10, { each: 1, bytes: 10_000 })
    await quiet()
    expect(sink.bufferedBytes()).toBeGreaterThan(SINK_BYTES_MAX)
    clock.advance(WRITE_TIMEOUT_MS - 1)
    expect(sink.isDestroyed).toBe(false)
    clock.advance(1)
    expect(sink.isDestroyed).toBe(true)
    topic.partitions[0]!.publish(1)
    clock.advance(60_000)
    await quiet()
  })

  it('get a sign of life every 15 s in which there was nothing else', async () => {
    const { sink } = join(null)
    clock.advance(30_000)
    expect(sink.text).toBe(':\n\n')
    topic.partitions[0]!.publish(1)
    await quiet()
    clock.advance(15_000)
    expect(sink.parser.comments).toBe(1)
    clock.advance(30_000)
    expect(sink.parser.comments).toBe(3)
  })

  it('are cut off alone when their events cannot be made', async () => {
    const { sink } = join(null)
    const render = (): string => {
      throw new Error('unreadable')
    }
    const broken = new FakeSink()
    const options = { render, standing: { offsets: [0, 0], turn: 0 }, writeTimeoutMs: WRITE_TIMEOUT_MS }
    events.add(new EventStream(broken, clock, nullLogger, options))
    topic.partitions[0]!.publish(1)
    await quiet()
    expect([broken.isDestroyed, sink.isDestroyed, idsOf(sink)]).toEqual([true, false, ['0:0']])
    topic.partitions[0]!.publish(1)
    await quiet()
    expect(idsOf(sink)).toHaveLength(2)
  })

  it('are ended together, and leave nothing behind', async () => {
    const { sink } = join(null)
    await quiet()
    topic.change('deleted')
    expect(endings).toEqual(['deleted'])
    events.close('event: deleted\ndata: {}\n\n')
    expect([sink.isEnded, sink.events.at(-1)?.event]).toEqual([true, 'deleted'])
    topic.partitions[0]!.publish(1)
    await quiet()
    expect(clock.pending).toBe(0)
    expect(topic.partitions.map(({ listeners }) => listeners)).toEqual([0, 0])
  })
})

type Step =
  | { do: 'publish'; partition: number; count: number; each: number; bytes: number; expired: boolean }
  | { do: 'retain'; partition: number; count: number }
  | { do: 'reconnect' }
  | { do: 'stall' }
  | { do: 'read' }
  | { do: 'cold'; partition: number; isCold: boolean }
  | { do: 'grow' }
  | { do: 'run' }

const partition = fc.nat(2)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('publish' as const),
    partition,
    count: fc.integer({ min: 1, max: 30 }),
    each: fc.integer({ min: 1, max: 10 }),
    bytes: fc.constantFrom(4, 4, 9000),
    expired: fc.boolean(),
  }),
  fc.record({ do: fc.constant('retain' as const), partition, count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ do: fc.constant('cold' as const), partition, isCold: fc.boolean() }),
  ...(['reconnect', 'reconnect', 'stall', 'read', 'grow', 'run', 'run'] as const).map((name) =>
    fc.constant({ do: name } as Step),
  ),
)

/** What a reader that comes back again and again has seen, by partition and offset. */
class Witness {
  readonly seen = new Map<string, string>()
  readonly #last: number[] = []
  note(sink: FakeSink): void {
    for (const { event, data } of sink.events.splice(0)) {
      const { partition: number, ...rest } = JSON.parse(data) as { partition: number; offset: number } & Gap
      if (event === 'message') this.#once(number, rest.offset, 'message')
      else for (let offset = rest.from; offset <= rest.to; offset++) this.#once(number, offset, 'gap')
    }
  }
  #once(number: number, offset: number, what: string): void {
    const id = `${number}:${offset}`
    expect(this.seen.get(id), `${id} came as ${this.seen.get(id)} and now as ${what}`).toBeUndefined()
    expect(offset).toBeGreaterThan(this.#last[number] ?? -1)
    this.seen.set(id, what)
    this.#last[number] = offset
  }
}

describe('a reader that comes back with its last id', () => {
  it('sees every message once, in order, whatever happens between', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        setUp(2)
        const expired = new Set<string>()
        const witness = new Witness()
        let { stream, sink } = join(null)
        const read = (): void => {
          sink.read()
          stream.drained()
          events.wake(stream)
        }
        for (const one of steps) {
          const at = 'partition' in one ? topic.partitions[one.partition] : undefined
          if (one.do === 'publish' && at) {
            const from = at.nextOffset
            at.publish(one.count, { ...one, ...(one.expired ? { expiresAt: 1 } : {}) })
            for (let o = from; one.expired && o < at.nextOffset; o++) expired.add(`${at.number}:${o}`)
          } else if (one.do === 'retain' && at) at.retain(Math.min(at.startOffset + one.count, at.highWatermark))
          else if (one.do === 'cold' && at) at.isCold = one.isCold
          else if (one.do === 'stall') sink.isStalled = true
          else if (one.do === 'read') read()
          else if (one.do === 'grow' && topic.partitions.length < 3) {
            topic.partitions.push(new MemoryPartition(clock, topic.partitions.length))
            topic.change('grown')
          } else if (one.do === 'run') for (let turn = 0; turn < 2; turn++) await settle()
          else if (one.do === 'reconnect') {
            events.remove(stream)
            stream.closed()
            witness.note(sink)
            const lastId = sink.parser.lastId
            ;({ stream, sink } = join(lastId === '' ? null : lastId))
            sink.parser.lastId = lastId
          }
        }
        read()
        await quiet()
        await quiet()
        witness.note(sink)
        for (const { number, startOffset, highWatermark } of topic.partitions) {
          for (let offset = 0; offset < highWatermark; offset++) {
            const id = `${number}:${offset}`
            const seen = witness.seen.get(id)
            if (expired.has(id)) expect(seen).not.toBe('message')
            else if (offset >= startOffset) expect([id, seen]).toEqual([id, 'message'])
            else expect(seen).toBeDefined()
          }
        }
        const ends = topic.partitions.map(({ highWatermark }) => highWatermark)
        const total = ends.reduce((sum, end) => sum + end, 0)
        if (total > 0) expect(parseEventId(sink.parser.lastId, ends.length)).toEqual(ends)
        events.close()
      }),
      { numRuns: 150 },
    )
  })
})
