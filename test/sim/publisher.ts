/**
 * The publisher of a simulated broker: single messages and batches, few keys so that they meet, and
 * what was never answered once more with the same Idempotency-Key. It tells the witness everything.
 */
import type { TidingsError } from '@tidings/sdk/protocol'
import { isScheduled, type PublishInput, type PublishOutcome, type Topic } from '../../src/partition/topic.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import type { Life } from './machine.ts'
import type { Published } from './topic-witness.ts'
import type { Witness } from './witness.ts'

const KEYS = ['a', 'b', 'c', null, null] as const
const COLORS = ['red', 'blue'] as const

/** What this run's publisher is like; chances are of each message. */
export interface Habits {
  /** So long a value is, most of the time. */
  bytes: number
  /** Carries an Idempotency-Key. */
  repeats: number
  /** Is to come later. */
  schedules: number
}

export class Publisher {
  readonly #random: SimRandom
  readonly #witness: Witness
  /** Called after an answer: the place must survive anything from here on. */
  readonly #onStored: (topic: Topic, published: Published) => void
  #sequence = 0

  readonly #habits: Habits

  constructor(
    random: SimRandom,
    witness: Witness,
    habits: Habits,
    onStored: (topic: Topic, published: Published) => void,
  ) {
    this.#random = random
    this.#habits = habits
    this.#witness = witness
    this.#onStored = onStored
  }

  /** One message, or a batch of several; some carry an Idempotency-Key. */
  publish(topic: Topic, life: Life): void {
    const count = this.#random.chance(0.3) ? 1 + this.#random.integer(12) : 1
    const published = Array.from({ length: count }, () => this.#next(topic))
    this.#send(topic, life, published)
  }

  /** What was never answered, again with the same key: it must end up at one place. */
  retry(topic: Topic, life: Life): void {
    const open = this.#witness
      .topic(topic.name)
      .published.filter(({ outcome, idempotencyKey }) => outcome === 'unknown' && idempotencyKey !== null)
    if (open.length > 0) this.#send(topic, life, [this.#random.pick(open)])
  }

  /** What was answered with a place, again with the same key, however long ago and whether or not it is still there. */
  repeat(topic: Topic, life: Life): void {
    const stored = this.#repeatable(topic)
    // The oldest are those that retention has removed.
    const one = this.#random.chance(0.5) ? stored[0] : stored[this.#random.integer(stored.length + 1)]
    if (one) this.#repeat(topic, life, one, () => undefined)
  }

  /** All of it; resolves when each was answered. */
  async repeatAll(topic: Topic, life: Life): Promise<void> {
    const repeats = this.#repeatable(topic).map(
      (one) => new Promise<void>((resolve) => this.#repeat(topic, life, one, resolve)),
    )
    await Promise.all(repeats)
  }

  #repeatable({ name }: Topic): Published[] {
    return this.#witness
      .topic(name)
      .published.filter(
        ({ outcome, idempotencyKey, schedule }) => outcome === 'ok' && idempotencyKey !== null && schedule === null,
      )
  }

  #repeat(topic: Topic, life: Life, one: Published, answered: () => void): void {
    const witness = this.#witness.topic(topic.name)
    const { generation } = witness
    topic.publish(this.#input(one, topic), (error, outcome) => {
      answered()
      if (life.state === 'over' || witness.generation !== generation) return
      if (error) return this.#witness.count(`repeat ${error.code}`)
      if (!outcome || isScheduled(outcome) || outcome.duplicate !== true)
        throw this.#witness.violated('D-IDEMP', `key ${one.idempotencyKey} was answered as if it were new`)
      const isGone = one.offset < topic.partitions[one.partition]!.startOffset
      this.#witness.count(isGone ? 'repeat of what is removed' : 'repeat')
      witness.stored(one, outcome.partition, outcome.offset, true)
    })
  }

  /** Takes back what was scheduled; it may have come by then. */
  cancel(topic: Topic, life: Life): void {
    const witness = this.#witness.topic(topic.name)
    const open = witness.published.filter(({ schedule }) => schedule?.cancel === 'none')
    if (open.length === 0) return
    const published = this.#random.pick(open)
    const { schedule } = published
    const { generation } = witness
    schedule!.cancel = 'asked'
    topic.cancelScheduled(schedule!.id).then(
      (isCancelled) => {
        if (life.state === 'over' || witness.generation !== generation) return
        this.#witness.count(isCancelled ? 'schedule cancelled' : 'schedule cancelled too late')
        if (isCancelled) witness.cancelled(published)
        else schedule!.cancel = 'none'
      },
      () => this.#witness.count('cancel refused'),
    )
  }

  #next(topic: Topic): Published {
    const random = this.#random
    const value = `v${this.#sequence++}.${'x'.repeat(random.integer(random.chance(0.05) ? 3000 : this.#habits.bytes))}`
    return this.#witness.topic(topic.name).attempt({
      value,
      key: random.pick(KEYS),
      color: random.pick(COLORS),
      idempotencyKey: random.chance(this.#habits.repeats) ? `k${this.#sequence}` : null,
      expires: random.chance(0.1),
      deliverAt: random.chance(this.#habits.schedules) ? this.#witness.wall + random.integer(3000) : null,
    })
  }

  #send(topic: Topic, life: Life, published: Published[]): void {
    const witness = this.#witness.topic(topic.name)
    const inputs = published.map((one) => this.#input(one, topic))
    for (const one of published) witness.sent(one)
    const { generation } = witness
    const settle = (error: TidingsError | null, outcomes?: readonly PublishOutcome[]): void => {
      if (life.state === 'over' || witness.generation !== generation) return
      if (life.state === 'failed' && !error)
        throw this.#witness.violated('S-LATCH', 'a publish was answered after the disk had failed')
      if (error) {
        this.#witness.count(`publish ${error.code}`)
        // A batch that was stored in part says so; then nothing is known of the single message.
        for (const one of published) one.outcome = error.message.includes('stored before that') ? 'unknown' : 'refused'
        return
      }
      published.forEach((one, i) => {
        const outcome = outcomes![i]!
        const isRepeated = outcome.duplicate === true
        this.#witness.count(`publish ${isScheduled(outcome) ? 'scheduled' : isRepeated ? 'duplicate' : 'ok'}`)
        if (isScheduled(outcome)) witness.scheduled(one, Number(outcome.scheduled.id), isRepeated)
        else witness.stored(one, outcome.partition, outcome.offset, isRepeated)
        this.#onStored(topic, one)
      })
    }
    if (inputs.length === 1) topic.publish(inputs[0]!, (error, outcome) => settle(error, outcome && [outcome]))
    else topic.publishAll(inputs, settle)
  }

  #input({ value, key, color, idempotencyKey, expires, deliverAt }: Published, topic: Topic): PublishInput {
    return {
      key: key === null ? null : Buffer.from(key),
      value: Buffer.from(value, 'latin1'),
      contentType: 'application/octet-stream',
      headers: [['color', color]],
      idempotencyKey: idempotencyKey === null ? null : Buffer.from(idempotencyKey),
      partition:
        idempotencyKey === null && this.#random.chance(0.2) ? this.#random.integer(topic.partitions.length) : null,
      ttlMs: expires ? 1 + this.#random.integer(2000) : null,
      deliverAt,
      valueChecked: true,
    }
  }
}
