import { describe, expect, it } from 'vitest'
import { nullLogger } from '../../../src/base/telemetry.ts'
import { CursorStore } from '../../../src/subscription/cursor-store.ts'
import type { Delivery } from '../../../src/subscription/subscription.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { FakeConsumer, messages, messagesOf } from '../../support/fake-consumer.ts'
import { MemoryPartition } from '../../support/memory-partition.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

/** Starts a pull and tells later how it ended. */
function pulling(rig: SubscriptionRig, max: number, waitMs: number, signal?: AbortSignal): { outcome: unknown } {
  const told: { outcome: unknown } = { outcome: 'waits' }
  rig.subscription.pull(max, waitMs, signal).then(
    (deliveries: Delivery[]) => {
      told.outcome = messagesOf(deliveries)
    },
    (error: { code?: string }) => {
      told.outcome = error.code
    },
  )
  return told
}

describe('a pull that waits while a topic of its pattern is deleted', () => {
  it('is answered without what it was to get of that topic', async () => {
    const clock = new SimClock()
    const orders = new MemoryPartition(clock)
    const rig = await SubscriptionRig.over(clock, [orders], {}, undefined, 's', '*')
    const returns = new MemoryPartition(clock)
    const cursors = await CursorStore.open(returns, clock, nullLogger)
    rig.subscription.addPartition({ topic: 'returns', partition: returns, cursors })
    orders.cursorQueue.isAutomatic = false
    const answer = rig.subscription.pull(10, 1000)
    returns.publish(2)
    orders.publish(1)
    await rig.rest()
    rig.subscription.removeTopic('returns')
    orders.cursorQueue.write()
    await rig.rest()
    expect((await answer).map(({ topic, from, to }) => [topic, from, to])).toEqual([['orders', 0, 1]])
  })
})

