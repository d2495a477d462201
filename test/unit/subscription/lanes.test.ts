import { describe, expect, it } from 'vitest'
import type { Lane } from '../../../src/subscription/lane.ts'
import { Lanes } from '../../../src/subscription/lanes.ts'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

interface FakeLane {
  topic: string
  partition: { number: number }
  isQuiet: boolean
}

function lane(topic: string, number = 0): Lane & FakeLane {
  return { topic, partition: { number }, isQuiet: true } as unknown as Lane & FakeLane
}

function visited(lanes: Lanes, serve: (lane: Lane) => boolean = () => false): string[] {
  const seen: string[] = []
  lanes.round((one) => {
    seen.push(`${one.topic}/${one.partition.number}`)
    return serve(one)
  })
  return seen
}

describe('the lanes of a subscription', () => {
  it('are visited until they are quiet, and again when they are woken', () => {
    const lanes = new Lanes()
    const [a, b, c] = [lane('a'), lane('b'), lane('b', 1)]
    for (const one of [b, a, c]) lanes.add(one)
    b.isQuiet = false
    expect(visited(lanes)).toEqual(['b/0', 'a/0', 'b/1'])
    expect(visited(lanes)).toEqual(['b/0'])
    lanes.wake(c)
    lanes.wake(c)
    expect(visited(lanes)).toEqual(['b/0', 'b/1'])
    expect(lanes.awake).toEqual([b])
    expect(lanes.all).toEqual([a, b, c])
  })

  it('have their turn after the one that was served last', () => {
    const lanes = new Lanes()
    for (const topic of ['a', 'b', 'c']) lanes.add(Object.assign(lane(topic), { isQuiet: false }))
    expect(visited(lanes, ({ topic }) => topic === 'a')).toEqual(['a/0', 'b/0', 'c/0'])
    expect(visited(lanes, ({ topic }) => topic === 'c')).toEqual(['b/0', 'c/0', 'a/0'])
    expect(visited(lanes)).toEqual(['a/0', 'b/0', 'c/0'])
  })

  it('are found by topic and partition, and not any more once the topic is gone', () => {
    const lanes = new Lanes()
    const [a, b] = [lane('a', 3), lane('b')]
    lanes.add(a)
    lanes.add(b)
    expect(lanes.find('a', 3)).toBe(a)
    expect(lanes.find('a', 0)).toBeUndefined()
    expect(lanes.remove('a')).toEqual([a])
    expect(lanes.find('a', 3)).toBeUndefined()
    lanes.wake(a)
    expect(lanes.awake).toEqual([b])
    expect(lanes.topics()).toEqual(['b'])
  })
})

describe('a subscription whose lanes have fallen quiet', () => {
  it('wakes for messages, for what comes back, for retention and for a seek', async () => {
    const rig = await SubscriptionRig.open({ backoff: { minMs: 0, maxMs: 0 } }, { partitions: 3 })
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    await rig.rest()
    rig.partitions[1]!.publish(2)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(1, 0, 2))
    attachment.ack(ids(1, 0))
    attachment.nack(ids(1, 1), 500)
    await rig.pass(499)
    expect(consumer.take()).toEqual([])
    await rig.pass(2)
    expect(consumer.take()).toEqual(messages(1, 1, 2, 2))
    attachment.ack(ids(1, 1))
    await rig.rest()
    rig.partitions[2]!.publish(4)
    rig.partitions[2]!.retain(2)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(2, 2, 4))
    expect(consumer.gaps).toEqual([{ topic: 'orders', partition: 2, from: 0, to: 1 }])
    attachment.ack(ids(2, 2, 3))
    await rig.rest()
    await rig.subscription.seek('earliest')
    await rig.rest()
    expect(consumer.take().sort()).toEqual([...messages(1, 0, 2), ...messages(2, 2, 4)])
  })
})
