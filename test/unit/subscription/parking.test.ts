import { DEAD_LETTER_DEFAULTS, TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { Attachment, ParkedKey } from '../../../src/subscription/subscription.ts'
import { FakeConsumer, messages } from '../../support/fake-consumer.ts'
import type { MemoryPartition } from '../../support/memory-partition.ts'
import { MemoryTopic } from '../../support/memory-topic.ts'
import { settle } from '../../support/settle.ts'
import { ids, SubscriptionRig } from '../../support/subscription-rig.ts'

const deadLetter = { ...DEAD_LETTER_DEFAULTS, mode: 'park' as const, topic: 'dlq', maxDeliveries: 2 }
const backoff = { minMs: 0, maxMs: 0 }

interface Scene {
  rig: SubscriptionRig
  dlq: MemoryTopic
  consumer: FakeConsumer
  attachment: Attachment
}

async function seat(rig: SubscriptionRig, prefetch = 256): Promise<Scene> {
  const dlq = new MemoryTopic(rig.clock, 'dlq')
  await rig.directory.add(dlq)
  const consumer = new FakeConsumer('a', prefetch)
  return { rig, dlq, consumer, attachment: rig.subscription.attach(consumer) }
}

async function scene(type: 'key_shared' | 'exclusive', patch: object = {}): Promise<Scene> {
  return seat(await SubscriptionRig.open({ type, deadLetter, backoff, ...patch }))
}

/** Nacks the message until its deliveries are used up. */
async function fail({ rig, attachment, consumer }: Scene, offset: number): Promise<void> {
  for (let attempt = 1; attempt <= 2; attempt++) {
    await rig.rest()
    attachment.nack(ids(0, offset), 0, 'no such street')
  }
  await rig.rest()
  consumer.take()
}

const parkedOf = async (rig: SubscriptionRig): Promise<ParkedKey[]> => (await rig.subscription.parking.list(100)).parked

const act = (rig: SubscriptionRig, action: 'resume' | 'skip' | 'discard', key = 'x'): Promise<ParkedKey> =>
  rig.subscription.parking.act(key, {}, { action })

const replace = (rig: SubscriptionRig, text: string, key = 'x'): Promise<ParkedKey> =>
  rig.subscription.parking.act(
    key,
    {},
    { action: 'replace', value: Buffer.from(text), contentType: 'application/json', valueChecked: true },
  )

describe.each(['key_shared', 'exclusive'] as const)('a parked key of a subscription that is %s', (type) => {
  it('waits with what comes after, while all others flow', async () => {
    const all = await scene(type)
    const { rig, consumer, attachment } = all
    rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    rig.partition.publish(5, { keys: ['x', 'y', null, 'x', 'y'] })
    await rig.rest()
    expect(consumer.take().sort()).toEqual(['0:2 #1', '0:3 #1', '0:5 #1'])
    const parked = await parkedOf(rig)
    expect(parked).toEqual([
      {
        key: 'x',
        partition: 0,
        offset: 0,
        attempts: 2,
        parkedAt: rig.clock.now(),
        waiting: 2,
        reason: 'no such street',
      },
    ])
    expect(attachment.ack(ids(0, 2, 3, 5))).toBe(3)
    expect(rig.subscription.state()).toMatchObject({ backlog: 3, unacked: 0, redelivering: 0, parked: 1 })
  })

  it('goes on in order when it is resumed, from the first attempt', async () => {
    const all = await scene(type)
    const { rig, consumer, attachment } = all
    rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    rig.partition.publish(3, { keys: ['x', 'y', 'x'] })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 2, 3))
    expect(await act(rig, 'resume')).toMatchObject({ key: 'x', offset: 0, waiting: 2 })
    await rig.rest()
    attachment.ack(ids(0, 0))
    await rig.rest()
    expect(consumer.take()).toEqual(['0:0 #1', '0:1 #1', '0:3 #1'])
    expect(await parkedOf(rig)).toEqual([])
  })

  it('goes on without the message when it is discarded', async () => {
    const all = await scene(type)
    const { rig, consumer, dlq } = all
    rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    rig.partition.publish(1, { keys: ['x'] })
    await rig.rest()
    await act(rig, 'discard')
    await rig.rest()
    expect([consumer.take(), dlq.partition.nextOffset]).toEqual([['0:1 #1'], 0])
    expect(rig.subscription.state()).toMatchObject({ backlog: 1, cursors: [{ ackedThrough: 1 }] })
  })

  it('goes on when a skipped message has its dead letter, and says so no earlier', async () => {
    const all = await scene(type)
    const { rig, consumer, dlq } = all
    rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    rig.partition.publish(1, { keys: ['x'] })
    await rig.rest()
    dlq.isHeld = true
    let isDone = false
    const done = act(rig, 'skip').then(() => (isDone = true))
    await rig.rest()
    expect([isDone, consumer.take()]).toEqual([false, []])
    dlq.settle()
    await rig.rest()
    await done
    await rig.rest()
    expect([consumer.take(), dlq.partition.nextOffset]).toEqual([['0:1 #1'], 1])
  })

  it('says why a skipped message has no dead letter yet', async () => {
    const all = await scene(type)
    const { rig, dlq } = all
    rig.partition.publish(2, { keys: ['x'] })
    await fail(all, 0)
    dlq.failure = new TidingsError('storage_full', 'the disk is full')
    await expect(act(rig, 'skip')).rejects.toMatchObject({ code: 'storage_full' })
    dlq.failure = null
    await rig.pass(1000)
    expect(dlq.partition.nextOffset).toBe(1)
  })

  it('delivers the replacement instead, also after a power cut', async () => {
    const all = await scene(type)
    const { rig, consumer } = all
    rig.partition.publish(2, { keys: ['x'] })
    await fail(all, 0)
    await replace(rig, '{"fixed":1}')
    await rig.rest()
    expect(consumer.values.at(-1)).toBe('{"fixed":1}')
    const next = await seat(await rig.restart('power'))
    await next.rig.rest()
    await next.rig.rest()
    expect([next.consumer.got[0]?.slice(0, 3), next.consumer.values[0]]).toEqual(['0:0', '{"fixed":1}'])
    next.attachment.ack(ids(0, 0))
    await next.rig.rest()
    const last = await seat(await next.rig.restart('kill'))
    await last.rig.rest()
    expect(last.consumer.values.filter((value) => value.includes('fixed'))).toEqual([])
  })

  it('is parked again after a restart, since the same time', async () => {
    const all = await scene(type)
    all.rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    all.rig.partition.publish(2, { keys: ['y', 'x'] })
    await all.rig.rest()
    const [before] = await parkedOf(all.rig)
    await all.rig.pass(5000)
    const next = await all.rig.restart('kill')
    await next.rest()
    expect(await parkedOf(next)).toEqual([{ ...before, reason: null }])
    const { consumer } = await seat(next)
    await next.rest()
    expect(consumer.take()).toEqual(['0:1 #2'])
  })

  it('falls back to dead letters when too many are parked, the oldest first', async () => {
    const all = await scene(type, { deadLetter: { ...deadLetter, maxParked: 1 } })
    const { rig, dlq } = all
    rig.partition.publish(4, { keys: ['x', 'y'] })
    await fail(all, 0)
    await rig.pass(10)
    await fail(all, 1)
    await rig.rest()
    expect(await rig.subscription.parking.list(10)).toMatchObject({ parked: [{ key: 'y' }], count: 1, fellBack: 1 })
    expect(dlq.partition.nextOffset).toBe(1)
    expect(rig.subscription.state()).toMatchObject({ parked: 1, deadLettering: 0 })
  })

  it('falls back by the thousand when the limit is lowered, the oldest first', async () => {
    const all = await scene(type, { deadLetter: { ...deadLetter, maxDeliveries: 1, maxParked: 100_000 } })
    const { rig, dlq, attachment } = all
    const count = 1200
    rig.partition.publish(count, { keys: Array.from({ length: count }, (_, i) => `k${i}`) })
    for (let at = 0; at < count; at += 100) {
      await rig.pass(1)
      attachment.nack(ids(0, ...Array.from({ length: 100 }, (_, i) => at + i)), 0)
    }
    await rig.rest()
    expect(rig.subscription.state()).toMatchObject({ parked: count })
    const settings = { ...deadLetter, maxDeliveries: 1, maxParked: 3 }
    rig.subscription.update({ ...rig.subscription.settings, deadLetter: settings })
    for (let turn = 0; turn < 5; turn++) await rig.rest()
    expect(await rig.subscription.parking.list(10)).toMatchObject({ count: 3, fellBack: count - 3 })
    expect((await parkedOf(rig)).map(({ key }) => key)).toEqual(['k1197', 'k1198', 'k1199'])
    expect(dlq.partition.nextOffset).toBe(count - 3)
  })

  it('is told apart by place where it is parked in several partitions', async () => {
    const rig = await SubscriptionRig.open({ type, deadLetter: { ...deadLetter, maxDeliveries: 1 } }, { partitions: 2 })
    const { attachment } = await seat(rig)
    for (const partition of rig.partitions) partition.publish(1, { keys: ['x'] })
    await rig.rest()
    attachment.nack(ids(0, 0).concat(ids(1, 0)), 0)
    await expect(act(rig, 'discard')).rejects.toMatchObject({ code: 'conflict' })
    const done = await rig.subscription.parking.act('x', { partition: 1 }, { action: 'discard' })
    expect(done).toMatchObject({ partition: 1 })
    expect(await act(rig, 'discard')).toMatchObject({ partition: 0 })
    await expect(act(rig, 'discard')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('is left alone when the message that was meant is not the one that it waits for now', async () => {
    const { rig, attachment } = await scene(type, { deadLetter: { ...deadLetter, maxDeliveries: 1 } })
    rig.partition.publish(2, { keys: ['x'] })
    await rig.rest()
    attachment.nack(ids(0, 1), 0)
    await rig.rest()
    expect(await parkedOf(rig)).toMatchObject([{ key: 'x', offset: 1 }])
    attachment.nack(ids(0, 0), 0)
    await rig.rest()
    const { parking } = rig.subscription
    await expect(parking.act('x', { offset: 1 }, { action: 'discard' })).rejects.toMatchObject({ code: 'conflict' })
    expect(await parkedOf(rig)).toMatchObject([{ key: 'x', offset: 0 }])
    expect(await parking.act('x', { offset: 0 }, { action: 'discard' })).toMatchObject({ offset: 0 })
  })

  it('does not park a message without a key: that goes to dead letters', async () => {
    const all = await scene(type)
    all.rig.partition.publish(2)
    await fail(all, 0)
    await all.rig.rest()
    expect([await parkedOf(all.rig), all.dlq.partition.nextOffset]).toEqual([[], 1])
  })

  it('is given up by a limit that is raised', async () => {
    const all = await scene(type)
    const { rig, consumer } = all
    rig.partition.publish(2, { keys: ['x'] })
    await fail(all, 0)
    rig.subscription.update({ ...rig.subscription.settings, deadLetter: { ...deadLetter, maxDeliveries: 3 } })
    await rig.rest()
    expect([await parkedOf(rig), consumer.take()[0]]).toEqual([[], '0:0 #3'])
  })
})

describe('parked messages', () => {
  it('do not count as unacknowledged', async () => {
    const all = await scene('key_shared', { maxUnacked: 10 })
    const { rig, consumer } = all
    rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    rig.partition.publish(50, { keys: ['x'] })
    rig.partition.publish(5, { keys: ['y'] })
    await rig.rest()
    expect(consumer.take()).toEqual(messages(0, 51, 56))
    expect(await parkedOf(rig)).toMatchObject([{ waiting: 50 }])
  })

  it('are bounded: past that the oldest key falls back', async () => {
    const all = await scene('key_shared')
    const { rig, dlq } = all
    rig.partition.publish(1, { keys: ['x'] })
    await fail(all, 0)
    rig.partition.publish(100_100, { keys: ['x'], each: 5000 })
    for (let pass = 0; pass < 5; pass++) await rig.rest()
    expect(dlq.partition.nextOffset).toBe(1)
    expect(await rig.subscription.parking.list(10)).toMatchObject({ count: 0, fellBack: 1 })
  })

  it('are not acknowledged by a cumulative acknowledgement, which comes from whoever never saw them', async () => {
    const all = await scene('exclusive')
    const { rig, attachment } = all
    rig.partition.publish(4, { keys: ['x', 'y'] })
    await fail(all, 0)
    await rig.rest()
    attachment.ackUpTo({ partition: 0, offset: 3 })
    expect(rig.subscription.state()).toMatchObject({ cursors: [{ ackedThrough: 0, ackedAhead: 3 }] })
    expect(await parkedOf(rig)).toMatchObject([{ key: 'x', offset: 0 }])
  })

  it('refuse replacements that together are too large', async () => {
    const all = await scene('key_shared')
    const { rig } = all
    const keys = Array.from({ length: 10 }, (_, i) => `k${i}`)
    rig.partition.publish(10, { keys })
    for (let offset = 0; offset < 10; offset++) await fail(all, offset)
    const text = JSON.stringify('x'.repeat(1_000_000))
    for (let i = 0; i < 8; i++) await replace(rig, text, keys[i])
    await expect(replace(rig, text, keys[8])).rejects.toMatchObject({ code: 'overloaded' })
    await expect(replace(rig, `${text}${' '.repeat(100_000)}`, keys[9])).rejects.toMatchObject({
      code: 'message_too_large',
    })
    expect(await parkedOf(rig)).toMatchObject([{ key: 'k8' }, { key: 'k9' }])
  })
})

describe('a subscription that is exclusive and parks keys', () => {
  it('reads what waits behind failed messages once, not all the time', async () => {
    const { rig, consumer, attachment } = await seat(
      await SubscriptionRig.open(
        { type: 'exclusive', deadLetter, backoff: { minMs: 1000, maxMs: 1000 } },
        { partitions: 2 },
      ),
    )
    for (const partition of rig.partitions) partition.publish(1, { keys: ['x'] })
    await rig.rest()
    attachment.nack([...ids(0, 0), ...ids(1, 0)])
    // The end of either read wakes the whole subscription.
    const [quick, slow] = rig.partitions as [MemoryPartition, MemoryPartition]
    slow.load = async (offset) => {
      for (let turn = 0; turn < 3; turn++) await settle()
      return quick.load.call(slow, offset)
    }
    for (const partition of rig.partitions) {
      partition.isCold = true
      partition.publish(3, { keys: ['y'] })
    }
    for (let turn = 0; turn < 10; turn++) await rig.rest()
    expect(rig.partitions.map(({ loads }) => loads)).toEqual([[1], [1]])
    await rig.pass(1000)
    attachment.ack([...ids(0, 0), ...ids(1, 0)])
    await rig.rest()
    expect(consumer.take().filter((text) => text.startsWith('0:'))).toEqual(['0:0 #1', '0:0 #2', ...messages(0, 1, 4)])
  })
})
