import { describe, expect, it } from 'vitest'
import { TopicMemory } from '../../../src/partition/topic-memory.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { topicSettings } from '../../support/storage.ts'

describe('what a topic remembers of its producers', () => {
  it('has room for a thousand clients that publish to 256 partitions each, and an end', () => {
    const clock = new SimClock()
    const { producers } = new TopicMemory(topicSettings(), { clock, random: new SimRandom(1) })
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
