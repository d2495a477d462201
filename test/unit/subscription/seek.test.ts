import { describe, expect, it } from 'vitest'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

describe('seek', () => {
  it('begins again at the beginning, with consumers connected and attempts at 1', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(3)
    await rig.rest()
    attachment.ack(ids(0, 0))
    attachment.nack(ids(0, 1), 60_000)
    consumer.take()
    const sought = rig.subscription.seek('earliest')
    await rig.rest()
    await sought
    expect(consumer.take()).toEqual(messages(0, 0, 3))
    expect(rig.subscription.state()).toMatchObject({ unacked: 3, redelivering: 0 })
  })

  it('makes a late acknowledgement of what was outstanding come to nothing', async () => {
    const rig = await SubscriptionRig.open()
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    rig.partition.publish(5)
    await rig.rest()
    await rig.subscription.seek('latest')
    expect(attachment.ack(ids(0, 0, 1, 2))).toBe(0)
    attachment.pause()
    await rig.subscription.seek({ offsets: { 0: 1 } })
    expect(attachment.ack(ids(0, 1, 2))).toBe(0)
    expect(rig.subscription.state()).toMatchObject({ backlog: 4, consumers: [{ unacked: 0 }] })
  })

  it('lets nothing out that was staged before it', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    const queue = rig.partition.cursorQueue
    queue.isAutomatic = false
    rig.partition.publish(5)
    await rig.rest()
    const sought = rig.subscription.seek({ offsets: { 0: 3 } })
    await rig.rest()
    queue.isAutomatic = true
    await queue.flush()
    await sought
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 3, 5))
  })

  it('starts attempts anew, also of a redelivery that was on its way', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(2)
    await rig.rest()
    consumer.take()
    rig.partition.cursorQueue.isAutomatic = false
    attachment.nack(ids(0, 0, 1), 0)
    await rig.rest()
    const sought = rig.subscription.seek('earliest')
    await rig.rest()
    rig.partition.cursorQueue.isAutomatic = true
    await rig.partition.cursorQueue.flush()
    await sought
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 2, 1))
  })

  it('is durable before it resolves', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.publish(5)
    await rig.rest()
    await rig.partition.cursorQueue.flush()
    rig.partition.cursorQueue.isAutomatic = false
    let isDone = false
    const sought = rig.subscription.seek({ offsets: { 0: 4 } }).then(() => {
      isDone = true
    })
    await rig.rest()
    rig.partition.cursorQueue.write()
    await rig.rest()
    expect(isDone).toBe(false)
    rig.partition.cursorQueue.sync()
    await sought
    const again = await rig.restart('power')
    expect(again.subscription.state().cursors).toEqual([{ partition: 0, ackedThrough: 4, ackedAhead: 0 }])
  })

  it('tells when the new position could not be written', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.publish(5)
    await rig.rest()
    rig.partition.cursorQueue.isAutomatic = false
    const sought = rig.subscription.seek('latest')
    await rig.rest()
    rig.partition.cursorQueue.fail(true)
    await expect(sought).rejects.toMatchObject({ code: 'storage_full' })
  })

  it('moves only the partitions that it names, and finds a time in each', async () => {
    const rig = await SubscriptionRig.open({}, { partitions: 2 })
    for (const partition of rig.partitions) {
      partition.publish(4, { timestamp: Date.UTC(2026, 5, 1) })
      partition.publish(4, { timestamp: Date.UTC(2026, 5, 3) })
    }
    await rig.subscription.seek({ offsets: { 1: 2 } })
    expect(rig.subscription.state().cursors.map(({ ackedThrough }) => ackedThrough)).toEqual([0, 2])
    await rig.subscription.seek({ timestamp: '2026-06-02T00:00:00Z' })
    expect(rig.subscription.state().cursors.map(({ ackedThrough }) => ackedThrough)).toEqual([4, 4])
    await rig.subscription.seek({ timestamp: '2026-06-04T00:00:00Z' })
    expect(rig.subscription.state().cursors.map(({ ackedThrough }) => ackedThrough)).toEqual([8, 8])
  })

  it.each([
    [{ offsets: { 0: 9 } }, 'offset_out_of_range'],
    [{ offsets: { 0: 1 } }, 'offset_out_of_range'],
    [{ offsets: { 0: 4, 7: 0 } }, 'partition_not_found'],
    [{ offsets: { x: 0 } }, 'invalid_argument'],
    [{ timestamp: 'yesterday' }, 'invalid_argument'],
  ])('refuses %j with %s and moves nothing', async (position, code) => {
    const rig = await SubscriptionRig.open()
    rig.partition.publish(8, { each: 2 })
    rig.partition.retain(2)
    await rig.rest()
    const before = rig.subscription.state().cursors
    await expect(rig.subscription.seek(position)).rejects.toMatchObject({ code })
    expect(rig.subscription.state().cursors).toEqual(before)
  })
})