describe('a pull', () => {
  it('gets what is there, up to its maximum, from all partitions', async () => {
    const rig = await SubscriptionRig.open({}, { partitions: 2 })
    for (const partition of rig.partitions) partition.publish(6, { each: 2 })
    const first = pulling(rig, 8, 0)
    await rig.rest()
    expect(first.outcome).toHaveLength(8)
    const second = pulling(rig, 8, 0)
    await rig.rest()
    expect(second.outcome).toHaveLength(4)
    expect(new Set([...(first.outcome as string[]), ...(second.outcome as string[])])).toEqual(
      new Set([...messages(0, 0, 6), ...messages(1, 0, 6)]),
    )
  })

  it('never gets more than its maximum, though its parts arrive at different times', async () => {
    const rig = await SubscriptionRig.open({}, { partitions: 2 })
    const [quick, slow] = [rig.partitions[0]!, rig.partitions[1]!]
    quick.publish(2)
    slow.publish(2)
    slow.cursorQueue.isAutomatic = false
    const pull = pulling(rig, 4, 1000)
    await rig.rest()
    quick.publish(10)
    await rig.rest()
    expect(pull.outcome).toBe('waits')
    await slow.cursorQueue.flush()
    await rig.rest()
    expect(pull.outcome).toHaveLength(4)
  })

  it('gets what lies on the disk though it does not wait', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.isCold = true
    rig.partition.publish(5)
    const pull = pulling(rig, 10, 0)
    await rig.rest()
    expect(pull.outcome).toEqual(messages(0, 0, 5))
  })

  it('ends empty at once, or when its time is over', async () => {
    const rig = await SubscriptionRig.open()
    const hurried = pulling(rig, 10, 0)
    const patient = pulling(rig, 10, 1000)
    await rig.pass(999)
    expect([hurried.outcome, patient.outcome]).toEqual([[], 'waits'])
    await rig.pass(1)
    expect(patient.outcome).toEqual([])
    expect(rig.clock.pending).toBe(0)
  })

  it('ends with the first messages that come', async () => {
    const rig = await SubscriptionRig.open()
    const pull = pulling(rig, 10, 1000)
    await rig.pass(500)
    rig.partition.publish(3)
    await rig.rest()
    expect(pull.outcome).toEqual(messages(0, 0, 3))
    expect(rig.subscription.state()).toMatchObject({ unacked: 3, consumers: [] })
  })

  it('leaves its messages to the verbs of HTTP, which reach nothing else', async () => {
    const rig = await SubscriptionRig.open()
    const consumer = new FakeConsumer('a', 2)
    rig.subscription.attach(consumer)
    rig.partition.publish(6)
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 0, 2))
    const pull = pulling(rig, 10, 0)
    await rig.rest()
    expect(pull.outcome).toEqual(messages(0, 2, 6))
    const { pulled } = rig.subscription
    expect(pulled.ack(ids(0, 0, 1, 2))).toBe(1)
    expect(pulled.nack(ids(0, 0, 3), 0)).toBe(1)
    expect(pulled.release(ids(0, 1, 4))).toBe(1)
    expect(pulled.extend(ids(0, 5), 60_000)).toBe(1)
    const again = pulling(rig, 10, 0)
    await rig.rest()
    expect(again.outcome).toEqual(['0:3 #2', '0:4 #1'])
  })

  it('loses them when their deadline passes, not when it is answered', async () => {
    const rig = await SubscriptionRig.open({ ackDeadlineMs: 1000 })
    rig.partition.publish(2)
    pulling(rig, 10, 0)
    await rig.pass(999)
    expect(rig.subscription.pulled.ack(ids(0, 0))).toBe(1)
    await rig.pass(1)
    expect(rig.subscription.pulled.ack(ids(0, 1))).toBe(0)
    expect(rig.returned).toEqual({ expired: 1 })
  })

  it('gives back uncounted what was on its way when it is aborted', async () => {
    const rig = await SubscriptionRig.open()
    const queue = rig.partition.cursorQueue
    queue.isAutomatic = false
    rig.partition.publish(3)
    const gone = new AbortController()
    const aborted = pulling(rig, 10, 60_000, gone.signal)
    await rig.rest()
    expect(queue.queued).not.toEqual([])
    gone.abort()
    await rig.rest()
    expect(aborted.outcome).toEqual([])
    queue.isAutomatic = true
    await queue.flush()
    const next = pulling(rig, 10, 0)
    await rig.rest()
    expect(next.outcome).toEqual(messages(0, 0, 3, 1))
    const late = pulling(rig, 10, 60_000, gone.signal)
    await rig.rest()
    expect(late.outcome).toEqual([])
  })

  it('is refused while a consumer is connected to an ordered subscription, also one that waits', async () => {
    const rig = await SubscriptionRig.open({ type: 'failover' })
    const waiting = pulling(rig, 10, 60_000)
    await rig.rest()
    rig.subscription.attach(new FakeConsumer('a'))
    const refused = pulling(rig, 10, 0)
    await rig.rest()
    expect([waiting.outcome, refused.outcome]).toEqual(['subscription_busy', 'subscription_busy'])
  })

  it('serves an ordered subscription in order, and acknowledges it cumulatively', async () => {
    const rig = await SubscriptionRig.open({ type: 'exclusive' })
    rig.partition.publish(10)
    const first = pulling(rig, 4, 0)
    await rig.rest()
    expect(first.outcome).toEqual(messages(0, 0, 4))
    expect(rig.subscription.pulled.nack(ids(0, 1), 0)).toBe(1)
    const again = pulling(rig, 4, 0)
    await rig.rest()
    expect(again.outcome).toEqual(['0:1 #2'])
    expect(rig.subscription.pulled.ackUpTo({ partition: 0, offset: 3 })).toBe(4)
    const next = pulling(rig, 4, 0)
    await rig.rest()
    expect(next.outcome).toEqual(messages(0, 4, 8))
  })

  it('fails when attempts cannot be written, instead of saying that there is nothing', async () => {
    const rig = await SubscriptionRig.open()
    rig.partition.publish(3)
    rig.partition.cursorQueue.isAutomatic = false
    const pull = pulling(rig, 10, 0)
    await rig.rest()
    rig.partition.cursorQueue.fail(true)
    await rig.rest()
    expect(pull.outcome).toBe('storage_full')
    expect(rig.subscription.state()).toMatchObject({ unacked: 0, redelivering: 3 })
  })

  it.each([
    ['deleted', 'subscription_not_found'],
    ['closing', []],
  ] as const)('ends when the subscription is %s', async (why, outcome) => {
    const rig = await SubscriptionRig.open()
    const pull = pulling(rig, 10, 60_000)
    await rig.rest()
    await rig.subscription.close(why)
    expect(pull.outcome).toEqual(outcome)
  })
})
