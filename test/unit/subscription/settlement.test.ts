import type { MessageId } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import { codeOf, ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const backoff = { minMs: 500, maxMs: 60_000 }

describe('what a consumer says of its messages', () => {
  it('concerns only what lies with it, whatever the ids', async () => {
    const rig = await SubscriptionRig.open({}, { partitions: 2 })
    const [one, two] = [new FakeConsumer('one', 5), new FakeConsumer('two', 5)]
    const first = rig.subscription.attach(one)
    const second = rig.subscription.attach(two)
    rig.partition.publish(10)
    await rig.rest()
    const mine = one.take().map((text): MessageId => ({ partition: 0, offset: Number(text.split(' ')[0]!.slice(2)) }))
    expect(second.ack(mine)).toBe(0)
    expect(first.ack(ids(1, 0, 1).concat(ids(7, 0), ids(0, 10, 99), { topic: 'else', partition: 0, offset: 0 }))).toBe(
      0,
    )
    expect(first.release(mine.slice(0, 1))).toBe(1)
    expect(first.ack([...mine, ...mine].reverse())).toBe(4)
    expect(first.ack(mine)).toBe(0)
  })

  it('comes to nothing for messages that are staged and not handed over', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.cursorQueue.isAutomatic = false
    rig.partition.publish(3)
    await rig.rest()
    expect(attachment.ack(ids(0, 0, 1, 2))).toBe(0)
    rig.partition.cursorQueue.write()
    expect(consumer.take()).toEqual(messages(0, 0, 3))
    expect(attachment.ack(ids(0, 0, 1, 2))).toBe(3)
  })

  it('is confirmed when durable, not before, with the ids that are acknowledged', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(5)
    await rig.rest()
    attachment.nack(ids(0, 3), 1000)
    rig.partition.cursorQueue.isAutomatic = false
    const answers: unknown[] = []
    attachment.ack(ids(0, 0, 1), (error, acked) => answers.push([error, acked]))
    attachment.ack(ids(0, 1, 2, 3), (error, acked) => answers.push([error, acked]))
    await rig.rest()
    rig.partition.cursorQueue.write()
    expect(answers).toEqual([])
    rig.partition.cursorQueue.sync()
    expect(answers).toEqual([
      [null, ids(0, 0, 1)],
      [null, ids(0, 1, 2)],
    ])
    const again = await rig.restart('power')
    expect(again.subscription.state().cursors).toEqual([{ partition: 0, ackedThrough: 3, ackedAhead: 0 }])
  })

  it('is confirmed when durable for what is given back, too', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(2)
    await rig.rest()
    rig.partition.cursorQueue.isAutomatic = false
    const answers: string[] = []
    attachment.release(ids(0, 0), (error) => answers.push(`release ${String(error)}`))
    attachment.nack(ids(0, 1), 1000, undefined, (error) => answers.push(`nack ${String(error)}`))
    await rig.rest()
    rig.partition.cursorQueue.write()
    expect(answers).toEqual([])
    rig.partition.cursorQueue.sync()
    expect(answers).toEqual(['release null', 'nack null'])
  })

  it('is confirmed over several partitions together', async () => {
    const rig = await SubscriptionRig.open({}, { partitions: 2 })
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    for (const partition of rig.partitions) partition.publish(1)
    await rig.rest()
    for (const partition of rig.partitions) partition.cursorQueue.isAutomatic = false
    const answers: unknown[] = []
    attachment.ack([...ids(0, 0), ...ids(1, 0)], (error, acked) => answers.push([error, acked.length]))
    await rig.partitions[1]!.cursorQueue.flush()
    expect(answers).toEqual([])
    await rig.partitions[0]!.cursorQueue.flush()
    expect(answers).toEqual([[null, 2]])
  })

  it('is confirmed too where there was nothing to acknowledge', async () => {
    const rig = await SubscriptionRig.open()
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    const answers: unknown[] = []
    attachment.ack(ids(0, 17), (error, acked) => answers.push([error, acked]))
    expect(answers).toEqual([])
    await rig.rest()
    expect(answers).toEqual([[null, []]])
  })

  it('is answered with the error when the disk is full, and made good later', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a', 2)
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(10)
    await rig.rest()
    consumer.take()
    const queue = rig.partition.cursorQueue
    queue.isAutomatic = false
    const answers: unknown[] = []
    attachment.ack(ids(0, 0, 1), (error) => answers.push(error && 'code' in error ? error.code : error))
    await rig.rest()
    queue.fail(true)
    await rig.rest()
    expect(answers).toEqual(['storage_full'])
    // Nothing is delivered whose attempt could not be written.
    await rig.rest()
    expect(consumer.take()).toEqual([])
    queue.isAutomatic = true
    await rig.pass(300)
    expect(consumer.take()).toEqual(messages(0, 2, 4))
    const again = await rig.restart('kill')
    expect(again.subscription.state().cursors).toMatchObject([{ ackedThrough: 2 }])
  })

  it('returns a message by the backoff, or after the delay that it names', async () => {
    const rig = await SubscriptionRig.open({ backoff })
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(3)
    await rig.rest()
    consumer.take()
    attachment.nack(ids(0, 0))
    attachment.nack(ids(0, 1), 2000, 'not now')
    attachment.nack(ids(0, 2), 0)
    await rig.rest()
    expect(consumer.take()).toEqual(['0:2 #2'])
    await rig.pass(499)
    expect(consumer.take()).toEqual([])
    await rig.pass(1)
    expect(consumer.take()).toEqual(['0:0 #2'])
    attachment.nack(ids(0, 0))
    await rig.pass(999)
    expect(consumer.take()).toEqual([])
    await rig.pass(1)
    expect(consumer.take()).toEqual(['0:0 #3'])
    await rig.pass(500)
    expect(consumer.take()).toEqual(['0:1 #2'])
    expect(rig.returned).toEqual({ nack: 4 })
  })

  it('counts a passed deadline as a failure', async () => {
    const rig = await SubscriptionRig.open({ backoff, ackDeadlineMs: 1000 })
    const consumer = new FakeConsumer('a')
    const attachment = rig.subscription.attach(consumer)
    rig.partition.publish(2)
    await rig.rest()
    consumer.take()
    await rig.pass(999)
    expect(attachment.ack(ids(0, 0))).toBe(1)
    await rig.pass(1)
    expect(rig.returned).toEqual({ expired: 1 })
    expect(attachment.ack(ids(0, 1))).toBe(0)
    await rig.pass(500)
    expect(consumer.take()).toEqual(['0:1 #2'])
  })

  it('moves a deadline, further or nearer', async () => {
    const rig = await SubscriptionRig.open({ backoff, ackDeadlineMs: 1000 })
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    rig.partition.publish(3)
    await rig.rest()
    expect(attachment.extend(ids(0, 0), 5000)).toBe(1)
    expect(attachment.extend(ids(0, 1), 100)).toBe(1)
    await rig.pass(100)
    expect(rig.returned).toEqual({ expired: 1 })
    await rig.pass(900)
    expect(rig.returned).toEqual({ expired: 2 })
    await rig.pass(3999)
    expect(attachment.ack(ids(0, 0))).toBe(1)
  })

  it('hands back without counting', async () => {
    const rig = await SubscriptionRig.open()
    const [one, two] = [new FakeConsumer('one'), new FakeConsumer('two')]
    const first = rig.subscription.attach(one)
    rig.partition.publish(2)
    await rig.rest()
    one.isReady = false
    rig.subscription.attach(two)
    expect(first.release(ids(0, 0, 1))).toBe(2)
    await rig.rest()
    expect(two.take()).toEqual(messages(0, 0, 2, 1))
  })

  it('rejects for good', async () => {
    const rig = await SubscriptionRig.open()
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    rig.partition.publish(2)
    await rig.rest()
    expect(attachment.reject(ids(0, 0), 'cannot be read')).toBe(1)
    expect(rig.subscription.state().cursors).toMatchObject([{ ackedThrough: 1 }])
  })

  it('raises the attempt when the consumer goes, at once and over a restart', async () => {
    const rig = await SubscriptionRig.open()
    const first = rig.subscription.attach(new FakeConsumer('one'))
    rig.partition.publish(2)
    await rig.rest()
    first.detach()
    first.detach()
    expect(first.ack(ids(0, 0))).toBe(0)
    const two = new FakeConsumer('two')
    rig.subscription.attach(two)
    await rig.rest()
    expect(two.take()).toEqual(messages(0, 0, 2, 2))
    expect(rig.returned).toEqual({ disconnected: 2 })
    const again = await rig.restart('power')
    const three = new FakeConsumer('three')
    again.subscription.attach(three)
    await again.rest()
    expect(three.take()).toEqual(messages(0, 0, 2, 3))
  })

  it('does not count what was staged when the consumer went', async () => {
    const rig = await SubscriptionRig.open()
    const queue = rig.partition.cursorQueue
    queue.isAutomatic = false
    const one = new FakeConsumer('one')
    const first = rig.subscription.attach(one)
    rig.partition.publish(2)
    await rig.rest()
    first.detach()
    queue.write()
    expect(one.take()).toEqual([])
    queue.isAutomatic = true
    const two = new FakeConsumer('two')
    rig.subscription.attach(two)
    await rig.rest()
    await queue.flush()
    await rig.rest()
    expect(two.take()).toEqual(messages(0, 0, 2, 1))
  })

  it('keeps an acknowledgement without a wish for an answer over kill -9', async () => {
    const rig = await SubscriptionRig.open()
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    rig.partition.publish(3)
    await rig.rest()
    attachment.ack(ids(0, 1))
    await rig.rest()
    const again = await rig.restart('kill')
    const consumer = new FakeConsumer('b')
    again.subscription.attach(consumer)
    await again.rest()
    expect(consumer.take()).toEqual(['0:0 #2', '0:2 #2'])
  })

  it('is refused cumulatively on a shared subscription', async () => {
    const rig = await SubscriptionRig.open()
    const attachment = rig.subscription.attach(new FakeConsumer('a'))
    expect(codeOf(() => attachment.ackUpTo({ partition: 0, offset: 3 }))).toBe('invalid_argument')
  })
})
