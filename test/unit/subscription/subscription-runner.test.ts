import { describe, expect, it } from 'vitest'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { codeOf, ids, SubscriptionRig } from '../../support/subscription-rig.ts'

describe('a subscription', () => {
  it('delivers what is published, each message once, and no more than the prefetch', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a', 10)
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(25, { each: 4 })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 10))
    expect(attachment.ack(ids(0, 0, 1, 2, 5))).toBe(4)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 10, 14))
    expect(rig.subscription.state()).toMatchObject({
      backlog: 21,
      unacked: 10,
      redelivering: 0,
      consumers: [{ name: 'a', unacked: 10, prefetch: 10, weight: 1, paused: false, active: true }],
      cursors: [{ partition: 0, ackedThrough: 3, ackedAhead: 1 }],
    })
  })

  it('never has more unacknowledged than maxUnacked, over all partitions', async () => {
    const rig = await SubscriptionRig.open({ maxUnacked: 15 }, { partitions: 3 })
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    for (const partition of rig.partitions) partition.publish(10)
    await rig.rest()
    expect(consumer.take()).toHaveLength(15)
    const { cursors } = rig.subscription.state()
    expect(cursors).toHaveLength(3)
    attachment.nack(ids(0, 0, 1).concat(ids(1, 0, 1), ids(2, 0, 1)), 1000)
    await rig.rest()
    expect(consumer.take()).toEqual([])
  })

  it('lets no slow consumer hold up the others, nor a paused one', async () => {
    const rig = await SubscriptionRig.open()
    const [slow, paused, quick] = [new FakeConsumer('slow'), new FakeConsumer('paused'), new FakeConsumer('quick')]
    slow.isReady = false
    const slowly = rig.subscription.attach(slow)
    const pausing = rig.subscription.attach(paused)
    pausing.pause()
    rig.subscription.attach(quick)
    rig.partition.publish(100)
    await rig.rest()
    expect([slow.got, paused.got, quick.take()]).toEqual([[], [], messages(0, 0, 100)])
    rig.partition.publish(10)
    quick.isReady = false
    await rig.rest()
    slow.isReady = true
    slowly.wake()
    await rig.rest()
    expect(slow.take()).toEqual(messages(0, 100, 110))
    rig.partition.publish(1)
    slow.isReady = false
    pausing.resume()
    await rig.rest()
    expect(paused.take()).toEqual(messages(0, 110, 111))
  })

  it('divides a backlog among idle consumers', async () => {
    const rig = await SubscriptionRig.open()
    const consumers = [new FakeConsumer('a'), new FakeConsumer('b'), new FakeConsumer('c')]
    for (const consumer of consumers) rig.subscription.attach(consumer)
    rig.partition.publish(300)
    await rig.rest()
    for (const { got } of consumers) expect(got).toHaveLength(100)
  })

  it('serves every partition though the credit is small', async () => {
    const rig = await SubscriptionRig.open({}, { partitions: 4 })
    const consumer = new FakeConsumer('a', 1)
    const attachment = rig.subscription.attach(consumer)
    for (const partition of rig.partitions) partition.publish(1000)
    const seen = new Set<string>()
    for (let i = 0; i < 12; i++) {
      await rig.rest()
      const [message] = consumer.take()
      const [partition, offset] = message!.split(' ')[0]!.split(':').map(Number)
      seen.add(String(partition))
      attachment.ack(ids(partition!, offset!))
    }
    expect(seen.size).toBe(4)
  })

  it('hands over no more than a megabyte before it looks again whether the consumer is ready', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a', 1000)
    const attachment = rig.subscription.attach(consumer)
    rig.partition.cursorQueue.isAutomatic = false
    rig.partition.publish(100, { bytes: 100_000, each: 1 })
    await rig.rest()
    consumer.isReady = false
    rig.partition.cursorQueue.write()
    await rig.rest()
    expect(consumer.take().length).toBeLessThanOrEqual(11)
    expect(rig.partition.cursorQueue.queued).toEqual([])
    rig.partition.cursorQueue.isAutomatic = true
    consumer.isReady = true
    attachment.wake()
    for (let i = 0; i < 10; i++) await rig.rest()
    expect(consumer.take().length).toBeGreaterThan(80)
  })

  it('reads cold messages once per stretch, and goes on where they end', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.isCold = true
    rig.partition.publish(30, { each: 10 })
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 30))
    expect(rig.partition.loads).toEqual([0, 10, 20])
  })

  it('tries a failed read again after a while, not at once', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.isCold = true
    rig.partition.loadError = new Error('EIO')
    rig.partition.publish(3)
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    await rig.pass(500)
    expect(rig.partition.loads).toHaveLength(1)
    rig.partition.loadError = null
    await rig.pass(600)
    expect(consumer.take()).toEqual(messages(0, 0, 3))
  })

  it('serves a partition that comes later from its beginning', async () => {
    const rig = await SubscriptionRig.open()
    const other = await SubscriptionRig.open({}, { partitions: 2 })
    const partition = other.partitions[1]!
    partition.publish(3)
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    rig.subscription.addPartition({ topic: 'orders', partition, cursors: other.stores[1]! })
    await rig.rest()
    await other.rest()
    await rig.rest()
    expect(consumer.take()).toEqual(messages(1, 0, 3))
  })

  it('does not deliver expired messages and counts them as acknowledged', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.publish(3, { expiresAt: rig.clock.now() + 50 })
    rig.partition.publish(2)
    rig.partition.publish(2, { expiresAt: rig.clock.now() + 500 })
    await rig.pass(100)
    const consumer = new FakeConsumer('a', 4)
    const attachment = rig.subscription.attach(consumer)
    await rig.rest()
    expect(consumer.take()).toEqual([...messages(0, 3, 5), ...messages(0, 5, 7)])
    expect(rig.subscription.state().cursors).toEqual([{ partition: 0, ackedThrough: 3, ackedAhead: 0 }])
    attachment.nack(ids(0, 5, 6), 1000)
    attachment.ack(ids(0, 3, 4))
    await rig.pass(1000)
    expect(consumer.take()).toEqual([])
    expect(rig.subscription.state()).toMatchObject({ backlog: 0, oldestUnackedAgeMs: null })
  })

  it('tells of a gap once, before the next message, to whoever gets that', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.publish(50, { each: 10 })
    rig.partition.retain(20)
    await rig.rest()
    rig.partition.retain(30)
    await rig.rest()
    expect(rig.subscription.state()).toMatchObject({ backlog: 20, cursors: [{ ackedThrough: 30 }] })
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    rig.subscription.attach(new FakeConsumer('b'))
    await rig.rest()
    expect(consumer.gaps).toEqual([{ topic: 'orders', partition: 0, from: 0, to: 29 }])
    rig.partition.publish(10)
    await rig.rest()
    expect(consumer.gaps).toHaveLength(1)
  })

  it('calls what a consumer still holds no gap, unless it comes back', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(10, { each: 5 })
    await rig.rest()
    rig.partition.retain(5)
    await rig.rest()
    expect(attachment.ack(ids(0, 0, 1, 2))).toBe(3)
    attachment.nack(ids(0, 3, 4), 0)
    rig.partition.publish(1)
    await rig.rest()
    expect(consumer.gaps).toEqual([{ topic: 'orders', partition: 0, from: 3, to: 4 }])
    expect(consumer.take().at(-1)).toBe('0:10 #1')
  })

  it('tells the age of the oldest message that is not acknowledged', async () => {
    const rig = await SubscriptionRig.open()
    expect(rig.subscription.state().oldestUnackedAgeMs).toBeNull()
    rig.partition.publish(1)
    await rig.pass(4000)
    rig.partition.publish(1)
    expect(rig.subscription.state().oldestUnackedAgeMs).toBe(4000)
  })

  it('gives no more to a consumer that throws, and its messages to others', async () => {
    const rig = await SubscriptionRig.open()
    const broken = new FakeConsumer('broken')
    broken.deliver = () => {
      throw new Error('socket is gone')
    }
    rig.subscription.attach(broken)
    rig.partition.publish(3)
    await rig.rest()
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 3, 2))
  })

  it('takes changed settings for what comes next', async () => {
    const rig = await SubscriptionRig.open({ maxUnacked: 2 })
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    rig.partition.publish(5)
    await rig.rest()
    expect(consumer.take()).toHaveLength(2)
    rig.subscription.update({ ...rig.subscription.settings, maxUnacked: 10, ackDeadlineMs: 100 })
    await rig.rest()
    expect(consumer.take()).toHaveLength(3)
    await rig.pass(100)
    expect(rig.subscription.state()).toMatchObject({ unacked: 2, redelivering: 3 })
  })

  it.each(['deleted', 'closing'] as const)(
    'ends everybody when it is %s, and nothing leaves afterwards',
    async (why) => {
      const rig = await SubscriptionRig.open()
      const consumer = new FakeConsumer('a', 5)
      const attachment = rig.subscription.attach(consumer)
      rig.partition.publish(20)
      await rig.rest()
      attachment.ack(ids(0, 0))
      rig.partition.cursorQueue.isAutomatic = false
      await rig.rest()
      const closed = rig.subscription.close(why)
      await rig.rest()
      await rig.partition.cursorQueue.flush()
      await closed
      expect(consumer.endedBecause).toBe(why)
      consumer.take()
      expect(attachment.ack(ids(0, 1))).toBe(0)
      expect(attachment.nack(ids(0, 1), 0)).toBe(0)
      attachment.detach()
      rig.partition.publish(5)
      await rig.pass(100_000)
      expect(consumer.take()).toEqual([])
      expect(rig.partition.listeners).toBe(0)
      expect(codeOf(() => rig.subscription.attach(consumer))).toBe('subscription_not_found')
      expect(rig.stores[0]!.subscriptionIds).toEqual(why === 'deleted' ? [] : ['id'])
    },
  )

  it('writes on closing what was acknowledged without a wish for an answer', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(3)
    await rig.rest()
    attachment.ack(ids(0, 0, 1, 2))
    await rig.subscription.close('closing')
    const again = await rig.restart('power')
    expect(again.subscription.state()).toMatchObject({ backlog: 0, cursors: [{ ackedThrough: 3 }] })
  })

  it('delivers nothing while the broker may not speak for the partition, and all of it once it may (R-FENCE)', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    const { cursorQueue } = rig.partition
    cursorQueue.isAutomatic = false
    rig.partition.publish(3)
    await rig.rest()
    rig.partition.hold(false)
    cursorQueue.write()
    await rig.rest()
    expect(consumer.take()).toEqual([])
    cursorQueue.isAutomatic = true
    rig.partition.hold(true)
    await rig.rest()
    cursorQueue.write()
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 3))
    expect(rig.subscription.state().unacked).toBe(3)
  })

  it('does not count on closing what was written as a delivery and not handed over', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(1)
    await rig.rest()
    const { cursorQueue } = rig.partition
    cursorQueue.isAutomatic = false
    attachment.nack(ids(0, 0), 0)
    await rig.rest()
    // The record of the second attempt is written; it goes out when that is synced, which does not happen any more.
    cursorQueue.write()
    consumer.take()
    const closed = rig.subscription.close('closing')
    await rig.rest()
    cursorQueue.write()
    cursorQueue.sync()
    await closed
    expect(consumer.take()).toEqual([])
    const again = await rig.restart('kill')
    const other = new FakeConsumer('b')
    again.subscription.attach(other)
    await again.rest()
    expect(other.take()).toEqual(messages(0, 0, 1, 2))
  })
})
