import { describe, expect, it } from 'vitest'
import type { Logger } from '../../../src/base/telemetry.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { FakeConsumer, messages, messagesOf } from '../../support/fake-consumer.ts'
import { MemoryPartition } from '../../support/memory-partition.ts'
import { settle } from '../../support/settle.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const EVERY_THIRD = { filter: 'value.n % 3 == 0' }
const counted = { json: (n: number) => ({ n }) }
const state = (rig: SubscriptionRig) => rig.subscription.state()

describe('a filtered subscription', () => {
  it.each(['shared', 'exclusive', 'key_shared'] as const)(
    'delivers what passes, once asked a message (%s)',
    async (type) => {
      const rig = await SubscriptionRig.open({ ...EVERY_THIRD, type })
      rig.partition.publish(30, { ...counted, each: 7 })
      const consumer = new FakeConsumer('a')
      const attachment = rig.subscription.attach(consumer)
      await rig.rest()
      expect(consumer.take()).toEqual([0, 3, 6, 9, 12, 15, 18, 21, 24, 27].flatMap((at) => messages(0, at, at + 1)))
      expect(rig.filtered).toBe(20)
      attachment.ack(ids(0, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27))
      await rig.rest()
      expect(state(rig)).toMatchObject({ backlog: 0, unacked: 0, cursors: [{ ackedThrough: 30, ackedAhead: 0 }] })
    },
  )

  it('asks once a message however small the slices, and counts what it refused as acknowledged', async () => {
    const rig = await SubscriptionRig.open({ filter: 'value.n % 4 == 1' })
    rig.partition.publish(400, { ...counted, each: 11 })
    const consumers = [1, 2, 5].map((prefetch) => new FakeConsumer(`p${prefetch}`, prefetch))
    const attachments = consumers.map((consumer) => rig.subscription.attach(consumer))
    let got = 0
    for (let round = 0; round < 200 && got < 100; round++) {
      await rig.rest()
      consumers.forEach((consumer, i) => {
        const offsets = consumer.take().map((text) => Number(/:(\d+)/.exec(text)![1]))
        expect(offsets.every((offset) => offset % 4 === 1)).toBe(true)
        got += offsets.length
        attachments[i]!.ack(ids(0, ...offsets))
      })
    }
    await rig.rest()
    expect(got).toBe(100)
    expect(rig.filtered).toBe(300)
    expect(state(rig)).toMatchObject({ backlog: 0, cursors: [{ ackedThrough: 400 }] })
  })

  it('goes through a long stretch of refused messages in many turns, with few records', async () => {
    const rig = await SubscriptionRig.open({ filter: 'value.n == 59999' })
    rig.partition.publish(60_000, { ...counted, each: 500 })
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    let turns = 0
    // Each turn is one pass: what is between them is where others have theirs.
    for (; consumer.got.length === 0 && turns < 100; turns++) await settle()
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 59_999, 60_000))
    expect(rig.filtered).toBe(59_999)
    expect(turns).toBeGreaterThan(5)
    expect(rig.partition.cursorQueue.nextOffset).toBeLessThan(100)
  })

  it('lets other partitions have their turn while one goes through a long stretch', async () => {
    const rig = await SubscriptionRig.open({ filter: 'value.wanted' }, { partitions: 2 })
    rig.partitions[0]!.publish(60_000, { json: () => ({ wanted: false }), each: 500 })
    rig.partitions[1]!.publish(1, { json: () => ({ wanted: true }) })
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    let turns = 0
    for (; consumer.got.length === 0 && turns < 100; turns++) await settle()
    expect(consumer.take()).toEqual(messages(1, 0, 1))
    expect(rig.filtered).toBeLessThan(30_000)
  })

  it('answers a hurried pull only when it has looked at everything', async () => {
    const rig = await SubscriptionRig.open({ filter: 'value.n >= 40000' })
    rig.partition.publish(40_002, { ...counted, each: 500 })
    rig.partition.isCold = true
    const pull = rig.subscription.pull(10, 0)
    for (let turn = 0; turn < 40; turn++) await rig.rest()
    expect(messagesOf(await pull)).toEqual(messages(0, 40_000, 40_002))
  })

  it('delivers again what was delivered, whatever the filter says by now', async () => {
    const rig = await SubscriptionRig.open({ filter: 'value.n < 4', backoff: { minMs: 0, maxMs: 0 } })
    rig.partition.publish(4, counted)
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    await rig.rest()
    consumer.take()
    rig.subscription.update({ ...rig.subscription.settings, filter: 'value.n > 100' })
    rig.partition.publish(2, counted)
    attachment.nack(ids(0, 1), 0)
    attachment.release(ids(0, 2))
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 1, 2, 2))
    expect(state(rig)).toMatchObject({ backlog: 3, cursors: [{ ackedThrough: 0 }] })
  })

  it('applies a changed filter to what has not been delivered yet', async () => {
    const rig = await SubscriptionRig.open({ filter: 'value.n < 2' })
    rig.partition.publish(10, counted)
    const consumer = new FakeConsumer('a', 1)
    const attachment = rig.subscription.attach(consumer)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 1))
    rig.subscription.update({ ...rig.subscription.settings, filter: 'value.n == 7' })
    attachment.ack(ids(0, 0))
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 7, 8))
    attachment.ack(ids(0, 7))
    rig.subscription.update({ ...rig.subscription.settings, filter: null })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 8, 9))
  })

  it('knows after a restart what it has passed over', async () => {
    const rig = await SubscriptionRig.open(EVERY_THIRD)
    rig.partition.publish(9, counted)
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    await rig.rest()
    attachment.ack(ids(0, 0, 6))
    await rig.rest()
    const next = await rig.restart('kill')
    const consumer = new FakeConsumer('b')
    next.subscription.attach(consumer)
    await next.rest()
    expect(consumer.take()).toEqual(messages(0, 3, 4, 2))
    expect(next.filtered).toBe(0)
  })

  it('holds everything back, and says so, when its filter is not understood any more', async () => {
    const logged: string[] = []
    const logger = {
      debug() {},
      info() {},
      warn() {},
      error: (_: object, text: string) => void logged.push(text),
    } as Logger
    const clock = new SimClock()
    const partition = new MemoryPartition(clock)
    const rig = await SubscriptionRig.over(clock, [partition], { filter: 'old.syntax()' }, logger)
    partition.publish(3, counted)
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    await rig.rest()
    expect(logged).toEqual(['the filter is not understood any more'])
    expect(consumer.take()).toEqual([])
    expect(state(rig)).toMatchObject({ backlog: 3, cursors: [{ ackedThrough: 0 }] })
    // What lies on the disk alone is not read for it, let alone again and again.
    const { loads } = rig.partition
    rig.partition.isCold = true
    rig.subscription.update({ ...rig.subscription.settings })
    await rig.rest()
    expect(loads).toEqual([])
    rig.subscription.update({ ...rig.subscription.settings, filter: 'value.n > 0' })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 1, 3))
  })
})
