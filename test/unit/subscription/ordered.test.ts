import { describe, expect, it } from 'vitest'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { codeOf, ids, SubscriptionRig } from '../../support/subscription-rig.ts'

describe('an exclusive subscription', () => {
  it('admits one consumer, and the next when that has gone', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    expect(codeOf(() => rig.subscription.attach(new FakeConsumer('b')))).toBe('subscription_busy')
    attachment.detach()
    expect(codeOf(() => rig.subscription.attach(new FakeConsumer('b')))).toBe('none')
  })

  it('delivers nothing past a failed message until that is acknowledged', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    const consumer = new FakeConsumer('a', 5)
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(20)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 5))
    attachment.nack(ids(0, 1), 1000)
    attachment.ack(ids(0, 0, 2, 3, 4))
    await rig.pass(999)
    expect(consumer.take()).toEqual([])
    await rig.pass(1)
    expect(consumer.take()).toEqual(['0:1 #2'])
    await rig.pass(5000)
    expect(consumer.take()).toEqual([])
    attachment.ack(ids(0, 1))
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 5, 10))
  })

  it('holds back what was staged already when something before it fails', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(3)
    await rig.rest()
    consumer.take()
    rig.partition.cursorQueue.isAutomatic = false
    rig.partition.publish(3)
    await rig.rest()
    attachment.nack(ids(0, 1), 0)
    rig.partition.cursorQueue.isAutomatic = true
    await rig.partition.cursorQueue.flush()
    await rig.rest()
    expect(consumer.take()).toEqual(['0:1 #2'])
    attachment.ack(ids(0, 1))
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 3, 6))
  })

  it('stays in order when the record of a delivery could not be written', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    const consumer = new FakeConsumer('a')
    rig.subscription.attach(consumer)
    const queue = rig.partition.cursorQueue
    queue.isAutomatic = false
    rig.partition.publish(3)
    await rig.rest()
    queue.fail(true)
    rig.partition.publish(3)
    await rig.rest()
    queue.isAutomatic = true
    await rig.pass(300)
    expect(consumer.take()).toEqual(messages(0, 0, 6))
  })

  it('acknowledges cumulatively what it has and what waits to come again', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    const consumer = new FakeConsumer('a', 6)
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(20)
    await rig.rest()
    consumer.take()
    attachment.nack(ids(0, 1), 60_000)
    rig.partition.cursorQueue.isAutomatic = false
    const answers: unknown[] = []
    expect(attachment.ackUpTo({ partition: 0, offset: 3 }, (error, acked) => answers.push([error, acked]))).toBe(4)
    expect(answers).toEqual([])
    await rig.partition.cursorQueue.flush()
    expect(answers).toEqual([[null, ids(0, 3)]])
    rig.partition.cursorQueue.isAutomatic = true
    await rig.rest()
    expect(rig.subscription.state().cursors).toEqual([{ partition: 0, ackedThrough: 4, ackedAhead: 0 }])
    expect(consumer.take()).toEqual(messages(0, 6, 10))
    expect(attachment.ackUpTo({ partition: 0, offset: 1000 })).toBe(6)
    expect(rig.subscription.state().cursors).toEqual([{ partition: 0, ackedThrough: 10, ackedAhead: 0 }])
  })

  it('keeps a failure that blocks over a restart', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    const attachment = rig.subscription.attach(new FakeConsumer('a', 3))
    rig.partition.publish(10)
    await rig.rest()
    attachment.nack(ids(0, 0), 1000)
    attachment.ack(ids(0, 1, 2), () => undefined)
    await rig.rest()
    const again = await rig.restart('power')
    const consumer = new FakeConsumer('b')
    again.subscription.attach(consumer)
    await again.pass(999)
    expect(consumer.take()).toEqual([])
    await again.pass(2)
    expect(consumer.take()).toEqual(['0:0 #2'])
  })
})

describe('a failover subscription', () => {
  it('serves the first that came, and the next in order of arrival when that has gone', async () => {
    const rig = await SubscriptionRig.open({ type: 'failover' })
    const [one, two, three] = [new FakeConsumer('one', 4), new FakeConsumer('two', 4), new FakeConsumer('three', 4)]
    const first = rig.subscription.attach(one)
    const second = rig.subscription.attach(two)
    rig.subscription.attach(three)
    rig.partition.publish(10)
    await rig.rest()
    expect([one.take(), two.take()]).toEqual([messages(0, 0, 4), []])
    expect(rig.subscription.state().consumers.map(({ active }) => active)).toEqual([true, false, false])
    first.ack(ids(0, 1))
    first.detach()
    await rig.rest()
    expect([two.take(), three.take()]).toEqual([['0:0 #2', '0:2 #2', '0:3 #2', '0:4 #1'], []])
    second.detach()
    await rig.rest()
    expect(three.take()).toEqual(['0:0 #3', '0:2 #3', '0:3 #3', '0:4 #2'])
  })

  it('lets only the active one acknowledge cumulatively what waits', async () => {
    const rig = await SubscriptionRig.open({ type: 'failover' })
    const first = rig.subscription.attach(new FakeConsumer('one'))
    const second = rig.subscription.attach(new FakeConsumer('two'))
    rig.partition.publish(3)
    await rig.rest()
    first.nack(ids(0, 0), 1000)
    expect(second.ackUpTo({ partition: 0, offset: 2 })).toBe(0)
    expect(first.ackUpTo({ partition: 0, offset: 2 })).toBe(3)
  })
})
