import { describe, expect, it } from 'vitest'
import { RememberedBudget } from '../../../src/partition/remembered-budget.ts'
import { TopicMemory } from '../../../src/partition/topic-memory.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { topicSettings } from '../../support/storage.ts'

function memoryOf(clock: SimClock, budget: RememberedBudget): TopicMemory {
  return new TopicMemory(topicSettings(), { clock, random: new SimRandom(1), budget })
}

describe('what the topics of a broker remember', () => {
  const frame = { baseOffset: 0, count: 1, timestamp: 0 }
  const first = { partition: 0, offset: 0, timestamp: 0 }
  const codeOf = (task: () => void): string => {
    try {
      task()
      return 'none'
    } catch (error) {
      return (error as { code: string }).code
    }
  }

  it('has one bound in bytes, past which nothing new is remembered, and the known a while longer', () => {
    const clock = new SimClock()
    const budget = new RememberedBudget(100_000)
    const [full, other] = [memoryOf(clock, budget), memoryOf(clock, budget)]
    for (let id = 1; id <= 98; id++) full.producers.stored(id, 0, 0, frame, clock.monotonic())
    expect(other.producers.order(1, 0, clock.monotonic())).toEqual({ kind: 'full' })
    expect(codeOf(() => other.keys.admit(clock.now(), 1))).toBe('overloaded')
    expect(full.producers.order(1, 1, clock.monotonic())).toEqual({ kind: 'next' })
    for (let id = 1; id <= 98; id++) full.producers.stored(id, id, 1, frame, clock.monotonic())
    for (let id = 1; id <= 98; id++) full.producers.stored(id, 1000, 2, frame, clock.monotonic())
    expect(full.producers.order(1, 3, clock.monotonic())).toEqual({ kind: 'full' })
  })

  it('is given back by a topic to which nobody publishes any more, and by one that goes', () => {
    const clock = new SimClock()
    const budget = new RememberedBudget(1_000_000)
    const quiet = memoryOf(clock, budget)
    for (let id = 1; id <= 500; id++) quiet.producers.stored(id, 0, 0, frame, clock.monotonic())
    quiet.keys.remember(Buffer.from('k'), { ...first, timestamp: clock.now() })
    const gone = memoryOf(clock, budget)
    gone.keys.remember(Buffer.from('k'), { ...first, timestamp: clock.now() })
    const before = budget.takenBytes
    gone.close()
    gone.keys.remember(Buffer.from('late'), first)
    expect(budget.takenBytes).toBeLessThan(before)
    clock.advance(300_001)
    quiet.expire()
    expect(budget.takenBytes).toBe(0)
    expect([quiet.keys.size, quiet.producers.size]).toEqual([0, 0])
  })
})

describe('what a topic remembers of its producers', () => {
  it('has room for a thousand clients that publish to 256 partitions each, and an end', () => {
    const clock = new SimClock()
    const { producers } = memoryOf(clock, new RememberedBudget(2 ** 30))
    const now = clock.monotonic()
    const publishes = (producerId: number): void => {
      for (let partition = 0; partition < 256; partition++) {
        producers.stored(producerId, partition, 0, { baseOffset: producerId, count: 1, timestamp: 0 }, now)
      }
    }
    for (let id = 1; id <= 1000; id++) publishes(id)
    expect(producers.order(1001, 0, now)).toEqual({ kind: 'next' })
    for (let id = 1001; id <= 1030; id++) publishes(id)
    expect(producers.order(1031, 0, now)).toEqual({ kind: 'full' })
    expect(producers.order(1, 1, now)).toEqual({ kind: 'next' })
  })
})
