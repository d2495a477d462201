/**
 * A producer of numbered frames, as a client is one: several under way, what failed again before anything later, what
 * a crash left open again in order, and now and then a frame that was answered long ago. Whatever happens it must
 * never be told that a frame cannot be stored any more, and every frame has one place.
 */
import { encodeRecord, type TidingsError } from '@tidings/sdk/protocol'
import type { ProducedReceipt, Topic } from '../../src/partition/topic.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import type { Life } from './machine.ts'
import type { Habits } from './publisher.ts'
import type { Published } from './topic-witness.ts'
import type { Witness } from './witness.ts'

const KEYS = ['a', 'b', 'c', null, null] as const
const COLORS = ['red', 'blue'] as const
/** As many as a partition remembers. */
const UNDER_WAY_MAX = 8
const FRAME_RECORDS_MAX = 5

interface Frame {
  sequence: number
  partitionCount: number
  records: Published[]
  bytes: Buffer
  /** Times that it was sent and not answered, in this life. */
  sends: number
  /** Some of it may be stored although nobody said so. */
  isUncertain: boolean
  /** Where each record is, once that was answered. */
  places: string[] | null
}

interface Producer {
  id: number
  generation: number
  life: Life
  /** The broker has had a frame of it in this life, and so can tell which comes next. */
  isKnown: boolean
  /** The last ones, oldest first. */
  frames: Frame[]
}

export class FrameProducer {
  readonly #random: SimRandom
  readonly #witness: Witness
  readonly #habits: Habits
  readonly #onStored: (topic: Topic, published: Published) => void
  readonly #producers: Map<string, Producer> = new Map()
  #sequence = 0
  #ids = 0

  constructor(
    random: SimRandom,
    witness: Witness,
    habits: Habits,
    onStored: (topic: Topic, published: Published) => void,
  ) {
    this.#random = random
    this.#witness = witness
    this.#habits = habits
    this.#onStored = onStored
  }

  act(topic: Topic, life: Life): void {
    const producer = this.#producerOf(topic, life)
    const random = this.#random
    const open = producer.frames.filter(({ places, sends }) => places === null && sends === 0)
    const stored = producer.frames.filter(({ places }) => places !== null)
    const underWay = producer.frames.filter(({ places }) => places === null).length
    if (open.length > 0) {
      // Sometimes out of order, as after a connection was lost: the broker must refuse that. Not after a restart: a
      // broker that may have lost all it knew of a producer takes the number that comes first for the next one.
      const from = random.chance(0.15) && producer.isKnown ? random.integer(open.length) : 0
      for (const frame of open.slice(from)) this.#send(topic, life, producer, frame)
    } else if (stored.length > 0 && random.chance(0.35)) this.#send(topic, life, producer, random.pick(stored))
    else {
      const count = Math.min(1 + random.integer(4), UNDER_WAY_MAX - underWay)
      for (let i = 0; i < count; i++) this.#send(topic, life, producer, this.#next(topic, producer))
    }
  }

  /** Everything that the topic must still know, in order; what was never answered may then be stored. */
  repeatAll(topic: Topic, life: Life): void {
    const producer = this.#producerOf(topic, life)
    for (const frame of producer.frames) this.#send(topic, life, producer, frame)
  }

  #producerOf(topic: Topic, life: Life): Producer {
    const { generation } = this.#witness.topic(topic.name)
    const known = this.#producers.get(topic.name)
    if (known?.generation !== generation) {
      this.#ids += 1
      const producer = { id: this.#ids, generation, life, isKnown: false, frames: [] }
      this.#producers.set(topic.name, producer)
      return producer
    }
    if (known.life !== life) {
      known.life = life
      known.isKnown = false
      for (const frame of known.frames) {
        if (frame.sends > 0) frame.isUncertain = true
        frame.sends = 0
      }
    }
    return known
  }

  #next(topic: Topic, producer: Producer): Frame {
    const random = this.#random
    const records = Array.from({ length: 1 + random.integer(FRAME_RECORDS_MAX) }, () => {
      const value = `f${this.#sequence++}.${'x'.repeat(random.integer(this.#habits.bytes))}`
      const what = { value, key: random.pick(KEYS), color: random.pick(COLORS) }
      return this.#witness.topic(topic.name).attempt({ ...what, idempotencyKey: null, expires: false, deliverAt: null })
    })
    const frame: Frame = {
      sequence: (producer.frames.at(-1)?.sequence ?? -1) + 1,
      partitionCount: topic.partitions.length,
      records,
      bytes: Buffer.concat(records.map(encode)),
      sends: 0,
      isUncertain: false,
      places: null,
    }
    producer.frames.push(frame)
    if (producer.frames.length > UNDER_WAY_MAX) producer.frames.shift()
    return frame
  }

  #send(topic: Topic, life: Life, producer: Producer, frame: Frame): void {
    const witness = this.#witness.topic(topic.name)
    const { sequence, partitionCount, records } = frame
    const { generation } = producer
    frame.sends += 1
    producer.isKnown = true
    if (frame.places === null) for (const one of records) witness.sent(one)
    // The broker may change the bytes it is given.
    const made = { producerId: producer.id, sequence, partitionCount, count: records.length }
    topic.produce({ ...made, records: Buffer.from(frame.bytes) }, (error, receipt) => {
      if (life.state === 'over' || witness.generation !== generation) return
      frame.sends -= 1
      if (error) return this.#refused(topic, frame, error, receipt)
      if (life.state === 'failed')
        throw this.#witness.violated('S-LATCH', 'a frame was answered after the disk had failed')
      this.#stored(topic, frame, receipt!)
    })
  }

  #refused(topic: Topic, frame: Frame, error: TidingsError, receipt: ProducedReceipt | undefined): void {
    this.#witness.count(`frame ${error.code}`)
    if (!error.retryable) {
      const what = `frame ${frame.sequence} of ${topic.name} was refused: ${error.message}`
      throw this.#witness.violated('D-IDEMP', what)
    }
    if (receipt) frame.isUncertain = true
    if (frame.places !== null || frame.sends > 0) return
    for (const one of frame.records) one.outcome = frame.isUncertain ? 'unknown' : 'refused'
  }

  #stored(topic: Topic, frame: Frame, { parts, partOf, duplicate }: ProducedReceipt): void {
    this.#witness.count(`frame ${duplicate ? 'duplicate' : 'ok'}`)
    const witness = this.#witness.topic(topic.name)
    const next = parts.map(({ baseOffset }) => baseOffset)
    const places = frame.records.map((_, i) => {
      const part = partOf?.[i] ?? 0
      return `${parts[part]!.partition}:${next[part]!++}`
    })
    const where = places.join(' ')
    const before = frame.places?.join(' ') ?? where
    if (before !== where)
      throw this.#witness.violated('D-IDEMP', `frame ${frame.sequence} of ${topic.name} at ${before} and at ${where}`)
    frame.places = places
    frame.records.forEach((one, i) => {
      const [partition, offset] = places[i]!.split(':').map(Number)
      witness.stored(one, partition!, offset!, duplicate)
      this.#onStored(topic, one)
    })
  }
}

function encode({ value, key, color }: Published): Uint8Array {
  return encodeRecord({
    key: key === null ? null : Buffer.from(key),
    value: Buffer.from(value, 'latin1'),
    contentType: 'application/octet-stream',
    headers: [['color', color]],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: true,
  })
}
